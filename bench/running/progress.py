"""Which state of a run does a display show?"""

from collections import Counter
from dataclasses import dataclass, field

from bench.plan.cell import Cell
from bench.store.records import CellRecord


@dataclass
class Progress:
    """The state that a display shows after every event; `seconds_left` is None until the first cell is finished."""

    total: int
    finished: int
    counts: Counter[str] = field(default_factory=Counter)
    running: list[Cell] = field(default_factory=list)
    seconds_left: float | None = None
    last: tuple[Cell, CellRecord] | None = None  # the cell that has just been finished
    note: str = ""  # a permanent line


def describe(cell: Cell) -> str:
    """The name of a cell in messages."""
    head = "" if cell.head == "sigmoid" else f" {cell.head}"
    outlier = cell.outlier if not cell.rate else f"{cell.outlier} {cell.rate:g}"
    return f"{cell.task} {cell.loss}{head} {outlier} seed {cell.seed}"
