"""How does the report show what `analysis/user_losses.py` found: sentences, and a table of verdicts per condition?"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.comparison import LEVEL, Interval, t_interval
from bench.analysis.labels import (
    SIGNS,
    arms_of,
    condition_name,
    conditions_of,
    dataset_label,
    loss_name,
    number,
    signed,
    task_name,
)
from bench.analysis.metrics import DB, JUDGED, Judged
from bench.analysis.summary import MAIN_PSNR, pick
from bench.analysis.user_losses import COLUMNS, RIVALS, TASK_AND_DATASET, WORDS, comparisons, results
from bench.reports.names import Names
from bench.reports.tables.table import Table, TableCell
from bench.store.reader import Run
from ganlab.outliers import CLEAN

MARKS = {word: SIGNS[decision] for decision, word in WORDS.items()}
NOTHING = TableCell("–", "")


def sentences(comparison_rows: pd.DataFrame) -> list[str]:
    """The result of each user loss in one sentence."""
    lines = []
    for loss, rows in comparison_rows.groupby("loss", sort=False):
        parts = []
        for rival, matches in rows.groupby("against", sort=False):
            counts = Counter(matches["verdict"])
            verdict_counts = ", ".join(f"{verdict} in {counts[verdict]}" for verdict in MARKS if counts[verdict])
            parts.append(f"against {loss_name(rival)} {verdict_counts}")
        count = len(rows[[*TASK_AND_DATASET, "outlier", "rate"]].drop_duplicates())
        conditions = f"{count} condition{'' if count == 1 else 's'}"
        lines.append(f"Your loss {loss}, {conditions}{_heads_text(rows)}: {'; '.join(parts)}.")
    return lines


def _heads_text(rows: pd.DataFrame) -> str:
    heads = rows["head"].nunique()
    return f" over {heads} heads" if heads > 1 else f" on the {rows['head'].iloc[0]} head"


def tables(shown: Run, comparison_rows: pd.DataFrame) -> list[Table]:
    """A table for each user loss, task, and data set: a row per condition and head."""
    parts = []
    for (loss, *task_and_dataset), rows in comparison_rows.groupby(
        ["loss", *TASK_AND_DATASET], sort=False, dropna=False
    ):
        cells = pick(
            shown.cells, role="report", loss=loss, **dict(zip(TASK_AND_DATASET, task_and_dataset, strict=True))
        )
        task, dataset = task_and_dataset[0], dataset_label(*task_and_dataset[1:])
        judged = JUDGED[task]
        lines = []
        for order, (outlier, rate) in enumerate(conditions_of(rows)):
            matches = pick(rows, outlier=outlier, rate=rate)
            for _, head in arms_of(matches):
                against = pick(matches, head=head)
                seeds = pick(cells, head=head, outlier=outlier, rate=rate)["seed"].nunique()
                lines.append(
                    [
                        TableCell(condition_name(outlier, rate), order, (f"{head} head",)),
                        _result(pick(cells, head=head, outlier=outlier, rate=rate), judged),
                        _cost(pick(cells, head=head), judged, outlier, rate),
                        *(_verdict(pick(against, against=rival), seeds) for rival in RIVALS),
                    ]
                )
        unit = "dB" if judged.unit == DB else "times as far"
        header = [
            "trained on",
            judged.name.partition(" (")[0],
            f"outliers cost ({unit})",
            *(f"against {loss_name(r)}" for r in RIVALS),
        ]
        caption = (
            f"{loss}: {task_name(task)}, {dataset}, judged by {judged.name};"
            f" + is better, the margin is {judged.margin_text}"
        )
        parts.append(Table(f"your loss {loss} {task} {dataset}", caption, header, lines))
    return parts


def _result(cells: pd.DataFrame, judged: Judged) -> TableCell:
    """The result of the loss itself: mean, 95 % interval over seeds, and how many seeds are done."""
    values = pick(cells, status="done")[judged.column].dropna()
    seeds = f"n = {len(values)}" + (f" of {len(cells)}" if len(values) < len(cells) else "")
    if values.empty:
        return TableCell("–", "", (seeds,))
    reached = t_interval(values)
    digits = 2 if judged.unit == DB else 3
    mean, low, high = (number(value, digits) for value in reached)
    spread = f"{low} to {high}, " if reached.defined else ""
    return TableCell(mean, reached.mean, (spread + seeds,))


def _cost(cells: pd.DataFrame, judged: Judged, outlier: str, rate: float) -> TableCell:
    """The clean result minus the result under outliers, paired by seed, with its own 95 % interval."""
    if outlier == CLEAN:
        return NOTHING
    arm = tuple(cells[["loss", "head"]].iloc[0])
    clean = results(pick(cells, outlier=CLEAN), judged, *arm)
    losses = (clean - results(pick(cells, outlier=outlier, rate=rate), judged, *arm)).dropna()
    if losses.empty:
        return NOTHING
    cost = t_interval(losses)
    if judged.unit != DB:
        cost = Interval(*(float(np.exp(end)) for end in cost))
    mean, low, high = (number(end, 2) for end in cost)
    return TableCell(mean, cost.mean, (f"{low} to {high}",) if cost.defined else ())


def _seeds_compared(n: int, seeds: int) -> tuple[str, ...]:
    """How many seeds were compared, if not all."""
    return () if n == seeds else (f"n = {n} of {seeds}",)


def _verdict(rows: pd.DataFrame, seeds: int) -> TableCell:
    """A comparison: the verdict, and below it the effect with its simultaneous interval over `seeds` seeds."""
    if rows.empty:
        return NOTHING
    row = rows.iloc[0]
    head = () if row["head"] == row["against_head"] else (f"{row['against_head']} head",)
    mark = f"{MARKS[row['verdict']]} {row['verdict']}"
    if pd.isna(row["effect"]):
        return TableCell(mark, "", (*_seeds_compared(0, seeds), *head))
    spread = "" if pd.isna(row["ci_low"]) else f" ({signed(row['ci_low'])} to {signed(row['ci_high'])})"
    notes = [f"{signed(row['effect'])}{spread}", *_seeds_compared(row["n"], seeds)]
    notes += [f"for {row['population']}"] if row["population"] else []
    return TableCell(mark, float(row["effect"]), (*notes, *head))


def verdicts_table(comparison_rows: pd.DataFrame) -> Table | None:
    """All comparisons, for programs."""
    if comparison_rows.empty:
        return None
    numbers = ("rate", "n", "effect", "ci_low", "ci_high", "margin", "scale")
    lines = [
        [
            _number(value) if name in numbers else TableCell(str(value), str(value))
            for name, value in zip(COLUMNS, row, strict=True)
        ]
        for row in comparison_rows.itertuples(index=False)
    ]
    caption = f"Your loss: every comparison, all {len(comparison_rows)} of which hold together at {100 * LEVEL:g} %"
    return Table("your loss verdicts", caption, [name.replace("_", " ") for name in COLUMNS], lines)


def _number(value: float) -> TableCell:
    return NOTHING if pd.isna(value) else TableCell(f"{value:.4g}", float(value))


def minimisers(run: Run, names: Names) -> dict[str, str]:
    """The minimiser of each user loss, if the run has measured it."""
    measured = run.manifest.get("losses") or {}
    return {
        short: measured[full]["minimiser"]
        for full, short in names.losses.items()
        if short in names.users and measured.get(full, {}).get("minimiser")
    }


class UserLosses(NamedTuple):
    """The section of the report about the user's losses.

    `family` is the number of comparisons; `behind_sigmoid` is whether all reconstructions use the sigmoid head.
    """

    losses: list[str]
    sentences: list[str]
    tables: list[Table]
    verdicts_table: Table | None
    family: int
    minimisers: dict[str, str]
    behind_sigmoid: bool


def section(run: Run, shown: Run, names: Names) -> UserLosses | None:
    """The section about the user's losses; None if the run compares no user loss."""
    comparison_rows = comparisons(shown, names.users)
    if comparison_rows.empty:
        return None
    losses = sorted(set(comparison_rows["loss"]))
    seeks = {loss: minimiser for loss, minimiser in minimisers(run, names).items() if loss in losses}
    heads = set(comparison_rows.loc[comparison_rows["task"].isin(MAIN_PSNR), "head"])
    table = verdicts_table(comparison_rows)
    return UserLosses(
        losses,
        sentences(comparison_rows),
        tables(shown, comparison_rows),
        table,
        len(comparison_rows),
        seeks,
        heads == {"sigmoid"},
    )
