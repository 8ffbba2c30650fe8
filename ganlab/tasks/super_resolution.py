"""How is super-resolution trained and tested under corrupted targets?

The input is a photograph in low resolution, the output the photograph; the network is EDSR-style and starts at bicubic
upscaling. It is scored on test photographs with `scale` pixels cropped from each border, mainly by PSNR on Y, and
compared with bicubic upscaling.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ganlab.datasets import Photographs, load
from ganlab.lazy import lazily
from ganlab.tasks import reconstruction
from ganlab.tasks.patches import Pair, Pairs, fit
from ganlab.tasks.reconstruction import SCORES, Reconstruction, eight_bit, psnr_y_db

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ganlab import networks
else:
    lazily(globals(), torch="torch", networks="ganlab.networks")


class Settings(reconstruction.Settings):
    """Sizes of the network (`channels`, residual `blocks`) and of a training patch (`patch`, low-resolution pixels);
    `network`: a user's super-resolver, `package.module:build`."""

    patch: Annotated[int, Field(ge=2)] = 16


@lru_cache(maxsize=4)
def low_resolutions(dataset: str, scale: int) -> dict[str, Tensor]:
    """The low resolution of every photograph of a data set, by name; the same for all cells."""
    data = load(dataset, Photographs)
    return {
        name: networks.downscale(fit(image, scale), scale)
        for part in (data.train, data.validation, data.test)
        for name, image in part.items()
    }


@lru_cache(maxsize=8)
def photograph_pairs(dataset: str, scale: int, fold: int) -> Pairs:
    """Low resolution and photograph, its sides cut to multiples of the scale, in the split of a fold."""
    data, low = load(dataset, Photographs).turn(fold), low_resolutions(dataset, scale)
    return Pairs(
        *(
            {name: Pair(low[name], fit(image, scale)) for name, image in part.items()}
            for part in (data.train, data.validation, data.test)
        )
    )


@lru_cache(maxsize=8)
def bicubics(dataset: str, scale: int, fold: int) -> dict[str, Tensor]:
    """The bicubic prediction of every test photograph of a fold, by name; the same for all its cells."""
    test = photograph_pairs(dataset, scale, fold).test
    return {name: eight_bit(networks.upscale(pair.given[None], scale)[0]) for name, pair in test.items()}


class SuperResolution(Reconstruction):
    """One training of the super-resolver on photographs."""

    name = "sr"
    role = "super-resolver"
    data_kind = Photographs
    Settings = Settings
    default_scale = 2
    columns = (*SCORES, "bicubic_psnr_y_db")
    baseline_name = "bicubic"
    pixels = "low-resolution pixels"

    @property
    def border(self) -> int:
        """`scale` pixels, as is usual in super-resolution."""
        return self.scale

    def load_pairs(self) -> Pairs:
        """Low resolutions and photographs."""
        return photograph_pairs(self.experiment.dataset, self.scale, self.fold)

    def baseline(self, name: str) -> Tensor:
        """The bicubic prediction."""
        return bicubics(self.experiment.dataset, self.scale, self.fold)[name]

    def baseline_score(self, baseline: Tensor, target: Tensor) -> dict[str, float]:
        """PSNR of bicubic upscaling on Y, as in papers."""
        return {"bicubic_psnr_y_db": psnr_y_db(baseline, target, self.border)}

    def shipped_network(self) -> torch.nn.Module:
        """The EDSR-style network, which starts at bicubic upscaling."""
        return networks.build_super_resolver(
            self.settings.channels, self.settings.blocks, self.scale, self.experiment.head, self.experiment.seed
        )
