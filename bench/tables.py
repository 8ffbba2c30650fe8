"""Which numbers does the report print? Tables from summary and cells, ready for any template."""

from typing import NamedTuple

import pandas as pd

from bench.statistics import pick
from bench.store import STATUSES, Run
from bench.style import arm_name, arms_of, condition_name, conditions_of, in_order, percent, place_name
from ganlab.outliers import CLEAN, OUTLIERS

MOST_ROWS = 40  # of cells that are not done; the rest is counted and stands in cells.csv
SR_METRICS = {
    **{"psnr_y_db": ("PSNR on Y (dB)", 2), "psnr_db": ("PSNR on RGB (dB)", 2), "ssim": ("SSIM", 4)},
    **{"mae": ("MAE", 4), "bce_excess": ("BCE excess", 5)},
}
GAN_METRICS = {
    **{"frechet": ("Fréchet distance", 1), "kid": ("KID", 4), "density": ("density", 2), "coverage": ("coverage", 2)},
    **{
        "classes": ("classes", 1),
        "outlier_share": ("outlier share", 3),
        "d_loss": ("d_loss", 3),
        "g_loss": ("g_loss", 3),
    },
    **{"mean_d_real": ("mean D(real)", 3), "mean_d_fake": ("mean D(generated)", 3)},
    "dead_discriminator": ("share of D dead", 2),
}


class Entry(NamedTuple):
    """One table cell: what is printed, what it sorts by, and smaller lines below it."""

    text: str
    order: float | str
    notes: tuple[str, ...] = ()


class Table(NamedTuple):
    """A table with its caption; the first column names the row."""

    caption: str
    header: list[str]
    rows: list[list[Entry]]


def robustness_tables(run: Run) -> list[Table]:
    """PSNR on Y by loss and rate: one table per data set and outlier kind, theory in the last line."""
    tables = []
    rows = pick(run.summary, task="sr", metric="psnr_y_db")
    for (dataset, scale), here in rows.groupby(["dataset", "scale"], dropna=False):
        for kind in in_order(set(here["outlier"]) - {CLEAN}, OUTLIERS):
            struck = here[here["outlier"].isin((kind, CLEAN))]
            rates = sorted(set(struck["rate"]))
            lines = [
                [_name(loss, head), *(_measured(pick(struck, loss=loss, head=head, rate=rate), 2) for rate in rates)]
                for loss, head in arms_of(struck)
            ]
            header = ["loss and head", *(percent(rate) if rate else CLEAN for rate in rates)]
            caption = f"Test PSNR on Y (dB), {place_name(dataset, scale)}, by rate of {kind} outliers"
            tables.append(Table(caption, header, lines))
    return tables


def metric_tables(run: Run) -> list[Table]:
    """Training loss against metric, without outliers: PSNR alone would favour L2, which is what it measures."""
    tables = []
    rows = pick(run.summary, task="sr", outlier=CLEAN)
    for (dataset, scale), here in rows.groupby(["dataset", "scale"], dropna=False):
        metrics = [metric for metric in SR_METRICS if metric in set(here["metric"])]
        lines = [
            [_name(*arm), *(_measured(pick(_arm(here, arm), metric=m), SR_METRICS[m][1]) for m in metrics)]
            for arm in arms_of(here)
        ]
        header = ["loss and head", *(SR_METRICS[metric][0] for metric in metrics)]
        tables.append(
            Table(f"Every metric after training on clean targets, {place_name(dataset, scale)}", header, lines)
        )
    return tables


def gan_tables(run: Run) -> list[Table]:
    """Every GAN read-out by condition, loss, and head: one table per data set, equilibria below."""
    tables = []
    for dataset, here in pick(run.summary, task="gan").groupby("dataset"):
        metrics = [metric for metric in GAN_METRICS if metric in set(here["metric"])]
        lines = []
        for place, (outlier, rate) in enumerate(conditions_of(here)):
            struck = pick(here, outlier=outlier, rate=rate)
            for arm in arms_of(struck):
                found = {metric: pick(_arm(struck, arm), metric=metric) for metric in metrics}
                entries = [_measured(found[metric], GAN_METRICS[metric][1], "equilibrium") for metric in metrics]
                lines.append([_name(*arm), Entry(condition_name(outlier, rate), place), *entries])
        header = ["loss and head", "condition", *(GAN_METRICS[metric][0] for metric in metrics)]
        tables.append(Table(f"GAN read-outs, {dataset}", header, lines))
    return tables


def status_counts(run: Run) -> dict[str, int]:
    """How many cells ended in each status, in the contract's order; statuses that did not occur are left out."""
    counts = run.cells["status"].value_counts()
    return {status: int(counts[status]) for status in in_order(counts.index, STATUSES)}


def unfinished_table(run: Run) -> Table | None:
    """The cells that are not done, with their reasons; pending ones are only counted."""
    cells = run.cells[~run.cells["status"].isin(("done", "pending"))]
    if cells.empty:
        return None
    lines = [
        [
            Entry(row.cell_id, row.cell_id),
            *(Entry(text, text) for text in (row.task, row.dataset, arm_name(row.loss, row.head))),
            Entry(condition_name(row.outlier, row.rate), condition_name(row.outlier, row.rate)),
            *(
                Entry(f"{row.seed:.0f}", row.seed),
                Entry(row.status, row.status),
                Entry(row.reason or "no reason given", ""),
            ),
        ]
        for row in cells.head(MOST_ROWS).itertuples()
    ]
    more = len(cells) - len(lines)
    caption = "Cells that are not done" + (f" (first {MOST_ROWS}; {more} more are in cells.csv)" if more else "")
    return Table(caption, ["cell", "task", "data set", "loss and head", "condition", "seed", "status", "reason"], lines)


def _arm(rows: pd.DataFrame, arm: tuple[str, str]) -> pd.DataFrame:
    return pick(rows, loss=arm[0], head=arm[1])


def _name(loss: str, head: str) -> Entry:
    return Entry(arm_name(loss, head), arm_name(loss, head))


def _measured(rows: pd.DataFrame, digits: int, predicted: str = "theory") -> Entry:
    """Mean of one summary row; interval with n, and prediction, below it; a dash where nothing was measured."""
    if rows.empty:
        return Entry("–", "")
    row = rows.iloc[0]
    seeds = f"n = {row['n_done']}" + (f" of {row['n']}" if row["n_done"] < row["n"] else "")
    spread = "" if pd.isna(row["ci_low"]) else f"{row['ci_low']:.{digits}f} to {row['ci_high']:.{digits}f}, "
    known = () if pd.isna(row["predicted"]) else (f"{predicted} {row['predicted']:.{digits}f}",)
    return Entry(f"{row['mean']:.{digits}f}", float(row["mean"]), (spread + seeds, *known))
