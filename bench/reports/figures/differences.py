"""What differs between runs? A panel per task and run, a bar per loss and condition."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis import labels
from bench.analysis.labels import arm_name, arms_of, condition_name
from bench.analysis.metrics import JUDGED, LOG_RATIO
from bench.analysis.side_by_side import NamedRun
from bench.analysis.summary import MAIN_PSNR
from bench.reports.figures import style
from bench.reports.figures.style import styled


@styled
def differences_figure(runs: list[NamedRun], comparison_rows: pd.DataFrame) -> Figure | None:
    """The other run minus the first for each shared group, by condition; a panel per task and run."""
    panels = [(run, task, rows) for (run, task), rows in comparison_rows.groupby(["run", "task"], sort=False)]
    if not panels:
        return None
    conditions = [labels.conditions_of(rows) for *_, rows in panels]
    heights = [len(kinds) + 1.6 for kinds in conditions]
    figure = Figure((9.5, 0.42 * sum(heights) + 1.4), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
    cells = pd.concat([named.run.cells for named in runs])
    for axes, (run, task, rows), kinds in zip(grid.flat, panels, conditions, strict=True):
        arms = arms_of(rows)
        margin = rows["margin"].iloc[0]
        axes.axvspan(-margin, margin, color="#DDE3EA", lw=0)
        axes.axvline(0, color=style.INK, lw=1)
        for row in rows.itertuples():
            y = kinds.index((row.outlier, row.rate)) + style.dodge(arms.index((row.loss, row.head)), len(arms), 0.7)
            colour = style.colours(cells)[row.loss]
            axes.plot([row.ci_low, row.ci_high], [y, y], color=colour, lw=1.4)
            axes.plot(row.effect, y, style.line_of(row.head)["marker"], color=colour, ms=4.5)
        axes.set_yticks(range(len(kinds)), [condition_name(*kind) for kind in kinds])
        axes.set_ylim(len(kinds) - 0.4, -0.6)
        unit = f"dB of {labels.psnr_name(task)}" if task in MAIN_PSNR else f"{LOG_RATIO} of {JUDGED[task].name}"
        axes.set_title(f"{labels.task_name(task)}: {run} against {runs[0].name}, {unit}")
        axes.grid(axis="y", visible=False)
    grid[-1, 0].set_xlabel("← worse than the first run      better →")
    handles = [
        Line2D([], [], color=style.colours(cells)[arm[0]], marker=style.line_of(arm[1])["marker"], label=arm_name(*arm))
        for arm in arms_of(comparison_rows)
    ]
    note = "paired by seed; bars: intervals that hold together at 95 %; grey: not worth having"
    figure.legend(handles=handles, loc="outside lower center", ncols=4, title=note)
    figure.suptitle("What differs between the runs", x=0.01, ha="left")
    return figure
