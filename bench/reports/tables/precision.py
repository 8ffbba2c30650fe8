"""What does bfloat16 cost in quality? A row for each condition that was trained in both precisions."""

import math

from bench.analysis.labels import arm_name, condition_name, signed, task_name
from bench.analysis.metrics import JUDGED, LOG_RATIO
from bench.analysis.precision import comparisons
from bench.reports.tables.table import Table, TableCell
from bench.store.reader import Run


def precision_table(run: Run) -> Table | None:
    """The cost of bfloat16, a row per condition; None if no condition has both precisions."""
    rows = comparisons(run)
    if rows.empty:
        return None
    lines = []
    for row in rows.itertuples():
        where = f"{task_name(row.task)}, {row.dataset}"
        spread = f"{signed(row.ci_low, 3)} to {signed(row.ci_high, 3)}, n = {row.n}"
        ratio = f"{signed(100 * math.expm1(-row.gain), 1)} % in the distance" if row.unit == LOG_RATIO else ""
        lines.append(
            [
                TableCell(arm_name(row.loss, row.head), arm_name(row.loss, row.head)),
                TableCell(where, where),
                TableCell(condition_name(row.outlier, row.rate), condition_name(row.outlier, row.rate)),
                TableCell(f"{signed(row.gain, 3)} {row.unit}", row.gain, (spread, *filter(None, [ratio]))),
                TableCell(JUDGED[row.task].margin_text, row.margin),
                TableCell(row.verdict, row.verdict),
            ]
        )
    header = ["loss and head", "task", "condition", "bf16 minus fp32 (+: better)", "margin", "verdict"]
    caption = "bfloat16 autocast against fp32, the same seeds; the intervals hold together at 95 %"
    return Table("precision", caption, header, lines)
