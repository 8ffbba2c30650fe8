"""Is a user's loss better than BCE, L1, and L2? A comparison for each condition, head, and rival.

Effects are paired by seed and photograph, positive if the user's loss is better, in the metric that judges the task.
Rule and margins are those of every other comparison (`comparison.py`). All comparisons of a run form one family, whose
intervals hold together at 95 %. The family is separate from the K claims of the document: the suite fixes its size
before any training, by the conditions, heads, and losses that it declares.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis.comparison import EQUIVALENT, INCONCLUSIVE, PairedComparison, family_level, words
from bench.analysis.effects import paired_effects
from bench.analysis.labels import arms_of
from bench.analysis.looks import plan_of
from bench.analysis.metrics import JUDGED, Judged, population
from bench.analysis.summary import pick
from bench.store.reader import Run

RIVALS = ("bce", "l1", "l2")
BETTER, WORSE = "BETTER", "WORSE"
WORDS = words(supported=BETTER, refuted=WORSE, equivalent=EQUIVALENT, inconclusive=INCONCLUSIVE)
TASK_AND_DATASET = ["task", "dataset", "scale"]
COLUMNS = [
    *("loss", "head", *TASK_AND_DATASET, "outlier", "rate", "against", "against_head"),
    *("n", "effect", "ci_low", "ci_high", "margin", "unit", "verdict", "population"),
]


class Pair(NamedTuple):
    """A user's loss compared with a rival in one condition.

    Attributes:
        names: the columns `COLUMNS` up to `against_head`.
        effects: a row per seed, a column per photograph; positive if the user's loss is better.
        comparison: of these effects.
        cells: the rows of cells.csv that are compared.
    """

    names: tuple[Any, ...]
    effects: pd.DataFrame
    comparison: PairedComparison
    cells: pd.DataFrame


def pairs(shown: Run, users: Collection[str]) -> list[Pair]:
    """Each user loss with each rival, in each condition that the suite declares for both.

    If a rival is not defined on the head of the user's loss (such as BCE on the raw head), its own head is used.

    Args:
        shown: the run as figures use it, each loss at its main setting.
        users: the user's losses.
    """
    cells = shown.cells[(shown.cells["role"] == "report") & shown.cells["task"].isin(JUDGED)]
    found = []
    for key, group in cells.groupby([*TASK_AND_DATASET, "outlier", "rate"], dropna=False):
        arms = arms_of(group)
        for loss, head in (arm for arm in arms if arm[0] in users):
            for rival in RIVALS:
                if heads := [other for name, other in arms if name == rival]:
                    other = head if head in heads else heads[0]
                    sides = (pick(group, loss=loss, head=head), pick(group, loss=rival, head=other))
                    found.append(((loss, head, *key, rival, other), sides))
    level, compared = family_level(len(found)), []
    for names, sides in found:
        judged, rows = JUDGED[names[2]], pd.concat(sides)
        effects = paired_effects(shown, *sides, judged)
        compared.append(Pair(names, effects, judged.compare(effects, level, plan=plan_of(rows)), rows))
    return compared


def comparisons(shown: Run, users: Collection[str]) -> pd.DataFrame:
    """`pairs` as a table with the columns `COLUMNS`."""
    rows = []
    for names, effects, comparison, _ in pairs(shown, users):
        numbers = (comparison.judged.n, *comparison.interval, comparison.margin, comparison.unit)
        rows.append([*names, *numbers, comparison.word(WORDS), population(effects, comparison)])
    return pd.DataFrame(rows, columns=COLUMNS)


def results(cells: pd.DataFrame, judged: Judged, loss: str, head: str) -> pd.Series:
    """The results of a loss, by seed; larger is better."""
    done = pick(cells, status="done", loss=loss, head=head).drop_duplicates("seed")
    return judged.effect(done.set_index("seed")[judged.column].astype(float))
