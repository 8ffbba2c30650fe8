"""What does theory predict for a run? Closed forms; nothing is trained. GAN equilibria: `ganlab.equilibria`.

Super-resolution under corrupted targets (science.md section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganlab.lazy import lazily
from ganlab.losses import LOSSES
from ganlab.metrics import luma
from ganlab.outliers import CLEAN, OUTLIERS

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    lazily(globals(), torch="torch")

Array = NDArray[np.float64]

SYMMETRIC = ("salt-pepper", "jitter")  # they do not change the median of a pixel, at any rate
TINY_MSE = 1e-20  # 200 dB: a prediction is finite even where a measured cross term is negative
THREE_DB = 10**0.3  # 3 dB of PSNR as a ratio of MSE: 1.995


def mean_seeker_psnr_db(
    clean_psnr_db: ArrayLike, rate: ArrayLike, pull_mse: ArrayLike, cross: ArrayLike | None = None
) -> Array:
    """PSNR in dB of one image that a mean-seeking loss (BCE, L2) must reach under corrupted training targets.

    The network converges to (1 - e) f + e mu, with f its prediction under clean training, so
    MSE = (1 - e)^2 C + e^2 m + 2 e (1 - e) c, with C the clean MSE of this image, m = mean((x - mu)^2), and
    c = mean((f - x) (mu - x)). If f is the conditional mean of the images tested, c = C, and MSE = C + e^2 (m - C).
    Predict image by image and then average: pooling the MSE first is wrong by up to 0.7 dB. Arguments broadcast.

    A network may learn drawn outliers instead of their mean: large blobs that stay where they are, on few images, are
    no noise. With 15 tiles of depth, `missing` 0.2, and 1,500 steps, L2 ended 1.2 dB below this prediction, but within
    0.1 dB of it with blobs redrawn at each step (2 seeds).

    Args:
        clean_psnr_db: PSNR of the same image under clean training, dB.
        rate: the outlier rate e in [0, 1].
        pull_mse: e^2 m (`ganlab.outliers.pull_mse`); 0 for corruptions that do not change the mean.
        cross: c, measured on the clean prediction; C where it is None or NaN.
    """
    clean_mse = 10.0 ** (-np.asarray(clean_psnr_db, float) / 10)
    pull, e = np.asarray(pull_mse, float), np.asarray(rate, float)
    c = clean_mse if cross is None else np.where(np.isnan(cross), clean_mse, cross)
    kept = np.where(pull > 0, (1 - e) ** 2 * clean_mse + 2 * e * (1 - e) * c, clean_mse)
    return -10 * np.log10(np.maximum(kept + pull, TINY_MSE))


def cross_terms(prediction: Tensor, clean: Tensor) -> tuple[float, float]:
    """mean((f - x) (mu - x)) for mu = 0 and mu = 1 in every channel, of a clean prediction f and the image x.

    Args:
        prediction, clean: images of the same shape, cropped as for the metrics.
    """
    error = prediction.double() - clean.double()
    return float(-(error * clean).mean()), float((error * (1 - clean.double())).mean())


def cross_at(mean: ArrayLike, black: ArrayLike, white: ArrayLike) -> Array:
    """c = mean((f - x) (mu - x)) for outliers of this mean mu, from its values for mu = 0 and mu = 1: linear in mu."""
    at_black = np.asarray(black, float)
    return at_black + np.asarray(mean, float) * (np.asarray(white, float) - at_black)


def with_error_db(clean_psnr_db: ArrayLike, mse: ArrayLike) -> Array:
    """PSNR in dB of an image whose MSE under clean training grows by `mse`; arguments broadcast."""
    return -10 * np.log10(10.0 ** (-np.asarray(clean_psnr_db, float) / 10) + np.asarray(mse, float))


def predicts_psnr(loss: str, outlier: str) -> bool:
    """Whether PSNR under this outlier kind follows from the clean result by a closed form.

    Mean-seekers: always. Median-seekers: where the median does not change, that is under `salt-pepper` (at any rate).
    """
    if outlier == CLEAN:
        return False  # predictions are made from the clean result
    minimiser = LOSSES[loss].minimiser if loss in LOSSES else None
    return outlier in OUTLIERS and (minimiser == "mean" or (minimiser == "median" and outlier == "salt-pepper"))


def psnr_db(
    loss: str, outlier: str, clean_psnr_db: ArrayLike, rate: ArrayLike, pull_mse: ArrayLike, cross: ArrayLike
) -> Array:
    """Predicted PSNR in dB of one image for a loss and an outlier kind for which `predicts_psnr` holds."""
    pull = pull_mse if LOSSES[loss].minimiser == "mean" else 0.0
    return mean_seeker_psnr_db(clean_psnr_db, rate, pull, cross)


def three_db_rate(clean_mse: ArrayLike, mean_square: ArrayLike) -> Array:
    """The outlier rate at which a mean-seeking loss has lost 3 dB: where C + e^2 (m - C) = 10^0.3 C.

    e = sqrt((10^0.3 - 1) C / (m - C)), or sqrt(0.995 C / (m - C)): the better the network, the lower the rate. A rate
    above 1 (or inf, where m <= C) is never reached. Compute it per image: rates do not average as dB do. Arguments
    broadcast.

    Args:
        clean_mse: C, the MSE under clean training, for values in [0, 1].
        mean_square: m = mean((x - mu)^2), in the same unit.
    """
    clean, gap = np.broadcast_arrays(np.asarray(clean_mse, float), np.subtract(mean_square, clean_mse, dtype=float))
    return np.sqrt(np.divide((THREE_DB - 1) * clean, gap, out=np.full(gap.shape, np.inf), where=gap > 0))


def clipping_levels(rate: float) -> tuple[float, float]:
    """1 - 1 / (2e) and 1 / (2e): the quantiles of the corruption to which a median-seeker's prediction is clipped.

    Up to a rate of 1/2 they are 0 and 1: no clipping.

    >>> clipping_levels(0.8), clipping_levels(0.3)
    ((0.375, 0.625), (0.0, 1.0))
    """
    high = 1.0 if rate <= 1 / 2 else 1 / (2 * rate)
    return 1 - high, high


def median_levels(kind: str, rate: float, donors: Sequence[Tensor]) -> list[tuple[float, float]]:
    """The levels to which L1 clips a pixel that the input determines.

    Under impulse noise (1 - e) 1[x <= q] + e q = 1/2 has the solution q = x between `clipping_levels`; under mismatch
    those are quantiles of the training pixels; above a rate of 1/2 salt makes all pixels white, and missing blobs
    black. Up to a rate of 1/2, and under outliers symmetric about every pixel or about its range, nothing is clipped:
    -inf and inf. The levels do not apply to pixels that the input does not determine: there one-sided outliers also
    shift the median at rates below 1/2.

    Args:
        kind: an outlier kind that corrupts targets, or `clean`.
        rate: its rate.
        donors: the clean training images, (channels, height, width) each; only `mismatch` uses their pixels.

    Returns:
        Lower and upper level of each channel.
    """
    channels = len(donors[0])
    if rate <= 1 / 2 or kind in SYMMETRIC:
        return [(-np.inf, np.inf)] * channels
    if OUTLIERS[kind].borrows:
        pixels = (np.concatenate([donor[channel].flatten() for donor in donors]) for channel in range(channels))
        levels = (np.quantile(values, clipping_levels(rate)) for values in pixels)
        return [(float(low), float(high)) for low, high in levels]
    mean = OUTLIERS[kind].mean
    if mean == 0 or mean == 1:
        return [(mean, mean)] * channels
    return [clipping_levels(rate)] * channels


def clipping_mse(clean: Tensor, levels: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean squared error of a median-seeker that reproduces a clean image except for clipping it to `levels`.

    The prediction for that image is MSE = C + this, with C its MSE under clean training (science.md section 5).

    Args:
        clean: one test image (3, height, width) in [0, 1], cropped as for the metrics.
        levels: of each channel (`median_levels`).

    Returns:
        Over all channels, and for Y.
    """
    clipped = [np.clip(np.asarray(channel, float), *limits) for channel, limits in zip(clean, levels, strict=True)]
    median = torch.from_numpy(np.stack(clipped)).to(clean.dtype)
    return float((clean - median).square().mean()), float((luma(clean) - luma(median)).square().mean())
