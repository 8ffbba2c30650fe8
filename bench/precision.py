"""Does bfloat16 cost quality? The same cells in fp32 and under bfloat16 autocast, compared by paired seeds.

Weights, optimizer, losses, and evaluation stay in fp32; only what autocast chooses runs in bfloat16. It is admissible
for a condition where the simultaneous interval of the paired difference excludes a loss of quality beyond the margin: a
test of non-inferiority, with the margins of science.md section 8. Suite `precision` trains what this needs.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.statistics import CONDITION, MAIN_PSNR, paired_difference, pick
from bench.store import Run
from bench.style import arm_name, condition_name, signed, task_name
from bench.tables import Entry, Table
from bench.verdicts import simultaneous_level, t_limits

NO_COST, COST, UNDECIDED = "no cost", "costs", "cannot tell"
SAME_TRAINING = ["task", "dataset", "scale", "loss", "head", *CONDITION, "schedule", "optimizer", "lr", "value_range",
                 "batch_size", "redraw", "role", "settings"]  # fmt: skip


class Quality(NamedTuple):
    """How a task's quality is compared: a column, the loss of quality not worth having, and whether it is a ratio."""

    column: str
    margin: float
    unit: str
    is_ratio: bool = False


QUALITY = {
    **{task: Quality(column, 0.1, "dB") for task, column in MAIN_PSNR.items()},
    "gan": Quality("frechet", 0.25, "ln", is_ratio=True),
    "location": Quality("location_error", 0.25, "ln", is_ratio=True),
}


def comparisons(run: Run) -> pd.DataFrame:
    """A row for each condition trained in both precisions by at least two seeds.

    Columns: those of `SAME_TRAINING`, then n (pairs of seeds), unit, margin, `gain` (the mean of bf16 minus fp32,
    positive where bf16 is better; of a distance or an error the logarithm of the ratio), its simultaneous interval
    ci_low and ci_high, and verdict.
    """
    done = pick(run.cells, status="done")
    done = done[done["task"].isin(QUALITY)]
    rows = []
    for key, cells in done.groupby(SAME_TRAINING, dropna=False):
        quality = QUALITY[cells["task"].iloc[0]]
        if quality.is_ratio:
            cells = cells.assign(**{quality.column: -np.log(cells[quality.column])})
        gains = paired_difference(cells, quality.column, {"precision": "bf16"}, {"precision": "fp32"})
        if len(gains) >= 2:
            rows.append(dict(zip(SAME_TRAINING, key, strict=True)) | {"gains": gains.to_numpy(), "quality": quality})
    for row in rows:
        gains, quality = row.pop("gains"), row.pop("quality")
        low, high = (float(limit) for limit in t_limits(gains, simultaneous_level(len(rows))))
        verdict = NO_COST if low > -quality.margin else COST if high < -quality.margin else UNDECIDED
        row |= {"n": len(gains), "unit": quality.unit, "margin": quality.margin, "gain": float(gains.mean())}
        row |= {"ci_low": low, "ci_high": high, "verdict": verdict}
    return pd.DataFrame(rows)


def precision_table(run: Run) -> Table | None:
    """What bfloat16 costs, a line per condition; None where a run has but one precision."""
    rows = comparisons(run)
    if rows.empty:
        return None
    lines = []
    for row in rows.itertuples():
        place = f"{task_name(row.task)}, {row.dataset}"
        spread = f"{signed(row.ci_low, 3)} to {signed(row.ci_high, 3)}, n = {row.n}"
        ratio = f"{100 * math.expm1(-row.gain):+.1f} % in the distance".replace("-", "−") if row.unit == "ln" else ""
        lines.append([
            Entry(arm_name(row.loss, row.head), arm_name(row.loss, row.head)),
            Entry(place, place),
            Entry(condition_name(row.outlier, row.rate), condition_name(row.outlier, row.rate)),
            Entry(f"{signed(row.gain, 3)} {row.unit}", row.gain, (spread, *filter(None, [ratio]))),
            Entry(f"{row.margin:g} {row.unit}", row.margin),
            Entry(row.verdict, row.verdict),
        ])  # fmt: skip
    header = ["loss and head", "task", "condition", "bf16 minus fp32 (+: better)", "margin", "verdict"]
    caption = "bfloat16 autocast against fp32, the same seeds; the intervals hold together at 95 %"
    return Table("precision", caption, header, lines)
