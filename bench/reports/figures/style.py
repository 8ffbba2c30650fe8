"""How does every figure look: one colour per loss, one line per head, one way to name a condition, one way to save?"""

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
USERS = ("#6A0DAD", "#8B0000", "#1B4D1B", "#00008B", "#7A7A00")  # losses of the user's own: no other has these
HEAD_LINES: dict[str, dict[str, Any]] = {
    "sigmoid": {"linestyle": "-", "marker": "o"},
    "raw": {"linestyle": (0, (4, 1.2, 1, 1.2)), "marker": "s"},
}
OTHER_HEAD: dict[str, Any] = {"linestyle": ":", "marker": "^"}


INCHES_OF_HANDLE, INCHES_PER_LETTER, INCHES_PER_ROW = 0.75, 0.082, 0.21  # of a legend
ROWS_WITH_ROOM = 2  # of a legend, in every figure's height
INK = "#222222"
YARDSTICK = "#8A8A8A"  # lines that no loss under test has drawn: bicubic, floors, the article's numbers
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
    """A colour per loss: registered losses have theirs in every run, others theirs in alphabetical order.

    References, which are not compared, come last, so that they take nobody's colour.
    """
    unknown = sorted(set(cells["loss"].unique()) - set(REGISTERED), key=lambda loss: (loss.startswith(PINBALL), loss))
    registered = dict(zip(REGISTERED, _enough((*OKABE_ITO, *FURTHER), len(REGISTERED)), strict=True))
    return registered | dict(zip(unknown, _enough(USERS, len(unknown)), strict=True))


def _enough(first: Sequence[str], count: int) -> list[str]:
    """`count` colours: `first`, and beyond them as many evenly spread hues as it takes."""
    more = seaborn.husl_palette(max(count - len(first), 0), l=0.45).as_hex()
    return [*first, *more][:count]


def line_of(head: str) -> dict[str, Any]:
    """Line style and marker of a head."""
    return HEAD_LINES.get(head, OTHER_HEAD)


def seeds_note(counts: Iterable[float]) -> str:
    """How many seeds stand behind some means, and what the band is.

    >>> seeds_note([6, 6])
    'n = 6 seeds, band: 95 % t interval over seeds'
    >>> seeds_note([1])
    'n = 1 seed, so no interval'
    """
    low, high = int(min(counts)), int(max(counts))
    if high <= 1:
        return "n = 1 seed, so no interval"
    return f"n = {low if low == high else f'{low} to {high}'} seeds, band: 95 % t interval over seeds"


def dodge(index: int, count: int, width: float) -> float:
    """How far to shift the index-th of `count` neighbours so that they share `width` evenly around their place."""
    return width * ((index + 0.5) / count - 0.5)


def draw_band(axes: Axes, x: pd.Series, rows: pd.DataFrame, colour: str) -> None:
    """The interval of `rows` (ci_low, ci_high) as a band; nothing where there is none."""
    axes.fill_between(x, rows["ci_low"].astype(float), rows["ci_high"].astype(float), color=colour, alpha=0.18, lw=0)


def arm_handles(cells: pd.DataFrame, rows: pd.DataFrame) -> list[Line2D]:
    """Legend entries of the losses and heads among some rows, in the colours they have among `cells`."""
    colour = colours(cells)
    return [
        Line2D([], [], color=colour[loss], label=arm_name(loss, head), **line_of(head)) for loss, head in arms_of(rows)
    ]


def legend(figure: Figure, handles: Sequence[Line2D | Patch], note: str, most: int = 5) -> None:
    """The legend below a figure: as many columns as fit its width, `most` at most; a figure of many lines grows."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    fitting = int(figure.get_figwidth() / (INCHES_OF_HANDLE + INCHES_PER_LETTER * longest))
    columns = max(1, min(most, fitting, len(handles)))
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + INCHES_PER_ROW * max(0, rows - ROWS_WITH_ROOM))
    note = textwrap.fill(note, max(int(figure.get_figwidth() / INCHES_PER_LETTER), 20))
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, title=note)


def log_scale(axes: Axes) -> None:
    """Logarithmic y axis with plain numbers at 1, 2, and 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())


@styled  # ticks are made while drawing
def save(figure: Figure, file: Path) -> None:
    """Write a figure as PNG of 256 colours: half the size, and the colours that stand for losses stay exact."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    out = io.BytesIO()
    _with_palette(pixels).save(out, "PNG", optimize=True)
    write_atomically(file, out.getvalue())


def _with_palette(pixels: Image.Image) -> Image.Image:
    """256 colours, among them exactly those that stand for losses, which a palette of its own would shift."""
    kinds = (*OKABE_ITO, *FURTHER, *USERS, INK, "#FFFFFF")
    exact = [int(colour[i : i + 2], 16) for colour in kinds for i in (1, 3, 5)]
    found = pixels.quantize(256 - len(exact) // 3, method=Image.Quantize.MEDIANCUT).getpalette()
    kept = np.array(exact).reshape(-1, 3)
    others = np.array(found).reshape(-1, 3)
    others = others[np.abs(others[:, None] - kept).max(axis=2).min(axis=1) > 12]  # lest a near one be taken instead
    palette = Image.new("P", (1, 1))
    palette.putpalette([*exact, *others.flatten().tolist()][:768])
    return pixels.quantize(palette=palette, dither=Image.Dither.NONE)
