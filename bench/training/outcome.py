"""What became of a cell? A status, a reason, and what was measured; an exception is a status too."""

import math
import traceback
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bench.plan.cell import Cell
from bench.store.validation import Status


@dataclass
class Outcome:
    """What became of a cell. `values` and `images` are empty unless it is done; curves go as far as it came.

    Who shows samples leaves a picture, and where one network made it its `weights`, by their names in it.
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
    layout: dict[str, Any] = field(default_factory=dict)
    traceback: str = ""
    note: str = ""  # a checkpoint passed over, say: worth a line to the user, but no read-out


class Diverged(Exception):
    """Training met a number that is not finite; the message says which, and when."""


def record_failure(outcome: Outcome, error: Exception, cell: Cell) -> None:
    """Put the exception that ended a training into its outcome; to be called while it is handled."""
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
    """The outcome of a training that is over, its helpers too: curves of a cell that is not done may end in NaN."""
    if outcome.status != "done":
        outcome.curves = [point for point in outcome.curves if math.isfinite(point["value"])]
    return outcome


def reason_of(error: BaseException) -> str:
    """The error's class and message on one line of at most 500 letters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
