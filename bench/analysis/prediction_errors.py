"""Why does a prediction miss the measured PSNR: by chance, by training, by a wrong formula, or for an unknown reason?

A prediction can be wrong for three reasons: the seeds scatter, training has not reached the minimiser that the theory
assumes, or the formula is wrong. The run itself distinguishes them: by the interval over seeds, by the same cells
trained for other numbers of steps, and by other losses and heads with the same formula. Without these, the cause is
unknown.
"""

import numpy as np
import pandas as pd

from bench.analysis.comparison import family_level, t_interval
from bench.analysis.labels import arm_name, signed
from bench.analysis.metrics import MARGIN_DB
from bench.analysis.summary import GROUP, MAIN_PSNR, equilibrium_d_loss, main_psnr_pairs, pick, predict_psnr, summary_of
from bench.store.reader import Run
from ganlab import equilibria
from ganlab.datasets.kinds import GaussianSamples
from ganlab.losses import LOSSES
from ganlab.outliers import CLEAN, OUTLIERS

RATE_BOUND = 0.5  # predictions at rates below it are judged; beyond, a median-seeker's is an approximation
CHANCE, TRAINING, FORMULA, DRAWN, OPEN = "may be chance", "training", "formula", "drawn outliers", "cannot tell"

SAME_CELLS = [column for column in GROUP if column != "settings"]  # equal on these: differ in the number of steps
SAME_FORMULA = ["task", "dataset", "outlier", "rate", "scale", "redraw", "minimiser"]


def misses(run: Run) -> pd.DataFrame:
    """Every predicted group of seeds at a rate below one half, sorted by the size of the miss, largest first.

    Columns: those that identify a group in summary.csv; `steps`; `minimiser` of the loss; `n`, the number of seeds;
    `measured` and `predicted`, the mean of the task's main PSNR in dB; `miss`, measured minus predicted, with its 95 %
    interval `low`, `high` over seeds (NaN for one seed); `by_seed`, the miss of each seed; `by_image`, the smallest and
    largest miss over test images, in words; `by_reference`, whether an expected-loss run predicts it; `within`, whether
    the miss is at most the margin that matters; `cause` and `why` (see `_cause`).
    """
    references = pick(run.cells, role="reference") if run.references is None else run.references
    pairs = main_psnr_pairs(pick(run.cells, role="report"), run.images, references)
    pairs = pairs[pairs["rate"] < RATE_BOUND]
    pairs = pairs.assign(predicted=predict_psnr(pairs)).dropna(subset="predicted")
    rows = []
    for key, group in pairs.groupby(GROUP, dropna=False):
        seeds = group.groupby("seed")[["psnr", "predicted"]].mean()
        by_seed = (seeds["psnr"] - seeds["predicted"]).to_numpy(float)
        miss, low, high = t_interval(by_seed)
        by_image = (group["psnr"] - group["predicted"]).groupby(group["image"]).mean().sort_values()
        measured, predicted = seeds.mean()
        ends = [f"{signed(by_image[image])} on {image}" for image in by_image.index[[0, -1]]]
        by_image_text, by_reference = (
            " to ".join(dict.fromkeys(ends)),
            bool((group["predicted"] == group["expected"]).all()),
        )
        rows.append([*key, len(seeds), measured, predicted, miss, low, high, by_seed, by_image_text, by_reference])
    columns = [*GROUP, "n", "measured", "predicted", "miss", "low", "high", "by_seed", "by_image", "by_reference"]
    table = pd.DataFrame(rows, columns=columns)
    steps = pick(run.cells, status="done").groupby("settings")["steps"].max()
    table["by_reference"] = table["by_reference"].astype(bool)
    table["steps"] = table["settings"].map(steps).astype(int)
    table["minimiser"] = [LOSSES[loss].minimiser if loss in LOSSES else None for loss in table["loss"]]
    table["within"] = table["miss"].abs() <= MARGIN_DB
    table = table.sort_values("miss", key=lambda miss: -miss.abs(), kind="stable", ignore_index=True)
    causes = [_cause(row, table) for _, row in table.iterrows()]
    return table.assign(cause=[cause for cause, _ in causes], why=[why for _, why in causes])


def _cause(row: pd.Series, table: pd.DataFrame) -> tuple[str, str]:
    """The cause of a miss, and the evidence for it; the first of these that applies.

    `may be chance`: the interval over seeds covers 0. `drawn outliers`: the prediction is that of an expected-loss run,
    which has the same minimiser, steps, and seeds: it assumes no formula, and differs in the drawn outliers alone.
    `training`: the same cells trained longer, or another loss or
    head with the same formula, are shown to miss by at most half as much; so the formula holds, and the training was
    too short. `formula`: there are such cells, and each is shown to miss by more than half as much; the formula is
    incomplete. `cannot tell`: the run has no such cells, or their intervals decide nothing.

    The intervals of all such cells hold together at 95 %, since the best of them would be taken otherwise.
    """
    if not np.isnan(row["low"]) and row["low"] <= 0 <= row["high"]:
        return CHANCE, f"{row['n']} seeds scatter from {signed(row['low'])} to {signed(row['high'])} dB"
    if row["by_reference"]:
        return DRAWN, "the expected loss has the same minimiser, and was trained for the same steps"
    table = table[~table["by_reference"]]
    same_cells = pick(table, **row[SAME_CELLS])
    same_formula = pick(table, **row[SAME_FORMULA]) if row["minimiser"] else table[:0]
    longer = same_cells[same_cells["steps"] > row["steps"]].sort_values("steps", ascending=False)
    others = same_formula[same_formula[["loss", "head"]].ne(row[["loss", "head"]]).any(axis=1)]
    if longer.empty and others.empty:
        by_image = row["by_image"]
        return OPEN, f"beyond the scatter of seeds, and nothing else in the run tests it; by test image {by_image} dB"
    level, half = family_level(len(longer) + len(others)), abs(row["miss"]) / 2
    shown_worse = []
    for other in (*(one for _, one in longer.iterrows()), *(one for _, one in others.iterrows())):
        _, low, high = t_interval(other["by_seed"], level)
        is_longer = other["steps"] > row["steps"] and other["loss"] == row["loss"]
        name = f"{other['steps']} steps" if is_longer else arm_name(other["loss"], other["head"])
        if max(-low, high) <= half:
            what = f"after {name} instead of {row['steps']} it is" if is_longer else "the same formula is"
            rest = "" if is_longer else f" off for {name}"
            return TRAINING, f"{what} {signed(other['miss'])} dB ({signed(low)} to {signed(high)}){rest}"
        shown_worse += [name] if low > half or high < -half else []
    if len(shown_worse) == len(longer) + len(others):
        return FORMULA, f"beyond the scatter of seeds, and with {', '.join(shown_worse)} the miss is over half as large"
    return OPEN, "beyond the scatter of seeds, and the intervals of what could tell decide nothing"


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
