"""What is one training, in full? The validated, immutable record that a task is built from."""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor

from ganlab.datasets import DATASETS, known
from ganlab.losses import Loss, family_hint, find_loss, known_names
from ganlab.outliers import CLEAN, OUTLIERS

Precision = Literal["fp32", "bf16"]  # of the arithmetic within networks: IEEE single, or what autocast rounds


def no_such(what: str, name: object, valid: Iterable[str]) -> str:
    """The message for an unknown name: what was found, and the nearest valid spelling."""
    valid = list(valid)
    nearest = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(valid)}"
    return f"unknown {what} {str(name)!r}; {hint}"


def known_loss(name: str) -> Loss:
    """The loss of this name, or a ValueError: with the nearest valid spelling, or what is wrong with the user's own."""
    try:
        return find_loss(name)
    except KeyError:
        raise ValueError(no_such("loss", name, known_names()) + family_hint(name)) from None


class Record(BaseModel):
    """An immutable record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Experiment(Record):
    """One training: the same record gives the same numbers on one device.

    Rates are shares in [0, 1]; `redraw` draws the corruption of targets afresh at each step instead of once per image;
    `lr` is the (peak) learning rate; `steps` counts optimizer steps (of the generator and the discriminator alike for
    a GAN); `evaluations` is the number of evenly spaced points on each curve.
    """

    task: str
    dataset: str
    loss: str
    head: Literal["sigmoid", "raw"] = "sigmoid"
    outlier: str = CLEAN
    rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    redraw: bool = False
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
    def _consistent(self) -> "Experiment":
        reason = find_loss(self.loss).reason_against(self.task, self.head, self.outlier)
        if reason:
            raise ValueError(f"loss {reason}")
        if (self.outlier == CLEAN) != (self.rate == 0):
            raise ValueError(f"outlier {self.outlier!r} at rate {self.rate:g}: clean has rate 0, and only clean has")
        if self.evaluations > self.steps:
            raise ValueError(f"evaluations = {self.evaluations} is more than steps = {self.steps}")
        return self


def valid_outliers(strikes: tuple[str, ...]) -> list[str]:
    """The names of the outlier kinds that a task can meet, `clean` first."""
    return [CLEAN, *(kind.name for kind in OUTLIERS.values() if kind.strikes in strikes)]


@dataclass(frozen=True)
class Readouts:
    """What a finished training leaves: the columns of its row, a row for each test image, and perhaps a picture.

    `layout` says how to cut the picture (uint8, height x width x channels or height x width) into tiles.
    """

    values: dict[str, float | None]
    images: list[dict[str, Any]] = field(default_factory=list)
    picture: np.ndarray | None = None
    layout: dict[str, Any] = field(default_factory=dict)


Mark = Callable[[str], None]


def unmarked(phase: str) -> None:
    """The default `mark` of a training step: nobody is timing its phases."""


def to_device(tensors: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    """The tensors on the device, without waiting for the copies."""
    return tuple(tensor.to(device, non_blocking=True) for tensor in tensors)


def on_host(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU."""
    return {name: tensor.cpu() for name, tensor in tensors.items()}
