"""What do the verdicts on the article's claims look like, all on one page?"""

import re
import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench import style, verdicts
from bench.claims import MARGIN_DB, judge
from bench.store import Run
from bench.style import styled

SIGNS = {  # a verdict must be told apart without its colour
    **{verdicts.SUPPORTED: "✓", verdicts.REFUTED: "✗", verdicts.EQUIVALENT: "=", verdicts.INCONCLUSIVE: "?"},
    verdicts.NOT_TESTED: "–",
}
TITLES = {  # of the document's claims
    **{"procedure": "The procedure", "g-loss-tracks-quality": "g_loss tracks quality"},
    **{"d-loss-to-zero": "d_loss goes to 0", "d-loss-half": "d_loss is best at 0.5"},
    **{"l1-robust": "L1 is robust", "l2-reconstruction": "L2 reconstructs better"},
    "l1-needs-decay": "L1 needs decay, L2 does not",
}
VERDICT_COLOURS = {
    **{verdicts.SUPPORTED: "#00724F", verdicts.REFUTED: "#B04A00", verdicts.EQUIVALENT: "#0072B2"},
    **{verdicts.INCONCLUSIVE: "#6A6A6A", verdicts.NOT_TESTED: "#6A6A6A"},
}
LINEAR_MARGINS = 2.0  # the axis is linear up to so many margins, then logarithmic
UNIT_NAMES = {"log ratio": "log ratio", "share of equilibrium": "of equilibrium"}
LINE_LETTERS = 62  # of a statement, before it breaks


def first_sentence(text: str) -> str:
    """A statement without its explanation.

    >>> first_sentence("L2 loses less than 0.1 dB. (Read so.)")
    'L2 loses less than 0.1 dB.'
    """
    return re.split(r"(?<=[.]) ", text, maxsplit=1)[0]


@styled
def claims_forest(run: Run) -> Figure | None:
    """Each claim that data decide: its effect in margins with the interval, and the verdict in words."""
    claims = judge(run)
    rows = claims[claims["estimate"].notna() & claims["margin"].notna()]
    if rows.empty:
        return None
    headings = rows["about"].drop_duplicates().tolist()
    figure = Figure((13, 0.42 * (len(rows) + 1.1 * len(headings)) + 1.7), layout="constrained")
    axes, texts = figure.subplots(1, 2, sharey=True, width_ratios=[1, 0.5])
    texts.axis("off")
    y, labels = 0.0, {}
    for about in headings:
        labels[y] = TITLES[about]
        y += 1
        for row in rows[rows["about"] == about].itertuples():
            labels[y] = textwrap.fill(first_sentence(row.statement), LINE_LETTERS)
            _claim_line(axes, y, row)
            _claim_texts(texts, y, row)
            y += 1
        y += 0.1
    axes.axvline(0, color=style.INK, lw=1)
    axes.set_xscale("symlog", linthresh=LINEAR_MARGINS, linscale=1.3)
    reach = np.nanmax(np.abs(_in_margins(rows, rows[["estimate", "ci_low", "ci_high"]].T)))
    axes.set_xlim(-max(1.5 * reach, 4), max(1.5 * reach, 4))
    ticks = [tick for tick in (1, 3, 10, 100, 1000) if tick <= max(1.4 * reach, 2)]
    ticks = [-tick for tick in reversed(ticks)] + [0, *ticks]
    axes.set_xticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_ylim(y - 0.3, -0.7)
    axes.set_yticks(list(labels), labels.values(), size=9.5)
    axes.tick_params(axis="y", length=0)
    for label in axes.get_yticklabels():
        label.set_weight("bold" if label.get_text() in TITLES.values() else "normal")
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("← against the article      effect in margins      as the article says →")
    handles = [
        Patch(color="#DDE3EA", label="up to the margin: not worth having"),
        Line2D([], [], color=style.INK, marker="o", label="estimate with its simultaneous interval"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    figure.suptitle("The article's claims, measured: effect, interval, verdict", x=0.01, ha="left")
    return figure


def _in_margins(rows: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Values in units of each claim's margin; where that is 0, of the margin of PSNR."""
    return values / rows["margin"].where(rows["margin"] > 0, MARGIN_DB)


def _claim_line(axes: Axes, y: float, row: tuple) -> None:
    """One claim: the band of its margin, and its effect with interval."""
    unit, colour = row.margin or MARGIN_DB, VERDICT_COLOURS[row.verdict]
    half = row.margin / unit
    axes.fill_between([-half, half], y - 0.42, y + 0.42, color="#DDE3EA", lw=0, zorder=0)
    if not np.isnan(row.ci_low):
        axes.plot([row.ci_low / unit, row.ci_high / unit], [y, y], color=colour, lw=2.4, solid_capstyle="butt")
    axes.plot(row.estimate / unit, y, "o", color=colour, ms=6, zorder=4)


def _claim_texts(axes: Axes, y: float, row: tuple) -> None:
    """The verdict in words, and the estimate with its unit."""
    verdict = f"{SIGNS[row.verdict]} {row.verdict}"
    axes.text(0, y, verdict, color=VERDICT_COLOURS[row.verdict], weight="bold", va="center")
    axes.text(0.57, y, f"{style.signed(row.estimate)} {UNIT_NAMES.get(row.unit, row.unit)}", va="center")
