"""At which outlier rate has a loss lost 3 dB of its own clean PSNR, and where did theory put that rate?

Interpolated for each seed between the measured rates, and likewise in what theory predicts at these rates.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.reports import style
from bench.reports.style import arm_name, arms_of, colours, line_of, styled
from bench.statistics import ARM, MAIN_PSNR, main_psnr_pairs, pick, predict_psnr, t_interval
from bench.store import Run
from ganlab import theory
from ganlab.losses import LOSSES
from ganlab.outliers import OUTLIERS

LOST_DB = 3.0
FEWEST_RATES = 2  # one rate is no axis to interpolate on


def three_db_rates(run: Run) -> pd.DataFrame:
    """The 3 dB rate of each loss, head, and outlier kind, from the seeds that have the most rates.

    Columns: task, dataset, scale, outlier, loss, head; `n` seeds of which `reached` lose 3 dB within `max_rate`;
    `mean`, `ci_low`, `ci_high` over seeds, NaN where not every seed does; `from_rate`, `to_rate`, the rates of the run
    between which `mean` was interpolated; `predicted`; for mean-seekers `closed_low` and `closed_high`, the closed form
    over the test images; `clean_mse`, theory's C.
    """
    pairs = main_psnr_pairs(run.cells, run.images, run.references)
    pairs = pairs.assign(lost=pairs["clean"] - pairs["psnr"], expected=pairs["clean"] - predict_psnr(pairs))
    rows = []
    keys = ["task", "dataset", "scale", "outlier", *ARM]
    for key, here in pairs.groupby(keys, dropna=False):
        outlier, loss = key[keys.index("outlier")], key[keys.index("loss")]
        control = outlier in OUTLIERS and OUTLIERS[outlier].mean is None
        if here["rate"].nunique() < FEWEST_RATES or control:
            continue
        rates_of = here.groupby("seed")["rate"].transform("nunique")
        here = here[rates_of == rates_of.max()]  # a coarser grid of rates would put the crossing elsewhere
        seeds = [by_rate for _, by_rate in here.groupby(["seed", "rate"])[["lost", "expected"]].mean().groupby("seed")]
        crossings = [_crossing(by_rate["lost"].droplevel("seed")) for by_rate in seeds]
        expected = [_crossing(by_rate["expected"].droplevel("seed")) for by_rate in seeds]
        reached = int(np.isfinite(crossings).sum())
        everywhere = t_interval(crossings) if reached == len(crossings) else (np.nan,) * 3
        grid = np.r_[0.0, np.sort(here["rate"].unique())]
        clean_mse = 10 ** (-here["clean"] / 10)
        closed = _closed_form(here, clean_mse) if loss in LOSSES and LOSSES[loss].minimiser == "mean" else [np.nan]
        rows.append(
            {
                **dict(zip(keys, key, strict=True)),
                **{"n": len(crossings), "reached": reached, "max_rate": here["rate"].max()},
                **dict(zip(("mean", "ci_low", "ci_high"), everywhere, strict=True)),
                **{
                    "from_rate": max(grid[grid <= everywhere[0]], default=np.nan),
                    "to_rate": min(grid[grid >= everywhere[0]], default=np.nan),
                },
                "predicted": np.mean(expected) if np.isfinite(expected).all() else np.nan,
                **{"closed_low": np.min(closed), "closed_high": np.max(closed), "clean_mse": clean_mse.mean()},
            }
        )
    return pd.DataFrame(rows).astype(dict.fromkeys(("mean", "ci_low", "ci_high"), float)) if rows else pd.DataFrame()


def _crossing(lost: pd.Series) -> float:
    """The first rate at which `lost` (dB by rising rate, 0 at rate 0) reaches 3 dB; NaN where it never does.

    >>> _crossing(pd.Series([1.0, 5.0], index=[0.25, 0.5]))
    0.375
    """
    rates, lost_db = np.r_[0.0, lost.index], np.r_[0.0, lost.to_numpy(float)]
    above = np.flatnonzero(lost_db >= LOST_DB)
    if not len(above):
        return np.nan
    step = slice(above[0] - 1, above[0] + 1)
    return float(np.interp(LOST_DB, lost_db[step], rates[step]))


def _closed_form(pairs: pd.DataFrame, clean_mse: pd.Series) -> np.ndarray:
    """The closed form's 3 dB rate of each test image, averaged over seeds."""
    rates = theory.three_db_rate(clean_mse, pairs["pull"] / pairs["rate"] ** 2)
    return pd.Series(rates).groupby(pairs["image"].to_numpy()).mean().to_numpy()


@styled
def three_db(run: Run) -> Figure | None:
    """The 3 dB rate per loss: a panel per outlier kind, theory beside it, an arrow where it is never reached."""
    rates = three_db_rates(run)
    if rates.empty:
        return None
    panels = [
        (task, place, kind, rows)
        for task in MAIN_PSNR
        for place, here in pick(rates, task=task).groupby(["dataset", "scale"], dropna=False)
        for kind, rows in ((kind, pick(here, outlier=kind)) for kind in style.in_order(here["outlier"], OUTLIERS))
    ]
    heights = [len(rows) + 1.5 for *_, rows in panels]
    figure = Figure((9.5, 0.36 * sum(heights) + 1.8), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights, sharex=True)
    for axes, (task, place, kind, rows) in zip(grid.flat, panels, strict=True):
        arms = arms_of(rows)
        for y, arm in enumerate(arms):
            _rate_line(axes, y, pick(rows, loss=arm[0], head=arm[1]).iloc[0], colours(run.cells)[arm[0]])
        axes.set_yticks(range(len(arms)), [arm_name(*arm) for arm in arms])
        axes.set_ylim(len(arms) - 0.4, -0.6)
        where = f"{style.task_name(task)}, {style.place_name(*place)}" if task != "sr" else style.place_name(*place)
        axes.set_title(f"{kind}, {where}; rates up to {style.percent(rows['max_rate'].max())}")
        axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 125 * rates["max_rate"].max())
    axes.set_xlabel("outlier rate at which 3 dB are lost (%); further right is more robust")
    handles = [
        Line2D([], [], color=style.INK, marker="o", label="measured, 95 % interval"),
        Line2D([], [], color=style.INK, marker="D", mfc="none", ls="", ms=8, label="theory, same interpolation"),
        Line2D([], [], color=style.YARDSTICK, lw=5, alpha=0.5, label="closed form, range over test images"),
        Line2D([], [], color=style.INK, marker=">", ls="", label="not reached"),
    ]
    mse = (
        f"C, the clean error that theory starts from: {rates['clean_mse'].min():.1e} to {rates['clean_mse'].max():.1e}"
    )
    note = f"{style.seeds_note(rates['n']).split(',')[0]}; {mse}"
    style.legend(figure, handles, note, most=4)
    figure.suptitle("How many outliers cost a loss 3 dB of its own clean result?", x=0.01, ha="left")
    return figure


def _rate_line(axes: Axes, y: int, row: pd.Series, colour: str) -> None:
    """One loss: the measured rate with its interval, what theory says, or an arrow from the largest rate."""
    marker = line_of(row["head"])["marker"]
    if not np.isnan(row["closed_low"]):
        span = 100 * np.minimum([row["closed_low"], row["closed_high"]], 1.2 * row["max_rate"])
        axes.plot(span, [y, y], color=style.YARDSTICK, lw=5, alpha=0.5, solid_capstyle="butt", zorder=1)
    if not np.isnan(row["predicted"]):
        axes.plot(100 * row["predicted"], y, "D", color=style.INK, mfc="none", ms=8, zorder=4)
    if np.isnan(row["mean"]):
        left = row["n"] - row["reached"]
        axes.plot(100 * row["max_rate"], y, ">", color=colour, ms=8)
        axes.text(
            102 * row["max_rate"],
            y,
            f" >{style.percent(row['max_rate'])} ({left:.0f} of {row['n']:.0f} seeds)",
            va="center",
            color=colour,
        )
        return
    axes.plot(100 * row[["ci_low", "ci_high"]].to_numpy(float), [y, y], color=colour, lw=2)
    axes.plot(100 * row["mean"], y, marker, color=colour, ms=6, zorder=3)
