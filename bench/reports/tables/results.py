"""Which result tables does the report print? They are computed from summary and cells, for any template."""

from typing import Any

import pandas as pd

from bench.analysis.breakdown import three_db_rates
from bench.analysis.comparison import NOT_TESTED, t_interval
from bench.analysis.labels import (
    NOT_TESTABLE,
    SIGNS,
    arms_of,
    condition_name,
    conditions_of,
    dataset_label,
    first_sentence,
    in_order,
    number,
    percent,
    psnr_name,
    signed,
    task_name,
)
from bench.analysis.metrics import MARGIN_DB
from bench.analysis.prediction_errors import equilibrium, location_bias, misses
from bench.analysis.summary import MAIN_PSNR, main_cells, paired_difference, pick, summary_of
from bench.reports.tables.table import Table, TableCell, arm_cell, text_cell
from bench.store.reader import Run
from ganlab.outliers import CLEAN, OUTLIERS

WORST_PREDICTIONS = 10
LOCATION_METRICS = {
    **{"location_error": ("error of the GAN", 3), "median_error": ("of the median", 2)},
    **{"mean_error": ("of the plain mean", 2), "oracle_error": ("of the oracle", 3)},
    **{"d_loss": ("d_loss", 3), "dead_discriminator": ("share of D dead", 2)},
}
RECONSTRUCTION_METRICS = {
    **{"psnr_y_db": ("PSNR on Y (dB)", 2), "psnr_db": ("PSNR on RGB (dB)", 2), "ssim": ("SSIM", 4)},
    **{"mae": ("MAE", 4), "bce_excess": ("BCE excess", 5)},
    **{"disparity_error_px": ("disparity error (px)", 2), "bad_pixels": ("bad pixels", 3)},
}
GAN_METRICS = {
    **{"frechet": ("Fréchet distance", 1), "kid": ("KID", 4), "density": ("density", 2), "coverage": ("coverage", 2)},
    **{
        "classes": ("classes", 1),
        "outlier_share": ("outlier share", 3),
        "excess_outlier_share": ("beyond that of clean training", 3),
        "d_loss": ("d_loss", 3),
        "g_loss": ("g_loss", 3),
    },
    **{"mean_d_real": ("mean D(real)", 3), "mean_d_fake": ("mean D(generated)", 3)},
    "dead_discriminator": ("share of D dead", 2),
}


def robustness_tables(run: Run, task: str = "sr") -> list[Table]:
    """PSNR by loss and rate, with the prediction below each mean: a table per data set and outlier kind."""
    tables, prefix = [], "" if task == "sr" else f"{task} "
    rows = pick(summary_of(run), task=task, metric=MAIN_PSNR[task])
    for (dataset, scale), place_rows in rows.groupby(["dataset", "scale"], dropna=False):
        for kind in in_order(set(place_rows["outlier"]) - {CLEAN}, OUTLIERS):
            group = place_rows[place_rows["outlier"].isin((kind, CLEAN))]
            rates = sorted(set(group["rate"]))
            lines = [
                [arm_cell(loss, head), *(_measured(pick(group, loss=loss, head=head, rate=rate), 2) for rate in rates)]
                for loss, head in arms_of(group)
            ]
            header = ["loss and head", *(percent(rate) if rate else CLEAN for rate in rates)]
            caption = f"Test {psnr_name(task)} (dB), {dataset_label(dataset, scale)}, by rate of {kind} outliers"
            tables.append(Table(f"{prefix}robustness {dataset_label(dataset, scale)} {kind}", caption, header, lines))
    return tables


def metric_tables(run: Run, task: str = "sr") -> list[Table]:
    """Every metric of every loss, without outliers. PSNR alone favours L2: it measures the squared error."""
    tables, prefix = [], "" if task == "sr" else f"{task} "
    rows = pick(summary_of(run), task=task, outlier=CLEAN)
    for (dataset, scale), place_rows in rows.groupby(["dataset", "scale"], dropna=False):
        metrics = {
            metric: entry for metric, entry in RECONSTRUCTION_METRICS.items() if metric in set(place_rows["metric"])
        }
        lines = [
            [
                arm_cell(*arm),
                *(_measured(pick(_arm(place_rows, arm), metric=key), digits) for key, (_, digits) in metrics.items()),
            ]
            for arm in arms_of(place_rows)
        ]
        if task == "depth" and "psnr_db" in metrics:
            metrics["psnr_db"] = ("PSNR of disparity (dB)", 2)
        caption = f"Every metric after training on clean targets, {dataset_label(dataset, scale)}"
        header = ["loss and head", *(name for name, _ in metrics.values())]
        tables.append(Table(f"{prefix}metrics {dataset_label(dataset, scale)}", caption, header, lines))
    return tables


def gan_tables(run: Run) -> list[Table]:
    """Every GAN read-out by condition, loss, and head: a table per data set, with equilibria below the means."""
    tables = []
    for dataset, dataset_rows in pick(summary_of(run), task="gan").groupby("dataset"):
        metrics = [metric for metric in GAN_METRICS if metric in set(dataset_rows["metric"])]
        lines = []
        for position, (outlier, rate) in enumerate(conditions_of(dataset_rows)):
            matches = pick(dataset_rows, outlier=outlier, rate=rate)
            for arm in arms_of(matches):
                by_metric = {metric: pick(_arm(matches, arm), metric=metric) for metric in metrics}
                entries = [_measured(by_metric[metric], GAN_METRICS[metric][1]) for metric in metrics]
                lines.append([arm_cell(*arm), TableCell(condition_name(outlier, rate), position), *entries])
        header = ["loss and head", "condition", *(GAN_METRICS[metric][0] for metric in metrics)]
        tables.append(Table(f"gan {dataset}", f"Everything measured of the GANs, {dataset}", header, lines))
    return tables


def three_db_table(run: Run) -> Table | None:
    """The 3 dB rates in numbers, with the predictions and the clean error that they start from."""
    rates = three_db_rates(run)
    if rates.empty:
        return None
    lines = []
    for (task, *dataset_and_scale), group in rates.groupby(["task", "dataset", "scale"], dropna=False):
        where = (
            dataset_label(*dataset_and_scale)
            if task == "sr"
            else f"{task_name(task)}, {dataset_label(*dataset_and_scale)}"
        )
        for kind in in_order(group["outlier"], OUTLIERS):
            rows = pick(group, outlier=kind)
            for arm in arms_of(rows):
                row = _arm(rows, arm).iloc[0]
                above_maximum = f">{percent(row['max_rate'])}"
                measured = above_maximum if pd.isna(row["mean"]) else percent(row["mean"])
                spread = (
                    "" if pd.isna(row["ci_low"]) else f"{percent(max(row['ci_low'], 0))} to {percent(row['ci_high'])}, "
                )
                between = (
                    ""
                    if pd.isna(row["mean"])
                    else (f"between {percent(row['from_rate'])} and {percent(row['to_rate'])}, ")
                )
                notes = (f"{spread}{between}reached by {row['reached']} of {row['n']} seeds",)
                predicted = "–" if pd.isna(row["predicted"]) else percent(row["predicted"])
                lines.append(
                    [
                        *(arm_cell(*arm), TableCell(kind, kind), TableCell(where, where)),
                        TableCell(measured, row["max_rate"] if pd.isna(row["mean"]) else row["mean"], notes),
                        TableCell(predicted, "" if pd.isna(row["predicted"]) else row["predicted"]),
                        TableCell(f"{row['clean_mse']:.2e}", row["clean_mse"]),
                    ]
                )
    header = ["loss and head", "outliers", "data set", "3 dB rate", "theory", "C (clean MSE)"]
    caption = (
        "The outlier rate at which a loss has lost 3 dB of its own clean PSNR, interpolated between two rates of the"
        " run, and likewise in what theory predicts at them; neither says how it falls in between"
    )
    return Table("three dB rate", caption, header, lines)


def prediction_table(run: Run) -> Table | None:
    """The predictions with the largest misses, and their causes: chance, training, or the formula."""
    rows = misses(run)
    if rows.empty:
        return None
    lines = []
    for row in rows.head(WORST_PREDICTIONS).itertuples():
        spread = "" if pd.isna(row.low) else f"{signed(row.low)} to {signed(row.high)}, "
        condition = condition_name(row.outlier, row.rate)
        lines.append(
            [
                arm_cell(row.loss, row.head),
                TableCell(condition, condition, (task_name(row.task), f"{row.steps} steps")),
                TableCell(number(row.measured, 2), row.measured, (f"theory {number(row.predicted, 2)}",)),
                TableCell(signed(row.miss), row.miss, (f"{spread}n = {row.n}",)),
                TableCell(row.cause, row.cause, (row.why,)),
            ]
        )
    header = ["loss and head", "condition", "measured (dB)", "miss (dB)", "cause"]
    caption = (
        "Predictions of PSNR, the furthest off first; at rates below 50 % they are"
        f" {number(rows['miss'].abs().median(), 2)} dB off in the median, {rows['within'].sum()} of {len(rows)} by at"
        f" most {MARGIN_DB:g} dB"
    )
    return Table("predictions", caption, header, lines)


def location_table(run: Run) -> Table | None:
    """Error of the location GAN beside untrained estimators, and d_loss beside its equilibrium."""
    rows = pick(summary_of(run), task="location")
    lines = []
    for position, (outlier, rate) in enumerate(conditions_of(rows)):
        matches = pick(rows, outlier=outlier, rate=rate)
        for loss, head in arms_of(matches):
            by_metric = {metric: pick(matches, loss=loss, head=head, metric=metric) for metric in LOCATION_METRICS}
            entries = [_measured(by_metric[metric], digits) for metric, (_, digits) in LOCATION_METRICS.items()]
            if (bias := location_bias(loss, head, outlier, rate)) >= 5e-4:  # not NaN, and visible in three decimals
                entries[0] = entries[0]._replace(notes=(*entries[0].notes, f"bias in theory {bias:.3f}"))
            theory = equilibrium("location", loss, head, outlier, rate)
            ideal = TableCell("–", "") if pd.isna(theory) else TableCell(number(theory, 3), theory)
            lines.append([arm_cell(loss, head), TableCell(condition_name(outlier, rate), position), *entries, ideal])
    if not lines:
        return None
    header = ["loss and head", "condition", *(name for name, _ in LOCATION_METRICS.values()), "d_loss, equilibrium"]
    return Table("location", "Location GAN: distance of the estimated mean from the truth", header, lines)


def unit_table(run: Run) -> Table | None:
    """L1 and L2 on pixels in [0, 1] and in [0, 255], clean targets: does the ranking depend on the unit?"""
    cells = pick(run.cells, task="sr", outlier=CLEAN, head="raw")
    cells = cells[cells["loss"].isin(("l1", "l2"))]
    if cells["value_range"].nunique() < 2:
        return None
    lines = []
    for (dataset, scale, schedule, optimizer), group in cells.groupby(["dataset", "scale", "schedule", "optimizer"]):
        units = [(unit, main_cells(rows)) for unit, rows in group.groupby("value_range")]
        if len(units) < 2:
            continue
        shared = set.intersection(*(set(pick(rows, status="done")["seed"]) for _, rows in units))
        for unit, rows in units:
            rows = rows[rows["seed"].isin(shared)]
            differences = paired_difference(rows, "psnr_y_db", {"loss": "l2"}, {"loss": "l1"})
            if len(differences):
                mean, low, high = interval = t_interval(differences)
                levels = [rows.loc[rows["loss"] == loss, "psnr_y_db"].mean() for loss in ("l1", "l2")]
                spread = "" if not interval.defined else f"{signed(low)} to {signed(high)}, "
                lines.append(
                    [
                        TableCell(
                            f"{optimizer}, {schedule}", f"{optimizer}, {schedule}", (dataset_label(dataset, scale),)
                        ),
                        TableCell(f"0 to {unit:g}", unit),
                        *(TableCell(number(level, 2), "") for level in levels),
                        *(
                            TableCell(signed(mean), mean, (f"{spread}n = {len(differences)}",)),
                            text_cell("L2" if mean > 0 else "L1"),
                        ),
                    ]
                )
    header = ["training", "pixels run from", "L1 (dB)", "L2 (dB)", "L2 minus L1 (dB)", "higher"]
    return Table("unit", "Does the unit of a pixel decide between L1 and L2?", header, lines) if lines else None


def claims_table(claims: pd.DataFrame) -> Table | None:
    """The claims of the article: a row per statement that this run tests."""
    tested = claims[claims["verdict"] != NOT_TESTED]
    lines = [
        [
            TableCell(first_sentence(row.statement), position, (row.claim,)),
            TableCell(f"{SIGNS[row.verdict]} {row.verdict}", row.verdict, tuple(filter(None, (scope(row),)))),
            estimate_cell(row),
            TableCell(str(row.n), row.n),
        ]
        for position, row in enumerate(tested.itertuples())
    ]
    header = ["statement tested", "verdict", "effect, simultaneous interval", "n"]
    return Table("claims", "What was tested, the verdict, and the effect measured", header, lines) if lines else None


def scope(row: Any) -> str:
    """What is written behind a verdict wherever it is quoted (a row of claims.csv): its population, and its cells."""
    return ", ".join(filter(None, (row.population, row.learning.partition(",")[0])))


def estimate_cell(row: Any) -> TableCell:
    """The estimate of a claim (a row of claims.csv) with its unit, and the simultaneous interval below it.

    Where the data could not test the claim, the reason stands there.
    """
    if pd.isna(row.estimate):
        return TableCell(row.cells if row.verdict == NOT_TESTABLE else "–", "")
    if pd.isna(row.margin):
        return TableCell(
            f"{row.estimate:.0%} {row.unit.partition(' ')[2]}".replace("%", " %"), row.estimate, ("by proof",)
        )
    interval = () if pd.isna(row.ci_low) else (f"{signed(row.ci_low)} to {signed(row.ci_high)}",)
    over_time = "" if pd.isna(row.over_time) else f" at equal step, {signed(row.over_time)} over time"
    return TableCell(f"{signed(row.estimate)} {row.unit}{over_time}", row.estimate, interval)


def _arm(rows: pd.DataFrame, arm: tuple[str, str]) -> pd.DataFrame:
    return pick(rows, loss=arm[0], head=arm[1])


def _measured(rows: pd.DataFrame, digits: int) -> TableCell:
    """The mean of a summary row, with interval, n, and prediction below it; a dash if nothing was measured."""
    if rows.empty:
        return TableCell("–", "")
    row = rows.iloc[0]
    seeds = f"n = {row['n_done']}" + (f" of {row['n']}" if row["n_done"] < row["n"] else "")
    mean, low, high, predicted = (number(row[column], digits) for column in ("mean", "ci_low", "ci_high", "predicted"))
    spread = "" if pd.isna(row["ci_low"]) else f"{low} to {high}, "
    theory = () if pd.isna(row["predicted"]) else (f"theory {predicted}",)
    return TableCell(mean, float(row["mean"]), (spread + seeds, *theory))
