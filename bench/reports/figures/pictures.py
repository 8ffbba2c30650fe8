"""How do predictions and generated images look under each loss? From samples and cells."""

import textwrap
from collections import Counter

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from bench.analysis import labels
from bench.analysis.labels import arm_name, arms_of, condition_name
from bench.analysis.summary import MAIN_PSNR, pick
from bench.reports.figures import style
from bench.reports.figures.style import styled
from bench.store.reader import Run
from ganlab.outliers import CLEAN

ERROR_LIMIT = 0.4  # top of the error scale (pixels in [0, 1]); fixed, so that figures are comparable
MOST_RATES = 4  # in addition to clean
BLOCK_GAP = 0.75  # between blocks of losses, as a share of a tile
MOST_ARMS = 8  # losses with their heads in one figure of photographs
INCHES_PER_TITLE_LETTER = 0.125
TILE_INCHES = 0.84  # 64 pixels without scaling
PHOTOGRAPH_DPI = 80  # low, because photographs are most of the size of the page


@styled
def crops(run: Run, task: str = "sr") -> Figure | None:
    """The same crop of a test image under every loss: two rows per loss (result, error), a column per rate.

    The first row shows the target, and an untrained result with its error. The numbers are the PSNR of the whole image
    that judges the task.
    """
    cells = _with_pictures(run, task)
    if cells.empty:
        return None
    kind = _kind_with_largest_spread(cells, MAIN_PSNR[task])
    dataset_and_scale = cells.loc[cells["outlier"] == kind, ["dataset", "scale"]].iloc[0]
    cells = pick(cells, **dataset_and_scale)
    cells = cells[cells["outlier"].isin((CLEAN, kind))]
    rates = _selected_rates(sorted(set(cells["rate"])))
    all_arms = arms_of(cells)
    arms = _arms_to_show(all_arms)
    image, tile, (_, untrained, _) = _image_of_most(run, cells)
    shown = [run.manifest["samples"][cell_id]["images"][0] == image for cell_id in cells["cell_id"]]
    cells = cells[shown]  # a seed of another fold shows another photograph
    psnr_db = pick(run.images, image=image).drop_duplicates("cell_id").set_index("cell_id")[MAIN_PSNR[task]].dropna()
    arms_per_block = -(-len(arms) // max(1, MOST_RATES // len(rates)))
    blocks = -(-len(arms) // arms_per_block)  # next to each other if there are few rates
    columns, lines = max(blocks * len(rates), 3), 2 * arms_per_block + 1
    width = TILE_INCHES * (columns + BLOCK_GAP * (blocks - 1)) + 1.0
    note = f"{labels.psnr_name(task)} of the whole image (seed {cells['seed'].min():.0f}{_left_out(arms, all_arms)})"
    title = _wrapped(f"Test image {image} after training on {kind} targets; {note}", width)
    title_inches = 0.5 + 0.22 * (title.count("\n") + 1)
    height = TILE_INCHES * (lines + 0.25 * (arms_per_block + 1)) + 0.9 + title_inches
    margins = {"left": 0.9 / width, "right": 1 - 0.1 / width, "top": 1 - title_inches / height, "bottom": 0.85 / height}
    # manual layout, because the automatic one takes seconds for so many axes
    figure = Figure((width, height), dpi=PHOTOGRAPH_DPI)
    gaps = [0.25, 1, 1] * arms_per_block  # heights in tiles: the gap before each loss, and its two rows
    widths = [1.0] * columns
    for block in range(blocks - 1, 0, -1):
        widths.insert(block * len(rates), BLOCK_GAP)
    layout = figure.add_gridspec(
        len(gaps) + 1, len(widths), **margins, height_ratios=[1, *gaps], width_ratios=widths, wspace=0.04, hspace=0.05
    )
    grid = np.array(
        [
            [figure.add_subplot(layout[line, column]) for column, size in enumerate(widths) if size == 1]
            for line, size in enumerate([1, *gaps])
            if size == 1
        ]
    )
    for axes in grid.flat:
        axes.axis("off")
    first, errors = None, None
    for number, (loss, head) in enumerate(arms):
        start = number // arms_per_block * len(rates)
        tops, bottoms = grid[1 + 2 * (number % arms_per_block) :, start : start + len(rates)][:2]
        for rate, top, bottom in zip(rates, tops, bottoms, strict=False):
            top.set_title(condition_name(kind if rate else CLEAN, rate), loc="center", weight="normal", size=9.5, pad=3)
            row = pick(cells, loss=loss, head=head, rate=rate)
            if row.empty:
                _write_reason(top, run, task=task, loss=loss, head=head, outlier=kind if rate else CLEAN, rate=rate)
                continue
            cell_id = row["cell_id"].iloc[0]
            target, baseline, prediction = np.split(_sample(run, cell_id)[:tile, : 3 * tile], 3, axis=1)
            first = first or (target, baseline)
            _show(top, prediction)
            errors = _show_error(bottom, prediction, target)
            if cell_id in psnr_db.index:
                _write_number(bottom, f"{psnr_db[cell_id]:.1f} dB")
        label = {"rotation": 90, "va": "center", "ha": "right", "transform": tops[0].transAxes}
        tops[0].text(-0.3, 0, arm_name(loss, head), weight="bold", color=style.colours(run.cells)[loss], **label)
        tops[0].text(-0.08, 0.5, "result", **label, size=9.5)
        bottoms[0].text(-0.08, 0.5, "error", **label | {"transform": bottoms[0].transAxes}, size=9.5)
    if first is None:
        return None
    target, baseline = first
    _show(grid[0, 0], target)
    _show(grid[0, 1], baseline)
    _show_error(grid[0, 2], baseline, target)
    for axes, name in zip(grid[0], ("target", untrained, "its error"), strict=False):
        axes.set_title(name, loc="center", weight="normal", size=9.5, pad=3)
    if errors is not None:
        bar_axes = figure.add_axes((0.3, 0.6 / height, 0.4, 0.11 / height))
        bar = figure.colorbar(errors, cax=bar_axes, orientation="horizontal", extend="max")
        bar.set_label("absolute error (pixels run from 0 to 1), one scale for all")
    figure.suptitle(title, x=0.01, y=1 - 0.1 / height, ha="left", va="top")
    return figure


def _write_number(axes: Axes, text: str) -> None:
    """Write a number into the corner of a picture, readable on any background."""
    box = {"facecolor": "#000000", "alpha": 0.65, "pad": 1.5, "lw": 0}
    axes.text(0.03, 0.04, text, color="white", size=9, transform=axes.transAxes, bbox=box)


def _with_pictures(run: Run, task: str) -> pd.DataFrame:
    """The cells with a readable picture: the lowest seed of each loss, head, and condition."""
    samples = run.manifest.get("samples") or {}
    cells = run.cells[(run.cells["task"] == task) & run.cells["cell_id"].isin(samples)]
    cells = cells.sort_values("seed", kind="stable")
    readable = [run.sample(cell_id) is not None for cell_id in cells["cell_id"]]
    return cells[readable].drop_duplicates(["dataset", "scale", "loss", "head", "outlier", "rate"])


def _arms_to_show(arms: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """At most MOST_ARMS losses with their heads, in the given order; user losses are preferred, then the first ones."""
    first = sorted(arms, key=lambda arm: arm[0] in labels.REGISTERED)[:MOST_ARMS]
    return [arm for arm in arms if arm in first]


def _left_out(arms: list[tuple[str, str]], all_arms: list[tuple[str, str]]) -> str:
    """How many losses a figure shows and which ones it omits; empty if it shows all."""
    omitted = labels.listed([arm_name(*arm) for arm in all_arms if arm not in arms])
    return f"; {len(arms)} of {len(all_arms)} losses, without {omitted}" if omitted else ""


def _wrapped(title: str, inches: float) -> str:
    """A title, broken into lines for a figure of this width."""
    return textwrap.fill(title, max(int(inches / INCHES_PER_TITLE_LETTER), 20))


def _kind_with_largest_spread(cells: pd.DataFrame, metric: str) -> str:
    """The outlier kind with pictures whose losses differ most in PSNR; `clean` if there are no outliers."""
    corrupted = cells[cells["outlier"] != CLEAN].dropna(subset=metric)
    if corrupted.empty:
        return CLEAN
    spread = corrupted.groupby(["outlier", "rate"])[metric].agg(np.ptp)
    return spread.groupby("outlier").max().sort_index().idxmax()


def _selected_rates(rates: list[float]) -> list[float]:
    """At most MOST_RATES + 1 rates, evenly chosen, including both ends."""
    chosen = np.linspace(0, len(rates) - 1, min(len(rates), MOST_RATES + 1)).round().astype(int)
    return [rates[index] for index in chosen]


def _image_of_most(run: Run, cells: pd.DataFrame) -> tuple[str, int, list[str]]:
    """The image that comes first in most pictures, its tile size in pixels, and the names of the columns."""
    entries = [run.manifest["samples"][cell_id] for cell_id in cells["cell_id"]]
    image = Counter(entry["images"][0] for entry in entries).most_common(1)[0][0]
    entry = next(entry for entry in entries if entry["images"][0] == image)
    return image, int(entry["tile"]), entry["columns"]


def _write_reason(axes: Axes, run: Run, **where: object) -> None:
    """Write why a picture is missing: its cells are not declared, are not done, or have no picture."""
    cells = pick(run.cells, **where)
    reason = "not in\nthis suite" if cells.empty else "no picture" if (cells["status"] == "done").any() else "not done"
    axes.text(0.5, 0.5, reason, ha="center", va="center", transform=axes.transAxes, color="#767676", size=9.5)


def _sample(run: Run, cell_id: str) -> np.ndarray:
    """The picture of a cell; the cell must have a readable one."""
    picture = run.sample(cell_id)
    assert picture is not None, cell_id
    return picture


def _show(axes: Axes, pixels: np.ndarray) -> None:
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def _show_error(axes: Axes, prediction: np.ndarray, target: np.ndarray) -> AxesImage:
    """Show |prediction - target| in [0, 1], averaged over channels, on a fixed scale."""
    error = np.abs(prediction.astype(float) - target.astype(float)) / 255
    error = error.mean(axis=-1) if error.ndim == 3 else error
    return axes.imshow(error, cmap="magma", vmin=0, vmax=ERROR_LIMIT, interpolation="nearest")


def spaced_grid(grid: np.ndarray, layout: dict) -> np.ndarray:
    """A grid of images with grey lines between neighbours, so that small images stay apart."""
    tile = int(layout["tile"])
    line = max(1, tile // 8)
    for axis, count in ((0, layout["rows"]), (1, layout["columns"])):
        seams = np.repeat(np.arange(1, count) * tile, line)
        grid = np.insert(grid, seams, 128, axis=axis)
    return grid


@styled
def gan_samples(run: Run) -> Figure | None:
    """Grids of generated images: a column per loss, a row per data set and condition."""
    cells = _with_pictures(run, "gan")
    if cells.empty:
        return None
    all_arms = arms_of(cells)
    arms = _arms_to_show(all_arms)
    lines = [
        (dataset, *condition) for dataset, rows in cells.groupby("dataset") for condition in labels.conditions_of(rows)
    ]
    figure = Figure((2.5 * len(arms) + 0.6, 2.65 * len(lines) + 0.6), dpi=PHOTOGRAPH_DPI, layout="constrained")
    grid = figure.subplots(len(lines), len(arms), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for line, (dataset, outlier, rate) in zip(grid, lines, strict=True):
        label = {"rotation": 90, "va": "center", "ha": "right", "transform": line[0].transAxes, "weight": "bold"}
        line[0].text(-0.04, 0.5, f"{dataset}\n{condition_name(outlier, rate)}", **label)
        for axes, (loss, head) in zip(line, arms, strict=True):
            row = pick(cells, dataset=dataset, outlier=outlier, rate=rate, loss=loss, head=head)
            if row.empty:
                _write_reason(axes, run, dataset=dataset, loss=loss, head=head, outlier=outlier, rate=rate)
                continue
            cell_id = row["cell_id"].iloc[0]
            _show(axes, spaced_grid(_sample(run, cell_id), run.manifest["samples"][cell_id]))
            dead = ", D dead" if row["dead_discriminator"].iloc[0] > 0 else ""
            axes.set_title(f"Fréchet {row['frechet'].iloc[0]:.3g}{dead}", loc="center", weight="normal", size=9.5)
    for axes, (loss, head) in zip(grid[0], arms, strict=True):
        title = axes.get_title("center")
        axes.set_title(f"{arm_name(loss, head)}\n{title}", loc="center", size=9.5, color=style.colours(run.cells)[loss])
    title = f"Generated images, one seed{_left_out(arms, all_arms)}"
    figure.suptitle(_wrapped(title, figure.get_figwidth()), x=0.01, ha="left")
    return figure
