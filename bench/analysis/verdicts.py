"""Why did a claim of the document get its verdict? From its evidence in a run to its row of claims.csv.

The claims that data decide form one family of K comparisons (`comparison.py`). Claims that a proof or an invariant
decides are not part of K.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from bench.analysis.claims import CLAIMS, DOCUMENT, Claim, K
from bench.analysis.comparison import (
    EQUIVALENT,
    INCONCLUSIVE,
    LEVEL,
    NOT_TESTED,
    REFUTED,
    SUPPORTED,
    Judgement,
    PairedComparison,
    Words,
    decide,
    family_level,
)
from bench.analysis.power import decision_statistics, holm, outlook
from bench.store.reader import Run
from bench.store.schema import COLUMNS, TEXT_COLUMNS

MAY_CONCLUDE: Words = {
    SUPPORTED: "In this setting the effect has the direction the document claims and exceeds the margin."
    " That it holds elsewhere, or for the reason the document gives, was not tested.",
    REFUTED: "In this setting the effect runs against the document's direction by more than the margin."
    " That it does so everywhere was not tested.",
    EQUIVALENT: "In this setting any effect is smaller than the margin, so the choice does not matter here."
    " That there is none at all may not be concluded.",
    INCONCLUSIVE: "Nothing: these seeds allow effects on both sides of a margin."
    " That there is no effect may not be concluded.",
}
MAY_CONCLUDE_NO_WORSE: Words = {  # for claims that at most the margin is lost
    SUPPORTED: "In this setting less than the margin is lost. That nothing is, or that something is gained, may not be"
    " concluded, nor that it holds elsewhere.",
    REFUTED: "In this setting more than the margin is lost. That it is so everywhere was not tested.",
    INCONCLUSIVE: "Nothing: these seeds allow losses on both sides of the margin.",
}
MAY_CONCLUDE_UNTESTED = "Nothing: this run lacks the cells."
MAY_CONCLUDE_PROOF = "Decided by a proof or an invariant, not estimated: it says no more than the statement."
PHOTOGRAPH = {  # the part of an image name that differs between images of one photograph
    "depth": re.compile(r"-(tile-\d+-)?\d+$"),
    "interpolation": re.compile(r"-\d+( \(\d+\))?(@\d+)?$"),
}


def judge(run: Run) -> pd.DataFrame:
    """claims.csv: one row per claim in the order of `CLAIMS`. The order of the input rows does not matter.

    Every claim has a verdict: a decision of `comparison.py`, or NOT TESTED, with the reason in `cells`, if the run does
    not declare the cells. Numbers that are not defined are NaN.
    """
    frame = pd.DataFrame([judge_claim(claim, run) for claim in CLAIMS]).reindex(columns=COLUMNS["claims"])
    frame["p_holm"] = holm(frame["p_value"], K)
    numbers = [column for column in frame if column not in TEXT_COLUMNS]
    return frame.astype(dict.fromkeys(numbers, float)).astype({"n": int})


def compare(claim: Claim, effects: pd.DataFrame) -> PairedComparison:
    """The comparison for a claim that data decide; effects: a row per seed, a single column or one per test image."""
    level = family_level(K)
    table = by_photograph(effects, claim.task).to_numpy(float)
    return PairedComparison(
        table if claim.task else table.ravel(), claim.margin, claim.unit, level, no_worse=claim.no_worse
    )


def rule_of(claim: Claim) -> str:
    """The rule for the verdict on a claim, in words."""
    if claim.kind == "proof":
        return f"{claim.effect}: SUPPORTED if in every case, else REFUTED; a proof, outside K"
    least = -claim.margin if claim.no_worse else claim.margin
    bounds = f"L > {least:g} SUPPORTED, U < {-claim.margin:g} REFUTED"
    inside = "" if claim.no_worse else f", inside [-{claim.margin:g}, {claim.margin:g}] EQUIVALENT"
    level = f"{100 * family_level(K):.2f} % widened t interval [L, U], K = {K}"
    return f"{claim.effect}; {level}: {bounds}{inside}, else INCONCLUSIVE"


def judge_claim(claim: Claim, run: Run) -> dict[str, Any]:
    """The row of claims.csv without `p_holm`, which needs all claims."""
    evidence = claim.evidence(run)
    row: dict[str, Any] = {"claim": claim.name, "statement": claim.statement, "rule": rule_of(claim)}
    row |= {"unit": claim.unit, "margin": claim.margin, "n": 0, "verdict": NOT_TESTED, "cells": evidence.cells}
    row |= {"about": claim.about, "document": DOCUMENT[claim.about]}
    if not evidence.tested:
        return row | {"may_conclude": MAY_CONCLUDE_UNTESTED}
    if claim.kind == "proof":
        holds = evidence.effects.to_numpy()
        row |= {"verdict": SUPPORTED if holds.all() else REFUTED, "estimate": float(holds.mean()), "n": len(holds)}
        return row | {"may_conclude": MAY_CONCLUDE_PROOF}
    comparison = compare(claim, evidence.effects)
    wider = replace(comparison, level=LEVEL).judged
    row |= {"verdict": comparison.decision, "n": comparison.n} | decision_statistics(comparison)
    row |= dict(zip(("estimate", "ci_low", "ci_high"), comparison.interval, strict=True))
    row |= {"images_ci_low": wider.over_images.low, "images_ci_high": wider.over_images.high}
    partial = None
    if claim.beyond_time:
        partial = replace(comparison, effects=claim.beyond_time(run).effects.to_numpy(float), level=LEVEL)
        ends = ("beyond_time", "beyond_time_ci_low", "beyond_time_ci_high")
        row |= dict(zip(ends, partial.interval, strict=True))
    tuned = claim.task in set(run.cells.loc[run.cells["role"] == "tune", "task"])
    return row | {"may_conclude": " ".join(_may_conclude(claim, comparison, wider, partial, tuned))}


def _may_conclude(
    claim: Claim, comparison: PairedComparison, wider: Judgement, partial: PairedComparison | None, tuned: bool
) -> Iterator[str]:
    """What one may conclude: from the comparison, over seeds and images (`wider`), and at equal step (`partial`)."""
    yield comparison.word(MAY_CONCLUDE_NO_WORSE if claim.no_worse else MAY_CONCLUDE)
    if comparison.decision == INCONCLUSIVE:
        yield outlook(comparison)
    if partial and partial.interval.defined:
        mean, low, high = partial.interval
        yield (
            f"Both change as training goes on, which alone correlates them: with the step held constant the partial"
            f" correlation is {mean:+.2f} ({low:+.2f} to {high:+.2f}; 95 %, this claim alone),"
            f" by itself {partial.decision}."
        )
    if wider.over_images.defined:
        _, low, high = wider.over_images
        alone = decide(low, high, claim.margin, claim.no_worse)
        yield (
            f"This speaks for these test images; over seeds and images the interval is {low:.2f} to"
            f" {high:.2f} {claim.unit} (95 %, this claim alone), by itself {alone}."
        )
    if claim.task and not tuned:
        yield "This run tunes no learning rate of this task: they were chosen before it."


def by_photograph(effects: pd.DataFrame, task: str) -> pd.DataFrame:
    """Effects (seeds, test images), averaged over the images of each photograph, which vary less than photographs do.

    Several scenes of depth, and several sequences of interpolation, come from each photograph.
    """
    if task not in PHOTOGRAPH:
        return effects
    names = [PHOTOGRAPH[task].sub("", str(image)) for image in effects.columns]
    return effects.astype(float).set_axis(names, axis="columns").T.groupby(level=0).mean().T
