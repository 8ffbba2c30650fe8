"""What differs between runs? Cells are paired by what they trained, and each group of seeds has an interval."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.analysis.comparison import family_level, words
from bench.analysis.metrics import JUDGED
from bench.analysis.recommend import ALIKE, BETTER, OPEN, WORSE
from bench.analysis.summary import pick
from bench.store.reader import Run

SAME_WORK = ["task", "dataset", "scale", "loss", "head", "outlier", "rate", "seed"]
GROUP = SAME_WORK[:-1]
SETTINGS = ["steps", "batch_size", "lr", "schedule", "optimizer", "precision", "value_range", "settings"]
COLUMNS = ("run", *GROUP, "metric", "n", "identical", "first", "other", "effect", "ci_low", "ci_high", "margin", "word")
WORDS = words(supported=BETTER, refuted=WORSE, equivalent=ALIKE, inconclusive=OPEN)  # they describe the other run


@dataclass(frozen=True)
class NamedRun:
    """A run and its name in this comparison."""

    name: str
    run: Run
    shown: Run
    verdicts: pd.DataFrame


def differences(runs: list[NamedRun]) -> pd.DataFrame:
    """Every group of seeds that the first run shares with another run, sorted by |effect| / margin, largest first.

    `effect` is positive where the other run is better: dB for PSNR, else a log ratio. Columns: `COLUMNS`.
    """
    rows = [row for other in runs[1:] for row in _against_first(runs[0], other)]
    level = family_level(len(rows))
    for row in rows:
        comparison = JUDGED[row["task"]].compare(row.pop("effects"), level)
        same_numbers = row["identical"] == comparison.n  # identical results are alike for any number of seeds
        row |= dict(zip(("effect", "ci_low", "ci_high"), comparison.interval, strict=True))
        row |= {
            "n": comparison.n,
            "margin": comparison.margin,
            "word": ALIKE if same_numbers else comparison.word(WORDS),
        }
    frame = pd.DataFrame(rows, columns=COLUMNS)
    largest = (frame["effect"] / frame["margin"]).abs().sort_values(ascending=False, kind="stable")
    return frame.loc[largest.index].reset_index(drop=True)


def _against_first(first: NamedRun, other: NamedRun) -> Iterator[dict[str, Any]]:
    """A row for each group of seeds that both runs have, with one effect per seed."""
    for task, judged in JUDGED.items():
        columns = [*SAME_WORK, "cell_id", judged.column]
        sides = [
            pick(named.shown.cells, task=task, status="done")[columns].dropna(subset=judged.column)
            for named in (first, other)
        ]
        both = sides[0].merge(sides[1], on=SAME_WORK, suffixes=("_first", "_other"))
        for key, group in both.groupby(GROUP, dropna=False):
            a, b = (group[f"{judged.column}_{side}"] for side in ("first", "other"))
            effects = (judged.effect(b) - judged.effect(a)).dropna()
            if len(effects):
                yield dict(zip(GROUP, key, strict=True)) | {
                    "run": other.name,
                    "metric": judged.column,
                    "first": a.mean(),
                    "other": b.mean(),
                    "identical": int((a == b).sum()),
                    "effects": effects,
                }
