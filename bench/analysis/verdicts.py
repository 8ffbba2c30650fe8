"""What may be concluded from paired effects: the verdict rule, what it could have seen, and what it rests on.

The rule of science.md section 8. A document makes K claims that data decide. Each gets one t interval [L, U] at level
1 - 0.05 / K on its effect, positive in the direction the document claims, and a margin d below which an effect is not
worth having. L > d: SUPPORTED; U < -d: REFUTED; inside [-d, d]: EQUIVALENT; else INCONCLUSIVE. A verdict is false only
where an interval misses its effect, so all K together hold a false one with probability 0.05 at most (Bonferroni),
however the claims depend on each other. That takes effects as normal: differences of equally skewed sides are near
enough, strongly skewed effects are not. The sign-flip p, which takes them only as symmetric, stands beside and decides
nothing.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

SUPPORTED, REFUTED, EQUIVALENT, INCONCLUSIVE = "SUPPORTED", "REFUTED", "EQUIVALENT", "INCONCLUSIVE"
NOT_TESTED = "NOT TESTED"

ALPHA = 0.05  # the probability of any false verdict, all claims together
POWER = 0.8  # with it the minimum detectable effect is found, and the seeds asked for would decide
MOST_SEEDS = 1000  # nobody runs more: beyond it no number is given
MOST_FLIPS = 2**15  # all sign flips of up to 15 seeds; of more, that many drawn at random

MAY_CONCLUDE = {
    SUPPORTED: "In this setting the effect has the direction the document claims and exceeds the margin."
    " That it holds elsewhere, or for the reason the document gives, was not tested.",
    REFUTED: "In this setting the effect runs against the document's direction by more than the margin."
    " That it does so everywhere was not tested.",
    EQUIVALENT: "In this setting any effect is smaller than the margin, so the choice does not matter here."
    " That there is none at all may not be concluded.",
    INCONCLUSIVE: "Nothing: these seeds allow effects on both sides of a margin."
    " That there is no effect may not be concluded.",
    NOT_TESTED: "Nothing: this run lacks the cells.",
}
MAY_CONCLUDE_NO_WORSE = {  # of claims that no more than the margin is lost
    SUPPORTED: "In this setting less than the margin is lost. That nothing is, or that something is gained, may not be"
    " concluded, nor that it holds elsewhere.",
    REFUTED: "In this setting more than the margin is lost. That it is so everywhere was not tested.",
    INCONCLUSIVE: "Nothing: these seeds allow losses on both sides of the margin.",
}


@dataclass(frozen=True)
class Verdict:
    """What one claim's effects say; None where the data do not define a number.

    Attributes:
        verdict: SUPPORTED, REFUTED, EQUIVALENT, or INCONCLUSIVE.
        n: seeds.
        estimate: the mean effect; ci_low and ci_high: its simultaneous interval over seeds.
        p_value: two-sided t test of no effect, not adjusted; p_sign_flip: the same by flipping signs.
        mde: the minimum detectable effect (`detectable_effect`).
        seeds_needed: of an INCONCLUSIVE claim, how many seeds could decide it (`seeds_needed`).
    """

    verdict: str
    n: int
    estimate: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None
    p_sign_flip: float | None = None
    mde: float | None = None
    seeds_needed: int | None = None


def simultaneous_level(claims: int) -> float:
    """The level of each interval, so that all `claims` of them hold together with probability 0.95."""
    return 1 - ALPHA / claims


def t_limits(effects: ArrayLike, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Student's t interval [L, U] of the mean of `effects` (..., n); NaN where n < 2, one point where all are equal."""
    effects = np.asarray(effects, float)
    n = effects.shape[-1]
    if n < 2:
        return (np.full(effects.shape[:-1], np.nan),) * 2
    mean = effects.mean(-1)
    half = _critical(n, level) * effects.std(-1, ddof=1) / np.sqrt(n)
    return mean - half, mean + half


def decide(low: ArrayLike, high: ArrayLike, margin: ArrayLike) -> np.ndarray:
    """The verdict on each interval; INCONCLUSIVE where there is none (NaN).

    >>> decide([0.2, -0.3, -0.05, 0.0], [0.4, -0.2, 0.1, 0.2], 0.1).tolist()
    ['SUPPORTED', 'REFUTED', 'EQUIVALENT', 'INCONCLUSIVE']
    """
    low, high, margin = (np.asarray(value, float) for value in (low, high, margin))
    rules = [low > margin, high < -margin, (low >= -margin) & (high <= margin)]
    return np.select(rules, [SUPPORTED, REFUTED, EQUIVALENT], INCONCLUSIVE)


def judge_effects(effects: ArrayLike, margin: float, level: float) -> Verdict:
    """The verdict on one claim.

    Args:
        effects: (n,), one effect per seed, positive in the direction the document claims. Any n: without two seeds
            there is no interval, so the claim is INCONCLUSIVE.
        margin: the smallest effect worth having, in the unit of the effects, at least 0.
        level: of the interval (`simultaneous_level`).
    """
    effects = np.asarray(effects, float)
    n = len(effects)
    if n < 2:
        return Verdict(INCONCLUSIVE, n, estimate=float(effects[0]) if n else None)
    mean, deviation = float(effects.mean()), float(effects.std(ddof=1))
    low, high = (float(limit) for limit in t_limits(effects, level))
    verdict = str(decide(low, high, margin))
    return Verdict(
        verdict=verdict,
        n=n,
        estimate=mean,
        ci_low=low,
        ci_high=high,
        p_value=p_value(effects),
        p_sign_flip=p_sign_flip(effects),
        mde=detectable_effect(deviation, n, margin, level),
        seeds_needed=seeds_needed(mean, deviation, n, margin, level) if verdict == INCONCLUSIVE else None,
    )


def judge_no_worse(effects: ArrayLike, margin: float, level: float) -> Verdict:
    """The verdict on a claim that no more than the margin is lost: L > -margin SUPPORTED, U < -margin REFUTED.

    A test of non-inferiority. Its p values are of the hypothesis that exactly the margin is lost, and its `mde`, which
    may be negative, is the smallest effect found SUPPORTED. Arguments as of `judge_effects`.
    """
    found = judge_effects(np.asarray(effects, float) + margin, 0.0, level)
    shifted = {name: getattr(found, name) for name in ("estimate", "ci_low", "ci_high", "mde")}
    return replace(found, **{name: value - margin for name, value in shifted.items() if value is not None})


def detectable_effect(deviation: float, n: int, margin: float, level: float) -> float:
    """The smallest true effect, margin included, that n seeds find SUPPORTED with probability 0.8.

    From the noncentral t: an effect e gives L > margin with probability P(t' > t_crit), where t' has n - 1 degrees of
    freedom and noncentrality (e - margin) sqrt(n) / deviation. `deviation` (ddof 1) is taken as the true one.
    Cohen, "Statistical Power Analysis for the Behavioral Sciences" (1988), chapter 2.
    """
    noncentrality = special.nctdtrinc(n - 1, 1 - POWER, _critical(n, level))
    return float(margin + noncentrality * deviation / np.sqrt(n))


def seeds_needed(mean: float, deviation: float, n: int, margin: float, level: float) -> int | None:
    """How many seeds, more than n, decide with probability 0.8 if the truth is as estimated; None beyond 1,000.

    A mean outside [-margin, margin] is to be found SUPPORTED or REFUTED, one inside EQUIVALENT; there the two
    probabilities of error are added, which asks for a few seeds too many, never too few.
    """
    counts = np.arange(n + 1, MOST_SEEDS + 1)
    critical = _critical(counts, level)
    distances = [abs(mean) - margin] if abs(mean) > margin else [margin - mean, margin + mean]
    misses = sum(stats.nct.cdf(critical, counts - 1, np.sqrt(counts) * gap / deviation) for gap in distances)
    enough = counts[misses <= 1 - POWER]
    return int(enough[0]) if len(enough) else None


def p_value(effects: ArrayLike) -> float:
    """Two-sided p of the one-sample t test that the mean of `effects` (n >= 2,) is 0."""
    effects = np.asarray(effects, float)
    mean, error = effects.mean(), effects.std(ddof=1) / np.sqrt(len(effects))
    if error == 0:
        return float(mean == 0)  # the limit of the test: any constant effect but 0 is certain
    return float(2 * stats.t.sf(abs(mean) / error, len(effects) - 1))


def p_sign_flip(effects: ArrayLike) -> float:
    """Two-sided p of the mean of `effects` (n,) among all flips of their signs; with n seeds at least 2 / 2^n.

    Exact up to 15 seeds, from 2^15 fixed random flips beyond. Fisher, "The Design of Experiments" (1935), section 21.

    >>> p_sign_flip([1.0, 2.0, 3.0, 4.0])
    0.125
    """
    test = stats.permutation_test(
        (np.asarray(effects, float),), np.mean, permutation_type="samples", n_resamples=MOST_FLIPS, rng=0
    )
    return float(test.pvalue)


def holm(p_values: ArrayLike, claims: int) -> np.ndarray:
    """Holm's adjusted p values (m,) among `claims` >= m tests; NaN stays NaN, and claims without a p count as well.

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


def seeds_and_images_limits(effects: ArrayLike, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean effect over seeds and over images like these, both taken as drawn at random.

    The variance of the grand mean is estimated by that of the seeds' means over n plus that of the images' means over
    m, with Satterthwaite's degrees of freedom: the min F' of Clark, "The Language-as-Fixed-Effect Fallacy" (Journal of
    Verbal Learning and Verbal Behavior, 1973). It counts the residual twice, so unlike the unbiased estimate it is
    never negative. A bootstrap over four images would have four values to draw from.

    Args:
        effects: (..., n seeds, m images).
        level: of the interval. With 10 seeds and 4 images 0.95 covers 0.945 to 0.99, by simulation; far above it, as at
            the simultaneous level, the approximation misses up to 2.5 times too often.

    Returns:
        The limits, each (...); NaN with fewer than two seeds or images.
    """
    effects = np.asarray(effects, float)
    n, m = effects.shape[-2:]
    if min(n, m) < 2:
        return (np.full(effects.shape[:-2], np.nan),) * 2
    mean = effects.mean((-2, -1))
    of_seeds = effects.mean(-1).var(-1, ddof=1) / n
    of_images = effects.mean(-2).var(-1, ddof=1) / m
    variance = of_seeds + of_images
    share = np.divide(of_seeds, variance, out=np.ones_like(variance), where=variance > 0)
    freedom = 1 / (share**2 / (n - 1) + (1 - share) ** 2 / (m - 1))
    half = stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance)
    return mean - half, mean + half


def _critical(n: ArrayLike, level: float) -> np.ndarray:
    """The two-sided critical value of Student's t for n values."""
    return stats.t.ppf((1 + level) / 2, np.asarray(n) - 1)
