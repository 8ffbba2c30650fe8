"""Why did a claim of the document get its verdict? From its evidence in a run to its row of claims.csv.

The claims that data decide form one family of K comparisons (`comparison.py`). Claims that a proof or an invariant
decides are not part of K. Before the rule decides, three questions are asked of the evidence (science.md section 9):

- Could the data have told the claim from its rival, and are the effects no numbers that another claim counts already?
  If not: NOT TESTABLE.
- Do two numbers move together at equal training step, too? If they only do so over time: CONFOUNDED.
- Are the compared cells still learning? Then the verdict says so (`learning.py`).
"""

import re
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from bench.analysis.claims import CLAIMS, DOCUMENT, Claim, K
from bench.analysis.comparison import (
    EQUIVALENT,
    IMAGES_LIKE_THESE,
    INCONCLUSIVE,
    LEVEL,
    REFUTED,
    SEEDS_ONLY,
    SUPPORTED,
    PairedComparison,
    family_level,
)
from bench.analysis.contrasts import Evidence
from bench.analysis.labels import CONFOUNDED, NOT_TESTABLE, number, signed
from bench.analysis.learning import still_learning
from bench.analysis.looks import plan_of
from bench.analysis.power import decision_statistics, holm, outlook
from bench.store.reader import Run
from bench.store.schema import COLUMNS, TEXT_COLUMNS

PHOTOGRAPH = {  # the part of an image name that differs between images of one photograph
    "depth": re.compile(r"-(tile-\d+-)?\d+$"),
    "interpolation": re.compile(r"-\d+( \(\d+\))?(@\d+)?$"),
}


@dataclass(frozen=True, eq=False)
class Verdict:
    """The verdict on a claim in a run, and what it rests on.

    Attributes:
        word: a decision of `comparison.py`, or NOT TESTED, NOT TESTABLE, CONFOUNDED.
        comparison: decides; None for a proof, and where the run has no effects that could decide.
        over_time: the same without holding the training step constant; None unless the claim asks for it.
        same_as: the earlier claim whose effects are the same numbers, up to their sign; else empty.
    """

    claim: Claim
    word: str
    evidence: Evidence
    comparison: PairedComparison | None = None
    over_time: PairedComparison | None = None
    same_as: str = ""


VERDICTS: WeakKeyDictionary[Run, list[Verdict]] = WeakKeyDictionary()  # shared by the table and figures of a report


def verdicts_of(run: Run) -> list[Verdict]:
    """The verdict on every claim, in the order of `CLAIMS`; computed once. Each fact is counted once."""
    if run not in VERDICTS:
        VERDICTS[run] = _counted_once([verdict_on(claim, run) for claim in CLAIMS])
    return VERDICTS[run]


def judge(run: Run) -> pd.DataFrame:
    """claims.csv: one row per claim in the order of `CLAIMS`. The order of the input rows does not matter.

    Numbers that are not defined are NaN.
    """
    frame = pd.DataFrame([row_of(verdict, run) for verdict in verdicts_of(run)]).reindex(columns=COLUMNS["claims"])
    frame["p_holm"] = holm(frame["p_value"], K)
    texts = [column for column in frame if column in TEXT_COLUMNS]
    numbers = [column for column in frame if column not in TEXT_COLUMNS]
    frame[texts] = frame[texts].fillna("")
    return frame.astype(dict.fromkeys(numbers, float)).astype({"n": int})


def verdict_on(claim: Claim, run: Run) -> Verdict:
    """The verdict on a claim by itself, whether or not another claim counts the same numbers."""
    evidence = claim.evidence(run)
    if evidence.lack:
        return Verdict(claim, evidence.lack, evidence)
    if claim.kind == "proof":
        return Verdict(claim, SUPPORTED if evidence.effects.to_numpy().all() else REFUTED, evidence)
    comparison = compare(claim, evidence)
    if claim.over_time is None:
        return Verdict(claim, comparison.decision, evidence, comparison)
    over_time = compare(claim, claim.over_time(run))
    return Verdict(claim, beyond_time(comparison, over_time), evidence, comparison, over_time)


def compare(claim: Claim, evidence: Evidence) -> PairedComparison:
    """The comparison for a claim that data decide. Seeds of which a cell diverged have collapsed."""
    rows, effects = evidence.rows, by_photograph(evidence.effects, claim.task)
    diverged = rows.loc[rows["status"] == "diverged", "seed"] if len(rows) else ()
    seeds = sorted({*effects.index, *diverged}) if len(effects) else []
    table = effects.reindex(seeds).to_numpy(float)
    collapsed = np.isnan(table).all(axis=1) if len(seeds) else None
    table = table if claim.task else table.ravel()
    level, plan = family_level(K), plan_of(rows)
    return PairedComparison(table, claim.margin, claim.unit, level, claim.no_worse, plan, collapsed)


def beyond_time(equal_step: PairedComparison, over_time: PairedComparison) -> str:
    """The verdict on a correlation: that at equal training step decides; one over time is CONFOUNDED at most."""
    beyond, raw = equal_step.decision, over_time.decision
    return CONFOUNDED if raw in (SUPPORTED, REFUTED) and beyond not in (SUPPORTED, REFUTED) else beyond


def _counted_once(verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts, where a later one whose effects are the numbers of an earlier one is NOT TESTABLE by itself."""
    kept: list[Verdict] = []
    for verdict in verdicts:
        earlier = next((other for other in kept if other.comparison and same_numbers(other, verdict)), None)
        if earlier and verdict.comparison:
            verdict = replace(verdict, word=NOT_TESTABLE, comparison=None, over_time=None, same_as=earlier.claim.name)
        kept.append(verdict)
    return kept


def same_numbers(a: Verdict, b: Verdict) -> bool:
    """Whether the effects of two verdicts are the same numbers for the same seeds, up to their sign.

    Effects that are alike for every seed are no evidence of it: correlations of 1, say, coincide without being one.
    """
    one, other = a.evidence.effects, b.evidence.effects
    if one.shape != other.shape or len(one) < 2 or not one.index.equals(other.index):
        return False
    numbers, others = one.to_numpy(float), other.to_numpy(float)
    if np.ptp(np.nan_to_num(numbers)) == 0:
        return False
    return any(np.allclose(numbers, sign * others, rtol=1e-9, atol=1e-12, equal_nan=True) for sign in (1, -1))


def judge_claim(claim: Claim, run: Run) -> dict[str, Any]:
    """The row of claims.csv on a claim by itself, without `p_holm`, which needs all claims."""
    return row_of(verdict_on(claim, run), run)


def row_of(verdict: Verdict, run: Run) -> dict[str, Any]:
    """The row of claims.csv, without `p_holm`."""
    claim, evidence, comparison = verdict.claim, verdict.evidence, verdict.comparison
    row: dict[str, Any] = {"claim": claim.name, "statement": claim.statement, "rule": rule_of(claim)}
    row |= {"unit": claim.unit, "margin": claim.margin, "n": 0, "verdict": verdict.word, "cells": evidence.cells}
    row |= {"about": claim.about, "document": DOCUMENT[claim.about], "population": "", "learning": ""}
    if verdict.same_as:
        row |= {"cells": f"the effects are those of {verdict.same_as}, up to their sign, and are counted there"}
    if comparison is not None:
        n = int((~np.isnan(comparison.per_seed[: comparison.judged.n])).sum())
        row |= {"n": n} | decision_statistics(comparison)
        row |= {"look": comparison.look if comparison.plan else None}
        row |= dict(zip(("estimate", "ci_low", "ci_high"), comparison.interval, strict=True))
        row |= {"population": population_of(comparison), "learning": still_learning(run, evidence.rows).text}
        wide = replace(comparison, level=LEVEL).judged.over_images
        row |= {"images_ci_low": wide.low, "images_ci_high": wide.high}
    elif claim.kind == "proof" and not evidence.lack:
        row |= {"estimate": float(evidence.effects.to_numpy().mean()), "n": len(evidence.effects)}
    if verdict.over_time is not None:
        row |= dict(
            zip(("over_time", "over_time_ci_low", "over_time_ci_high"), verdict.over_time.interval, strict=True)
        )
    tuned = claim.task in set(run.cells.loc[run.cells["role"] == "tune", "task"])
    untuned = "" if tuned or not claim.task or comparison is None else "This run tunes no learning rate of this task."
    return row | {"may_conclude": " ".join(filter(None, (_may_conclude(verdict), untuned)))}


def population_of(comparison: PairedComparison) -> str:
    """Whom a decision speaks of, to be written behind it; empty without a decision, or without images.

    This is the one place that words it; `claims.csv` and every page quote it from here.
    """
    if comparison.decision == INCONCLUSIVE or comparison.population == SEEDS_ONLY:
        return ""
    if comparison.population == IMAGES_LIKE_THESE:
        return "for images like these"
    return f"for these {comparison.images} images" if comparison.images > 1 else "for this one photograph"


def rule_of(claim: Claim) -> str:
    """The rule for the verdict on a claim, in words."""
    if claim.kind == "proof":
        return f"{claim.effect}: by proof, outside K"
    least = -claim.margin if claim.no_worse else claim.margin
    bounds = f"L > {least:g} SUPPORTED, U < {-claim.margin:g} REFUTED"
    inside = "" if claim.no_worse else f", inside [-{claim.margin:g}, {claim.margin:g}] EQUIVALENT"
    level = f"{100 * family_level(K):.2f} % widened t interval [L, U], K = {K}"
    confounded = "; CONFOUNDED if only the correlation over time decides" if claim.over_time else ""
    return f"{claim.effect}; {level}: {bounds}{inside}, else INCONCLUSIVE{confounded}"


def _may_conclude(verdict: Verdict) -> str:
    """What one may conclude. Only what other data would have made come out otherwise is said."""
    comparison, unit = verdict.comparison, verdict.claim.unit
    if comparison is None:
        return "" if verdict.claim.kind == "proof" and not verdict.evidence.lack else "Nothing."
    if not comparison.interval.defined:
        return f"Nothing. {outlook(comparison)}"
    _, low, high = comparison.interval
    span = f"{signed(low)} to {signed(high)} {unit}"
    if verdict.over_time is not None and verdict.word == CONFOUNDED:
        mean, *ends = verdict.over_time.interval
        left = "nothing worth having" if comparison.decision == EQUIVALENT else "not settled"
        return (
            f"Over a training {signed(mean)} ({signed(ends[0])} to {signed(ends[1])}), for both change with time;"
            f" at equal step {span}, {left}."
        )
    if verdict.claim.no_worse and comparison.decision in (SUPPORTED, REFUTED):
        bound = f"most {number(max(-low, 0.0), 2)}" if comparison.decision == SUPPORTED else f"least {number(-high, 2)}"
        return f"At {bound} {unit} is lost."
    said = {
        SUPPORTED: f"At least {signed(low)} {unit}.",
        REFUTED: f"At most {signed(high)} {unit}.",
        EQUIVALENT: f"No more than {number(max(-low, high), 2)} {unit} either way.",
        INCONCLUSIVE: f"Nothing: it may be {span}. {outlook(comparison)}",
    }
    return said[comparison.decision]


def by_photograph(effects: pd.DataFrame, task: str) -> pd.DataFrame:
    """Effects (seeds, test images), averaged over the images of each photograph, which vary less than photographs do.

    Several scenes of depth, and several sequences of interpolation, come from each photograph.
    """
    if task not in PHOTOGRAPH:
        return effects
    names = [PHOTOGRAPH[task].sub("", str(image)) for image in effects.columns]
    return effects.astype(float).set_axis(names, axis="columns").T.groupby(level=0).mean().T
