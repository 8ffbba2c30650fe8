"""Why does a prediction miss the measured PSNR: by chance, by training, by a wrong formula, or for an unknown reason?

A prediction can be wrong for three reasons: the seeds scatter, training has not reached the minimiser that the theory
assumes, or the formula is wrong. The run itself distinguishes them: by the interval over seeds, by the same cells
trained for other numbers of steps, and by other losses and heads with the same formula. Without these, the cause is
unknown.
"""

import numpy as np
import pandas as pd

from bench.analysis.comparison import t_interval
from bench.analysis.labels import arm_name, arms_of, signed
from bench.analysis.summary import GROUP, MAIN_PSNR, equilibrium_d_loss, main_psnr_pairs, pick, predict_psnr, summary_of
from bench.store.reader import Run
from ganlab import equilibria
from ganlab.datasets.kinds import GaussianSamples
from ganlab.losses import LOSSES
from ganlab.outliers import CLEAN, OUTLIERS

CLOSE_DB = 0.7  # the promised accuracy of a prediction for super-resolution (science.md section 5)
BOUND_DB = {"bce": 2.0}  # losses with a weaker promise
RATE_BOUND = 0.5  # the promise holds below this outlier rate
CHANCE, TRAINING, FORMULA, OPEN = "may be chance", "training", "formula", "cannot tell"

SAME_CELLS = [column for column in GROUP if column != "settings"]  # equal on these: differ in the number of steps
SAME_FORMULA = ["task", "dataset", "outlier", "rate", "scale", "redraw", "minimiser"]


def misses(run: Run) -> pd.DataFrame:
    """Every predicted group of seeds at a rate below one half, sorted by the size of the miss, largest first.

    Columns: those that identify a group in summary.csv; `steps`; `minimiser` of the loss; `n`, the number of seeds;
    `measured` and `predicted`, the mean of the task's main PSNR in dB; `miss`, measured minus predicted, with its 95 %
    interval `low`, `high` over seeds (NaN for one seed); `by_image`, the smallest and largest miss over test images, in
    words; `bound`; `within`, whether the miss is inside the bound; `cause` and `why` (see `_cause`).
    """
    references = pick(run.cells, role="reference") if run.references is None else run.references
    pairs = main_psnr_pairs(pick(run.cells, role="report"), run.images, references)
    pairs = pairs[pairs["rate"] < RATE_BOUND]
    pairs = pairs.assign(predicted=predict_psnr(pairs)).dropna(subset="predicted")
    rows = []
    for key, group in pairs.groupby(GROUP, dropna=False):
        seeds = group.groupby("seed")[["psnr", "predicted"]].mean()
        miss, low, high = t_interval(seeds["psnr"] - seeds["predicted"])
        by_image = (group["psnr"] - group["predicted"]).groupby(group["image"]).mean().sort_values()
        measured, predicted = seeds.mean()
        ends = [f"{signed(by_image[image])} on {image}" for image in by_image.index[[0, -1]]]
        rows.append([*key, len(seeds), measured, predicted, miss, low, high, " to ".join(dict.fromkeys(ends))])
    table = pd.DataFrame(rows, columns=[*GROUP, "n", "measured", "predicted", "miss", "low", "high", "by_image"])
    steps = pick(run.cells, status="done").groupby("settings")["steps"].max()
    table["steps"] = table["settings"].map(steps).astype(int)
    table["minimiser"] = [LOSSES[loss].minimiser for loss in table["loss"]]
    table["bound"] = table["loss"].map(BOUND_DB).fillna(CLOSE_DB).astype(float)
    table["within"] = table["miss"].abs() <= table["bound"]
    table = table.sort_values("miss", key=lambda miss: -miss.abs(), kind="stable", ignore_index=True)
    causes = [_cause(row, table) for _, row in table.iterrows()]
    return table.assign(cause=[cause for cause, _ in causes], why=[why for _, why in causes])


def _cause(row: pd.Series, table: pd.DataFrame) -> tuple[str, str]:
    """The cause of a miss, and the evidence for it; the first of these that applies.

    `may be chance`: the interval over seeds covers 0. `training`: the miss is at most half as large if the same cells
    are trained longer, or for another loss or head with the same formula; so the formula holds, and the training was
    too short. `formula`: there are such cells, and they miss by more than half as much; the formula is incomplete.
    `cannot tell`: the run has no such cells.
    """
    if not np.isnan(row["low"]) and row["low"] <= 0 <= row["high"]:
        return CHANCE, f"{row['n']} seeds scatter from {signed(row['low'])} to {signed(row['high'])} dB"
    halved = table["miss"].abs() <= abs(row["miss"]) / 2
    longer = pick(table[halved & (table["steps"] > row["steps"])], **row[SAME_CELLS])
    if len(longer):
        last = longer.sort_values("steps").iloc[-1]
        return TRAINING, f"after {last['steps']} steps instead of {row['steps']} it is {signed(last['miss'])} dB"
    others = pick(table, **row[SAME_FORMULA])
    others = others[others[["loss", "head"]].ne(row[["loss", "head"]]).any(axis=1)]
    better = others[halved[others.index]]
    if len(better):
        best = better.iloc[-1]  # the table is sorted: this is the smallest miss
        return TRAINING, f"the same formula is {signed(best['miss'])} dB off for {arm_name(best['loss'], best['head'])}"
    checks = [arm_name(loss, head) for loss, head in arms_of(others)]
    checks += [f"{steps:.0f} steps" for steps in _steady(row, table)]
    if checks:
        named = ", ".join(checks)
        return FORMULA, f"beyond the scatter of seeds, and with {named} the miss is more than half as large"
    return (
        OPEN,
        f"beyond the scatter of seeds, and nothing else in the run tests it; by test image {row['by_image']} dB",
    )


def _steady(row: pd.Series, table: pd.DataFrame) -> list[int]:
    """The other numbers of steps of the same cells for which more training did not halve the miss."""
    same_cells = pick(table, **row[SAME_CELLS])
    longer, shorter = (same_cells[same_cells["steps"] > row["steps"]], same_cells[same_cells["steps"] < row["steps"]])
    unimproved = shorter[abs(row["miss"]) > shorter["miss"].abs() / 2]
    return sorted({*longer["steps"], *unimproved["steps"]})


def predictions(run: Run) -> pd.DataFrame:
    """Every group of seeds with a predicted PSNR, largest miss first; `miss` = measured - predicted.

    The PSNR is the one that judges the task. If groups differ only in the settings of the task, such as the number of
    steps, the group with the most seeds is kept.
    """
    of_task = [pick(summary_of(run), task=task, metric=metric) for task, metric in MAIN_PSNR.items()]
    rows = pd.concat(of_task).dropna(subset="predicted")
    rows = rows.sort_values(["n", "settings"], ascending=[False, True], kind="stable")
    rows = rows.drop_duplicates([column for column in GROUP if column != "settings"])
    rows = rows.assign(miss=rows["mean"] - rows["predicted"])
    return rows.sort_values("miss", key=lambda miss: -miss.abs(), kind="stable", ignore_index=True)


def equilibrium(task: str, loss: str, head: str, outlier: str, rate: float) -> float:
    """d_loss under the best discriminator with a perfect generator; NaN without a closed form."""
    clean_d_loss = equilibrium_d_loss(loss, head)
    if clean_d_loss is None:
        return np.nan
    if task != "location" or outlier == CLEAN:  # a perfect generator copies outliers; label flips do not move it
        return clean_d_loss
    distance = outlier_distance(outlier)
    if distance is None or loss not in equilibria.D_LOSS:
        return np.nan
    return equilibria.equilibrium_d_loss(loss, equilibria.contaminated_location(rate, distance))


def outlier_distance(outlier: str) -> float | None:
    """Distance between the means of samples and outliers of the location GAN; None if samples are not corrupted."""
    kind = OUTLIERS.get(outlier)
    return kind.mean * GaussianSamples.dimension**0.5 if kind and kind.corrupts == "sample" else None


def location_bias(loss: str, head: str, outlier: str, rate: float) -> float:
    """The predicted bias of the location GAN from outliers that overlap the samples; NaN without a closed form."""
    distance = outlier_distance(outlier)
    if distance is None or rate >= 0.5 or loss not in equilibria.ADVERSARIAL or equilibrium_d_loss(loss, head) is None:
        return np.nan
    return equilibria.location_bias(loss, rate, distance)
