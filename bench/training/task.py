"""What does a task offer to the loops that train it? Its step is spelled out in `ganlab/tasks/`."""

from collections.abc import Mapping
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from bench.plan.cell import Cell
from ganlab.tasks import TASKS, Readouts
from ganlab.tasks.experiment import Mark, unmarked


class Task(Protocol):
    """One training under way; see `ganlab.tasks`.

    Attributes:
        logged: names of what a step returns.
        extra_state: names of what training changes beside networks and optimizers; checkpoints keep it.
    """

    device: torch.device
    logged: tuple[str, ...]
    extra_state: tuple[str, ...]

    @property
    def images_per_step(self) -> int:
        """Training images that a step takes."""

    def set_learning_rate(self, lr: Any) -> None:
        """The learning rate of the next step: a number, or a tensor () on the device."""

    def step(self, index: int, mark: Mark = unmarked) -> Tensor:
        """One training step; returns the `logged` values (values,), left on the device. `mark` ends each phase."""

    def draw(self, index: int) -> tuple[Tensor, ...]:
        """What step `index` is given, on the host."""

    def advance(self, drawn: tuple[Tensor, ...], mark: Mark = unmarked) -> Tensor:
        """The step itself, on a draw that lies on the device."""

    def snapshot(self, last: bool = True) -> dict[str, Tensor]:
        """What `evaluate`, and after the last step `conclude`, look at, on the device; quick."""

    def evaluate(self, step: int, recent: dict[str, float], seen: dict[str, Tensor]) -> Mapping[str, float]:
        """A point on each curve, from a snapshot on the host; `recent` are means of what was logged since the last."""

    def conclude(self, seen: dict[str, Tensor]) -> Readouts:
        """What the training leaves, from its last snapshot on the host."""


def make_task(cell: Cell, device: torch.device) -> Task:
    """The task of a cell, before its first step."""
    return cast(Task, TASKS[cell.task](cell, device))
