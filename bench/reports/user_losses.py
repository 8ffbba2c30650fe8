"""How does a loss of the user's own do beside BCE, L1, and L2? A verdict for each condition, head, and rival.

Effects are paired by seed, positive where the user's loss is better, in the metric its task is judged by. Rule and
margins are those of every other comparison (`analysis/comparison.py`). All comparisons of this file are one family,
whose intervals hold together at 95 %. It is not part of the K claims of the document: the suite fixes its size before
any training, by the conditions, heads, and losses it declares.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.comparison import EQUIVALENT, INCONCLUSIVE, LEVEL, Interval, family_level, t_interval, words
from bench.analysis.labels import (
    SIGNS,
    arms_of,
    condition_name,
    conditions_of,
    loss_name,
    number,
    place_name,
    signed,
    task_name,
)
from bench.analysis.metrics import DB, JUDGED, Judged
from bench.analysis.summary import MAIN_PSNR, pick
from bench.reports.names import Names
from bench.reports.tables.table import Table, TableCell
from bench.store.reader import Run
from ganlab.outliers import CLEAN

RIVALS = ("bce", "l1", "l2")
BETTER, WORSE = "BETTER", "WORSE"
WORDS = words(supported=BETTER, refuted=WORSE, equivalent=EQUIVALENT, inconclusive=INCONCLUSIVE)
MARKS = {word: SIGNS[decision] for decision, word in WORDS.items()}
PLACE = ["task", "dataset", "scale"]
COLUMNS = [
    *("loss", "head", *PLACE, "outlier", "rate", "against", "against_head"),
    *("n", "effect", "ci_low", "ci_high", "margin", "unit", "verdict"),
]
NOTHING = TableCell("–", "")


def comparisons(shown: Run, users: list[str]) -> pd.DataFrame:
    """Each user's loss against each rival, under each condition that the suite declares for both; columns `COLUMNS`.

    A rival that is not defined on the head of the user's loss (BCE on the raw one) is met with the head it has.

    Args:
        shown: the run as figures see it, each loss at its main setting.
        users: the user's losses.
    """
    cells = shown.cells[(shown.cells["role"] == "report") & shown.cells["task"].isin(JUDGED)]
    pairs = []
    for key, here in cells.groupby([*PLACE, "outlier", "rate"], dropna=False):
        judged = JUDGED[key[0]]
        arms = arms_of(here)
        for loss, head in (arm for arm in arms if arm[0] in users):
            for rival in RIVALS:
                heads = [other for name, other in arms if name == rival]
                if heads:
                    other = head if head in heads else heads[0]
                    effects = _effects(here, judged, loss, head) - _effects(here, judged, rival, other)
                    pairs.append(((loss, head, *key, rival, other), judged, effects))
    rows, level = [], family_level(len(pairs))
    for names, judged, effects in pairs:
        met = judged.compare(effects, level)
        rows.append([*names, met.n, *met.interval, met.margin, met.unit, met.word(WORDS)])
    return pd.DataFrame(rows, columns=COLUMNS)


def _effects(cells: pd.DataFrame, judged: Judged, loss: str, head: str) -> pd.Series:
    """What one loss reached, by seed, larger is better."""
    done = pick(cells, status="done", loss=loss, head=head).drop_duplicates("seed")
    return judged.effect(done.set_index("seed")[judged.column].astype(float))


def sentences(found: pd.DataFrame) -> list[str]:
    """What became of each of the user's losses, in one sentence."""
    lines = []
    for loss, rows in found.groupby("loss", sort=False):
        parts = []
        for rival, met in rows.groupby("against", sort=False):
            counts = Counter(met["verdict"])
            said = ", ".join(f"{verdict} in {counts[verdict]}" for verdict in MARKS if counts[verdict])
            parts.append(f"against {loss_name(rival)} {said}")
        met = len(rows[[*PLACE, "outlier", "rate"]].drop_duplicates())
        conditions = f"{met} condition{'' if met == 1 else 's'}"
        lines.append(f"Your loss {loss}, {conditions}{_of_heads(rows)}: {'; '.join(parts)}.")
    return lines


def _of_heads(rows: pd.DataFrame) -> str:
    heads = rows["head"].nunique()
    return f" over {heads} heads" if heads > 1 else f" on the {rows['head'].iloc[0]} head"


def tables(shown: Run, found: pd.DataFrame) -> list[Table]:
    """A table for each of the user's losses and each place: a row per condition and head."""
    parts = []
    for (loss, *place), rows in found.groupby(["loss", *PLACE], sort=False, dropna=False):
        cells = pick(shown.cells, role="report", loss=loss, **dict(zip(PLACE, place, strict=True)))
        task, where = place[0], place_name(*place[1:])
        judged = JUDGED[task]
        lines = []
        for order, (outlier, rate) in enumerate(conditions_of(rows)):
            met = pick(rows, outlier=outlier, rate=rate)
            for _, head in arms_of(met):
                against = pick(met, head=head)
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
            f"{loss}: {task_name(task)}, {where}, judged by {judged.name};"
            f" + is better, the margin is {judged.margin_text}"
        )
        parts.append(Table(f"your loss {loss} {task} {where}", caption, header, lines))
    return parts


def _result(cells: pd.DataFrame, judged: Judged) -> TableCell:
    """What it reached itself: mean, 95 % interval over seeds, and how many of them are done."""
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
    """Its own clean result minus that under outliers, paired by seed, with the 95 % interval of this one alone."""
    if outlier == CLEAN:
        return NOTHING
    arm = tuple(cells[["loss", "head"]].iloc[0])
    clean = _effects(pick(cells, outlier=CLEAN), judged, *arm)
    lost = (clean - _effects(pick(cells, outlier=outlier, rate=rate), judged, *arm)).dropna()
    if lost.empty:
        return NOTHING
    cost = t_interval(lost)
    if judged.unit != DB:
        cost = Interval(*(float(np.exp(end)) for end in cost))
    mean, low, high = (number(end, 2) for end in cost)
    return TableCell(mean, cost.mean, (f"{low} to {high}",) if cost.defined else ())


def _lost(n: int, seeds: int) -> tuple[str, ...]:
    """How many seeds were compared, where it is not all."""
    return () if n == seeds else (f"n = {n} of {seeds}",)


def _verdict(rows: pd.DataFrame, seeds: int) -> TableCell:
    """One comparison: the verdict, and below it the effect with its simultaneous interval over `seeds` seeds."""
    if rows.empty:
        return NOTHING
    row = rows.iloc[0]
    head = () if row["head"] == row["against_head"] else (f"{row['against_head']} head",)
    mark = f"{MARKS[row['verdict']]} {row['verdict']}"
    if pd.isna(row["effect"]):
        return TableCell(mark, "", (*_lost(0, seeds), *head))
    spread = "" if pd.isna(row["ci_low"]) else f" ({signed(row['ci_low'])} to {signed(row['ci_high'])})"
    return TableCell(mark, float(row["effect"]), (f"{signed(row['effect'])}{spread}", *_lost(row["n"], seeds), *head))


def verdicts_table(found: pd.DataFrame) -> Table | None:
    """Every comparison by itself, for programs."""
    if found.empty:
        return None
    numbers = ("rate", "n", "effect", "ci_low", "ci_high", "margin", "scale")
    lines = [
        [
            _number(value) if name in numbers else TableCell(str(value), str(value))
            for name, value in zip(COLUMNS, row, strict=True)
        ]
        for row in found.itertuples(index=False)
    ]
    caption = f"Your loss: every comparison, all {len(found)} of which hold together at {100 * LEVEL:g} %"
    return Table("your loss verdicts", caption, [name.replace("_", " ") for name in COLUMNS], lines)


def _number(value: float) -> TableCell:
    return NOTHING if pd.isna(value) else TableCell(f"{value:.4g}", float(value))


def minimisers(run: Run, names: Names) -> dict[str, str]:
    """What each of the user's losses seeks, where the run has measured it."""
    known = run.manifest.get("losses") or {}
    return {
        short: known[full]["minimiser"]
        for full, short in names.losses.items()
        if short in names.users and known.get(full, {}).get("minimiser")
    }


class Yours(NamedTuple):
    """What the report says of the user's losses.

    `family` is how many comparisons hold together, `behind_sigmoid` whether all reconstructions are judged behind it.
    """

    losses: list[str]
    sentences: list[str]
    tables: list[Table]
    verdicts_table: Table | None
    family: int
    minimisers: dict[str, str]
    behind_sigmoid: bool


def section(run: Run, shown: Run, names: Names) -> Yours | None:
    """What the report says of the user's losses; None where the run has none that was compared."""
    found = comparisons(shown, names.users)
    if found.empty:
        return None
    losses = sorted(set(found["loss"]))
    seeks = {loss: what for loss, what in minimisers(run, names).items() if loss in losses}
    heads = set(found.loc[found["task"].isin(MAIN_PSNR), "head"])
    table = verdicts_table(found)
    return Yours(losses, sentences(found), tables(shown, found), table, len(found), seeks, heads == {"sigmoid"})
