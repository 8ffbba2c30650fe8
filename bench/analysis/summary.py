"""What are the means, intervals, paired differences, and predictions over seeds?

All functions take data frames with the columns of the contract and read no files. A cell that is not done is counted
(`n` against `n_done`) but its values are never filled in; the order of input rows does not matter.
"""

from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bench.analysis.comparison import LEVEL, half_width
from bench.store.reader import Run
from bench.store.schema import MEASURED_COLUMNS, SETTING_COLUMNS
from ganlab import theory
from ganlab.losses import LOSSES, PINBALL, find_shipped
from ganlab.outliers import CLEAN, OUTLIERS

SUMMARY_KEYS = ["task", "dataset", "loss", "head", "outlier", "rate", "schedule", "optimizer", "lr"]
FINER_KEYS = ["scale", "value_range", "batch_size", "precision", "redraw", "settings"]  # further columns of summary.csv
GROUP = [*SUMMARY_KEYS, *FINER_KEYS]  # cells of a group differ in the seed alone
CONDITION = ["outlier", "rate"]
ARM = ["loss", "head"]  # the compared columns; all others are held equal
EXCESS_SHARE = "excess_outlier_share"  # a metric of summary.csv
PREDICTED_METRICS = {"psnr_db": "pull_mse", "psnr_y_db": "pull_mse_y"}
CLIPPED_METRICS = {"psnr_db": "clipping_mse", "psnr_y_db": "clipping_mse_y"}
# Reconstruction tasks, in the order of the report, and the PSNR that judges each.
MAIN_PSNR = {"sr": "psnr_y_db", "depth": "psnr_db", "interpolation": "psnr_y_db", "restoration": "psnr_y_db"}
NOT_READOUTS = {*SETTING_COLUMNS, *MEASURED_COLUMNS, "steps", "cells_sharing_device"}


def paired_difference(cells: pd.DataFrame, metric: str, a: dict, b: dict) -> pd.Series:
    """Differences `a` - `b` of a metric, one for each seed that both sides have done.

    Args:
        cells: cells of one condition (rows of `cells.csv`).
        metric: a read-out column.
        a, b: the column values that select each side, such as {"loss": "l1", "head": "raw"}.

    Raises:
        ValueError: a seed occurs twice on one side, so the pairing would be ambiguous.
    """
    return _by_seed(cells, metric, a).sub(_by_seed(cells, metric, b)).dropna().rename(metric)


def _by_seed(cells: pd.DataFrame, metric: str, where: dict) -> pd.Series:
    chosen = pick(cells, status="done", **where)
    if chosen["seed"].duplicated().any():
        raise ValueError(f"{where} does not single out one cell per seed; name a condition, learning rate, or schedule")
    return chosen.set_index("seed")[metric].sort_index()


def paired_ratio(timing: pd.DataFrame, a: dict, b: dict, phase: str = "step") -> pd.Series:
    """Ratios `a` / `b` of the time of a phase, one for each timing round that both have (machine drift cancels)."""
    rounds = [pick(timing, phase=phase, **side).groupby("round")["ms"].median() for side in (a, b)]
    return rounds[0].div(rounds[1]).dropna()


def pick(frame: pd.DataFrame, **where: object) -> pd.DataFrame:
    """The rows whose columns equal the given values; NaN (an empty cell) equals NaN."""
    keep = np.ones(len(frame), bool)
    for column, value in where.items():
        keep &= (frame[column].isna() if pd.isna(value) else frame[column] == value).to_numpy(bool)
    return frame[keep]


def main_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """The comparable reported cells: for each loss and head, those of its main training setting.

    A suite may also vary the schedule, optimizer, learning rate, or value range of a loss. A mixture of these would not
    be comparable; the other cells stay in `summary.csv`. The main setting is the one in which the loss and head was
    trained under the most conditions; ties go to the setting that more losses and conditions share, then to the one
    with more cells. So it does not depend on how many seeds a question needed. Each condition and seed keeps its
    longest-trained cell.
    """
    setting = ["schedule", "optimizer", "lr", "value_range", "batch_size", "precision", "redraw", "settings"]
    arm = ["task", "dataset", "scale", *ARM]
    report = cells[cells["role"] == "report"]
    place = ["task", "dataset", "scale", *setting]
    conditions = report.drop_duplicates([*arm, *CONDITION, *setting])
    counts = report.groupby([*arm, *setting], dropna=False).size().rename("cells").reset_index()
    for name, keys in (("own", [*arm, *setting]), ("shared", place)):
        counts = counts.merge(conditions.groupby(keys, dropna=False).size().rename(name).reset_index(), on=keys)
    most_first = ["own", "shared", "cells"]
    ranked = counts.sort_values(
        [*most_first, *setting], ascending=[*[False] * len(most_first), *[True] * len(setting)], kind="stable"
    )
    chosen = ranked.drop_duplicates(arm)[[*arm, *setting]]
    cells = report.merge(chosen, on=[*arm, *setting]).sort_values("steps", ascending=False, kind="stable")
    return cells.drop_duplicates([*arm, *CONDITION, "seed"]).sort_values([*GROUP, "seed"], ignore_index=True)


def with_clean_psnr(
    cells: pd.DataFrame, images: pd.DataFrame, metric: str = "psnr_y_db", references: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The test images of each done cell, paired with the same image after clean training of the same seed.

    Args:
        cells: the compared cells.
        images: images.csv.
        metric: which PSNR.
        references: cells of role `reference`: pinball losses trained on clean targets, which predict L1 under salt.

    Returns:
        One row per (corrupted cell, image): the cell's settings, image, the metric, `clean` (the metric after clean
        training), `pull` (e^2 mean((x - mu)^2)), `clipping` (the error of a median-seeker at rates beyond 1/2; NaN in
        runs of earlier versions), and `quantile` (the metric of the pinball run at the quantile that L1 seeks, or NaN).
        Rows without a clean partner are dropped.
    """
    done = cells.loc[cells["status"] == "done", ["cell_id", *GROUP, "seed"]]
    new_names = {PREDICTED_METRICS[metric]: "pull", CLIPPED_METRICS[metric]: "clipping"}
    rows = done.merge(images[["cell_id", "image", metric, *new_names]], on="cell_id").rename(columns=new_names)
    partner = [column for column in GROUP if column not in (*CONDITION, "redraw")] + ["seed", "image"]
    is_clean = rows["outlier"] == CLEAN
    clean = rows.loc[is_clean, [*partner, metric]].rename(columns={metric: "clean"}).drop_duplicates(partner)
    pairs = rows[~is_clean].merge(clean, on=partner)
    return pairs.assign(quantile=_quantile_psnr(pairs, images, metric, references))


def main_psnr_pairs(cells: pd.DataFrame, images: pd.DataFrame, references: pd.DataFrame | None = None) -> pd.DataFrame:
    """`with_clean_psnr` for every reconstruction task; the column `psnr` is the main PSNR of the task."""
    parts = []
    for task, metric in MAIN_PSNR.items():
        pairs = with_clean_psnr(pick(cells, task=task), images, metric, references)
        parts.append(pairs.rename(columns={metric: "psnr"}))
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def one_sided_at(outlier: str) -> float | None:
    """0 or 1 if all outliers of a kind have that value (black or white pixels); else None."""
    mean = OUTLIERS[outlier].mean if outlier in OUTLIERS and OUTLIERS[outlier].corrupts == "target" else None
    return mean if mean in (0.0, 1.0) else None


def _quantile_psnr(
    pairs: pd.DataFrame, images: pd.DataFrame, metric: str, references: pd.DataFrame | None
) -> pd.Series | float:
    """The metric of the pinball run whose quantile L1 seeks under one-sided outliers at each rate, seed, and image.

    If all outliers are 1 (salt), the quantile is `theory.salt_quantile`; if all are 0 (missing disparity), 1 minus it.
    """
    if references is None or references.empty or pairs.empty:
        return np.nan
    keys = [column for column in GROUP if column not in ("loss", "lr", *CONDITION, "redraw")] + ["seed", "image", "tau"]
    runs = references[(references["status"] == "done") & references["loss"].str.startswith(PINBALL)]
    runs = runs.drop(columns=list(PREDICTED_METRICS), errors="ignore")
    runs = runs.merge(images[["cell_id", "image", metric]], on="cell_id").rename(columns={metric: "quantile"})
    runs["tau"] = runs["loss"].str.removeprefix(PINBALL).astype(float).round(3)
    tau = pairs["rate"].where(pairs["rate"] < 0.5).map(theory.salt_quantile).round(3)  # NaN at rates from 1/2
    ends = pairs["outlier"].map(one_sided_at).astype(float)
    keyed = pairs.assign(tau=tau.where(ends == 1, 1 - tau).where(ends.notna()).round(3))
    quantile = keyed.merge(runs[[*keys, "quantile"]].drop_duplicates(keys), on=keys, how="left")["quantile"]
    return quantile.set_axis(pairs.index)


def predict_psnr(pairs: pd.DataFrame) -> pd.Series:
    """Predicted PSNR in dB of each row of `with_clean_psnr`; NaN without a closed form.

    For a median-seeker under one-sided outliers, the pinball run is the prediction. Other outliers at rates below one
    half do not move the median of a pixel that the input determines, so the clean result is the prediction; it misses
    by as much as the input leaves the pixel undetermined. Beyond one half, most outliers clip the median
    (`theory.clipping_mse`).
    """
    predicted = pd.Series(np.nan, index=pairs.index)
    for (loss, outlier), rows in pairs.groupby(["loss", "outlier"]):
        if loss in LOSSES and LOSSES[loss].minimiser == "median" and outlier not in theory.SYMMETRIC:
            beyond_half = theory.with_error_db(rows["clean"], rows["clipping"])
            below_half = rows["quantile"] if one_sided_at(outlier) is not None else rows["clean"]
            predicted[rows.index] = below_half.where(rows["rate"] <= 1 / 2, beyond_half)
        elif theory.predicts_psnr(loss, outlier):
            predicted[rows.index] = theory.psnr_db(loss, outlier, rows["clean"], rows["rate"], rows["pull"])
    return predicted


def predicted_curve(pairs: pd.DataFrame, rates: ArrayLike) -> np.ndarray:
    """Predicted PSNR in dB over `rates`, for the pairs of a single loss, head, and outlier kind.

    The pull of an image grows as rate^2, so a single measured rate gives it at every rate; the highest is used. Images
    are averaged per seed, then seeds, as in `summarise`.
    """
    loss, outlier = pairs["loss"].iloc[0], pairs["outlier"].iloc[0]
    top = pairs[pairs["rate"] == pairs["rate"].max()]
    rates = np.asarray(rates, float)
    clean, pull = (top[column].to_numpy(float)[:, None] for column in ("clean", "pull"))
    curves = theory.psnr_db(loss, outlier, clean, rates, pull * (rates / top["rate"].iloc[0]) ** 2)
    return pd.DataFrame(curves).groupby(top["seed"].to_numpy()).mean().mean().to_numpy()


SUMMARIES: WeakKeyDictionary[Run, pd.DataFrame] = WeakKeyDictionary()  # shared by the tables and figures of a report


def summary_of(run: Run) -> pd.DataFrame:
    """`summarise` of a run's cells and images, computed once."""
    if run not in SUMMARIES:
        SUMMARIES[run] = summarise(run.cells, run.images, run.references)
    return SUMMARIES[run]


def summarise(cells: pd.DataFrame, images: pd.DataFrame, references: pd.DataFrame | None = None) -> pd.DataFrame:
    """`summary.csv`: one row per group of seeds and numeric read-out, with its t interval and its prediction.

    n counts the declared seeds of a group, n_done the finished ones; the interval is over the finished seeds. The
    prediction of a PSNR is the closed form, per image and seed from the clean cells of the same loss and head, or the
    pinball run among `references` (cells of role `reference`; None means those among `cells`). The prediction of
    d_loss is its equilibrium. The prediction of `excess_outlier_share` (the share of outliers among generated images
    beyond that of clean training) is the outlier rate. Rows are sorted.
    """
    report = cells[cells["role"] == "report"]
    references = cells[cells["role"] == "reference"] if references is None else references
    readouts = [*sorted(c for c in cells.select_dtypes("number").columns if c not in NOT_READOUTS), EXCESS_SHARE]
    declared = report.groupby(GROUP, dropna=False).size().rename("n")
    done = report[report["status"] == "done"].sort_values([*GROUP, "seed"], kind="stable")
    done = done.assign(**{EXCESS_SHARE: excess_outlier_share(done)})
    n_done = done.groupby(GROUP, dropna=False).size().rename("n_done")
    counts = pd.concat([declared, n_done], axis=1).fillna({"n_done": 0}).astype(int).reset_index()

    long = done.melt([*GROUP, "seed"], readouts, "metric", "value").dropna(subset="value")
    means = _with_intervals(long, [*GROUP, "metric"]).drop(columns="count")
    summary = counts.merge(means, on=GROUP).merge(
        _predictions(report, images, counts, references), on=[*GROUP, "metric"], how="left"
    )
    columns = [*SUMMARY_KEYS, "n", "n_done", "metric", "mean", "ci_low", "ci_high", "predicted", *FINER_KEYS]
    return summary.sort_values([*GROUP, "metric"], kind="stable", ignore_index=True)[columns]


def excess_outlier_share(done: pd.DataFrame) -> pd.Series:
    """`outlier_share` of each contaminated GAN minus that of its clean partner: the effect of the outliers alone.

    The classifier mistakes some samples of an imperfect generator for outliers even after clean training. Partners
    differ in the condition alone; NaN without a partner. science.md section 6.
    """
    if "outlier_share" not in done:
        return pd.Series(np.nan, index=done.index)
    partner = [column for column in GROUP if column not in CONDITION] + ["seed"]
    clean = done.loc[done["outlier"] == CLEAN, [*partner, "outlier_share"]].drop_duplicates(partner)
    clean_share = done[partner].merge(clean, on=partner, how="left")["outlier_share"].set_axis(done.index)
    return (done["outlier_share"] - clean_share).where(done["outlier"] != CLEAN)


def _predictions(
    cells: pd.DataFrame, images: pd.DataFrame, groups: pd.DataFrame, references: pd.DataFrame
) -> pd.DataFrame:
    """The predictions of all groups and metrics that have one: columns of GROUP, metric, predicted."""
    parts = []
    for metric in PREDICTED_METRICS:
        pairs = with_clean_psnr(cells, images, metric, references)
        pairs = pairs.assign(predicted=predict_psnr(pairs)).dropna(subset="predicted")
        by_seed = pairs.groupby([*GROUP, "seed"], dropna=False)["predicted"].mean().reset_index()
        parts.append(by_seed.groupby(GROUP, dropna=False)["predicted"].mean().reset_index().assign(metric=metric))
    gan = groups[groups["task"] == "gan"]
    ends = pd.Series(map(equilibrium_d_loss, gan["loss"], gan["head"]), index=gan.index, dtype=float)
    parts.append(gan[GROUP].assign(metric="d_loss", predicted=ends))
    images_replaced = [kind for kind, outlier in OUTLIERS.items() if outlier.corrupts == "real"]
    real = gan[ends.notna() & gan["outlier"].isin(images_replaced)]
    parts.append(real[GROUP].assign(metric=EXCESS_SHARE, predicted=real["rate"]))  # a flexible generator copies them
    return pd.concat([part for part in parts if len(part)] or parts[:1]).dropna(subset="predicted")


def equilibrium_d_loss(loss: str, head: str) -> float | None:
    """d_loss of a shipped loss under the best discriminator and a perfect generator; None without a closed form."""
    shipped = find_shipped(loss)
    return shipped.equilibrium_d_loss if shipped and head in shipped.heads else None


def curve_intervals(cells: pd.DataFrame, curves: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric over training: a row per group of seeds and step, with mean, ci_low, ci_high, and n (done cells)."""
    done = cells.loc[cells["status"] == "done", ["cell_id", *GROUP]]
    points = curves[curves["metric"] == metric].merge(done, on="cell_id").dropna(subset="value")
    return _with_intervals(points, [*GROUP, "step"]).rename(columns={"count": "n"})


def _with_intervals(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """For each group, the mean of `value`, its t interval (ci_low, ci_high), and the count."""
    groups = rows.groupby(keys, dropna=False)["value"].agg(["mean", "std", "count"]).reset_index()
    half = half_width(groups["std"], groups["count"], LEVEL)
    return groups.assign(ci_low=groups["mean"] - half, ci_high=groups["mean"] + half).drop(columns="std")
