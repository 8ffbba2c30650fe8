"""Which questions of a run are still open, and what would their next look cost?

A question is a comparison that the run judges: a claim of the document, two losses of a recommendation, or a user's
loss against a rival. It is open while no look has decided it and another look is left. Everything here follows from
rows alone.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from bench.analysis.comparison import PairedComparison
from bench.analysis.looks import Plan, sequential
from bench.store.reader import Run


class Question(NamedTuple):
    """A comparison of a run, its name for people, and the rows of cells.csv on its sides."""

    name: str
    comparison: PairedComparison
    cells: pd.DataFrame

    @property
    def next_look(self) -> int | None:
        """The number of seeds that it needs next; None where it is decided, or where no look is left."""
        return self.comparison.next_look

    def cost_s(self) -> float:
        """Seconds of one worker until its next look, by the mean time of the finished cells of each side."""
        if self.next_look is None:
            return 0.0
        arm = ["task", "dataset", "loss", "head", "outlier", "rate", "schedule", "optimizer", "lr", "settings"]
        seconds = 0.0
        for _, cells in self.cells.groupby(arm, dropna=False):
            missing = self.next_look - cells["seed"].nunique()
            seconds += missing * (cells["train_s"] + cells["eval_s"].fillna(0)).mean()
        return seconds


def plan_of(cells: pd.DataFrame) -> Plan | None:
    """The looks of a comparison of these cells: the narrowest plan of its sides; None where a side has fixed seeds."""
    if cells.empty or cells[["first_seeds", "most_seeds"]].isna().any(axis=None):
        return None
    first, most = int(cells["first_seeds"].max()), int(cells["most_seeds"].min())
    return sequential(first, most) if first <= most else None


def open_questions(run: Run) -> Iterator[Question]:
    """The questions of a run that have a next look."""
    yield from ()
