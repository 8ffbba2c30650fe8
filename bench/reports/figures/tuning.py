"""How do learning rate and schedule affect each loss? Sensitivity to the rate, and gain and wobble of schedules.

Tuning cells (role `tune`) are evaluated on validation data, reported cells on test data.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis import labels
from bench.analysis.comparison import t_interval
from bench.analysis.labels import arm_name, arms_of
from bench.analysis.summary import pick
from bench.analysis.tuning import ARM, SETTING, TARGETS, best_rates, schedules, target_label, tuned
from bench.reports.figures import style
from bench.reports.figures.style import colours, styled
from bench.store.reader import Run

SCHEDULE_LINES = {"cosine": "-", "constant": (0, (3, 2))}
FAR_DB = 6.0  # rates that are worse than the best by more than this are cut off: they do not train


@styled
def rate_sensitivity(run: Run) -> Figure | None:
    """The tuning metric against the learning rate: a panel per data set and optimizer, a line per loss and schedule."""
    cells = tuned(run)
    if cells["value"].isna().all():
        return None
    best = best_rates(run)
    panels = [(key, panel_cells) for key, panel_cells in cells.groupby(SETTING) if panel_cells["value"].notna().any()]
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure((5.6 * columns + 1, 3.9 * lines + 1.2), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, ((task, dataset, optimizer), panel_cells) in zip(grid.flat, panels, strict=False):
        for key, arm in panel_cells.groupby(ARM):
            _sensitivity_line(axes, arm, colours(run.cells)[key[0]])
            chosen = pick(best, task=task, dataset=dataset, optimizer=optimizer, **dict(zip(ARM, key, strict=True)))
            _mark_reported(axes, arm, chosen, colours(run.cells)[key[0]])
        axes.set_xscale("log")
        rates = sorted(set(panel_cells["lr"]))
        axes.set_xticks(rates, [f"{lr:g}" for lr in rates])
        axes.set_xticks([], minor=True)
        axes.set(xlabel="learning rate", ylabel=target_label(task, panel_cells["metric"].iloc[0]))
        axes.set_title(f"{labels.task_name(task)}, {dataset}, {optimizer}")
        if TARGETS[task].larger:
            low, high = panel_cells["value"].min(), panel_cells["value"].max()
            axes.set_ylim(max(low, high - FAR_DB) - 0.1, high + 0.1 * min(high - low, FAR_DB) + 0.1)
        else:
            style.log_scale(axes)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    handles = [
        Line2D([], [], color=colours(run.cells)[loss], label=arm_name(loss, head)) for loss, head in arms_of(cells)
    ]
    handles += [Line2D([], [], color=style.INK, ls=dash, label=name) for name, dash in SCHEDULE_LINES.items()]
    handles.append(Line2D([], [], color=style.INK, marker="o", mfc="none", ms=11, ls="", label="rate reported with"))
    handles.append(Line2D([], [], color=style.INK, marker="x", ls="", label="failed"))
    n = cells.groupby([*SETTING, *ARM, "lr"])["seed"].nunique()
    seeds = f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
    note = f"mean of {seeds} tuning seeds; small dots are seeds"
    style.legend(figure, handles, note, most=4)
    figure.suptitle("Sensitivity to the learning rate, on validation data and seeds of its own", x=0.01, ha="left")
    return figure


def _sensitivity_line(axes: Axes, arm: pd.DataFrame, colour: str) -> None:
    """The mean over seeds by learning rate, seeds as dots, failed seeds as crosses."""
    means = arm.groupby("lr")["value"].mean()
    axes.plot(means.index, means, color=colour, ls=SCHEDULE_LINES.get(arm["schedule"].iloc[0], ":"))
    axes.plot(arm["lr"], arm["value"], "o", color=colour, ms=3, alpha=0.6)
    failed = arm[arm["status"].isin(style.FAILED)]
    axes.plot(failed["lr"], np.full(len(failed), 0.03), "x", color=colour, transform=axes.get_xaxis_transform())


def _mark_reported(axes: Axes, arm: pd.DataFrame, best: pd.DataFrame, colour: str) -> None:
    """A ring around the mean at each rate that reported cells were trained with."""
    means = arm.groupby("lr")["value"].mean()
    for lr in best["reported"].iloc[0] if len(best) else ():
        if lr in means.index:
            axes.plot(lr, means[lr], "o", color=colour, mfc="none", ms=11, mew=1.6)


@styled
def schedule_wobble(run: Run) -> Figure | None:
    """Constant against cosine: test PSNR, and the wobble of the validation curve over its last fifth."""
    cells = schedules(run)
    if cells.empty:
        return None
    lines = [
        (optimizer, *arm)
        for optimizer in sorted(set(cells["optimizer"]))
        for arm in arms_of(pick(cells, optimizer=optimizer))
    ]
    figure = Figure((11, 0.55 * len(lines) + 2.1), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, column in zip(panels, ("psnr_y_db", "wobble_db"), strict=True):
        for y, (optimizer, loss, head) in enumerate(lines):
            arm = pick(cells, optimizer=optimizer, loss=loss, head=head)
            for schedule, shift in (("constant", -0.14), ("cosine", 0.14)):
                values = pick(arm, schedule=schedule)[column].dropna()
                if len(values):
                    _schedule_mark(axes, y + shift, values, colours(run.cells)[loss], schedule)
        axes.grid(axis="y", visible=False)
    panels[0].set_yticks(range(len(lines)), [f"{arm_name(loss, head)}, {opt}" for opt, loss, head in lines])
    panels[0].set_ylim(len(lines) - 0.5, -0.5)
    panels[0].set(xlabel="test PSNR on Y (dB)", title="final quality: right is better")
    panels[1].set(
        xlabel="standard deviation of validation PSNR (dB)", title="wobble over the last fifth: left is calmer"
    )
    panels[1].set_xlim(left=-0.03 * panels[1].get_xlim()[1])
    handles = [
        Line2D([], [], color=style.INK, marker="o", mfc="white" if name == "constant" else None, label=name)
        for name in ("constant", "cosine")
    ]
    counts = cells.groupby(["optimizer", "loss", "head", "schedule"]).size()
    note = style.seeds_note(counts).replace("band", "bar")
    style.legend(figure, handles, note, most=2)
    figure.suptitle("Learning-rate decay: cosine against constant, each at its own rate", x=0.01, ha="left")
    return figure


def _schedule_mark(axes: Axes, y: float, values: pd.Series, colour: str, schedule: str) -> None:
    """The mean with its interval; hollow for the constant rate."""
    reached = t_interval(values)
    if reached.defined:
        axes.plot([reached.low, reached.high], [y, y], color=colour, lw=1.8)
    axes.plot(reached.mean, y, "o", color=colour, mfc="white" if schedule == "constant" else colour, ms=7, mew=1.8)
