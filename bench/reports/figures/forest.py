"""What is the evidence of each seed on each claim of the article?"""

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.analysis import labels
from bench.analysis.comparison import EQUIVALENT, INCONCLUSIVE, NOT_TESTED, REFUTED, SUPPORTED
from bench.analysis.labels import CONFOUNDED, NOT_TESTABLE, SIGNS, TITLES, first_sentence
from bench.analysis.verdicts import Verdict, population_of, verdicts_of
from bench.reports.figures import style
from bench.reports.figures.style import styled
from bench.store.reader import Run

VERDICT_COLOURS = {
    **{SUPPORTED: "#00724F", REFUTED: "#B04A00", EQUIVALENT: "#0072B2"},
    **dict.fromkeys((INCONCLUSIVE, CONFOUNDED, NOT_TESTABLE, NOT_TESTED), "#6A6A6A"),
}
UNIT_NAMES = {  # labels of axes
    **{"dB": "effect in dB of PSNR", "log ratio": "effect as a log ratio (0.25: a factor of 1.28)"},
    **{"correlation": "rank correlation at equal training step", "share of equilibrium": "share of the equilibrium"},
}
LINE_LETTERS = 50  # per line of a statement


def figure_name(about: str) -> str:
    """The name of the figure of a claim of the document."""
    return f"claim_{about.replace('-', '_')}"


@styled
def claim_evidence(run: Run, about: str) -> Figure | None:
    """The evidence on a claim of the document: seeds, interval, and verdict of each statement that data decide.

    A panel per unit, a row per statement.
    """
    compared = [
        verdict
        for verdict in verdicts_of(run)
        if verdict.claim.about == about and verdict.comparison is not None and verdict.comparison.n
    ]
    units = list(dict.fromkeys(verdict.claim.unit for verdict in compared))
    if not compared:
        return None
    heights = [sum(verdict.claim.unit == unit for verdict in compared) + 0.9 for unit in units]
    figure = Figure((11, 0.5 * sum(heights) + 0.5 * len(units) + 1.0), layout="constrained")
    grid = figure.subplots(len(units), 1, squeeze=False, height_ratios=heights)
    for axes, unit in zip(grid.flat, units, strict=True):
        _panel(axes, [verdict for verdict in compared if verdict.claim.unit == unit])
    grid[-1, 0].set_xlabel("← against the article      as the article says →")
    handles = [
        Line2D([], [], color=style.INK, marker="o", ls="", ms=4, alpha=0.45, label="one seed"),
        Line2D([], [], color=style.INK, marker="D", ms=6, lw=2.4, label="mean and simultaneous interval"),
        Patch(color="#DDE3EA", label="up to the margin: not worth having"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    figure.suptitle(f"{TITLES.get(about, about)}: what each seed says", x=0.01, ha="left")
    return figure


def _panel(axes: Axes, verdicts: list[Verdict]) -> None:
    """The statements of a unit, with their verdicts on the right."""
    for y, verdict in enumerate(verdicts):
        claim, comparison = verdict.claim, verdict.comparison
        assert comparison is not None
        interval, effects, colour = comparison.interval, comparison.per_seed, VERDICT_COLOURS[verdict.word]
        if claim.margin:
            axes.fill_between([-claim.margin, claim.margin], y - 0.36, y + 0.36, color="#DDE3EA", lw=0, zorder=0)
        axes.plot(effects, y + np.linspace(-0.22, 0.22, len(effects)), "o", color=style.INK, ms=4, alpha=0.45, mew=0)
        if interval.defined:
            axes.plot([interval.low, interval.high], [y, y], color=colour, lw=2.4, solid_capstyle="butt")
        axes.plot(interval.mean, y, "D", color=colour, ms=6, zorder=4)
        verdict_text = f"{SIGNS[verdict.word]} {verdict.word}\n{labels.signed(interval.mean)}, n = {comparison.n}"
        if population := population_of(comparison):
            verdict_text += f"\n{population}"
        text_style: dict[str, Any] = {"color": colour, "weight": "bold", "va": "center", "size": 9.5}
        axes.text(1.015, y, verdict_text, **text_style, transform=axes.get_yaxis_transform())
    axes.axvline(0, color=style.INK, lw=1)
    unit = verdicts[0].claim.unit
    axes.set_title(UNIT_NAMES.get(unit, unit), size=10)
    statements = [textwrap.fill(first_sentence(verdict.claim.statement), LINE_LETTERS) for verdict in verdicts]
    axes.set_yticks(range(len(verdicts)), statements, size=9.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(verdicts) - 0.45, -0.55)
    axes.grid(axis="y", visible=False)
