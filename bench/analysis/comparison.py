"""What do paired effects decide? Effects -> interval -> decision -> word: one rule for every comparison.

The rule of science.md section 8: an effect is measured for every seed, positive in the claimed direction. Its mean gets
a t interval [L, U]; effects up to a margin d are too small to matter. L > d: SUPPORTED; U < -d: REFUTED; inside
[-d, d]: EQUIVALENT; else INCONCLUSIVE. A test of non-inferiority asks whether more than d is lost: L > -d: SUPPORTED;
U < -d: REFUTED; else INCONCLUSIVE.

A decision is false only if the interval misses the true effect. Comparisons that are read together form a family and
share the error: each interval has level 1 - 0.05 / size (Bonferroni), so the probability that any of them is false is
at most 0.05, however they depend on each other. Student's t assumes normal effects. Differences of equally skewed sides
are close enough to that; strongly skewed effects are not.

Callers choose their own words for the decisions (`PairedComparison.word`), but not their own rule.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

ALPHA = 0.05  # the probability of any false decision in a family
LEVEL = 1 - ALPHA  # of a single interval

Decision = Literal["SUPPORTED", "REFUTED", "EQUIVALENT", "INCONCLUSIVE"]
SUPPORTED: Final = "SUPPORTED"
REFUTED: Final = "REFUTED"
EQUIVALENT: Final = "EQUIVALENT"
INCONCLUSIVE: Final = "INCONCLUSIVE"
NOT_TESTED: Final = "NOT TESTED"  # no decision: the run lacks the cells
Words = Mapping[Decision, str]  # a caller's word for each decision


class Interval(NamedTuple):
    """A mean with its confidence interval; low and high are NaN for fewer than two values."""

    mean: float
    low: float
    high: float

    @property
    def defined(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)


def words(*, supported: str, refuted: str, equivalent: str, inconclusive: str) -> Words:
    """Words for the decisions."""
    return {SUPPORTED: supported, REFUTED: refuted, EQUIVALENT: equivalent, INCONCLUSIVE: inconclusive}


def family_level(size: int) -> float:
    """The level of each interval of a family so that all hold together with probability 0.95 (Bonferroni)."""
    return 1 - ALPHA / max(size, 1)


def critical_value(n: ArrayLike, level: float) -> np.ndarray:
    """The two-sided critical value of Student's t for `n` values; NaN where n < 2."""
    n = np.asarray(n, float)
    return stats.t.ppf((1 + level) / 2, np.where(n > 1, n - 1, np.nan))


def half_width(deviation: ArrayLike, n: ArrayLike, level: float) -> np.ndarray:
    """Half of a t interval, from the standard deviation (ddof 1) of `n` values; NaN where n < 2."""
    return critical_value(n, level) * np.asarray(deviation, float) / np.sqrt(n)


def t_interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    """Student's t interval of the mean; NaN values are dropped. Without values the mean is NaN.

    >>> mean, low, high = t_interval([1.0, 2.0, 3.0])  # 2 -+ 4.303 * 1 / sqrt(3)
    >>> f"{mean:.3f} ({low:.3f} to {high:.3f})"
    '2.000 (-0.484 to 4.484)'
    """
    numbers = np.asarray(values, float)
    numbers = numbers[~np.isnan(numbers)]
    mean = float(numbers.mean()) if len(numbers) else math.nan
    half = float(half_width(numbers.std(ddof=1), len(numbers), level)) if len(numbers) > 1 else math.nan
    return Interval(mean, mean - half, mean + half)


def geometric_interval(ratios: ArrayLike, level: float = LEVEL) -> Interval:
    """Geometric mean of positive ratios, with the back-transformed t interval of their logarithms."""
    return Interval(*(float(np.exp(end)) for end in t_interval(np.log(np.asarray(ratios, float)), level)))


def seeds_and_images_limits(effects: ArrayLike, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean effect if both seeds and images are random samples.

    The variance of the grand mean is estimated by that of the seeds' means over n plus that of the images' means over
    m, with Satterthwaite's degrees of freedom: the min F' of Clark, "The Language-as-Fixed-Effect Fallacy" (Journal of
    Verbal Learning and Verbal Behavior, 1973). It counts the residual twice and is therefore, unlike the unbiased
    estimate, never negative. A bootstrap over images is no option: there are only four.

    Args:
        effects: (..., n seeds, m images).
        level: of the interval. In simulations with 10 seeds and 4 images, level 0.95 covered 0.945 to 0.99. At much
            higher levels, as for a large family, the approximation misses up to 2.5 times too often.

    Returns:
        The two limits, each (...); NaN for fewer than two seeds or images.
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


def decide(low: float, high: float, margin: float, no_worse: bool = False) -> Decision:
    """The decision from an interval; INCONCLUSIVE if its ends are NaN.

    Args:
        low, high: the ends of the interval.
        margin: effects up to it are too small to matter; at least 0.
        no_worse: test only whether more than the margin is lost (non-inferiority).

    >>> [decide(*ends, margin=0.1) for ends in ((0.2, 0.4), (-0.3, -0.2), (-0.05, 0.1), (0.0, 0.2))]
    ['SUPPORTED', 'REFUTED', 'EQUIVALENT', 'INCONCLUSIVE']
    >>> decide(-0.05, 0.3, margin=0.1, no_worse=True)
    'SUPPORTED'
    """
    if low > (-margin if no_worse else margin):
        return SUPPORTED
    if high < -margin:
        return REFUTED
    if not no_worse and low >= -margin and high <= margin:
        return EQUIVALENT
    return INCONCLUSIVE


@dataclass(frozen=True, eq=False)
class PairedComparison:
    """Paired effects and the decision from them.

    Attributes:
        effects: (seeds,) or (seeds, images), positive in the claimed direction; NaN where a seed did not test an image.
        margin: effects up to it are too small to matter; at least 0.
        unit: of effects and margin.
        level: of the interval: `LEVEL`, or the `family_level` of a family of comparisons.
        no_worse: whether this is a test of non-inferiority: is more than the margin lost?
        over_images: if true, the interval is over seeds and images, and generalises to similar images; else it is over
            seeds alone and holds for these images.
    """

    effects: np.ndarray
    margin: float
    unit: str
    level: float = LEVEL
    no_worse: bool = False
    over_images: bool = False

    @property
    def n(self) -> int:
        """The number of seeds."""
        return len(self.effects)

    @cached_property
    def per_seed(self) -> np.ndarray:
        """One effect per seed: the mean over the images that it tested."""
        return np.nanmean(self.effects, axis=1) if self.n and self.effects.ndim == 2 else self.effects.ravel()

    @cached_property
    def interval(self) -> Interval:
        """The mean effect and its interval."""
        over_seeds = t_interval(self.per_seed, self.level)
        if not self.over_images:
            return over_seeds
        low, high = seeds_and_images_limits(self.effects, self.level)
        return Interval(over_seeds.mean, float(low), float(high))

    @property
    def decision(self) -> Decision:
        """The decision from the interval."""
        return decide(self.interval.low, self.interval.high, self.margin, self.no_worse)

    def word(self, words: Words) -> str:
        """The caller's word for the decision."""
        return words[self.decision]
