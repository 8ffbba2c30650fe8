"""Which cell comes next, and how long will all of them take?

The longest cell comes first, so that no long cell runs alone at the end; cells that open questions need come in the
order of these questions, so that a run that ends early has decided as many as possible. The expected duration of a
cell is its cost (`Cell.cost`) times the seconds per unit of cost of the finished cells of its kind.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.plan.cell import Cell, kind_of

SIMULATED = 30  # cells per slot; with more left, the order of the last cells changes the time by less than 1/30
OVERDUE_SHARE = 0.1  # a cell that takes longer than expected is assumed to need this share of its time so far


@dataclass
class Kind:
    """The waiting cells of one kind, longest first, and the cost and seconds of the finished ones."""

    waiting: deque[Cell] = field(default_factory=deque)
    waiting_cost: float = 0.0
    finished_cost: float = 0.0
    finished_s: float = 0.0


class Forecast:
    """The waiting cells and their expected duration."""

    def __init__(self, cells: Iterable[Cell]):
        self.kinds: dict[tuple[Any, ...], Kind] = {}
        self.all = Kind()  # sums over all kinds; only the fields of finished cells are used
        self.turns: dict[str, int] = {}  # by cell_id: which question needs it; a lower one comes first
        for cell in sorted(cells, key=Cell.cost):
            self.put(cell)

    def __len__(self) -> int:
        return sum(len(kind.waiting) for kind in self.kinds.values())

    def put(self, cell: Cell) -> None:
        """Add a waiting cell, as the next one of its kind."""
        kind = self.kinds.setdefault(kind_of(cell), Kind())
        kind.waiting.appendleft(cell)
        kind.waiting_cost += cell.cost()

    def put_in_order(self, cells: Sequence[Cell]) -> None:
        """Add waiting cells to be taken in this order."""
        for turn, cell in reversed(list(enumerate(cells))):
            self.turns[cell.cell_id] = turn
            self.put(cell)

    def take(self) -> Cell:
        """Remove the next waiting cell and return it: the longest, unless they have an order."""

        def turn_and_length(kind: Kind) -> tuple[int, float]:
            return self.turns.get(kind.waiting[0].cell_id, 0), -self.rate(kind) * kind.waiting[0].cost()

        kind = min((kind for kind in self.kinds.values() if kind.waiting), key=turn_and_length)
        cell = kind.waiting.popleft()
        kind.waiting_cost -= cell.cost()
        return cell

    def learn(self, cell: Cell, seconds: float) -> None:
        """Record the seconds that a cell took."""
        for kind in (self.kinds[kind_of(cell)], self.all):
            kind.finished_cost += cell.cost()
            kind.finished_s += seconds

    def rate(self, kind: Kind) -> float:
        """Seconds per unit of cost of this kind; of all kinds if none of its cells is finished; else 1."""
        source = kind if kind.finished_cost else self.all
        return source.finished_s / source.finished_cost if source.finished_cost else 1.0

    def seconds_left(self, running: Iterable[tuple[Cell, float]], slots: int) -> float | None:
        """Seconds until the last cell is finished; None until the first cell is finished.

        Args:
            running: the running cells, and the seconds since each was started.
            slots: number of cells that run at the same time.
        """
        if not self.all.finished_cost:
            return None
        left = []
        for cell, seconds in running:
            expected = self.rate(self.kinds[kind_of(cell)]) * cell.cost()
            left.append(max(expected - seconds, OVERDUE_SHARE * seconds))
        if len(self) > SIMULATED * slots:
            return (sum(left) + sum(self.rate(kind) * kind.waiting_cost for kind in self.kinds.values())) / slots
        free = [*left, *[0.0] * (slots - len(left))]  # seconds until each slot takes another cell
        heapq.heapify(free)
        durations = (self.rate(kind) * cell.cost() for kind in self.kinds.values() for cell in kind.waiting)
        for seconds in sorted(durations, reverse=True):
            heapq.heapreplace(free, free[0] + seconds)
        return max(free)
