"""What differs between runs? Cells are paired by what they trained, and every group of seeds has an interval."""

from dataclasses import dataclass

import pandas as pd

from bench.analysis.metrics import JUDGED
from bench.analysis.recommend import ALIKE, BETTER, OPEN, WORDS, WORSE
from bench.analysis.summary import LEVEL, pick, t_interval
from bench.analysis.verdicts import decide
from bench.store.reader import Run

SAME_WORK = ["task", "dataset", "scale", "loss", "head", "outlier", "rate", "seed"]
GROUP = SAME_WORK[:-1]
SETTINGS = ["steps", "batch_size", "lr", "schedule", "optimizer", "precision", "value_range", "settings"]
COLUMNS = ("run", *GROUP, "metric", "n", "identical", "first", "other", "effect", "ci_low", "ci_high", "margin", "word")


@dataclass(frozen=True)
class Named:
    """A run with the name it has in this comparison."""

    name: str
    run: Run
    shown: Run
    verdicts: pd.DataFrame


def differences(runs: list[Named]) -> pd.DataFrame:
    """Every group of seeds that the first run shares with another, the largest difference in margins first.

    `effect` is positive where the other run is better: in dB of PSNR, else as a log ratio. Columns: `COLUMNS`.
    """
    rows = [row for other in runs[1:] for row in _against_first(runs[0], other)]
    level = 1 - (1 - LEVEL) / max(len(rows), 1)
    for row in rows:
        effects = row.pop("effects")
        mean, low, high = t_interval(effects, level)
        word = WORDS[str(decide(low, high, row["margin"]))] if low is not None else OPEN
        if row["identical"] == len(effects):
            word = ALIKE  # the very same numbers, however few
        word = {WORSE: BETTER, BETTER: WORSE}.get(word, word)  # the rule's SUPPORTED: the other run is better
        row |= {"effect": mean, "ci_low": low, "ci_high": high, "word": word, "n": len(effects)}
    frame = pd.DataFrame(rows, columns=COLUMNS)
    largest = (frame["effect"] / frame["margin"]).abs().sort_values(ascending=False, kind="stable")
    return frame.loc[largest.index].reset_index(drop=True)


def _against_first(first: Named, other: Named):
    for task, judged in JUDGED.items():
        columns = [*SAME_WORK, "cell_id", judged.column]
        sides = [
            pick(named.shown.cells, task=task, status="done")[columns].dropna(subset=judged.column)
            for named in (first, other)
        ]
        both = sides[0].merge(sides[1], on=SAME_WORK, suffixes=("_first", "_other"))
        for key, here in both.groupby(GROUP, dropna=False):
            a, b = (here[f"{judged.column}_{side}"] for side in ("first", "other"))
            effects = (judged.effect(b) - judged.effect(a)).dropna()
            if len(effects):
                yield dict(zip(GROUP, key, strict=True)) | {
                    "run": other.name,
                    "metric": judged.column,
                    "first": a.mean(),
                    "other": b.mean(),
                    "identical": int((a == b).sum()),
                    "effects": effects.to_numpy(),
                    "margin": judged.margin,
                }
