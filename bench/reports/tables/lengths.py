"""How does the report print whether longer training, or another width, changes the order of the losses?"""

import json

import pandas as pd

from bench.analysis.comparison import EQUIVALENT, INCONCLUSIVE, words
from bench.analysis.labels import condition_name, dataset_label, loss_name, number, signed, task_name
from bench.analysis.lengths import lengths
from bench.reports.tables.table import Table, TableCell, arm_cell
from bench.store.reader import Run

WORDS = words(supported="BETTER", refuted="WORSE", equivalent=EQUIVALENT, inconclusive=INCONCLUSIVE)


def length_table(run: Run) -> Table | None:
    """Every loss at every length and width, and how far it is from the first one; None without several lengths."""
    rows = lengths(run)
    if rows.empty:
        return None
    shared = [dict(json.loads(text)) for text in rows["training"].unique()]
    varied = {key for settings in shared for key in settings if any(s.get(key) != settings[key] for s in shared)}
    lines = []
    for row in rows.itertuples():
        settings = json.loads(row.training)
        width = ", ".join(f"{key} {settings[key]}" for key in sorted(varied) if key in settings)
        place = (f"{task_name(row.task)}, {dataset_label(row.dataset, row.scale)}", row.schedule, width)
        spread = "" if pd.isna(row.low) else f"{number(row.low, 2)} to {number(row.high, 2)}, "
        condition = condition_name(row.outlier, row.rate)
        gap = TableCell("–", "")
        if row.comparison is not None and row.comparison.n:
            mean, low, high = row.comparison.interval
            ends = f"{signed(low)} to {signed(high)}" if row.comparison.interval.defined else ""
            verdict = row.comparison.word(WORDS)
            told = f"{verdict}, for {row.population}" if row.population else verdict
            gap = TableCell(signed(mean), mean, tuple(filter(None, (ends, told))))
        lines.append(
            [
                TableCell(f"{row.planned_steps} steps", int(row.planned_steps), tuple(filter(None, place))),
                TableCell(condition, condition),
                arm_cell(row.loss, row.head),
                TableCell(number(row.mean, 2), row.mean, (f"{spread}n = {row.n}",)),
                gap,
                TableCell(row.learning.text or "flat", row.learning.learning),
            ]
        )
    against = loss_name(rows["loss"].iloc[0])
    header = ["length", "trained on", "loss and head", "PSNR (dB)", f"against {against} (dB)", "at the end"]
    compared = rows["comparison"].notna().sum()
    caption = (
        f"Length and width of training: each loss against {against} at the same length; all {compared} comparisons hold"
        " together at 95 %"
    )
    return Table("training length", caption, header, lines)
