"""Why does a prediction miss? Each miss of theory in a reconstruction: chance, training, a wrong formula, or unknown?

A prediction has three ways to be off: the seeds scatter, training has not reached the minimiser that theory speaks of,
or the formula is wrong. The run itself tells them apart: by an interval over seeds, by the same cells trained otherwise
long, and by the other losses and heads that the same formula speaks of. Where it has none of these, it cannot tell.
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

CLOSE_DB = 0.7  # how near a prediction is promised to come, science.md section 5, of super-resolution ...
BOUND_DB = {"bce": 2.0}  # ... and for these losses, of which less is promised
RATE_BOUND = 0.5  # the promise is made below it
CHANCE, TRAINING, FORMULA, OPEN = "may be chance", "training", "formula", "cannot tell"

SAME_CELLS = [column for column in GROUP if column != "settings"]  # but for their steps
SAME_FORMULA = ["task", "dataset", "outlier", "rate", "scale", "redraw", "minimiser"]


def misses(run: Run) -> pd.DataFrame:
    """Every predicted group of seeds at a rate below one half, the largest miss first.

    Columns: those that name a group in summary.csv; `steps`; `minimiser` of the loss; `n` seeds; `measured` and
    `predicted`, the mean of the task's main PSNR in dB; `miss`, measured minus predicted, with its 95 % interval `low`,
    `high` over seeds (NaN with one seed); `by_image`, its ends over test images in words; `bound`; `within`, whether
    the miss is inside it; `cause` and `why` (see `_cause`).
    """
    references = pick(run.cells, role="reference") if run.references is None else run.references
    pairs = main_psnr_pairs(pick(run.cells, role="report"), run.images, references)
    pairs = pairs[pairs["rate"] < RATE_BOUND]
    pairs = pairs.assign(predicted=predict_psnr(pairs)).dropna(subset="predicted")
    rows = []
    for key, here in pairs.groupby(GROUP, dropna=False):
        seeds = here.groupby("seed")[["psnr", "predicted"]].mean()
        miss, low, high = t_interval(seeds["psnr"] - seeds["predicted"])
        by_image = (here["psnr"] - here["predicted"]).groupby(here["image"]).mean().sort_values()
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
    """What a miss comes from, and how the run knows; the first of these that applies.

    `may be chance`: its interval over seeds covers 0, so these seeds cannot tell it from none. `training`: it is
    halved, at least, where the same cells were trained longer, or for another loss or head that the same formula speaks
    of; so not the formula is off, but how far this one was trained. `formula`: there are such cells, and they miss by
    more than half as much; it leaves something out. `cannot tell`: the run has no such cells.
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
        best = better.iloc[-1]  # sorted: the smallest miss
        return TRAINING, f"the same formula is {signed(best['miss'])} dB off for {arm_name(best['loss'], best['head'])}"
    tests = [arm_name(loss, head) for loss, head in arms_of(others)]
    tests += [f"{steps:.0f} steps" for steps in _steady(row, table)]
    if tests:
        named = ", ".join(tests)
        return FORMULA, f"beyond the scatter of seeds, and with {named} the miss is more than half as large"
    return (
        OPEN,
        f"beyond the scatter of seeds, and nothing else in the run tests it; by test image {row['by_image']} dB",
    )


def _steady(row: pd.Series, table: pd.DataFrame) -> list[int]:
    """For how many other steps the same cells were trained without halving the miss from fewer steps to more."""
    same = pick(table, **row[SAME_CELLS])
    longer, shorter = (same[same["steps"] > row["steps"]], same[same["steps"] < row["steps"]])
    still = shorter[abs(row["miss"]) > shorter["miss"].abs() / 2]
    return sorted({*longer["steps"], *still["steps"]})


def predictions(run: Run) -> pd.DataFrame:
    """Every group of seeds whose PSNR theory predicts, the largest miss first; `miss` = measured - predicted.

    Of each reconstruction task the PSNR by which it is judged.

    Of groups that differ in their task's settings alone, as in how long they were trained, the one with most seeds.
    """
    of_task = [pick(summary_of(run), task=task, metric=metric) for task, metric in MAIN_PSNR.items()]
    rows = pd.concat(of_task).dropna(subset="predicted")
    rows = rows.sort_values(["n", "settings"], ascending=[False, True], kind="stable")
    rows = rows.drop_duplicates([column for column in GROUP if column != "settings"])
    rows = rows.assign(miss=rows["mean"] - rows["predicted"])
    return rows.sort_values("miss", key=lambda miss: -miss.abs(), kind="stable", ignore_index=True)


def equilibrium(task: str, loss: str, head: str, outlier: str, rate: float) -> float:
    """d_loss under the best discriminator with a perfect generator; NaN where there is no closed form."""
    known = equilibrium_d_loss(loss, head)
    if known is None:
        return np.nan
    if task != "location" or outlier == CLEAN:  # a perfect generator models outliers as well; flips leave it in place
        return known
    distance = outlier_distance(outlier)
    if distance is None or loss not in equilibria.D_LOSS:
        return np.nan
    return equilibria.equilibrium_d_loss(loss, equilibria.contaminated_location(rate, distance))


def outlier_distance(outlier: str) -> float | None:
    """Between the means of samples and outliers of the location GAN; None for what corrupts no samples."""
    kind = OUTLIERS.get(outlier)
    return kind.mean * GaussianSamples.dimension**0.5 if kind and kind.corrupts == "sample" else None


def location_bias(loss: str, head: str, outlier: str, rate: float) -> float:
    """How far outliers that can be mistaken for samples pull the location GAN, in theory; NaN without a closed form."""
    distance = outlier_distance(outlier)
    if distance is None or rate >= 0.5 or loss not in equilibria.ADVERSARIAL or equilibrium_d_loss(loss, head) is None:
        return np.nan
    return equilibria.location_bias(loss, rate, distance)
