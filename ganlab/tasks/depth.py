"""How is depth estimated from two views, under wrong measurements?

The input is the left and the right view of a stereo pair, the output the disparity of the left view over the largest
one, 20 px: near is white. The network compares the views by a cost volume (`ganlab.stereo_matching`). It learns from
scenes rendered from photographs and from tiles of a measured one, and is tested on scenes of other photographs, which
take turns with the seed. It is scored by the PSNR of the disparity, the error in pixels, and the share of bad pixels,
and compared with block matching, which needs no training and is scored in the same way.

Pixels are those of the scenes, 96 x 128 (80 x 120 for the measured tiles). A pixel is bad if its disparity is wrong by
more than 2 of them, a tenth of the range. This is more lenient than Middlebury's "bad 2.0", which counts pixels of the
full resolution: for the measured tiles 2 px are 24 of those. As in its "noc" evaluation, pixels that the right view
does not show are not scored. Nor are they trained on, as other pixels of unknown disparity: any value filled in would
itself be an outlier.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ganlab import metrics
from ganlab.datasets import StereoScenes, load
from ganlab.lazy import lazily
from ganlab.outliers import pull_mse
from ganlab.tasks import reconstruction
from ganlab.tasks.patches import Pair, Pairs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ganlab import stereo_matching
else:
    lazily(globals(), torch="torch", stereo_matching="ganlab.stereo_matching")

BAD_PX = 2.0  # an error above it is bad


class Settings(reconstruction.Settings):
    """Sizes of the network (`channels`, residual `blocks`) and of a training patch (`patch`, pixels, an even number);
    `network`: a user's network, `package.module:build`."""

    patch: Annotated[int, Field(ge=2, multiple_of=2)] = 64


@lru_cache(maxsize=6)
def scene_pairs(dataset: str, fold: int) -> Pairs:
    """Both views and disparity over the largest, in the split of a fold; unknown disparities become the median of those
    known in its training scenes."""
    data = load(dataset, StereoScenes).turn(fold)
    fill = torch.cat([scene[6].flatten() for scene in data.train.values()]).nanmedian()
    return Pairs(
        *(
            {name: stereo_pair(scene, fill, data.largest) for name, scene in part.items()}
            for part in (data.train, data.validation, data.test)
        )
    )


def stereo_pair(scene: Tensor, fill: Tensor, largest: float) -> Pair:
    """The views and the disparity of a scene (7, height, width); unknown disparities become `fill`, px."""
    disparity = scene[6:]
    known = ~disparity.isnan()
    return Pair(scene[:6], disparity.where(known, fill) / largest, known)


class Depth(reconstruction.Reconstruction):
    """One training of the depth estimator on stereo scenes."""

    name = "depth"
    role = "depth"
    data_kind = StereoScenes
    Settings = Settings
    columns = (
        *("psnr_db", "mae", "bce_excess", "bias_mse", "wobble_db"),
        *("disparity_error_px", "bad_pixels", "baseline_psnr_db"),
    )
    main_metric = "psnr_db"
    baseline_name = "block matching"
    window = 80

    def load_pairs(self) -> Pairs:
        """Views and disparities of the scenes."""
        return scene_pairs(self.experiment.dataset, self.fold)

    @property
    def largest(self) -> float:
        """The disparity in px that is 1 in the targets."""
        return load(self.experiment.dataset, StereoScenes).largest

    def baseline(self, name: str) -> Tensor:
        """The disparity by block matching."""
        return self.finish(stereo_matching.block_matching(self.pairs.test[name].given[None], self.largest)[0])

    def shipped_network(self) -> torch.nn.Module:
        """A small network with a cost volume."""
        sizes = {"channels": self.settings.channels, "blocks": self.settings.blocks}
        head, seed = self.experiment.head, self.experiment.seed
        return stereo_matching.build_stereo_matcher(**sizes, largest=self.largest, head=head, seed=seed)

    def finish(self, prediction: Tensor) -> Tensor:
        """Clipped to [0, 1] but not rounded: 8 bits would be steps of a twelfth of a pixel."""
        return prediction.clamp(0, 1)

    def main_score(self, prediction: Tensor, pair: Pair) -> float:
        """PSNR of the disparity in dB, where it is known."""
        return metrics.psnr_db(prediction[pair.known], pair.target[pair.known])

    def score(self, name: str, prediction: Tensor) -> dict[str, float | None]:
        """Every metric of one test scene, over the pixels whose disparity is known; see `Reconstruction.score`.

        `disparity_error_px` is the mean absolute error in px, `bad_pixels` the share of pixels
        off by more than 2. An image of one channel has no Y and no colours.
        """
        pair = self.pairs.test[name]
        p, t, baseline = (image[pair.known] for image in (prediction, pair.target, self.baseline(name)))
        error_px = self.largest * (p.double() - t.double()).abs()
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
