"""What does a training step cost under each loss? Its phases, and its time beside BCE's."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.analysis import cost, labels
from bench.analysis.labels import loss_name
from bench.reports.figures import style
from bench.reports.figures.style import colours, styled
from bench.store.reader import Run

PHASE_COLOURS = {
    **{"data": "#BDBDBD", "forward": "#7FA6C9", "loss": "#E0A84C", "backward": "#3F6E98", "optimizer": "#8C7AA9"},
    "other": "#E8E8E8",
}


@styled
def step_time(run: Run) -> Figure | None:
    """Median time of a training step per loss, with stacked phases and the ratio to BCE."""
    by_place: dict[tuple[str, str, str], list[cost.TimedArm]] = {}
    for arm in cost.arms(run):
        by_place.setdefault((arm.task, arm.dataset, arm.device), []).append(arm)
    if not by_place:
        return None
    panels = sorted(by_place.items(), key=lambda panel: (panel[0][0] != "sr", panel[0]))
    heights = [len(timed) for _, timed in panels]
    figure = Figure((9.5, sum(0.5 * height + 1.0 for height in heights) + 1.0), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[height + 1.5 for height in heights])
    for axes, ((task, dataset, device), timed) in zip(grid.flat, panels, strict=True):
        for y, arm in enumerate(timed):
            _phase_bar(axes, y, arm.rows.groupby("phase")["ms"].median())
            axes.text(arm.step_ms, y, f"  {_time_label(arm)}", va="center")
        axes.set_yticks(range(len(timed)), [arm.name for arm in timed])
        for tick, arm in zip(axes.get_yticklabels(), timed, strict=True):
            tick.set(color=colours(run.cells)[arm.loss], fontweight="bold")
        axes.invert_yaxis()
        axes.set_xlim(0, 1.75 * max(arm.step_ms for arm in timed))
        axes.set(xlabel="time per training step (ms)", title=f"{labels.task_name(task)}, {dataset}, {device}")
        axes.grid(axis="y", visible=False)
    handles = [Patch(color=colour, label=name) for name, colour in PHASE_COLOURS.items()]
    if (run.timing["phase"].str.startswith("d_")).any():
        handles.append(Patch(facecolor="white", edgecolor=style.INK, hatch="////", label="discriminator's"))
    n = int(run.timing["round"].nunique())
    note = f"medians of {n} rounds; in brackets the 95 % t interval of the ratio, paired by round"
    if any(arm.mixed for _, timed in panels for arm in timed):
        note += "; ratios are of steps in one precision"
    style.legend(figure, handles, note, most=7)
    figure.suptitle("Time per training step", x=0.01, ha="left")
    return figure


def _phase_bar(axes: Axes, y: int, phase_ms: pd.Series) -> None:
    """The stacked phases of a step; the rest of the step time is `other`."""
    order = labels.in_order(set(phase_ms.index) - {"step"}, [p + c for p in ("", "g_", "d_") for c in PHASE_COLOURS])
    left = 0.0
    for phase in order:
        colour = PHASE_COLOURS.get(phase.removeprefix("g_").removeprefix("d_"), PHASE_COLOURS["other"])
        hatch = "////" if phase.startswith("d_") else None
        axes.barh(y, phase_ms[phase], 0.62, left, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5)
        left += phase_ms[phase]
    if phase_ms.get("step", 0) > left:
        axes.barh(
            y, phase_ms["step"] - left, 0.62, left, color=PHASE_COLOURS["other"], edgecolor="white", linewidth=0.5
        )


def _time_label(arm: cost.TimedArm) -> str:
    """`28.9 ms, 0.98 × BCE (0.97 to 0.99)`."""
    ratio = arm.ratio()
    if not ratio:
        return f"{arm.step_ms:#.3g} ms"
    interval = ratio[0]
    ends = f" ({interval.low:.2f} to {interval.high:.2f})" if interval.defined else ""
    return f"{arm.step_ms:#.3g} ms, {interval.mean:.2f} × {loss_name('bce')}{ends}"
