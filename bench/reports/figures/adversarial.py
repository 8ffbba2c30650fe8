"""What happened during GAN training: the adversarial losses, the distance from real images, and dead discriminators?

Figures from data frames and samples, as in `bench.reports.figures.registry`.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis import labels
from bench.analysis.labels import ARTICLE_D_LOSS, arm_name, arms_of, condition_name
from bench.analysis.summary import curve_intervals, equilibrium_d_loss, pick, summary_of
from bench.reports.figures import style
from bench.reports.figures.pictures import spaced_grid
from bench.reports.figures.style import colours, line_of, styled
from bench.store.reader import Run
from ganlab.outliers import CLEAN

SEEDS_ASIDE = 0.03  # distance between seeds and mean, as a share of the distance between conditions
MOST_DEAD = 3  # cells shown with a dead discriminator


@styled
def gan_losses(run: Run) -> Figure | None:
    """d_loss and g_loss over steps with their equilibria, and the mean output of D for real and generated images.

    A row of panels per data set and head, because probabilities and scores cannot share an axis.
    """
    metrics = ("d_loss", "g_loss", "mean_d_real", "mean_d_fake")
    cells = pick(run.cells, task="gan", outlier=CLEAN)
    curves = {metric: curve_intervals(cells, run.curves, metric) for metric in metrics}
    datasets, heads = (sorted(set(curves["d_loss"][column])) for column in ("dataset", "head"))
    datasets_and_heads = sorted(
        set(zip(curves["d_loss"]["dataset"], curves["d_loss"]["head"], strict=True)),
        key=lambda pair: (pair[0], pair[1] != "sigmoid", pair[1]),
    )
    if not datasets_and_heads:
        return None
    figure = Figure((12, 3.5 * len(datasets_and_heads) + 0.9), layout="constrained")
    grid = figure.subplots(len(datasets_and_heads), 3, squeeze=False)
    for line, (dataset, kind) in zip(grid, datasets_and_heads, strict=True):
        for metric, axes in zip(metrics, (line[0], line[1], line[2], line[2]), strict=True):
            rows = pick(curves[metric], dataset=dataset, head=kind)
            for loss, head in arms_of(rows):
                arm = pick(rows, loss=loss, head=head).sort_values("step")
                colour = colours(run.cells)[loss]
                style.draw_band(axes, arm["step"], arm, colour)
                dash = (0, (2, 1.5)) if metric == "mean_d_fake" else line_of(head)["linestyle"]
                axes.plot(arm["step"], arm["mean"], color=colour, linestyle=dash)
                if metric == "d_loss" and (equilibrium := equilibrium_d_loss(loss, head)) is not None:
                    axes.axhline(equilibrium, color=colour, lw=1, ls=(0, (4, 3)))
        titles = ("d_loss, dashed: equilibrium", "g_loss", "mean D, fake dashed")
        prefix = ", ".join([dataset] * (len(datasets) > 1) + [f"{kind} head"] * (len(heads) > 1))
        for axes, title, label in zip(line, titles, ("d_loss", "g_loss", "mean D"), strict=True):
            axes.set_title(f"{prefix}: {title}" if prefix else title)
            axes.set(xlabel="training steps", ylabel=label)
        if kind == "sigmoid":  # scores and the losses computed from them have no bounds
            line[0].set_ylim(bottom=0)
            line[2].set_ylim(-0.03, 1.03)
    rows = pd.concat(curves.values())
    style.legend(figure, style.arm_handles(run.cells, rows), style.seeds_note(rows["n"]))
    figure.suptitle("GAN on clean data: adversarial losses against their equilibria", x=0.01, ha="left")
    return figure


@styled
def gan_quality(run: Run) -> Figure | None:
    """Fréchet distance per loss and condition: a point per seed, mean with interval, the real-against-real floor."""
    rows = summary_of(run)[summary_of(run)["metric"] == "frechet"]
    datasets = sorted(set(rows["dataset"]))
    if not datasets:
        return None
    figure = Figure((9.5, 3.6 * len(datasets) + 0.9), layout="constrained")
    for axes, dataset in zip(figure.subplots(len(datasets), 1, squeeze=False).flat, datasets, strict=True):
        dataset_rows = pick(rows, dataset=dataset)
        arms, conditions = arms_of(dataset_rows), labels.conditions_of(dataset_rows)
        cells = pick(run.cells, task="gan", dataset=dataset, status="done")
        for position, (outlier, rate) in enumerate(conditions):
            for index, (loss, head) in enumerate(arms):
                x = position + style.dodge(index, len(arms), 0.7)
                where = {"outlier": outlier, "rate": rate, "loss": loss, "head": head}
                gap = min(SEEDS_ASIDE, 0.175 / len(arms))
                mark_style = {"color": colours(run.cells)[loss], "marker": mean_marker(head)}
                _quality_point(axes, x, gap, pick(dataset_rows, **where), pick(cells, **where), mark_style)
        floor = cells["frechet_floor"].dropna()
        if len(floor):
            axes.axhline(floor.median(), color=style.YARDSTICK, lw=1.2, ls=":")
        axes.set_xticks(range(len(conditions)), [labels.condition_name(*condition) for condition in conditions])
        axes.set(ylabel="Fréchet distance\n(lower is better)", title=dataset, xlim=(-0.5, len(conditions) - 0.5))
        axes.grid(axis="x", visible=False)
        for position in range(1, len(conditions)):
            axes.axvline(position - 0.5, color="#E3E3E3", lw=0.8)
        if cells["frechet"].max() > 8 * max(cells["frechet"].min(), 1e-9):
            style.log_scale(axes)
    handles = [
        Line2D([], [], color=colours(run.cells)[loss], marker=mean_marker(head), ls="-", label=arm_name(loss, head))
        for loss, head in arms_of(rows)
    ]
    handles.append(Line2D([], [], color=style.YARDSTICK, ls=":", lw=1.2, label="real against real (floor)"))
    if (run.cells["dead_discriminator"] > 0).any():
        handles.append(Line2D([], [], color=style.INK, marker="x", ls="", label="discriminator dead"))
    note = style.seeds_note(rows["n_done"]).replace("band", "bar") + "; a dot is one seed"
    style.legend(figure, handles, note, most=4)
    figure.suptitle("GAN: distance of generated from real images", x=0.01, ha="left")
    return figure


def mean_marker(head: str) -> str:
    """The marker of a mean, distinct from the dots of its seeds."""
    return "D" if head == "sigmoid" else line_of(head)["marker"]


def _quality_point(axes: Axes, x: float, gap: float, rows: pd.DataFrame, cells: pd.DataFrame, mark_style: dict) -> None:
    """A loss in a condition: seeds as dots (crosses if D is dead), mean and interval at distance `gap`."""
    colour = mark_style["color"]
    for dead, marker in ((False, "o"), (True, "x")):
        seeds = cells.loc[(cells["dead_discriminator"] > 0) == dead, "frechet"]
        axes.plot(
            np.full(len(seeds), x - gap), seeds, marker, color=colour, ms=5 if dead else 3.5, alpha=1 if dead else 0.55
        )
    if len(rows):
        row = rows.iloc[0]
        low = max(
            row["ci_low"], 0.5 * cells["frechet"].min()
        )  # the interval may end below 0, which a logarithmic axis cannot show
        if not pd.isna(row["ci_low"]):
            axes.plot([x + gap] * 2, [low, row["ci_high"]], color=colour, lw=1.4, marker="_", ms=7, mew=1.4)
        axes.plot(x + gap, row["mean"], ms=4.5, **mark_style)


@styled
def dead_discriminator(run: Run) -> Figure | None:
    """Trainings that ended with a dead D: losses, distance from real images, and generated images."""
    cells = pick(run.cells, task="gan", dead_discriminator=1, status="done").copy()
    if cells.empty:
        return None
    cells["pictured"] = cells["cell_id"].isin(run.manifest.get("samples") or {})
    cells = cells.sort_values(["pictured", "rate", "g_loss", "cell_id"], ascending=[False, True, True, True])
    shown = cells.drop_duplicates(["dataset", "loss", "head", "outlier", "rate"]).head(MOST_DEAD)
    figure = Figure((12, 3.3 * len(shown) + 0.9), layout="constrained")
    grid = figure.subplots(len(shown), 3, squeeze=False, width_ratios=[1.25, 1.25, 1])
    for line, (_, cell) in zip(grid, shown.iterrows(), strict=True):
        colour = colours(run.cells)[cell["loss"]]
        d_loss, g_loss = (_curve(run, cell["cell_id"], metric) for metric in ("d_loss", "g_loss"))
        line[0].plot(d_loss.index, d_loss, color=colour, marker="o", label="d_loss")
        line[0].plot(g_loss.index, g_loss, color=colour, ls=(0, (2, 1.5)), marker="^", label="g_loss")
        line[0].axhline(ARTICLE_D_LOSS, color=style.YARDSTICK, lw=1.2, ls=":", label="the article's d_loss")
        line[0].set(xlabel="training steps", ylabel="loss", ylim=(-0.03, None))
        where = f"{cell['dataset']}, {condition_name(cell['outlier'], cell['rate'])}, seed {cell['seed']:.0f}"
        line[0].set_title(f"{arm_name(cell['loss'], cell['head'])}: {where}")
        line[0].legend(loc="best")
        _distance_curves(line[1], run, cell)
        line[2].axis("off")
        picture = run.sample(cell["cell_id"])
        if picture is None or not cell["pictured"]:
            line[2].text(0.5, 0.5, "no picture of this seed", ha="center", color="#767676")
        else:
            tiles = spaced_grid(picture, run.manifest["samples"][cell["cell_id"]])
            line[2].imshow(tiles, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            line[2].set_title("what it generates at the end")
    figure.suptitle(f"Dead discriminators: {len(shown)} of {len(cells)}", x=0.01, ha="left")
    return figure


def _distance_curves(axes: Axes, run: Run, cell: pd.Series) -> None:
    """Fréchet distance of a cell during training, with the other losses of its condition and seed."""
    equal_columns = ["task", "dataset", "outlier", "rate", "seed", "head", "settings", "batch_size", "steps"]
    partners = pick(run.cells, status="done", **{column: cell[column] for column in equal_columns})
    for _, other in partners.drop_duplicates("loss").iterrows():
        curve = _curve(run, other["cell_id"], "frechet")
        if other["loss"] != cell["loss"] and len(curve):
            name = arm_name(other["loss"], other["head"])
            axes.plot(curve.index, curve, color=colours(run.cells)[other["loss"]], lw=1.2, label=name)
    curve = _curve(run, cell["cell_id"], "frechet")
    axes.plot(curve.index, curve, color=colours(run.cells)[cell["loss"]], marker="o")
    axes.set(xlabel="training steps", ylabel="Fréchet distance (lower is better)")
    axes.set_title("its distance from real images")
    style.log_scale(axes)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(title="thin: same condition and seed", alignment="left")


def _curve(run: Run, cell_id: str, metric: str) -> pd.Series:
    """A metric of a cell, indexed by step."""
    return pick(run.curves, cell_id=cell_id, metric=metric).set_index("step")["value"].dropna().sort_index()
