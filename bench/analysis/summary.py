"""What are the means, intervals, paired differences, and predictions over seeds?

All functions take data frames with the columns of the contract and read no files. A cell that is not done is counted
(`n` against `n_done`) but its values are never filled in; the order of input rows does not matter.
"""

from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bench.analysis.comparison import LEVEL, Interval, critical_value
from bench.store.reader import Run
from bench.store.schema import MEASURED_COLUMNS, SETTING_COLUMNS
from ganlab import theory
from ganlab.losses import LOSSES, find_shipped
from ganlab.outliers import CLEAN, OUTLIERS

SUMMARY_KEYS = ["task", "dataset", "loss", "head", "outlier", "rate", "schedule", "optimizer", "lr"]
FINER_KEYS = ["scale", "value_range", "batch_size", "precision", "redraw", "settings"]  # further columns of summary.csv
GROUP = [*SUMMARY_KEYS, *FINER_KEYS]  # cells of a group differ in the seed alone
CONDITION = ["outlier", "rate"]
ARM = ["loss", "head"]  # the compared columns; all others are held equal
EXCESS_SHARE = "excess_outlier_share"  # a metric of summary.csv
PREDICTED_METRICS = {"psnr_db": "pull_mse", "psnr_y_db": "pull_mse_y"}
CLIPPED_METRICS = {"psnr_db": "clipping_mse", "psnr_y_db": "clipping_mse_y"}
CROSS_METRICS = {"psnr_db": ("cross_black", "cross_white"), "psnr_y_db": ("cross_black_y", "cross_white_y")}
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


def comparable(run: Run) -> Run:
    """The run as most figures and findings use it: each loss at its main setting, references apart."""
    cells = main_cells(run.cells)
    references = run.cells[run.cells["role"] == "reference"]
    return replace(run, cells=cells, timing=run.timing[run.timing["loss"].isin(cells["loss"])], references=references)


def with_clean_psnr(
    cells: pd.DataFrame, images: pd.DataFrame, metric: str = "psnr_y_db", references: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The test images of each done cell, paired with the same image after clean training of the same seed.

    Args:
        cells: the compared cells.
        images: images.csv.
        metric: which PSNR.
        references: cells of role `reference` with `expected`: trained on clean targets with the loss averaged over the
            outliers.

    Returns:
        One row per (corrupted cell, image): the cell's settings, `fold` (see `fold_of`), image, the metric, `clean`
        (the metric after clean training), `pull` (e^2 mean((x - mu)^2)), `clipping` (the error of a median-seeker at
        rates beyond 1/2; NaN in runs of earlier versions), `cross` (mean((f - x) (mu - x)) of the clean prediction f;
        NaN where it was not measured), and `expected` (the metric of the expected-loss reference of this cell, or NaN).
        Rows without a clean partner are dropped.
    """
    done = cells.loc[cells["status"] == "done", ["cell_id", *GROUP, "seed"]]
    done = done.assign(fold=fold_of(done["cell_id"], images))
    new_names = {PREDICTED_METRICS[metric]: "pull", CLIPPED_METRICS[metric]: "clipping"}
    ends = list(CROSS_METRICS[metric])
    rows = done.merge(images[["cell_id", "image", metric, *new_names, *ends]], on="cell_id").rename(columns=new_names)
    partner = [column for column in GROUP if column not in (*CONDITION, "redraw")] + ["seed", "image"]
    is_clean = rows["outlier"] == CLEAN
    clean = rows.loc[is_clean, [*partner, metric, *ends]].rename(columns={metric: "clean"}).drop_duplicates(partner)
    pairs = rows[~is_clean].drop(columns=ends).merge(clean, on=partner)
    means = pairs["outlier"].map(_mean_level).astype(float)
    means = (16 + 219 * means) / 255 if metric == "psnr_y_db" else means
    pairs["cross"] = theory.cross_at(means, *(pairs[end].astype(float) for end in ends))
    return pairs.drop(columns=ends).assign(expected=_expected_psnr(pairs, images, metric, references))


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


def _mean_level(outlier: str) -> float:
    """The mean of a corrupted pixel; NaN if it is none, or differs between channels."""
    mean = OUTLIERS[outlier].mean if outlier in OUTLIERS else None
    return mean if isinstance(mean, float) else np.nan


def _expected_psnr(
    pairs: pd.DataFrame, images: pd.DataFrame, metric: str, references: pd.DataFrame | None
) -> pd.Series | float:
    """The metric of the expected-loss reference of each pair: equal settings, seed, and image."""
    if references is None or references.empty or pairs.empty:
        return np.nan
    keys = [column for column in GROUP if column not in ("lr", "redraw")] + ["seed", "image"]
    runs = references[(references["status"] == "done") & (references["expected"] == 1)]
    runs = runs.drop(columns=list(PREDICTED_METRICS), errors="ignore")
    runs = runs.merge(images[["cell_id", "image", metric]], on="cell_id").rename(columns={metric: "expected_psnr"})
    found = pairs.merge(runs[[*keys, "expected_psnr"]].drop_duplicates(keys), on=keys, how="left")
    return found["expected_psnr"].set_axis(pairs.index)


def predict_psnr(pairs: pd.DataFrame) -> pd.Series:
    """Predicted PSNR in dB of each row of `with_clean_psnr`; NaN without a prediction.

    The closed form where there is one for the loss, else the expected-loss reference. Without a reference a
    median-seeker has approximations: outliers to both sides at rates below one half do not move the median of a pixel
    that the input determines, so it keeps the clean result, but for what the input leaves undetermined; beyond one
    half, most outliers clip the median (`theory.clipping_mse`).
    """
    predicted = pairs["expected"].astype(float)
    for (loss, outlier), rows in pairs.groupby(["loss", "outlier"]):
        if loss in LOSSES and LOSSES[loss].minimiser == "median" and outlier not in theory.SYMMETRIC:
            beyond_half = pd.Series(theory.with_error_db(rows["clean"], rows["clipping"]), index=rows.index)
            below_half = np.nan if one_sided_at(outlier) is not None else rows["clean"]
            approximate = beyond_half.where(rows["rate"] > 1 / 2, below_half)
            predicted[rows.index] = rows["expected"].fillna(approximate)
        elif theory.predicts_psnr(loss, outlier):
            predicted[rows.index] = theory.psnr_db(
                loss, outlier, rows["clean"], rows["rate"], rows["pull"], rows["cross"]
            )
    return predicted


def predicted_curve(pairs: pd.DataFrame, rates: ArrayLike) -> np.ndarray:
    """Predicted PSNR in dB over `rates`, for the pairs of a single loss, head, and outlier kind.

    The pull of an image grows as rate^2, so a single measured rate gives it at every rate; the highest is used. Images
    are averaged per seed, then seeds, then folds, as in `summarise`.
    """
    loss, outlier = pairs["loss"].iloc[0], pairs["outlier"].iloc[0]
    top = pairs[pairs["rate"] == pairs["rate"].max()]
    rates = np.asarray(rates, float)
    clean, pull, cross = (top[column].to_numpy(float)[:, None] for column in ("clean", "pull", "cross"))
    curves = theory.psnr_db(loss, outlier, clean, rates, pull * (rates / top["rate"].iloc[0]) ** 2, cross)
    by_seed = pd.DataFrame(curves).groupby([top[column].to_numpy() for column in ("fold", "seed")]).mean()
    return by_seed.groupby(level=0).mean().mean().to_numpy()


SUMMARIES: WeakKeyDictionary[Run, pd.DataFrame] = WeakKeyDictionary()  # shared by the tables and figures of a report


def summary_of(run: Run) -> pd.DataFrame:
    """`summarise` of a run's cells and images, computed once."""
    if run not in SUMMARIES:
        SUMMARIES[run] = summarise(run.cells, run.images, run.references)
    return SUMMARIES[run]


def summarise(cells: pd.DataFrame, images: pd.DataFrame, references: pd.DataFrame | None = None) -> pd.DataFrame:
    """`summary.csv`: one row per group of seeds and numeric read-out, with its t interval and its prediction.

    n counts the declared seeds of a group, n_done the finished ones. Mean and interval are over the finished seeds, by
    fold where the split turns with the seed (`with_intervals`). The prediction of a PSNR is the closed form, per image
    and seed from the clean cells of the same loss and head, or the expected-loss run among `references` (cells of role
    `reference`; None means those among `cells`). The prediction of d_loss is its equilibrium; that of
    `excess_outlier_share` (see there) is the outlier rate. Rows are sorted.
    """
    report = cells[cells["role"] == "report"]
    references = cells[cells["role"] == "reference"] if references is None else references
    readouts = [*sorted(c for c in cells.select_dtypes("number").columns if c not in NOT_READOUTS), EXCESS_SHARE]
    declared = report.groupby(GROUP, dropna=False).size().rename("n")
    done = report[report["status"] == "done"].sort_values([*GROUP, "seed"], kind="stable")
    done = done.assign(**{EXCESS_SHARE: excess_outlier_share(done), "fold": fold_of(done["cell_id"], images)})
    n_done = done.groupby(GROUP, dropna=False).size().rename("n_done")
    counts = pd.concat([declared, n_done], axis=1).fillna({"n_done": 0}).astype(int).reset_index()

    long = done.melt([*GROUP, "seed", "fold"], readouts, "metric", "value").dropna(subset="value")
    means = with_intervals(long, [*GROUP, "metric"]).drop(columns="count")
    summary = counts.merge(means, on=GROUP).merge(
        _predictions(report, images, counts, references), on=[*GROUP, "metric"], how="left"
    )
    columns = [*SUMMARY_KEYS, "n", "n_done", "metric", "mean", "ci_low", "ci_high", "predicted", *FINER_KEYS]
    return summary.sort_values([*GROUP, "metric"], kind="stable", ignore_index=True)[columns]


def excess_outlier_share(done: pd.DataFrame) -> pd.Series:
    """(s - s0) / (1 - s0), from the `outlier_share` s of a contaminated GAN and s0 of its clean partner.

    The classifier mistakes a share s0 of the samples of an imperfect generator for outliers even after clean training.
    If a share e of the samples are outliers, s = e + (1 - e) s0. Partners differ in the condition alone; NaN without a
    partner. science.md section 6.
    """
    if "outlier_share" not in done:
        return pd.Series(np.nan, index=done.index)
    partner = [column for column in GROUP if column not in CONDITION] + ["seed"]
    clean = done.loc[done["outlier"] == CLEAN, [*partner, "outlier_share"]].drop_duplicates(partner)
    clean_share = done[partner].merge(clean, on=partner, how="left")["outlier_share"].set_axis(done.index)
    share = (done["outlier_share"] - clean_share) / (1 - clean_share).where(clean_share < 1)
    return share.where(done["outlier"] != CLEAN)


def _predictions(
    cells: pd.DataFrame, images: pd.DataFrame, groups: pd.DataFrame, references: pd.DataFrame
) -> pd.DataFrame:
    """The predictions of all groups and metrics that have one: columns of GROUP, metric, predicted."""
    parts = []
    for metric in PREDICTED_METRICS:
        pairs = with_clean_psnr(cells, images, metric, references)
        pairs = pairs.assign(predicted=predict_psnr(pairs)).dropna(subset="predicted")
        for finer in (["fold", "seed"], ["fold"], []):  # images are averaged per seed, seeds per fold, then folds
            pairs = pairs.groupby([*GROUP, *finer], dropna=False)["predicted"].mean().reset_index()
        parts.append(pairs.assign(metric=metric))
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
    return with_intervals(points.assign(fold=0), [*GROUP, "step"]).rename(columns={"count": "n"})


def fold_of(cell_ids: pd.Series, images: pd.DataFrame) -> pd.Series:
    """The fold of each cell: a number for the set of images that it tested, 0 for cells without images.

    Where the split turns with the seed (`ganlab.datasets.kinds.Split`), the seeds of a fold test the same images.
    """
    images = images[images["cell_id"].isin(set(cell_ids))]
    tested = images.groupby("cell_id")["image"].agg(lambda names: "\n".join(sorted(names))).to_dict()
    sets = [tested.get(cell_id, "") for cell_id in cell_ids]
    return pd.Series(pd.factorize(np.array(sets, object), sort=True)[0], index=cell_ids.index)


def with_intervals(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The mean of `value` over seeds for each group, with its 95 % interval over seeds, for the images tested.

    The mean is that of the means of the folds, so it weighs images alike, however many seeds tested them. A seed varies
    about the mean of its fold: how far photographs differ from each other is not uncertainty about their mean.

    Args:
        rows: a row per seed, with `value` and `fold`; one fold unless the split turns with the seed.
        keys: the columns that define a group.

    Returns:
        `keys`, mean, ci_low, ci_high, and count, the number of seeds. The interval is NaN if no fold has two seeds.
    """
    folds = rows.groupby([*keys, "fold"], dropna=False)["value"].agg(["mean", "var", "count"]).reset_index()
    folds = folds.assign(squares=(folds["count"] - 1) * folds["var"].fillna(0), inverse=1 / folds["count"])
    sums = {"mean": "mean", "count": "sum", "squares": "sum", "inverse": "sum", "fold": "count"}
    groups = folds.groupby(keys, dropna=False).agg(sums).reset_index()
    freedom = groups["count"] - groups["fold"]
    variance = groups["squares"] / freedom.where(freedom > 0)  # pooled
    half = critical_value(freedom + 1, LEVEL) * np.sqrt(variance * groups["inverse"]) / groups["fold"]
    groups = groups.assign(ci_low=groups["mean"] - half, ci_high=groups["mean"] + half)
    return groups[[*keys, "mean", "count", "ci_low", "ci_high"]]


def seeds_interval(values: pd.Series, folds: pd.Series) -> Interval:
    """`with_intervals` of a single group: the values of seeds and their folds; NaN without values."""
    if values.empty:
        return Interval(np.nan, np.nan, np.nan)
    row = with_intervals(pd.DataFrame({"group": 0, "value": values, "fold": folds}), ["group"]).iloc[0]
    return Interval(*(float(row[column]) for column in ("mean", "ci_low", "ci_high")))
