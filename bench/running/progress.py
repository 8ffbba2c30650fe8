"""What is there to say of a run while it is going?"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench.plan.cell import Cell


@dataclass
class Progress:
    """What a display needs to know after every event; `seconds_left` is None until the first cell is finished."""

    total: int
    finished: int
    counts: Counter[str] = field(default_factory=Counter)
    running: list[Cell] = field(default_factory=list)
    seconds_left: float | None = None
    last: tuple[Cell, dict[str, Any]] | None = None
    note: str = ""


def describe(cell: Cell) -> str:
    """A cell in a few words."""
    head = "" if cell.head == "sigmoid" else f" {cell.head}"
    outlier = cell.outlier if not cell.rate else f"{cell.outlier} {cell.rate:g}"
    return f"{cell.task} {cell.loss}{head} {outlier} seed {cell.seed}"
