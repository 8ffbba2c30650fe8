"""Which style do all figures share: a colour per loss, a line style per head, legends, and the file format?"""

import io
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from PIL import Image

from bench.analysis.labels import REGISTERED, arm_name, arms_of
from bench.store.files import write_atomically
from ganlab.losses import PINBALL

DPI = 110
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5A5A5A")  # safe for the colour-blind
FURTHER = ("#8C510A", "#999933", "#AA4499", "#44AA99")  # registered losses beyond these; after Tol's schemes
USERS = ("#6A0DAD", "#8B0000", "#1B4D1B", "#00008B", "#7A7A00")  # user losses; no other loss has these colours
HEAD_LINES: dict[str, dict[str, Any]] = {
    "sigmoid": {"linestyle": "-", "marker": "o"},
    "raw": {"linestyle": (0, (4, 1.2, 1, 1.2)), "marker": "s"},
}
OTHER_HEAD: dict[str, Any] = {"linestyle": ":", "marker": "^"}


INCHES_OF_HANDLE, INCHES_PER_LETTER, INCHES_PER_ROW = 0.75, 0.082, 0.21  # of a legend
ROWS_WITH_ROOM = 2  # legend rows that fit into the height of every figure
INK = "#222222"
YARDSTICK = "#8A8A8A"  # reference lines: bicubic, floors, the article's numbers
FAILED = ("diverged", "oom", "timeout", "crashed")  # statuses drawn as a cross
STYLE = seaborn.axes_style("whitegrid") | {
    **{"font.family": "DejaVu Sans", "font.size": 10.5, "axes.titlesize": 11, "axes.labelsize": 10.5},
    **{"axes.titlelocation": "left", "axes.titleweight": "bold", "figure.titlesize": 13, "figure.titleweight": "bold"},
    **{"legend.fontsize": 10, "legend.frameon": False, "grid.color": "#E3E3E3", "grid.linewidth": 0.7},
    **{"axes.edgecolor": "#8A8A8A", "axes.spines.top": False, "axes.spines.right": False, "text.color": INK},
    **{"axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "lines.linewidth": 1.8, "lines.markersize": 5},
    **{"figure.facecolor": "white", "figure.dpi": DPI, "text.parse_math": False},
}
styled = matplotlib.rc_context(STYLE)  # decorator of each figure function


def colours(cells: pd.DataFrame) -> dict[str, str]:
    """A colour per loss: registered losses have fixed colours, others get theirs in alphabetical order.

    References come last, so that they do not change the colours of compared losses.
    """
    unknown = sorted(set(cells["loss"].unique()) - set(REGISTERED), key=lambda loss: (loss.startswith(PINBALL), loss))
    registered = dict(zip(REGISTERED, _extended((*OKABE_ITO, *FURTHER), len(REGISTERED)), strict=True))
    return registered | dict(zip(unknown, _extended(USERS, len(unknown)), strict=True))


def _extended(first: Sequence[str], count: int) -> list[str]:
    """`count` colours: first those of `first`, then evenly spaced hues."""
    more = seaborn.husl_palette(max(count - len(first), 0), l=0.45).as_hex()
    return [*first, *more][:count]


def line_of(head: str) -> dict[str, Any]:
    """The line style and marker of a head."""
    return HEAD_LINES.get(head, OTHER_HEAD)


def seeds_note(counts: Iterable[float], intervals: bool = True) -> str:
    """How many seeds some means are based on, and what the band is; `intervals`: whether any mean has one.

    >>> seeds_note([6, 6])
    'n = 6 seeds, band: 95 % t interval over seeds'
    >>> seeds_note([1])
    'n = 1 seed, so no interval'
    >>> seeds_note([2], intervals=False)
    'n = 2 seeds, each on other test images, so no interval'
    """
    low, high = int(min(counts)), int(max(counts))
    if high <= 1:
        return "n = 1 seed, so no interval"
    seeds = f"n = {low if low == high else f'{low} to {high}'} seeds"
    return (
        f"{seeds}, {'band: 95 % t interval over seeds' if intervals else 'each on other test images, so no interval'}"
    )


def dodge(index: int, count: int, width: float) -> float:
    """The offset of the index-th of `count` neighbours, so that they are evenly spaced over `width`."""
    return width * ((index + 0.5) / count - 0.5)


def draw_band(axes: Axes, x: pd.Series, rows: pd.DataFrame, colour: str) -> None:
    """Draw the interval of `rows` (ci_low, ci_high) as a band; NaN is not drawn."""
    axes.fill_between(x, rows["ci_low"].astype(float), rows["ci_high"].astype(float), color=colour, alpha=0.18, lw=0)


def arm_handles(cells: pd.DataFrame, rows: pd.DataFrame) -> list[Line2D]:
    """Legend entries of the losses and heads in `rows`, with their colours in `cells`."""
    colour = colours(cells)
    return [
        Line2D([], [], color=colour[loss], label=arm_name(loss, head), **line_of(head)) for loss, head in arms_of(rows)
    ]


def legend(figure: Figure, handles: Sequence[Line2D | Patch], note: str, most: int = 5) -> None:
    """Add a legend below a figure, with as many columns as fit, at most `most`. The figure grows for many rows."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    fitting = int(figure.get_figwidth() / (INCHES_OF_HANDLE + INCHES_PER_LETTER * longest))
    columns = max(1, min(most, fitting, len(handles)))
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + INCHES_PER_ROW * max(0, rows - ROWS_WITH_ROOM))
    note = textwrap.fill(note, max(int(figure.get_figwidth() / INCHES_PER_LETTER), 20))
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, title=note)


def log_scale(axes: Axes) -> None:
    """Make the y axis logarithmic, with plain numbers at 1, 2, and 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())


@styled  # ticks are created during drawing
def save(figure: Figure, file: Path) -> None:
    """Write a figure as PNG with 256 colours: half the size, and the colours of losses stay exact."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    out = io.BytesIO()
    _with_palette(pixels).save(out, "PNG", optimize=True)
    write_atomically(file, out.getvalue())


def _with_palette(pixels: Image.Image) -> Image.Image:
    """Reduce to 256 colours that include the exact colours of losses; an automatic palette would change them."""
    kinds = (*OKABE_ITO, *FURTHER, *USERS, INK, "#FFFFFF")
    exact = [int(colour[i : i + 2], 16) for colour in kinds for i in (1, 3, 5)]
    median_cut = pixels.quantize(256 - len(exact) // 3, method=Image.Quantize.MEDIANCUT).getpalette()
    exact_colours = np.array(exact).reshape(-1, 3)
    others = np.array(median_cut).reshape(-1, 3)
    others = others[
        np.abs(others[:, None] - exact_colours).max(axis=2).min(axis=1) > 12
    ]  # a similar colour could replace an exact one
    palette = Image.new("P", (1, 1))
    palette.putpalette([*exact, *others.flatten().tolist()][:768])
    return pixels.quantize(palette=palette, dither=Image.Dither.NONE)
