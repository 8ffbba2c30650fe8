"""How good is each loss, under outliers, over training, and by every metric?"""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis import cost, labels
from bench.analysis.labels import arm_name, arms_of
from bench.analysis.summary import MAIN_PSNR, curve_intervals, main_psnr_pairs, pick, predicted_curve, summary_of
from bench.analysis.tuning import TARGETS
from bench.reports.figures import style
from bench.reports.figures.style import colours, line_of, styled
from bench.store.reader import Run
from ganlab import theory
from ganlab.outliers import CLEAN, OUTLIERS

DODGE, DODGE_PER_ARM = 0.03, 0.007  # spread of the markers at a rate, as a share of the axis: minimum, and per arm
MATRIX_SALT = 0.2  # the metric matrix shows the nearest salt rate
MATRIX_METRICS = {  # name, digits, whether larger is better
    **{"psnr_y_db": ("PSNR, Y (dB) ↑", 2, True), "psnr_db": ("PSNR, RGB (dB) ↑", 2, True), "ssim": ("SSIM ↑", 4, True)},
    **{"mae": ("MAE ↓", 4, False), "bce_excess": ("BCE excess ↓", 5, False)},
    **{"disparity_error_px": ("disparity error (px) ↓", 2, False), "bad_pixels": ("bad pixels ↓", 3, False)},
}
MOST_COLUMNS = 3
TITLE_LETTERS = 40  # per line of a panel title
LABEL_LETTERS = 60  # per line of an axis label
MOST_TICKS = 8  # up to this number, every rate has a tick


@styled
def robustness(run: Run, task: str = "sr") -> Figure | None:
    """Test PSNR against the outlier rate: a panel per outlier kind, a line per loss and head, dashed predictions."""
    rows = pick(summary_of(run), task=task, metric=MAIN_PSNR[task])
    kinds = labels.in_order(set(rows["outlier"]) - {CLEAN}, OUTLIERS)
    datasets_and_scales = sorted(set(zip(rows["dataset"], rows["scale"].fillna(0), strict=True)))
    if not kinds:
        return None
    combinations = set(zip(rows["dataset"], rows["scale"].fillna(0), rows["outlier"], strict=True))
    panels = [(pair, kind) for pair in datasets_and_scales for kind in kinds if (*pair, kind) in combinations]
    columns = min(len(panels), 2 if len(panels) <= 4 else MOST_COLUMNS)
    lines = -(-len(panels) // columns)
    width = {1: 7.5, 2: 10.0}.get(columns, 4.2 * columns)
    figure = Figure((width, 3.3 * lines + 1.3), layout="constrained")
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    cells = pick(run.cells, task=task)
    pairs = pick(main_psnr_pairs(cells, run.images, run.references), task=task)
    baseline = labels.BASELINES[task]
    yardstick = pick(summary_of(run), task=task, metric=baseline.column)
    for axes, ((dataset, scale), kind) in zip(grid.flat, panels, strict=False):
        in_place = (rows["dataset"] == dataset) & (rows["scale"].fillna(0) == scale)
        place_pairs = pairs[(pairs["dataset"] == dataset) & (pairs["scale"].fillna(0) == scale)]
        corrupted = rows[in_place & rows["outlier"].isin((kind, CLEAN))]
        untrained = yardstick[(yardstick["dataset"] == dataset) & (yardstick["scale"].fillna(0) == scale)]["mean"]
        _robustness_panel(axes, cells, colours(run.cells), corrupted, pick(place_pairs, outlier=kind), untrained)
        prefix = f"{labels.dataset_label(dataset, scale or None)}: " if len(datasets_and_scales) > 1 else ""
        effect = f": {OUTLIERS[kind].effect}" if kind in OUTLIERS and not prefix else ""
        axes.set_title(textwrap.fill(f"{prefix}{kind}{effect}", TITLE_LETTERS))
        rates = sorted(set(corrupted["rate"]))
        if len(rates) <= MOST_TICKS:
            axes.set_xticks([100 * rate for rate in rates], [f"{100 * rate:.3g}" for rate in rates])
        axes.set_xlabel("strength of the noise (%)" if kind == "jitter" else "outlier rate (% of target pixels)")
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel(f"test {labels.psnr_name(task)} (dB)")
    handles = style.arm_handles(run.cells, rows)
    handles.append(Line2D([], [], color=style.INK, lw=1, ls=(0, (4, 3)), label="theory"))
    if len(yardstick):
        handles.append(Line2D([], [], color=style.YARDSTICK, lw=1.2, ls=":", label=baseline.name))
    if cells["status"].isin(style.FAILED).any():
        handles.append(Line2D([], [], color=style.INK, ls="", marker="x", label="some runs failed"))
    note = (
        style.seeds_note(rows["n_done"], bool(rows["ci_low"].notna().any()))
        + "; theory is drawn where it has a closed form"
    )
    style.legend(figure, handles, note, most=4)
    figure.suptitle(f"{labels.task_name(task)}: test quality as training targets are corrupted", x=0.01, ha="left")
    return figure


def _robustness_panel(
    axes: Axes,
    cells: pd.DataFrame,
    colour_of: dict[str, str],
    rows: pd.DataFrame,
    pairs: pd.DataFrame,
    untrained: pd.Series,
) -> None:
    """Measured lines with bands, predictions, and reference lines for an outlier kind and the `cells` of a task."""
    arms = arms_of(rows)
    spread = max(DODGE, DODGE_PER_ARM * len(arms)) * rows["rate"].max()
    for index, (loss, head) in enumerate(arms):
        line = pick(rows, loss=loss, head=head).sort_values("rate")
        colour = colour_of[loss]
        x = 100 * (line["rate"] + style.dodge(index, len(arms), spread))
        style.draw_band(axes, x, line, colour)
        axes.plot(x, line["mean"], color=colour, **line_of(head))
        kind_pairs = pick(pairs, loss=loss, head=head)
        if len(kind_pairs) and theory.predicts_psnr(loss, kind_pairs["outlier"].iloc[0]):
            rates = np.linspace(0, kind_pairs["rate"].max(), 60)
            curve = predicted_curve(kind_pairs, rates)
            axes.plot(100 * rates, curve, color=style.INK, lw=1, ls=(0, (4, 3)), zorder=3)
        elif len(predicted := line.dropna(subset="predicted")):  # a reference run at each measured rate
            axes.plot(100 * predicted["rate"], predicted["predicted"], color=style.INK, lw=1, ls=(0, (4, 3)), zorder=3)
    cells = cells[cells["outlier"].isin(set(rows["outlier"])) & cells["dataset"].isin(set(rows["dataset"]))]
    for (loss, rate), _ in cells[cells["status"].isin(style.FAILED)].groupby(["loss", "rate"]):
        axes.plot(100 * rate, 0.03, "x", color=colour_of[loss], transform=axes.get_xaxis_transform())
    if len(untrained):  # the same for every loss that tested the same images
        axes.axhline(untrained.median(), color=style.YARDSTICK, lw=1.2, ls=":", zorder=1)


@styled
def convergence(run: Run) -> Figure | None:
    """Quality over steps and over step time, after training on clean data."""
    panels = []
    for task, target in TARGETS.items():
        metric, label = target.curve
        curve = pick(curve_intervals(pick(run.cells, task=task), run.curves, metric), outlier=CLEAN)
        groups = curve.groupby(["dataset", "scale"], dropna=False)
        panels += [
            (metric, label, labels.dataset_label(*dataset_and_scale), rows)
            for dataset_and_scale, rows in groups
            if task != "location"
        ]
    if not panels:
        return None
    step_ms = pick(run.timing, phase="step").groupby(cost.TIMED)["ms"].median().rename("step_ms").reset_index()
    columns = 2 if len(step_ms) else 1
    figure = Figure((5.2 * columns, 3.2 * len(panels) + 1.0), layout="constrained")
    grid = figure.subplots(len(panels), columns, sharey="row", squeeze=False)
    for line, (metric, label, dataset_text, rows) in zip(grid, panels, strict=True):
        rows = rows.merge(step_ms, on=cost.TIMED, how="left")
        for (loss, head), arm in ((arm, pick(rows, loss=arm[0], head=arm[1])) for arm in arms_of(rows)):
            arm = arm.sort_values("step")
            line_style = {"color": colours(run.cells)[loss], "linestyle": line_of(head)["linestyle"]}
            for axes, x in zip(line, (arm["step"], arm["step"] * arm["step_ms"] / 1000), strict=False):
                style.draw_band(axes, x, arm, line_style["color"])
                axes.plot(x, arm["mean"], **line_style)
        line[0].set(xlabel="training steps", ylabel=label)
        line[0].set_title(f"{labels.task_name(rows['task'].iloc[0])}, {dataset_text}, clean data")
        if columns == 2 and rows["step_ms"].notna().any():
            line[1].set_xlabel(_seconds_label(run, rows.dropna(subset="step_ms")))
        elif columns == 2:
            line[1].remove()  # not timed
        if metric == "frechet":
            style.log_scale(line[0])
    shown = pd.concat([rows for *_, rows in panels])
    style.legend(figure, style.arm_handles(run.cells, shown), style.seeds_note(shown["n"]), most=4)
    figure.suptitle("How fast each loss learns", x=0.01, ha="left")
    return figure


def _seconds_label(run: Run, rows: pd.DataFrame) -> str:
    """The label of the axis of step times, with precisions if the steps were timed in several."""
    precisions = cost.precisions(run)
    timed = {arm: precisions.get((*rows[["task", "dataset"]].iloc[0], *arm), "unknown") for arm in arms_of(rows)}
    label = "step time: steps × median step (s)"
    if len(set(timed.values())) == 1:
        return label
    first, *others = sorted(set(timed.values()), key=lambda precision_name: -list(timed.values()).count(precision_name))
    arm_precisions = (f"{arm_name(*arm)}: {precision}" for arm, precision in timed.items() if precision in others)
    return textwrap.fill(f"{label}, in {first}; {', '.join(arm_precisions)}", LABEL_LETTERS)


@styled
def metric_matrix(run: Run) -> Figure | None:
    """Training loss against metric: a panel without outliers and a panel with salt; the shade shows the rank."""
    rows = summary_of(run)[summary_of(run)["metric"].isin(MATRIX_METRICS)]
    panels = []
    for task in MAIN_PSNR:
        task_rows = pick(rows, task=task)
        salted = sorted(set(pick(task_rows, outlier="salt")["rate"]), key=lambda rate: abs(rate - MATRIX_SALT))
        for (dataset, scale), place_rows in task_rows.groupby(["dataset", "scale"], dropna=False):
            panel_name = f"{labels.task_name(task)}, {labels.dataset_label(dataset, scale)}"
            for outlier, rate in ((CLEAN, 0.0), *(("salt", rate) for rate in salted[:1])):
                if len(matches := pick(place_rows, outlier=outlier, rate=rate)):
                    panels.append((panel_name, (outlier, rate), matches))
    if not panels:
        return None
    heights = [len(arms_of(matches)) + 1.6 for *_, matches in panels]
    figure = Figure((10, 0.42 * sum(heights) + 1.0), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
    for axes, (panel_name, condition, matches) in zip(grid.flat, panels, strict=True):
        arms = arms_of(matches)
        metrics = [metric for metric in MATRIX_METRICS if metric in set(matches["metric"])]
        means = matches.pivot_table(index=["loss", "head"], columns="metric", values="mean").reindex(arms)[metrics]
        signed = means * [1 if MATRIX_METRICS[metric][2] else -1 for metric in metrics]
        rank = signed.rank(ascending=False)
        axes.imshow(rank, cmap="Blues_r", vmin=1 - 0.9 * len(arms), vmax=1.2 * len(arms), aspect="auto")
        for (y, x), value in np.ndenumerate(means.to_numpy()):
            best = rank.iat[y, x] == 1
            text = "–" if np.isnan(value) else f"{value:.{MATRIX_METRICS[metrics[x]][1]}f}{' ★' if best else ''}"
            axes.text(x, y, text, ha="center", va="center", weight="bold" if best else "normal")
        names = {"psnr_db": "PSNR, disparity (dB) ↑"} if matches["task"].iloc[0] == "depth" else {}
        axes.set_xticks(range(len(metrics)), [names.get(metric, MATRIX_METRICS[metric][0]) for metric in metrics])
        axes.set_yticks(range(len(arms)), [arm_name(*arm) for arm in arms])
        axes.set_title(f"{panel_name}: trained on {labels.condition_name(*condition)} targets")
        axes.grid(visible=False)
        axes.tick_params(length=0)
    n = style.seeds_note(rows["n_done"]).split(",")[0]
    figure.supxlabel(f"{n}; means over seeds and test images; darker: better within its column, ★ the best", size=10)
    figure.suptitle("Training loss against metric: does each loss win at its own game?", x=0.01, ha="left")
    return figure
