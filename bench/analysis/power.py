"""Which numbers accompany a decision: p values, the minimum detectable effect, and the number of seeds needed?

They do not influence the decision. The t test assumes normal effects, as the interval does; the sign-flip test assumes
only symmetric ones.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from bench.analysis.comparison import INCONCLUSIVE, PairedComparison, critical_value

POWER = 0.8  # of the minimum detectable effect and of the number of seeds needed
MOST_SEEDS = 1000  # no number is given beyond it: nobody runs more
MOST_FLIPS = 2**15  # all sign flips of up to 15 seeds; for more seeds, this many random ones


def decision_statistics(comparison: PairedComparison) -> dict[str, float | int | None]:
    """The columns of claims.csv that accompany a decision; None where a number is not defined.

    - `p_value`: two-sided t test of no effect, not adjusted; `p_sign_flip`: the same test by flipping signs. For a test
      of non-inferiority the null hypothesis is that exactly the margin is lost.
    - `mde`: the smallest true effect that is found SUPPORTED (`detectable_effect`); it can be negative for a test of
      non-inferiority.
    - `seeds_needed`: how many seeds could decide an INCONCLUSIVE comparison (`seeds_needed`).
    """
    n, margin, level = comparison.n, comparison.margin, comparison.level
    if n < 2:
        return dict.fromkeys(("p_value", "p_sign_flip", "mde", "seeds_needed"))
    shift = margin if comparison.no_worse else 0.0  # the null hypothesis: no effect, or exactly the margin lost
    effects = comparison.per_seed + shift
    mean, deviation = float(effects.mean()), float(effects.std(ddof=1))
    undecided = comparison.decision == INCONCLUSIVE
    return {
        "p_value": p_value(effects),
        "p_sign_flip": p_sign_flip(effects),
        "mde": detectable_effect(deviation, n, margin - shift, level) - shift,
        "seeds_needed": seeds_needed(mean, deviation, n, margin - shift, level) if undecided else None,
    }


def detectable_effect(deviation: float, n: int, margin: float, level: float) -> float:
    """The smallest true effect, margin included, that n seeds find SUPPORTED with probability 0.8.

    From the noncentral t: an effect e gives L > margin with probability P(t' > t_crit), where t' has n - 1 degrees of
    freedom and noncentrality (e - margin) sqrt(n) / deviation. `deviation` (ddof 1) is taken as the true one.
    Cohen, "Statistical Power Analysis for the Behavioral Sciences" (1988), chapter 2.
    """
    noncentrality = special.nctdtrinc(n - 1, 1 - POWER, critical_value(n, level))
    return float(margin + noncentrality * deviation / np.sqrt(n))


def seeds_needed(mean: float, deviation: float, n: int, margin: float, level: float) -> int | None:
    """How many seeds, more than n, decide with probability 0.8 if the truth is as estimated; None beyond 1,000.

    A mean outside [-margin, margin] should be found SUPPORTED or REFUTED, a mean inside EQUIVALENT. In the second case
    the two error probabilities are added, which can give a few seeds too many, never too few.
    """
    if deviation == 0:  # the mean is exactly on the margin, so no number of seeds decides
        return None
    counts = np.arange(n + 1, MOST_SEEDS + 1)
    critical = critical_value(counts, level)
    distances = [abs(mean) - margin] if abs(mean) > margin else [margin - mean, margin + mean]
    misses = sum(stats.nct.cdf(critical, counts - 1, np.sqrt(counts) * gap / deviation) for gap in distances)
    enough = counts[misses <= 1 - POWER]
    return int(enough[0]) if len(enough) else None


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
