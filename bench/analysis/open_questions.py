"""Which questions of a run are still open, and what would their next look cost?

A question is a comparison that the run judges: a claim of the document, two losses of a recommendation, or a user's
loss against a rival. It is open while no look has decided it and another look is left. Everything here follows from
rows alone.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from bench.analysis.comparison import PairedComparison
from bench.analysis.labels import arm_name, condition_name, loss_name, task_name
from bench.analysis.recommend import advise
from bench.analysis.summary import comparable
from bench.analysis.user_losses import pairs
from bench.analysis.verdicts import verdicts_of
from bench.loss_check.what_they_seek import is_users
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


def open_questions(run: Run) -> Iterator[Question]:
    """The questions of a run that have a next look: claims, recommendations, then users' losses."""
    return (question for question in questions(run) if question.next_look)


def questions(run: Run) -> Iterator[Question]:
    """Every comparison that the run judges and that has looks."""
    shown = comparable(run)
    for verdict in verdicts_of(run):
        if verdict.comparison and verdict.comparison.plan:
            yield Question(verdict.claim.name, verdict.comparison, verdict.evidence.rows)
    for advice in advise(shown, run):
        for rival in advice.rivals:
            if rival.behind.plan:
                name = f"{advice.situation}: {arm_name(*rival.arm)} behind {arm_name(*rival.beside)}?"
                yield Question(name, rival.behind, rival.cells)
    for pair in pairs(shown, set(filter(is_users, shown.cells["loss"]))):
        if pair.comparison.plan:
            loss, head, task, *_, outlier, rate, rival, _ = pair.names
            where = f"{task_name(task)}, {condition_name(outlier, rate)}"
            yield Question(f"{loss} {head} against {loss_name(rival)}, {where}", pair.comparison, pair.cells)


def undecided(run: Run) -> pd.DataFrame:
    """The open questions, the cheapest look first.

    Columns: question, estimate, unit, margin, next_look, and minutes: the cost of that look on the workers of the run.
    """
    threads = run.manifest.get("threads")
    workers = max(1, int(threads.get("workers", 1))) if isinstance(threads, dict) else 1
    rows = [
        {
            "question": question.name,
            "estimate": question.comparison.interval.mean,
            "unit": question.comparison.unit,
            "margin": question.comparison.margin,
            "next_look": question.next_look,
            "minutes": question.cost_s() / workers / 60,
        }
        for question in open_questions(run)
    ]
    table = pd.DataFrame(rows, columns=["question", "estimate", "unit", "margin", "next_look", "minutes"])
    return table.sort_values(["minutes", "question"], ignore_index=True)
