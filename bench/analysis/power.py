"""Which numbers accompany a decision: p values, the minimum detectable effect, and what could still decide?

They do not influence the decision. The t test assumes normal effects; the sign-flip test assumes only symmetric ones.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from bench.analysis.comparison import INCONCLUSIVE, LEVEL, MOST_COLLAPSES, PairedComparison
from bench.analysis.intervals import quantile

POWER = 0.8  # of the minimum detectable effect and of the number of seeds needed
MOST_SEEDS = 1000  # no number is given beyond it: nobody runs more
MOST_FLIPS = 2**15  # all sign flips of up to 15 seeds; for more seeds, this many random ones


def decision_statistics(comparison: PairedComparison) -> dict[str, float | int | None]:
    """The columns of claims.csv that accompany a decision; None where a number is not defined.

    All are of the seeds of the look that the decision rests on (`PairedComparison.judged`).

    - `p_value`: two-sided t test of no effect, not adjusted; `p_sign_flip`: the same test by flipping signs. For a test
      of non-inferiority the null hypothesis is that exactly the margin is lost.
    - `mde`: the smallest true effect that this look finds SUPPORTED (`detectable_effect`); it can be negative for a
      test of non-inferiority.
    - `seeds_needed`: how many new seeds a new run needs to decide what is INCONCLUSIVE (`seeds_needed`). Only for a
      fixed list of seeds: where looks follow, the next one answers.
    """
    judged, margin = comparison.judged, comparison.margin
    shift = margin if comparison.no_worse else 0.0  # the null hypothesis: no effect, or exactly the margin lost
    effects = comparison.per_seed[: judged.n] + shift
    effects = effects[~np.isnan(effects)]
    if len(effects) < 2 or not judged.freedom > 0:
        return dict.fromkeys(("p_value", "p_sign_flip", "mde", "seeds_needed"))
    error = judged.share * (1 - comparison.level)
    fixed_and_open = comparison.plan is None and comparison.decision == INCONCLUSIVE
    return {
        "p_value": p_value(effects),
        "p_sign_flip": p_sign_flip(effects),
        "mde": detectable_effect(
            judged.standard_error, judged.freedom, -margin if comparison.no_worse else margin, error
        ),
        "seeds_needed": seeds_needed(comparison) if fixed_and_open else None,
    }


def detectable_effect(standard_error: float, freedom: float, margin: float, error: float) -> float:
    """The smallest true effect, margin included, that a look finds SUPPORTED with probability 0.8.

    From the noncentral t: an effect e gives L > margin with probability P(t' > quantile), where t' has noncentrality
    (e - margin) / standard error. The standard error of the mean is taken as the true one, and effects as normal.
    Cohen, "Statistical Power Analysis for the Behavioral Sciences" (1988), chapter 2.
    """
    return float(margin + special.nctdtrinc(freedom, 1 - POWER, quantile(freedom, error)) * standard_error)


def seeds_needed(comparison: PairedComparison) -> int | None:
    """How many seeds a new run needs to decide with probability 0.8 if the truth is as estimated; None beyond 1,000.

    For planning: it speaks of new seeds, because more seeds in the same run would be a second look at the same data. A
    mean outside the margins should be found SUPPORTED or REFUTED, a mean inside EQUIVALENT. In the second case the two
    error probabilities are added, which can give a few seeds too many, never too few.
    """
    judged, margin = comparison.judged, comparison.margin
    mean, deviation = judged.over_seeds.mean, judged.standard_error * np.sqrt(judged.n)
    if not deviation > 0:  # the mean is exactly on the margin, so no number of seeds decides
        return None
    counts = np.arange(2, MOST_SEEDS + 1)
    if comparison.no_worse:
        gaps = [abs(mean + margin)]
    else:
        gaps = [abs(mean) - margin] if abs(mean) > margin else [margin - mean, margin + mean]
    if len(gaps) == 2 or (comparison.no_worse and abs(mean) < margin):  # a decision that needs to exclude collapses
        counts = counts[1 - ((1 - LEVEL) / 2) ** (1 / counts) < MOST_COLLAPSES]
    critical = quantile(counts - 1, 1 - comparison.level)
    misses = sum(stats.nct.cdf(critical, counts - 1, np.sqrt(counts) * gap / deviation) for gap in gaps)
    enough = counts[misses <= 1 - POWER]
    return int(enough[0]) if len(enough) else None


def outlook(comparison: PairedComparison) -> str:
    """What could still decide, in a sentence; empty where it is decided.

    Under looks, that is the next look. After the last one the effect lies too near to the margin for as many seeds.
    """
    judged = comparison.judged
    if comparison.decision != INCONCLUSIVE:
        return ""
    if not judged.freedom > 0:
        return "An interval needs two seeds."
    if comparison.next_look:
        return f"The next look is at {comparison.next_look} seeds."
    if comparison.plan is not None:
        estimate = f"{judged.interval.mean:+.2g} {comparison.unit}, margin {comparison.margin:g}"
        return f"At the margin: {estimate}, undecided at the last look, {judged.n} seeds."
    needed = seeds_needed(comparison)
    if needed is None:
        return f"Were the estimate the truth, even {MOST_SEEDS} seeds would be too few."
    return f"Were the estimate the truth, a new run with {needed} new seeds would decide in 4 of 5 cases."


def p_value(effects: ArrayLike) -> float:
    """Two-sided p of the one-sample t test that the mean of `effects` (n >= 2,) is 0."""
    effects = np.asarray(effects, float)
    mean, error = effects.mean(), effects.std(ddof=1) / np.sqrt(len(effects))
    if error == 0:
        return float(mean == 0)  # the limit of the test: a constant effect other than 0 is certain
    return float(2 * stats.t.sf(abs(mean) / error, len(effects) - 1))


def p_sign_flip(effects: ArrayLike) -> float:
    """Two-sided p of the mean of `effects` (n,) among all flips of their signs; at least 2 / 2^n.

    Exact up to 15 seeds, from 2^15 fixed random flips beyond. Fisher, "The Design of Experiments" (1935), section 21.

    >>> p_sign_flip([1.0, 2.0, 3.0, 4.0])
    0.125
    """
    test = stats.permutation_test(
        (np.asarray(effects, float),), np.mean, permutation_type="samples", n_resamples=MOST_FLIPS, rng=0
    )
    return float(test.pvalue)


def holm(p_values: ArrayLike, claims: int) -> np.ndarray:
    """Holm's adjusted p values (m,) among `claims` >= m tests; NaN stays NaN; claims without a p value count, too.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (Scandinavian Journal of Statistics, 1979).

    >>> holm([0.01, 0.04, 0.03], claims=3).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)  # NaN last
    steps = claims - np.arange(len(p_values))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * steps))
    return adjusted
