"""What defines one training? A validated, immutable record; a task is built from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import numpy as np
from pydantic import Field, field_validator, model_validator

from ganlab.datasets import DATASETS, known
from ganlab.errors import no_such
from ganlab.lazy import lazily
from ganlab.losses import Head, Loss, family_hint, find_loss, known_names
from ganlab.outliers import CLEAN, OUTLIERS
from ganlab.records import FrozenRecord

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    lazily(globals(), torch="torch")

Precision = Literal["fp32", "bf16"]  # of the arithmetic in networks: IEEE single precision, or autocast's bfloat16


def known_loss(name: str) -> Loss:
    """The loss of this name.

    Raises:
        ValueError: no such loss (the message has the nearest valid name), or the user's loss cannot be used
            (`PluginError`).
    """
    try:
        return find_loss(name)
    except KeyError:
        raise ValueError(no_such("loss", name, known_names()) + family_hint(name)) from None


class Experiment(FrozenRecord):
    """One training: on one device, the same record gives the same numbers.

    Rates are shares in [0, 1]; `redraw` draws the corruption of targets anew at each step instead of once per image;
    `expected` leaves targets clean and averages the loss over the law of the outliers (`ganlab.laws`);
    `lr` is the (peak) learning rate; `steps` counts optimizer steps (of a GAN's generator, and of its discriminator);
    `evaluations` is the number of evenly spaced points on each curve.
    """

    task: str
    dataset: str
    loss: str
    head: Head = "sigmoid"
    outlier: str = CLEAN
    rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    redraw: bool = False
    expected: bool = False
    schedule: Literal["constant", "cosine"] = "constant"
    optimizer: Literal["adam", "sgd"] = "adam"
    lr: Annotated[float, Field(gt=0)]
    seed: Annotated[int, Field(ge=0)]
    scale: Literal[2, 3, 4] | None = None
    value_range: Literal[1, 255] | None = None
    batch_size: Annotated[int, Field(ge=2)]
    precision: Precision = "fp32"
    steps: Annotated[int, Field(ge=1)]
    evaluations: Annotated[int, Field(ge=1, le=25)] = 10
    settings: dict[str, Any] = {}

    @field_validator("loss")
    @classmethod
    def _known_loss(cls, name: str) -> str:
        known_loss(name)
        return name

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, name: str) -> str:
        if not known(name):
            raise ValueError(no_such("data set", name, DATASETS))
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        reason = find_loss(self.loss).reason_against(self.task, self.head, self.outlier)
        if reason:
            raise ValueError(f"loss {reason}")
        if (self.outlier == CLEAN) != (self.rate == 0):
            raise ValueError(f"outlier {self.outlier!r} at rate {self.rate:g}: clean has rate 0, and only clean has")
        if self.expected and (self.redraw or self.outlier == CLEAN or OUTLIERS[self.outlier].law is None):
            raise ValueError("expected averages a loss over outliers of targets, which are neither drawn nor redrawn")
        if self.evaluations > self.steps:
            raise ValueError(f"evaluations = {self.evaluations} is more than steps = {self.steps}")
        return self


def valid_outliers(corrupts: tuple[str, ...]) -> list[str]:
    """`clean`, and the names of the outlier kinds that corrupt one of these (`OutlierKind.corrupts`)."""
    return [CLEAN, *(kind.name for kind in OUTLIERS.values() if kind.corrupts in corrupts)]


class PictureLayout(TypedDict, total=False):
    """How to cut a picture into square tiles.

    Attributes:
        kind: the name of the task.
        tile: side of a tile, pixels.
        rows: number of rows of a grid of samples.
        columns: its number of columns, or what the columns of crops show.
        images: the test images, one for each row of crops.
    """

    kind: str
    tile: int
    rows: int
    columns: int | list[str]
    images: list[str]


@dataclass(frozen=True)
class Readouts:
    """The results of a finished training.

    Attributes:
        values: one row, by column; None where a column does not apply.
        images: a row for each test image, by column; `image` is its name.
        picture: uint8 (height, width, channels) or (height, width); None if the task has none.
        layout: how to cut the picture into tiles.
    """

    values: dict[str, float | None]
    images: list[dict[str, float | str | None]] = field(default_factory=list)
    picture: np.ndarray | None = None
    layout: PictureLayout = field(default_factory=PictureLayout)


Mark = Callable[[str], None]


def unmarked(phase: str) -> None:
    """The default `mark` of a training step, whose phases are not timed."""


def to_device(tensors: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    """The tensors on the device, without waiting for the copies."""
    return tuple(tensor.to(device, non_blocking=True) for tensor in tensors)


def on_host(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU."""
    return {name: tensor.cpu() for name, tensor in tensors.items()}
