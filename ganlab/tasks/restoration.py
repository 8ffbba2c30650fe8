"""How is a network trained to restore photographs from corrupted targets? Noise2Noise.

The input is a corrupted photograph, the output the clean photograph; the network starts at the input. The corruption of
inputs (settings `input_outlier`, `input_rate`) and of targets (`outlier`, `rate`) is drawn independently: a
mean-seeking loss is then pulled to the mean of the corruption, a median-seeking one not necessarily. A test photograph
has the same corruption in every run; predictions are scored against the clean ones, mainly by PSNR on Y, and compared
with the input.
Lehtinen et al., "Noise2Noise: Learning Image Restoration without Clean Data" (ICML 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, ValidationInfo, field_validator

from ganlab import seeds
from ganlab.datasets import Photographs, load
from ganlab.errors import no_such
from ganlab.lazy import lazily
from ganlab.outliers import CLEAN, corrupt_target
from ganlab.tasks import reconstruction
from ganlab.tasks.correction import Correction
from ganlab.tasks.experiment import valid_outliers
from ganlab.tasks.patches import Pair, Pairs, fit, gather_patches

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    lazily(globals(), torch="torch")

SHRINK = 2


class Settings(reconstruction.Settings):
    """The corruption of inputs: an outlier kind of targets, `input_outlier`, at `input_rate`, a share in [0, 1].

    Sizes of the network (`channels`, residual `blocks`) and of a training patch (`patch`, pixels, an even number);
    `network`: a user's restorer, `package.module:build`.
    """

    patch: Annotated[int, Field(ge=2, multiple_of=2)] = 32
    input_outlier: str = "overlay"
    input_rate: Annotated[float, Field(ge=0, le=1, validate_default=True)] = 0.25

    @field_validator("input_outlier")
    @classmethod
    def _known_outlier(cls, kind: str) -> str:
        kinds = valid_outliers(("target",))
        if kind not in kinds:
            raise ValueError(no_such("outlier kind of inputs", kind, kinds))
        return kind

    @field_validator("input_rate")
    @classmethod
    def _consistent(cls, rate: float, others: ValidationInfo) -> float:
        kind = others.data.get("input_outlier", "overlay")
        if (kind == CLEAN) != (rate == 0):
            raise ValueError(f"input_outlier {kind!r} at input_rate {rate:g}: clean has rate 0, and only clean has")
        return rate


@lru_cache(maxsize=6)
def corrupted_photographs(dataset: str, kind: str, rate: float, fold: int) -> Pairs:
    """Clean photographs for training, and pairs for tests, in the split of a fold.

    The outliers in test inputs are the same for all seeds of a fold; those that show other photographs show the fold's
    training photographs.
    """
    data = load(dataset, Photographs).turn(fold)
    train, validation, test = (
        {name: fit(image, SHRINK) for name, image in part.items()} for part in (data.train, data.validation, data.test)
    )

    def corrupted(name: str, image: Tensor) -> Tensor:
        draw = seeds.generator(0, f"corrupted input {name}")
        return corrupt_target(image, kind, rate, draw, list(train.values()))

    return Pairs(
        {name: Pair(image, image) for name, image in train.items()},
        *({name: Pair(corrupted(name, image), image) for name, image in part.items()} for part in (validation, test)),
    )


def same(given: Tensor) -> Tensor:
    """The input itself."""
    return given


class Restoration(Correction):
    """One training of the restorer on photographs."""

    settings: Settings
    name = "restoration"
    role = "restorer"
    data_kind = Photographs
    Settings = Settings
    redraws_inputs = True
    baseline_name = "input"
    shrink = SHRINK

    def load_pairs(self) -> Pairs:
        """Photographs, with corrupted inputs for tests."""
        corruption = self.settings.input_outlier, self.settings.input_rate
        return corrupted_photographs(self.experiment.dataset, *corruption, self.fold)

    def guess(self) -> Callable[[Tensor], Tensor]:
        """The corrupted photograph."""
        return same

    def training_inputs(self) -> list[Tensor]:
        """Training photographs with the outliers of this seed; with `redraw`, clean ones, corrupted at each step."""
        if self.experiment.redraw:
            return self.clean_targets
        draw = seeds.generator(self.experiment.seed, "input corruption")
        return [self.corrupt_input(image, draw) for image in self.clean_targets]

    def corrupt_input(self, image: Tensor, draw: torch.Generator) -> Tensor:
        """An input (channels, height, width) with outliers."""
        others = [other for other in self.clean_targets if other is not image]
        return corrupt_target(image, self.settings.input_outlier, self.settings.input_rate, draw, others)

    def draw(self, index: int) -> tuple[Tensor, ...]:
        """As `Reconstruction.draw`; with `redraw` the corrupted inputs follow the corrupted targets."""
        drawn = super().draw(index)
        if not self.experiment.redraw:
            return drawn
        draw = seeds.generator(self.experiment.seed, "input batch", index)
        image, corner, targets = drawn
        clean = gather_patches(self.host_inputs, image, corner, self.patch)
        inputs = torch.stack([self.corrupt_input(patch, draw) for patch in clean])
        return image, corner, targets, inputs.contiguous(memory_format=torch.channels_last)

    def batch(self, drawn: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The patches of a step: inputs and targets (batch, 3, p, p)."""
        if self.experiment.redraw:
            _, _, targets, inputs = drawn
            return inputs, targets
        return super().batch(drawn)
