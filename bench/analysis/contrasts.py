"""Which cells does a claim compare, and what is the effect of each seed?

Almost every effect is a contrast: a weighted sum of cells that differ only in the factor that the claim is about.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from bench.analysis.comparison import NOT_TESTED
from bench.analysis.labels import NOT_TESTABLE
from bench.analysis.summary import pick
from bench.store.reader import Run
from bench.store.schema import base_code
from ganlab.losses import LOSSES

FEWEST_CHECKPOINTS = 5  # a rank correlation over fewer is meaningless
FIRST_LOOK = "digits"  # GANs on these 8x8 images get no verdict
HELD = (  # equal on all sides of a contrast, unless the claim itself is about it
    *("code", "task", "dataset", "scale", "value_range", "batch_size", "precision", "settings"),
    *("redraw", "schedule", "optimizer"),
)

Where = dict[str, Any]  # column of cells.csv -> value; together they select one cell per seed
Contrast = tuple[tuple[float, Where], ...]  # weighted cells
Measure = Callable[[Run], pd.DataFrame]  # a row per cell_id; a single column, or one per test image


@dataclass(frozen=True)
class Evidence:
    """The evidence of a run on one claim.

    Attributes:
        effects: a row per seed, with a single column or one per test image (NaN where the seed did not test it); for a
            proof, 1 where the invariant holds, else 0.
        cells: the cells used and their status in words; or the reason why the claim has no effects.
        rows: the rows of cells.csv that are compared, done or not.
        lack: NOT TESTED where the run does not declare the cells that the claim needs, NOT TESTABLE where no effect of
            them could tell the claim from its rival; else empty.
    """

    effects: pd.DataFrame
    cells: str
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    lack: str = ""


def untested(reason: str) -> Evidence:
    """The evidence on a claim whose cells the run does not declare."""
    return Evidence(pd.DataFrame(), reason, lack=NOT_TESTED)


def untestable(reason: str, rows: pd.DataFrame | None = None) -> Evidence:
    """The evidence on a claim that the data could not have told from its rival."""
    return Evidence(pd.DataFrame(), reason, pd.DataFrame() if rows is None else rows, NOT_TESTABLE)


# What is measured of a cell


TABLES: WeakKeyDictionary[Run, dict[Any, pd.DataFrame]] = WeakKeyDictionary()  # shared by the claims of a run


def _once(run: Run, key: Any, table: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table of a run, computed once."""
    tables = TABLES.setdefault(run, {})
    if key not in tables:
        tables[key] = table()
    return tables[key]


def per_image(column: str) -> Measure:
    """A column of images.csv: (cells, test images)."""
    return lambda run: _once(
        run, column, lambda: run.images.pivot_table(index="cell_id", columns="image", values=column)
    )


def log_of(column: str) -> Measure:
    """The logarithm of a positive column of cells.csv: (cells, 1)."""

    def measure(run: Run) -> pd.DataFrame:
        if column not in run.cells:
            return pd.DataFrame(columns=[column], dtype=float)
        values = run.cells.set_index("cell_id")[[column]].astype(float)
        return np.log(values.where(values > 0))

    return measure


def rank_correlation(metric: str, beyond_time: bool = False) -> Measure:
    """Spearman's correlation of a metric with the Fréchet distance over a cell's checkpoints: (cells, 1).

    With `beyond_time`, it is the partial correlation given the training step: both may drift during training, which
    correlates them even if they are unrelated. Kendall, Stuart, "The Advanced Theory of Statistics", vol. 2 (1961),
    chapter 27.

    A metric that is constant, or that depends on the step alone, tracks nothing, so its correlation is 0. Such claims
    fail in dead runs; leaving dead runs out would favour the claim.
    """

    def measure(run: Run) -> pd.DataFrame:
        points = _checkpoints(run, metric, "frechet")
        points["time"] = points.index.get_level_values("step")
        ranks = points.groupby(level="cell_id").rank()
        ranks -= ranks.groupby(level="cell_id").transform("mean")
        if beyond_time:
            ranks = ranks.drop(columns="time").apply(_residuals, time=ranks["time"])
        sums = (ranks**2).assign(both=ranks[metric] * ranks["frechet"]).groupby(level="cell_id").sum()
        correlation = (sums["both"] / np.sqrt(sums[metric] * sums["frechet"])).fillna(0)
        return correlation.where(points.groupby(level="cell_id").size() >= FEWEST_CHECKPOINTS).to_frame()

    return measure


def _residuals(ranks: pd.Series, time: pd.Series) -> pd.Series:
    """Centred ranks minus their regression on the centred rank of the step, per cell; 0 for rounding errors."""
    slopes = (ranks * time).groupby(level="cell_id").sum() / (time**2).groupby(level="cell_id").sum()
    residuals = ranks - time * slopes.reindex(ranks.index, level="cell_id")
    return residuals.where(residuals.abs() > 1e-9 * len(ranks), 0.0)


def final_d_loss(run: Run) -> pd.Series:
    """The mean d_loss over the last fifth of each cell's checkpoints, by cell_id."""
    by_cell = _checkpoints(run, "d_loss")["d_loss"].groupby(level="cell_id")
    return by_cell.agg(lambda values: values.tail(math.ceil(len(values) / 5)).mean())


def tail_towards_zero(run: Run) -> pd.DataFrame:
    """0.5 - d_loss / equilibrium, positive if d_loss ends nearer to 0 than to its equilibrium: (cells, 1).

    The equilibrium depends on the cell's loss.
    """
    tail = final_d_loss(run)
    losses = run.cells.set_index("cell_id")["loss"].reindex(tail.index)
    equilibrium = losses.map(lambda name: LOSSES[name].equilibrium_d_loss if name in LOSSES else None).astype(float)
    return (0.5 - tail / equilibrium).to_frame()


def _checkpoints(run: Run, *metrics: str) -> pd.DataFrame:
    """Some metrics of curves.csv as columns, indexed by (cell_id, step) and sorted; incomplete points are dropped."""
    points = run.curves[run.curves["metric"].isin(metrics)]
    wide = points.pivot_table(index=["cell_id", "step"], columns="metric", values="value")
    return wide.reindex(columns=list(metrics)).dropna()


# Which cells are compared


def cell(**where: object) -> Contrast:
    """One cell of each seed."""
    return ((1.0, where),)


def less(a: Contrast, b: Contrast) -> Contrast:
    """a minus b."""
    return a + tuple((-weight, where) for weight, where in b)


def mean_of(*contrasts: Contrast) -> Contrast:
    """The mean of some contrasts."""
    return tuple((weight / len(contrasts), where) for contrast in contrasts for weight, where in contrast)


def verdict_cells(run: Run) -> pd.DataFrame:
    """The cells that verdicts may use: reported cells, without GANs on the 8x8 digits.

    `code` keeps only the project's part, because user losses depend on files that other losses do not use.
    """
    cells = run.cells.assign(code=run.cells["code"].map(base_code))
    first_look = (cells["task"] == "gan") & (cells["dataset"] == FIRST_LOOK)
    return cells[(cells["role"] == "report") & ~first_look]


def by_seed(measure: Measure, contrast: Contrast, tuned: tuple[str, ...] = ("lr",)) -> Callable[[Run], Evidence]:
    """Evidence of a contrast: one effect for each seed whose cells are all done.

    The sides agree on every column of `HELD` that the contrast does not name, and in their steps. If a run has several
    such settings, the one that most losses and conditions share is used, so that it does not depend on how many seeds a
    question needed; then the one with the most declared cells, whatever their status; if a loss, head, schedule, and
    optimizer has several values of `tuned`, the most frequent one; if there are several numbers of steps, the largest.

    Args:
        measure: what is measured for each cell.
        contrast: the weighted cells.
        tuned: columns that each loss tunes for itself, so they may differ between the sides.
    """
    named = {column for _, where in contrast for column in where}
    held = [column for column in HELD if column not in {*named, *tuned}]
    arm = ["loss", "head", *(column for column in HELD if column not in tuned)]

    def evidence(run: Run) -> Evidence:
        cells = _once(run, tuned, lambda: _most_frequent(verdict_cells(run), arm, list(tuned)))
        sides = [pick(cells, **where).assign(side=i) for i, (_, where) in enumerate(contrast)]
        missing = [_describe(where) for (_, where), side in zip(contrast, sides, strict=True) if side.empty]
        if missing:
            return untested(f"the run has no cells that may carry a verdict for {'; '.join(dict.fromkeys(missing))}")
        complete = pd.concat(sides).groupby(held, dropna=False)["side"].nunique().rename("sides").reset_index()
        settings = complete[complete["sides"] == len(contrast)]
        if settings.empty:
            return untested("the run has the cells, but not all in one setting")
        settings = _largest_first(settings, cells, held)
        chosen = settings.iloc[0][held].to_dict()
        sides = [pick(side, **chosen) for side in sides]
        values = measure(run)
        parts = [_by_seed_and_steps(values, pick(side, status="done")) for side in sides]
        effects = sum(weight * part for (weight, _), part in zip(contrast, parts, strict=True))
        effects = effects[_complete(effects, parts)].dropna(axis="columns", how="all")  # drops other data sets' images
        effects = _whole(effects.sort_index().groupby(level="seed").tail(1))
        rows = pd.concat(sides)
        used = rows["steps"] == rows["seed"].map(dict(effects.index)).fillna(rows["steps"])  # the longest training
        return Evidence(effects.droplevel("steps"), account(rows, len(effects)), rows[used])

    return evidence


def _largest_first(settings: pd.DataFrame, cells: pd.DataFrame, held: list[str]) -> pd.DataFrame:
    """Settings sorted by how many losses and conditions share them, then by their cells, then by their values."""
    shared = cells.drop_duplicates([*held, "loss", "head", "outlier", "rate"])
    for name, rows in (("shared", shared), ("cells", cells)):
        settings = settings.merge(rows.groupby(held, dropna=False).size().rename(name).reset_index(), on=held)
    return settings.sort_values(["shared", "cells", *held], ascending=[False, False, *[True] * len(held)])


def _by_seed_and_steps(values: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The measured values of some cells, indexed by seed and steps instead of cell_id."""
    index = pd.MultiIndex.from_frame(cells[["seed", "steps"]])
    return values.reindex(cells["cell_id"]).set_axis(index, axis="index")


def _complete(effects: pd.DataFrame, parts: list[pd.DataFrame]) -> pd.Series:
    """Which rows have an effect for each image that any side tested; where the split turns, that is a fold of them."""
    tested = pd.concat([part.notna() for part in parts]).groupby(level=["seed", "steps"], dropna=False).any()
    tested = tested.reindex(index=effects.index, columns=effects.columns, fill_value=False)
    return (effects.notna() == tested).all(axis=1) & tested.any(axis=1)


def _whole(effects: pd.DataFrame) -> pd.DataFrame:
    """Effects without the seeds that lack some of the images which another seed has beside theirs.

    Seeds that test other photographs, as where these take turns in the test set, lack none.
    """
    images = effects.notna().to_numpy()
    kinds = np.unique(images, axis=0)
    part_of_more = [any((more & part == part).all() and more.sum() > part.sum() for more in kinds) for part in images]
    return effects[~np.array(part_of_more, bool)]


def _most_frequent(cells: pd.DataFrame, arm: list[str], tuned: list[str]) -> pd.DataFrame:
    """For each arm, the cells at its most frequent tuned values; ties go to the smaller values."""
    counts = cells.groupby([*arm, *tuned], dropna=False).size().rename("cells").reset_index()
    ranked = counts.sort_values(["cells", *tuned], ascending=[False, *[True] * len(tuned)], kind="stable")
    return cells.merge(ranked.drop_duplicates(arm)[[*arm, *tuned]], on=[*arm, *tuned])


def _describe(where: Where) -> str:
    """A short description of the cells of one side."""
    order = ("task", "loss", "head", "outlier", "rate", "schedule", "optimizer")
    return " ".join(str(where[column]) for column in order if column in where and where[column] != 0)


def account(cells: pd.DataFrame, n: int) -> str:
    """The status of the cells, the number of complete seeds, the data sets, and the learning rates, in words."""
    cells = cells.drop_duplicates("cell_id")
    counts = cells["status"].value_counts()
    others = "".join(f", {counts[status]} {status}" for status in sorted(counts.index.drop("done", errors="ignore")))
    rates = ", ".join(f"{loss} {lr:g}" for loss, lr in sorted(set(zip(cells["loss"], cells["lr"], strict=True))))
    places = ", ".join(sorted(set(cells["dataset"])))
    return (
        f"{counts.get('done', 0)} of {len(cells)} cells done{others}; {n} of {cells['seed'].nunique()} seeds complete;"
        f" {places}; learning rates {rates}"
    )
