"""At which outlier rate has a loss lost 3 dB of its own clean PSNR, and which rate does theory predict?

Interpolated for each seed between the measured rates; the predictions at these rates are interpolated in the same way.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis import labels
from bench.analysis.breakdown import three_db_rates
from bench.analysis.labels import arm_name, arms_of
from bench.analysis.summary import MAIN_PSNR, pick
from bench.reports.figures import style
from bench.reports.figures.style import colours, line_of, styled
from bench.store.reader import Run
from ganlab.outliers import OUTLIERS


@styled
def three_db(run: Run) -> Figure | None:
    """The 3 dB rate per loss, with the prediction: a panel per outlier kind, an arrow if it is not reached."""
    rates = three_db_rates(run)
    if rates.empty:
        return None
    panels = [
        (task, dataset_and_scale, kind, rows)
        for task in MAIN_PSNR
        for dataset_and_scale, group in pick(rates, task=task).groupby(["dataset", "scale"], dropna=False)
        for kind, rows in ((kind, pick(group, outlier=kind)) for kind in labels.in_order(group["outlier"], OUTLIERS))
    ]
    heights = [len(rows) + 1.5 for *_, rows in panels]
    figure = Figure((9.5, 0.36 * sum(heights) + 1.8), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights, sharex=True)
    for axes, (task, dataset_and_scale, kind, rows) in zip(grid.flat, panels, strict=True):
        arms = arms_of(rows)
        for y, arm in enumerate(arms):
            _rate_line(axes, y, pick(rows, loss=arm[0], head=arm[1]).iloc[0], colours(run.cells)[arm[0]])
        axes.set_yticks(range(len(arms)), [arm_name(*arm) for arm in arms])
        axes.set_ylim(len(arms) - 0.4, -0.6)
        where = (
            f"{labels.task_name(task)}, {labels.dataset_label(*dataset_and_scale)}"
            if task != "sr"
            else labels.dataset_label(*dataset_and_scale)
        )
        axes.set_title(f"{kind}, {where}; rates up to {labels.percent(rows['max_rate'].max())}")
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
    """The measured rate of a loss with its interval, the prediction, or an arrow at the largest rate."""
    marker = line_of(row["head"])["marker"]
    if not np.isnan(row["closed_low"]):
        span = 100 * np.minimum([row["closed_low"], row["closed_high"]], 1.2 * row["max_rate"])
        axes.plot(span, [y, y], color=style.YARDSTICK, lw=5, alpha=0.5, solid_capstyle="butt", zorder=1)
    if not np.isnan(row["predicted"]):
        axes.plot(100 * row["predicted"], y, "D", color=style.INK, mfc="none", ms=8, zorder=4)
    if np.isnan(row["mean"]):
        missing = row["n"] - row["reached"]
        axes.plot(100 * row["max_rate"], y, ">", color=colour, ms=8)
        axes.text(
            102 * row["max_rate"],
            y,
            f" >{labels.percent(row['max_rate'])} ({missing:.0f} of {row['n']:.0f} seeds)",
            va="center",
            color=colour,
        )
        return
    axes.plot(100 * row[["ci_low", "ci_high"]].to_numpy(float), [y, y], color=colour, lw=2)
    axes.plot(100 * row["mean"], y, marker, color=colour, ms=6, zorder=3)
