"""How does the report print the tuned learning rates, and whether the reported cells have them?"""

from typing import Any

import pandas as pd

from bench.analysis.labels import dataset_label, task_name
from bench.analysis.metrics import JUDGED, Judged
from bench.analysis.recommend import NO_INTERVAL, WORDS
from bench.analysis.reported_rates import off_rates
from bench.analysis.tuning import TRAINING, Neighbour, best_rates, target_label
from bench.plan.tuning import FEWEST_SEEDS
from bench.reports.tables.table import Table, TableCell, arm_cell, text_cell
from bench.store.reader import Run


def rate_table(run: Run) -> Table | None:
    """The best learning rate of each arm on tuning seeds, its neighbours, and the rates of its reported cells."""
    best, off = best_rates(run), off_rates(run)
    lines = []
    for row in best.itertuples():
        judged = JUDGED[row.task]
        place = f"{task_name(row.task)}, {dataset_label(row.dataset, row.scale)}"
        seeds = f"{row.seeds} seed{'' if row.seeds == 1 else 's'}"
        few = f"; fewer than the {FEWEST_SEEDS} that cover every fold" if row.seeds < FEWEST_SEEDS else ""
        found = [f"mean of {seeds}{few}"] + ([] if row.complete else ["tuning not finished: may change"])
        arm = {column: getattr(row, column) for column in (*TRAINING, "planned_steps")}
        slack = [f"not as tuned: {one.text}" for one in off if _same_arm(one.arm, arm)]
        lines.append(
            [
                arm_cell(row.loss, row.head),
                TableCell(place, place, (f"tuned on {row.conditions}",)),
                *(text_cell(row.optimizer), text_cell(row.schedule)),
                TableCell(f"{row.lr:g}", row.lr, tuple(found)),
                TableCell(f"{row.value:.4g}", row.value, (target_label(row.task, row.metric),)),
                *(_neighbour_cell(neighbour, judged) for neighbour in (row.below, row.above)),
                TableCell(", ".join(f"{lr:g}" for lr in row.reported) or "–", "", tuple(slack)),
            ]
        )
    header = [
        *("loss and head", "task", "optimizer", "schedule", "best rate", "its score"),
        *("the rate below", "the rate above", "reported with"),
    ]
    caption = (
        "Learning rates: the best on tuning seeds, and how far its two neighbours are behind (both intervals hold"
        " together at 95 %); a rate without a converging neighbour on both sides is on the edge"
    )
    return Table("learning rates", caption, header, lines) if lines else None


def _same_arm(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(a[key] == b[key] or (pd.isna(a[key]) and pd.isna(b[key])) for key in a)


def _neighbour_cell(neighbour: Neighbour, judged: Judged) -> TableCell:
    """The next rate: how far it is behind the best one, or why the best one is on the edge of its grid."""
    if neighbour.lr is None:
        return TableCell("–", "", ("none tried: the best is on the edge",))
    if neighbour.behind is None:
        return TableCell(f"{neighbour.lr:g}", neighbour.lr, (f"{neighbour.state}: the best is on the edge",))
    word = neighbour.behind.word(WORDS) if neighbour.behind.interval.defined else NO_INTERVAL
    return TableCell(f"{neighbour.lr:g}", neighbour.lr, (f"{judged.behind_text(neighbour.behind)}: {word}",))
