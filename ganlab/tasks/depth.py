"""How is depth estimated from one photograph, under wrong measurements?

The input is the left photograph of a stereo pair with the position of each pixel, the output its disparity divided
by the largest one: near is white. The network does not get the right photograph, so it cannot match the two and must
learn the scene. It starts at the median disparity of the training tiles and works at a quarter of the resolution. On
test tiles it is scored by the PSNR of the disparity, the error in pixels, and the share of bad pixels, and compared
with the median. Pixels of unknown disparity (7 %, most of them hidden from the right camera) are neither trained on nor
scored: any value filled in would itself be an outlier.

The data are small: fifteen tiles of one photograph for training, six of the same photograph for tests. So results show
under which loss this scene is learned better; they say nothing about depth in other photographs. The positions are
necessary: without them the network is worse than the median on test tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ganlab import metrics
from ganlab.datasets import StereoPair, load
from ganlab.lazy import lazily
from ganlab.outliers import pull_mse
from ganlab.tasks import reconstruction
from ganlab.tasks.correction import Correction
from ganlab.tasks.patches import Pair, Pairs

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    lazily(globals(), torch="torch")

# A disparity with a larger error is bad. Middlebury's "bad 2.0" differs: it counts pixels of the full resolution,
# four times as fine, and leaves out occluded ones.
BAD_PX = 2.0


class Settings(reconstruction.Settings):
    """Sizes of the network (`channels`, residual `blocks`) and of a training patch (`patch`, pixels, a multiple of 4);
    `network`: a user's network, `package.module:build`."""

    patch: Annotated[int, Field(ge=4, multiple_of=4)] = 64


@lru_cache(maxsize=4)
def tiles(dataset: str) -> Pairs:
    """Photograph and disparity over the largest, tile by tile; unknown disparities become the median of known ones."""
    data = load(dataset, StereoPair)
    known = ~data.disparity.isnan()
    disparity = (data.disparity / largest(dataset)).where(known, median(dataset))
    given = torch.cat([data.left, positions(*disparity.shape)])
    return Pairs(
        *(
            {name: Pair(box.of(given), box.of(disparity[None]), box.of(known[None])) for name, box in part.items()}
            for part in (data.train, data.validation, data.test)
        )
    )


def positions(height: int, width: int) -> Tensor:
    """The row and column of each pixel, (2, height, width): from 0 to 1, top to bottom and left to right.

    A convolution does not know the position of a patch, but pixels low in a photograph are near. Liu et al., "An
    intriguing failing of convolutional neural networks and the CoordConv solution" (NeurIPS 2018).
    """
    rows, columns = (torch.linspace(0, 1, side) for side in (height, width))
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))


@lru_cache(maxsize=4)
def largest(dataset: str) -> float:
    """The largest disparity in pixels, 1 in the targets: a bound that the calibration of a stereo pair states."""
    return float(load(dataset, StereoPair).disparity.nan_to_num(0).max())


@lru_cache(maxsize=4)
def median(dataset: str) -> float:
    """The median of the known disparities of all training tiles, over the largest."""
    data = load(dataset, StereoPair)
    disparities = torch.cat([box.of(data.disparity).flatten() for box in data.train.values()])
    return float(disparities.nanmedian()) / largest(dataset)


def constant(given: Tensor, level: float) -> Tensor:
    """One value for every pixel of images (batch, channels, height, width): (batch, 1, height, width)."""
    return given.new_full((len(given), 1, *given.shape[2:]), level)


class Depth(Correction):
    """One training of the depth estimator on tiles of a photograph."""

    name = "depth"
    role = "depth"
    data_kind = StereoPair
    Settings = Settings
    columns = (
        *("psnr_db", "mae", "bce_excess", "bias_mse", "wobble_db"),
        *("disparity_error_px", "bad_pixels", "baseline_psnr_db"),
    )
    main_metric = "psnr_db"
    baseline_name = "median"
    shrink = 4
    window = 96

    def load_pairs(self) -> Pairs:
        """Tiles of the photograph and of its disparity."""
        return tiles(self.experiment.dataset)

    def guess(self) -> Callable[[Tensor], Tensor]:
        """The median disparity everywhere."""
        return partial(constant, level=median(self.experiment.dataset))

    def finish(self, prediction: Tensor) -> Tensor:
        """Clipped to [0, 1] but not rounded: 8 bits would be steps of a quarter of a pixel."""
        return prediction.clamp(0, 1)

    def main_score(self, prediction: Tensor, pair: Pair) -> float:
        """PSNR of the disparity in dB, where it is known."""
        return metrics.psnr_db(prediction[pair.known], pair.target[pair.known])

    def score(self, name: str, prediction: Tensor) -> dict[str, float | None]:
        """Every metric of one test tile, over the pixels whose disparity is known; see `Reconstruction.score`.

        `disparity_error_px` is the mean absolute error in pixels of the photograph, `bad_pixels` the share of pixels
        off by more than 2. An image of one channel has no Y and no colours.
        """
        pair = self.pairs.test[name]
        p, t, baseline = (image[pair.known] for image in (prediction, pair.target, self.baseline(name)))
        error_px = largest(self.experiment.dataset) * (p.double() - t.double()).abs()
        kind, rate = self.experiment.outlier, self.experiment.rate
        pull, _ = pull_mse(pair.target, kind, rate, self.clean_targets, known=pair.known)
        return {
            "psnr_db": metrics.psnr_db(p, t),
            "mae": metrics.mae(p, t),
            "bce_excess": metrics.bce_excess(p, t),
            "disparity_error_px": float(error_px.mean()),
            "bad_pixels": float((error_px > BAD_PX).double().mean()),
            "baseline_psnr_db": metrics.psnr_db(baseline, t),
            "pull_mse": pull,
            **self.cross(p, t),
        }
