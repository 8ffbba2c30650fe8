"""What is the outcome of a cell? A status, a reason, and measurements. An exception also becomes a status."""

import math
import traceback
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bench.plan.cell import Cell
from bench.store.validation import Status
from ganlab.tasks.experiment import PictureLayout


@dataclass
class Outcome:
    """The outcome of a cell. `values` and `images` are empty unless it is done; curves end where training ended.

    A cell that shows samples has a picture and, if a single network made it, the network's `weights` by name.
    """

    status: Status
    reason: str = ""
    steps: int = 0
    measured: dict[str, float] = field(default_factory=dict)
    values: dict[str, float | None] = field(default_factory=dict)
    images: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    picture: np.ndarray | None = None
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    layout: PictureLayout = field(default_factory=PictureLayout)
    traceback: str = ""
    note: str = ""  # a line for the user, as on a checkpoint that was ignored


class Diverged(Exception):
    """A number in training is not finite; the message says which number at which step."""


def record_failure(outcome: Outcome, error: Exception, cell: Cell) -> None:
    """Put the exception that ended a training into its outcome; call it in the exception handler."""
    if isinstance(error, Diverged):
        outcome.status, outcome.reason = "diverged", str(error)
    elif isinstance(error, FloatingPointError):
        outcome.status, outcome.reason = "diverged", f"{error} after step {outcome.steps} of {cell.steps}"
    elif isinstance(error, MemoryError | torch.OutOfMemoryError):
        outcome.status, outcome.reason = "oom", reason_of(error)
    else:
        out_of_memory = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
        outcome.status, outcome.reason = ("oom" if out_of_memory else "crashed"), reason_of(error)
        outcome.traceback = traceback.format_exc()


def finalize(outcome: Outcome) -> Outcome:
    """The outcome of a finished training, without NaN in its curves; call it after the helpers have finished, too."""
    if outcome.status != "done":
        outcome.curves = [point for point in outcome.curves if math.isfinite(point["value"])]
    return outcome


def reason_of(error: BaseException) -> str:
    """The error's class and message on one line of at most 500 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
