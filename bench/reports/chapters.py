"""What does the report print about each claim: its sentence, the tested statements, and the conclusions?"""

import re
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis.claims import DOCUMENT
from bench.analysis.comparison import INCONCLUSIVE, NOT_TESTED
from bench.analysis.labels import (
    CONFOUNDED,
    NOT_TESTABLE,
    SIGNS,
    STANDS,
    TASK_NAMES,
    TITLES,
    loss_name,
    percent,
    task_name,
)
from bench.reports.tables.results import estimate_cell, scope
from bench.reports.tables.table import TableCell

ALSO_SEE = {  # further figures about a claim
    "g-loss-tracks-quality": ("gan_losses", "gan_quality"),
    "d-loss-to-zero": ("gan_losses", "d_loss_equilibrium"),
    "d-loss-half": ("d_loss_equilibrium", "dead_discriminator"),
    "l1-robust": (
        "robustness",
        "depth_robustness",
        "interpolation_robustness",
        "three_db",
        "gan_quality",
        "location_error",
    ),
    "l2-reconstruction": ("metric_matrix", "loss_shapes"),
    "l1-needs-decay": ("schedule_wobble", "rate_sensitivity"),
}
APART = (CONFOUNDED, NOT_TESTABLE)  # verdicts that are counted beside the decided ones
LABELS = {  # for statements whose names are not clear enough
    **{"procedure": "checked in every GAN", "d-loss-to-zero/limit": "where d_loss ends"},
    **{"d-loss-to-zero/quality": "smaller d_loss, better images", "d-loss-half/dead": "dead discriminators are better"},
    **{"d-loss-half/constant": "0.5 tells the best D from a constant one (L1)", "l1-needs-decay/helps": "decay helps"},
    **{f"d-loss-half/{loss}": f"0.5 rather than its equilibrium, {loss.upper()}" for loss in ("bce", "l1", "l2")},
    **{"l1-needs-decay/more-than-l2-adam": "L1 gains more than L2, Adam"},
    **{"l1-needs-decay/more-than-l2-sgd": "L1 gains more than L2, SGD"},
    **{"l1-needs-decay/l2-without": "without, L2 loses less than 0.1 dB"},
}


class Statement(NamedTuple):
    """A tested statement of a claim, its verdict, and the facts behind it; `label` names the part of the claim."""

    name: str
    label: str
    text: str
    verdict: str
    estimate: TableCell
    facts: dict[str, str]
    aside: str = ""  # short notes that belong to the verdict: whom it speaks of, whether cells are still learning
    rates: str = ""  # likewise, if the verdict rests on cells that are not at their tuned rate

    @property
    def notes(self) -> str:
        """Both short notes."""
        return ", ".join(filter(None, (self.aside, self.rates)))

    @property
    def anchor(self) -> str:
        """Its anchor in the page."""
        return "statement-" + re.sub(r"[^a-z0-9]+", "-", self.name.lower())


class Chapter(NamedTuple):
    """A claim of the article: its sentence, its tested and untested statements, and its figures."""

    name: str
    title: str
    sentence: str
    tested: list[Statement]
    untested: list[tuple[str, str]]
    figures: tuple[str, ...]

    @property
    def text(self) -> str:
        """Its verdicts in one sentence: the alternative text of its figure."""
        return "; ".join(
            f"{statement.text} {f'{statement.verdict} {statement.aside}'.strip()}, {statement.estimate.line}"
            for statement in self.tested
        )


def label_of(claim: str) -> str:
    """A label for the part of a claim that a statement tests, from the name of the statement.

    >>> label_of("l1-robust/sr-salt-0.2/loses-less"), label_of("g-loss-tracks-quality/bce"), label_of("procedure")
    ('super-resolution, salt 20 %: loses less', 'BCE', 'checked in every GAN')
    """
    if claim in LABELS:
        return LABELS[claim]
    part, _, reading = (claim.partition("/")[2] or claim).partition("/")
    if match := re.fullmatch(r"(.*)-(0\.\d+)", part):
        part = f"{match[1]} {percent(float(match[2]))}"
    part += f": {reading.replace('-', ' ')}" if reading else ""
    for task in TASK_NAMES:
        name = task_name(task)
        part = re.sub(rf"^{task}-", f"{name if name == 'GAN' else name[0].lower() + name[1:]}, ", part)
    return re.sub(r"\b(bce|l1|l2)\b", lambda loss: loss_name(loss[1]), part)


def chapters(claims: pd.DataFrame) -> list[Chapter]:
    """A chapter per claim of the article, from the rows of claims.csv."""
    result = []
    for about, sentence in DOCUMENT.items():
        rows = list(claims[claims["about"] == about].itertuples())
        tested = [_statement(row) for row in rows if row.verdict != NOT_TESTED]
        untested = [(row.statement, row.cells) for row in rows if row.verdict == NOT_TESTED]
        result.append(Chapter(about, TITLES.get(about, about), sentence, tested, untested, ALSO_SEE.get(about, ())))
    return result


def _statement(row: Any) -> Statement:
    """A tested statement, from its row of claims.csv."""
    facts = {"Measured": row.rule.partition("; ")[0]}
    if not pd.isna(row.margin):
        numbers = [f"margin {row.margin:g} {row.unit}", f"n = {row.n} seeds"]
        if not pd.isna(row.mde):
            effect_name = "smallest effect" if row.mde >= 0 else "largest loss with which"
            verb = "find" if row.mde >= 0 else "find it SUPPORTED"
            numbers.append(f"{effect_name} these seeds would {verb} in 4 of 5 runs: {abs(row.mde):.2g} {row.unit}")
        facts["Sizes"] = "; ".join(numbers)
    facts |= {"May be concluded": row.may_conclude, "Rests on": "; ".join(filter(None, (row.cells, row.learning)))}
    facts = {key: fact for key, fact in facts.items() if fact}
    verdict = f"{SIGNS[row.verdict]} {row.verdict}"
    rates = "not at tuned rates" if getattr(row, "rates", "") else ""
    estimate = estimate_cell(row)
    return Statement(row.claim, label_of(row.claim), row.statement, verdict, estimate, facts, scope(row), rates)


def tally(claims: pd.DataFrame) -> str:
    """One sentence on all verdicts: what stands, what is open, and apart what the data could not test."""
    counts = claims["verdict"].value_counts()
    stand = [f"{counts[verdict]} {verdict}" for verdict in STANDS if counts.get(verdict)]
    standing = sum(int(counts.get(verdict, 0)) for verdict in STANDS)
    apart = [f"{counts[verdict]} {verdict}" for verdict in SIGNS if verdict in APART and counts.get(verdict)]
    judged = standing + int(counts.get(INCONCLUSIVE, 0))
    if not judged + len(apart):
        return ""
    text = f"Of {judged} statements judged, {standing} are decided" + (f": {', '.join(stand)}." if stand else ".")
    return text + (f" Apart: {', '.join(apart)}." if apart else "")
