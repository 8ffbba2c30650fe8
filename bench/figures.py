"""What do the numbers of a run look like? One function per figure, from data frames alone.

Each takes a `Run` and returns a Figure, or None where the run has no such rows. Pictures of images are in
`bench.pictures`; to add a figure, write a function and add a line to `FIGURES`.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from bench import pictures, style
from bench.statistics import (
    curve_intervals,
    geometric_interval,
    paired_ratio,
    pick,
    predicted_curve,
    with_clean_psnr,
)
from bench.store import Run
from bench.style import arm_name, arms_of, colours, line_of, loss_name, styled
from ganlab import theory
from ganlab.losses import LOSSES
from ganlab.outliers import CLEAN, OUTLIERS

PHASE_COLOURS = {
    **{"data": "#BDBDBD", "forward": "#7FA6C9", "loss": "#E0A84C", "backward": "#3F6E98", "optimizer": "#8C7AA9"},
    "other": "#E8E8E8",
}
DODGE = 0.03  # width, as a share of the axis, over which markers of one rate are spread, lest they hide each other
MOST_TICKS = 8  # up to so many rates are named on the axis themselves
FAILED = ("diverged", "oom", "timeout", "crashed")


@styled
def robustness(run: Run) -> Figure | None:
    """Test PSNR against the outlier rate: a panel per outlier kind, a line per loss and head, theory dashed."""
    rows = run.summary[run.summary["metric"] == "psnr_y_db"]
    kinds = style.in_order(set(rows["outlier"]) - {CLEAN}, OUTLIERS)
    places = sorted(set(zip(rows["dataset"], rows["scale"].fillna(0), strict=True)))
    if not kinds:
        return None
    columns = min(len(kinds), 2 if len(places) == 1 else 4)
    panels = [(place, kind) for place in places for kind in kinds]
    lines = -(-len(panels) // columns)
    figure = Figure((5.0 * columns if columns > 1 else 7.5, 3.3 * lines + 1.3), layout="constrained")
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    pairs = with_clean_psnr(run.cells, run.images)
    for axes, ((dataset, scale), kind) in zip(grid.flat, panels, strict=False):
        here = (rows["dataset"] == dataset) & (rows["scale"].fillna(0) == scale)
        pairs_here = pairs[(pairs["dataset"] == dataset) & (pairs["scale"].fillna(0) == scale)]
        _robustness_panel(axes, run, rows[here & rows["outlier"].isin((kind, CLEAN))], pick(pairs_here, outlier=kind))
        where = f"{style.place_name(dataset, scale or None)}: " if len(places) > 1 else ""
        effect = f": {OUTLIERS[kind].effect}" if kind in OUTLIERS and not where else ""
        axes.set_title(f"{where}{kind}{effect}")
        rates = sorted(set(rows.loc[here & rows["outlier"].isin((kind, CLEAN)), "rate"]))
        if len(rates) <= MOST_TICKS:
            axes.set_xticks([100 * rate for rate in rates], [f"{100 * rate:.3g}" for rate in rates])
        axes.set_xlabel("strength of the noise (%)" if kind == "jitter" else "outlier rate (% of target pixels)")
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel("test PSNR on Y (dB)")
    handles = _arm_handles(run, rows)
    handles.append(Line2D([], [], color=style.INK, lw=1, ls=(0, (4, 3)), label="theory"))
    if run.cells["bicubic_psnr_y_db"].notna().any():
        handles.append(Line2D([], [], color="#8A8A8A", lw=1.2, ls=":", label="bicubic, untrained"))
    if run.cells["status"].isin(FAILED).any():
        handles.append(Line2D([], [], color=style.INK, ls="", marker="x", label="some runs failed"))
    note = style.seeds_note(rows["n_done"]) + "; theory is drawn where it has a closed form"
    figure.legend(handles=handles, loc="outside lower center", ncols=4, title=note)
    figure.suptitle("Test quality as training targets are corrupted", x=0.01, ha="left")
    return figure


def _robustness_panel(axes: Axes, run: Run, rows: pd.DataFrame, pairs: pd.DataFrame) -> None:
    """Measured lines with bands, predicted curves, and yardsticks of one outlier kind."""
    arms = arms_of(rows)
    for index, (loss, head) in enumerate(arms):
        line = pick(rows, loss=loss, head=head).sort_values("rate")
        colour = colours(run.cells)[loss]
        x = 100 * (line["rate"] + style.dodge(index, len(arms), DODGE * rows["rate"].max()))
        style.draw_band(axes, x, line, colour)
        axes.plot(x, line["mean"], color=colour, **line_of(head))
        kind_pairs = pick(pairs, loss=loss, head=head)
        if len(kind_pairs) and theory.predicts_psnr(loss, kind_pairs["outlier"].iloc[0]):
            rates = np.linspace(0, kind_pairs["rate"].max(), 60)
            curve = predicted_curve(kind_pairs, rates)
            axes.plot(100 * rates, curve, color=style.INK, lw=1, ls=(0, (4, 3)), zorder=3)
    cells = run.cells[run.cells["outlier"].isin(set(rows["outlier"])) & run.cells["dataset"].isin(set(rows["dataset"]))]
    for (loss, rate), _ in cells[cells["status"].isin(FAILED)].groupby(["loss", "rate"]):
        axes.plot(100 * rate, 0.03, "x", color=colours(run.cells)[loss], transform=axes.get_xaxis_transform())
    if (bicubic := cells["bicubic_psnr_y_db"].dropna()).size:
        axes.axhline(bicubic.median(), color="#8A8A8A", lw=1.2, ls=":", zorder=1)


def _arm_handles(run: Run, rows: pd.DataFrame) -> list[Line2D]:
    """Legend entries of the losses and heads among some rows."""
    colour = colours(run.cells)
    return [
        Line2D([], [], color=colour[loss], label=arm_name(loss, head), **line_of(head)) for loss, head in arms_of(rows)
    ]


@styled
def convergence(run: Run) -> Figure | None:
    """Quality over steps and over step time, trained on clean data."""
    metrics = {"val_psnr_y_db": "validation PSNR on Y (dB)", "frechet": "Fréchet distance"}
    panels = []
    for metric, label in metrics.items():
        curve = pick(curve_intervals(run.cells, run.curves, metric), outlier=CLEAN)
        panels += [(metric, label, dataset, rows) for dataset, rows in curve.groupby("dataset")]
    if not panels:
        return None
    keys = ["task", "dataset", "loss", "head"]
    step_ms = pick(run.timing, phase="step").groupby(keys)["ms"].median().rename("step_ms").reset_index()
    columns = 2 if len(step_ms) else 1
    figure = Figure((5.2 * columns, 3.2 * len(panels) + 1.0), layout="constrained")
    grid = figure.subplots(len(panels), columns, sharey="row", squeeze=False)
    for line, (metric, label, dataset, rows) in zip(grid, panels, strict=True):
        rows = rows.merge(step_ms, on=keys, how="left")
        for (loss, head), arm in ((arm, pick(rows, loss=arm[0], head=arm[1])) for arm in arms_of(rows)):
            arm = arm.sort_values("step")
            look = {"color": colours(run.cells)[loss], "linestyle": line_of(head)["linestyle"]}
            for axes, x in zip(line, (arm["step"], arm["step"] * arm["step_ms"] / 1000), strict=False):
                style.draw_band(axes, x, arm, look["color"])
                axes.plot(x, arm["mean"], **look)
        line[0].set(xlabel="training steps", ylabel=label)
        line[0].set_title(f"{style.task_name(rows['task'].iloc[0])}, {dataset}, clean data")
        if columns == 2:
            line[1].set_xlabel("step time: steps × median step (s)")
        if metric == "frechet":
            _log_scale(line[0])
    shown = pd.concat([rows for *_, rows in panels])
    figure.legend(
        handles=_arm_handles(run, shown), loc="outside lower center", ncols=4, title=style.seeds_note(shown["n"])
    )
    figure.suptitle("How fast each loss learns", x=0.01, ha="left")
    return figure


def _log_scale(axes: Axes) -> None:
    """Logarithmic y axis with plain numbers at 1, 2, and 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())


@styled
def gan_losses(run: Run) -> Figure | None:
    """d_loss and g_loss over steps with each loss's equilibrium, and what D says of real and generated images."""
    metrics = ("d_loss", "g_loss", "mean_d_real", "mean_d_fake")
    cells = pick(run.cells, task="gan", outlier=CLEAN)
    curves = {metric: curve_intervals(cells, run.curves, metric) for metric in metrics}
    datasets = sorted(set(curves["d_loss"]["dataset"]))
    if not datasets:
        return None
    figure = Figure((12, 3.5 * len(datasets) + 0.9), layout="constrained")
    grid = figure.subplots(len(datasets), 3, squeeze=False)
    for line, dataset in zip(grid, datasets, strict=True):
        for metric, axes in zip(metrics, (line[0], line[1], line[2], line[2]), strict=True):
            rows = pick(curves[metric], dataset=dataset)
            for loss, head in arms_of(rows):
                arm = pick(rows, loss=loss, head=head).sort_values("step")
                colour = colours(run.cells)[loss]
                style.draw_band(axes, arm["step"], arm, colour)
                dash = (0, (2, 1.5)) if metric == "mean_d_fake" else line_of(head)["linestyle"]
                axes.plot(arm["step"], arm["mean"], color=colour, linestyle=dash)
                if metric == "d_loss" and loss in LOSSES and LOSSES[loss].equilibrium_d_loss and head == "sigmoid":
                    axes.axhline(LOSSES[loss].equilibrium_d_loss, color=colour, lw=1, ls=(0, (4, 3)))
        titles = ("d_loss, dashed: equilibrium", "g_loss", "D(real) solid, D(generated) dashed")
        for axes, title, label in zip(line, titles, ("d_loss", "g_loss", "mean D"), strict=True):
            axes.set_title(f"{dataset}: {title}" if len(datasets) > 1 else title)
            axes.set(xlabel="training steps", ylabel=label)
        line[0].set_ylim(bottom=0)
        line[2].set_ylim(-0.03, 1.03)
    rows = pd.concat(curves.values())
    figure.legend(
        handles=_arm_handles(run, rows), loc="outside lower center", ncols=5, title=style.seeds_note(rows["n"])
    )
    figure.suptitle("GAN on clean data: adversarial losses against their equilibria", x=0.01, ha="left")
    return figure


@styled
def gan_quality(run: Run) -> Figure | None:
    """Fréchet distance per loss and condition: a point per seed, mean with interval, the real-against-real floor."""
    rows = run.summary[run.summary["metric"] == "frechet"]
    datasets = sorted(set(rows["dataset"]))
    if not datasets:
        return None
    figure = Figure((9.5, 3.6 * len(datasets) + 0.9), layout="constrained")
    for axes, dataset in zip(figure.subplots(len(datasets), 1, squeeze=False).flat, datasets, strict=True):
        here = pick(rows, dataset=dataset)
        arms, conditions = arms_of(here), style.conditions_of(here)
        cells = pick(run.cells, task="gan", dataset=dataset, status="done")
        for place, (outlier, rate) in enumerate(conditions):
            for index, (loss, head) in enumerate(arms):
                x = place + style.dodge(index, len(arms), 0.7)
                where = {"outlier": outlier, "rate": rate, "loss": loss, "head": head}
                _quality_point(axes, x, pick(here, **where), pick(cells, **where), colours(run.cells)[loss])
        floor = cells["frechet_floor"].dropna()
        if len(floor):
            axes.axhline(floor.median(), color="#8A8A8A", lw=1.2, ls=":")
        axes.set_xticks(range(len(conditions)), [style.condition_name(*condition) for condition in conditions])
        axes.set(ylabel="Fréchet distance\n(lower is better)", title=dataset, xlim=(-0.5, len(conditions) - 0.5))
        axes.grid(axis="x", visible=False)
        for place in range(1, len(conditions)):
            axes.axvline(place - 0.5, color="#E3E3E3", lw=0.8)
        if cells["frechet"].max() > 8 * max(cells["frechet"].min(), 1e-9):
            _log_scale(axes)
    handles = [
        Line2D([], [], color=colours(run.cells)[loss], marker="D", ls="-", label=arm_name(loss, head))
        for loss, head in arms_of(rows)
    ]
    handles.append(Line2D([], [], color="#8A8A8A", ls=":", lw=1.2, label="real against real (floor)"))
    if (run.cells["dead_discriminator"] > 0).any():
        handles.append(Line2D([], [], color=style.INK, marker="x", ls="", label="discriminator dead"))
    note = style.seeds_note(rows["n_done"]).replace("band", "bar") + "; a dot is one seed"
    figure.legend(handles=handles, loc="outside lower center", ncols=4, title=note)
    figure.suptitle("GAN: distance of generated from real images", x=0.01, ha="left")
    return figure


def _quality_point(axes: Axes, x: float, rows: pd.DataFrame, cells: pd.DataFrame, colour: str) -> None:
    """One loss under one condition: seeds as dots (a cross where D is dead), mean and interval beside them."""
    for dead, marker in ((False, "o"), (True, "x")):
        seeds = cells.loc[(cells["dead_discriminator"] > 0) == dead, "frechet"]
        axes.plot(
            np.full(len(seeds), x - 0.03), seeds, marker, color=colour, ms=5 if dead else 3.5, alpha=1 if dead else 0.55
        )
    if len(rows):
        row = rows.iloc[0]
        low = max(
            row["ci_low"], 0.5 * cells["frechet"].min()
        )  # an interval may reach below 0, a logarithmic axis cannot
        if not pd.isna(row["ci_low"]):
            axes.plot([x + 0.03] * 2, [low, row["ci_high"]], color=colour, lw=1.4, marker="_", ms=7, mew=1.4)
        axes.plot(x + 0.03, row["mean"], "D", color=colour, ms=4.5)


@styled
def step_time(run: Run) -> Figure | None:
    """Median time of a training step per loss, its phases stacked, with the ratio to BCE."""
    panels = sorted(
        run.timing.groupby(["task", "dataset", "device"]), key=lambda panel: (panel[0][0] != "sr", panel[0])
    )
    if not panels:
        return None
    heights = [len(arms_of(rows)) for _, rows in panels]
    figure = Figure((9.5, sum(0.5 * height + 1.0 for height in heights) + 1.0), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[height + 1.5 for height in heights])
    for axes, ((task, dataset, device), rows) in zip(grid.flat, panels, strict=True):
        arms = arms_of(rows)
        for y, (loss, head) in enumerate(arms):
            arm = pick(rows, loss=loss, head=head)
            _phase_bar(axes, y, arm.groupby("phase")["ms"].median())
            axes.text(arm[arm["phase"] == "step"]["ms"].median(), y, f"  {_time_label(rows, loss, head)}", va="center")
        axes.set_yticks(range(len(arms)), [arm_name(*arm) for arm in arms])
        for tick, (loss, _) in zip(axes.get_yticklabels(), arms, strict=True):
            tick.set(color=colours(run.cells)[loss], fontweight="bold")
        axes.invert_yaxis()
        axes.set_xlim(0, 1.75 * rows.loc[rows["phase"] == "step", "ms"].median())
        axes.set(xlabel="time per training step (ms)", title=f"{style.task_name(task)}, {dataset}, {device}")
        axes.grid(axis="y", visible=False)
    handles = [Patch(color=colour, label=name) for name, colour in PHASE_COLOURS.items()]
    if (run.timing["phase"].str.startswith("d_")).any():
        handles.append(Patch(facecolor="white", edgecolor=style.INK, hatch="////", label="discriminator's"))
    n = int(run.timing["round"].nunique())
    note = f"medians of {n} rounds; in brackets the 95 % t interval of the ratio, paired by round"
    figure.legend(handles=handles, loc="outside lower center", ncols=7, title=note)
    figure.suptitle("Time per training step", x=0.01, ha="left")
    return figure


def _phase_bar(axes: Axes, y: int, phase_ms: pd.Series) -> None:
    """The phases of one step, laid end to end; what no phase accounts for is `other`."""
    order = style.in_order(set(phase_ms.index) - {"step"}, [p + c for p in ("", "g_", "d_") for c in PHASE_COLOURS])
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


def _time_label(rows: pd.DataFrame, loss: str, head: str) -> str:
    """`28.9 ms, 0.98 × BCE (0.97 to 0.99)`."""
    ms = pick(rows, loss=loss, head=head, phase="step")["ms"].median()
    reference = {"loss": "bce", "head": "sigmoid"}
    ratios = paired_ratio(rows, {"loss": loss, "head": head}, reference)
    if {"loss": loss, "head": head} == reference or not len(ratios):
        return f"{ms:#.3g} ms"
    mean, low, high = geometric_interval(ratios)
    interval = "" if low is None else f" ({low:.2f} to {high:.2f})"
    return f"{ms:#.3g} ms, {mean:.2f} × {loss_name('bce')}{interval}"


FIGURES: dict[str, tuple[Callable[[Run], Figure | None], str]] = {
    "robustness": (robustness, "Test quality against outlier rate"),
    "sr_crops": (pictures.sr_crops, "What the outliers do to a picture"),
    "gan_quality": (gan_quality, "GAN: distance from real images"),
    "gan_samples": (pictures.gan_samples, "GAN: generated images"),
    "gan_losses": (gan_losses, "GAN: losses against their equilibria"),
    "convergence": (convergence, "How fast each loss learns"),
    "step_time": (step_time, "Time per training step"),
}
