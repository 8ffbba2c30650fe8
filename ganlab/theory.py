"""What must a run find, before any training? Closed forms; nothing here trains (science.md sections 3 and 5)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganlab.losses import LOSSES
from ganlab.outliers import CLEAN, OUTLIERS


def mean_seeker_psnr_db(clean_psnr_db: ArrayLike, rate: ArrayLike, pull_mse: ArrayLike) -> NDArray[np.float64]:
    """PSNR in dB of one image that a mean-seeking loss (BCE, L2) must reach under corrupted training targets.

    The network converges to (1 - e) E[x | input] + e mu, hence MSE = C + e^2 (m - C) with C the clean MSE of this
    image and m = mean((x - mu)^2). Predict image by image and then average: pooling the MSE first is wrong by up to
    0.7 dB. Arguments broadcast.

    Args:
        clean_psnr_db: PSNR of the same image under clean training, dB.
        rate: the outlier rate e in [0, 1].
        pull_mse: e^2 m (`ganlab.outliers.pull_mse`); 0 for corruptions that leave the mean alone.
    """
    clean_mse = 10.0 ** (-np.asarray(clean_psnr_db, float) / 10)
    pull = np.asarray(pull_mse, float)
    kept = np.where(pull > 0, 1 - np.asarray(rate, float) ** 2, 1.0)
    return -10 * np.log10(kept * clean_mse + pull)


def predicts_psnr(loss: str, outlier: str) -> bool:
    """Whether PSNR under this outlier kind follows from the clean result by a closed form.

    Mean-seekers: always. Median-seekers: where the median does not move, which is `salt-pepper` (at any rate).
    """
    if outlier == CLEAN:
        return False  # the clean result is where predictions start from
    minimiser = LOSSES[loss].minimiser if loss in LOSSES else None
    return outlier in OUTLIERS and (minimiser == "mean" or (minimiser == "median" and outlier == "salt-pepper"))


def psnr_db(
    loss: str, outlier: str, clean_psnr_db: ArrayLike, rate: ArrayLike, pull_mse: ArrayLike
) -> NDArray[np.float64]:
    """Predicted PSNR in dB of one image for a loss and an outlier kind for which `predicts_psnr` holds."""
    pull = pull_mse if LOSSES[loss].minimiser == "mean" else 0.0
    return mean_seeker_psnr_db(clean_psnr_db, rate, pull)
