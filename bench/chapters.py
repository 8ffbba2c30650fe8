"""What does the report say of each claim of the article: its sentence, what was tested, and what may be concluded?"""

from typing import NamedTuple

import pandas as pd

from bench.claims import DOCUMENT
from bench.forest import SIGNS, TITLES
from bench.tables import Entry, estimate_entry
from bench.verdicts import NOT_TESTED

EVIDENCE = {  # the figures that show it
    "g-loss-tracks-quality": ("gan_losses", "gan_quality"),
    "d-loss-to-zero": ("gan_losses", "d_loss_equilibrium"),
    "d-loss-half": ("d_loss_equilibrium", "dead_discriminator"),
    "l1-robust": ("robustness", "three_db", "gan_quality", "location_error"),
    "l2-reconstruction": ("metric_matrix", "loss_shapes"),
    "l1-needs-decay": ("schedule_wobble", "rate_sensitivity"),
}


class Statement(NamedTuple):
    """What was tested of a claim, its verdict, and the facts behind it."""

    name: str
    text: str
    verdict: str
    estimate: Entry
    facts: dict[str, str]


class Chapter(NamedTuple):
    """One claim of the article: its sentence, the statements tested, those that were not, and its figures."""

    name: str
    title: str
    sentence: str
    tested: list[Statement]
    untested: list[tuple[str, str]]
    figures: tuple[str, ...]


def chapters(claims: pd.DataFrame) -> list[Chapter]:
    """A chapter per claim of the article, from the rows of claims.csv."""
    found = []
    for about, sentence in DOCUMENT.items():
        rows = list(claims[claims["about"] == about].itertuples())
        tested = [_statement(row) for row in rows if row.verdict != NOT_TESTED]
        untested = [(row.statement, row.cells) for row in rows if row.verdict == NOT_TESTED]
        found.append(Chapter(about, TITLES[about], sentence, tested, untested, EVIDENCE.get(about, ())))
    return found


def _statement(row: tuple) -> Statement:
    """A tested statement in words."""
    facts = {"Rule": row.rule}
    if not pd.isna(row.margin):
        sizes = [f"margin {row.margin:g} {row.unit}", f"n = {row.n} seeds"]
        if not pd.isna(row.mde):
            sizes.append(f"smallest effect these seeds would find in 4 of 5 runs: {row.mde:.2g} {row.unit}")
        if not pd.isna(row.p_value):
            adjusted = f"p = {row.p_value:.2g}, {row.p_holm:.2g} after Holm's correction"
            sizes.append(f"{adjusted}, {row.p_sign_flip:.2g} by sign flips (decides nothing)")
        facts["Sizes"] = "; ".join(sizes)
    facts |= {"May be concluded": row.may_conclude, "Rests on": row.cells}
    return Statement(row.claim, row.statement, f"{SIGNS[row.verdict]} {row.verdict}", estimate_entry(row), facts)
