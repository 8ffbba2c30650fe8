"""What do paired effects decide? Effects -> interval -> decision -> word: one rule for every comparison.

The rule of science.md, sections 8 and 9: an effect is measured for every seed, positive in the claimed direction. Its
mean gets an interval [L, U]; effects up to a margin d are too small to matter. L > d: SUPPORTED; U < -d: REFUTED;
inside [-d, d]: EQUIVALENT; else INCONCLUSIVE. A test of non-inferiority asks whether more than d is lost: L > -d:
SUPPORTED; U < -d: REFUTED; else INCONCLUSIVE.

A decision is false only if the interval misses the true effect. Comparisons that are read together form a family and
share the error: each has 0.05 / size (Bonferroni), and spends it over its looks (`looks.py`). The interval is
Student's, widened, and covers the mean with and without the seeds that lie far out (`intervals.py`).
docs/error-rates.md shows by simulation for which effects all false decisions together stay under 5 %.

A decision names its population. It speaks of images like these where the interval over seeds and images decides, else
of these images; of effects without images, of seeds. It always speaks of seeds that do not collapse, and the rate of
collapse stands beside it: no number of seeds shows what none of them did.

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

from bench.analysis.intervals import folds_of, limits, seed_means
from bench.analysis.looks import Plan, fixed

ALPHA = 0.05  # the probability of any false decision in a family
LEVEL = 1 - ALPHA  # of a single interval
MOST_COLLAPSES = 1 / 3  # a rate that must be excluded before a difference is called too small to matter

Decision = Literal["SUPPORTED", "REFUTED", "EQUIVALENT", "INCONCLUSIVE"]
SUPPORTED: Final = "SUPPORTED"
REFUTED: Final = "REFUTED"
EQUIVALENT: Final = "EQUIVALENT"
INCONCLUSIVE: Final = "INCONCLUSIVE"
NOT_TESTED: Final = "NOT TESTED"  # no decision: the run lacks the cells
Population = Literal["images like these", "these images", "seeds"]
IMAGES_LIKE_THESE: Final = "images like these"  # images and seeds are random samples
THESE_IMAGES: Final = "these images"  # seeds are; the images are fixed
SEEDS_ONLY: Final = "seeds"  # effects without images
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


class Collapses(NamedTuple):
    """How many of the seeds collapsed, with the Clopper-Pearson interval (95 %) of the rate."""

    number: int
    of: int
    low: float
    high: float


def collapses(number: int, of: int) -> Collapses:
    """The rate of collapse among some seeds.

    >>> round(collapses(0, 10).high, 6)  # 1 - 0.025^(1/10)
    0.308497
    """
    if not of:
        return Collapses(0, 0, math.nan, math.nan)
    tail = (1 - LEVEL) / 2
    low = float(stats.beta.ppf(tail, number, of - number + 1)) if number else 0.0
    high = float(stats.beta.isf(tail, number + 1, of - number)) if number < of else 1.0
    return Collapses(number, of, low, high)


class Judgement(NamedTuple):
    """What the first n seeds say.

    Attributes:
        n: the number of seeds, collapsed ones included.
        over_seeds: the mean effect with its interval over seeds; it speaks of these images.
        over_images: the same over seeds and images; it speaks of images like these. NaN for effects without images.
        collapses: of these n seeds; the intervals are those of the others.
        decision: that of `over_images` if it decides, else that of `over_seeds`.
        population: whom the decision speaks of.
        share: of the comparison's error, spent on this look.
        standard_error: of the mean over seeds, with `freedom` degrees of freedom.
    """

    n: int
    over_seeds: Interval
    over_images: Interval
    collapses: Collapses
    decision: Decision
    population: Population
    share: float
    standard_error: float
    freedom: float

    @property
    def interval(self) -> Interval:
        """The interval that the decision rests on."""
        return self.over_images if self.population == IMAGES_LIKE_THESE else self.over_seeds


@dataclass(frozen=True, eq=False)
class PairedComparison:
    """Paired effects and the decision from them.

    Attributes:
        effects: (seeds,) or (seeds, images) in the order of seeds, positive in the claimed direction. NaN where a seed
            did not test an image: two seeds test the same images, or have none in common (folds). A row of NaN is a
            seed without an effect, which must be one of `collapsed`.
        margin: effects up to it are too small to matter; at least 0.
        unit: of effects and margin.
        level: 1 - error of the comparison over all its looks: `LEVEL`, or the `family_level` of a family.
        no_worse: whether this is a test of non-inferiority: is more than the margin lost?
        plan: the looks; None for a fixed list of seeds, which is one look.
        collapsed: (seeds,) bool, the seeds that are known to have collapsed (diverged, dead); None for none.

    Raises:
        ValueError: if effects have other shapes or other gaps than these.
    """

    effects: np.ndarray
    margin: float
    unit: str
    level: float = LEVEL
    no_worse: bool = False
    plan: Plan | None = None
    collapsed: np.ndarray | None = None

    @property
    def n(self) -> int:
        """The number of seeds."""
        return len(self.effects)

    @property
    def images(self) -> int:
        """The number of images that any seed has tested; 0 for effects without images."""
        return int((~np.isnan(self.effects)).any(axis=0).sum()) if self.n and self.effects.ndim == 2 else 0

    @cached_property
    def per_seed(self) -> np.ndarray:
        """One effect per seed: the mean over the images that it tested; NaN for a seed without any."""
        return seed_means(self.effects)

    @cached_property
    def judged(self) -> Judgement:
        """The first look that decides; else the last look that the seeds have reached; before it, all seeds."""
        plan = self.plan or fixed(self.n)
        reached = [
            self._judge(look, share) for look, share in zip(plan.looks, plan.shares, strict=True) if look <= self.n
        ]
        if not reached:
            return self._judge(self.n, plan.shares[0])._replace(decision=INCONCLUSIVE)
        return next((judgement for judgement in reached if judgement.decision != INCONCLUSIVE), reached[-1])

    def _judge(self, n: int, share: float) -> Judgement:
        """What the first n seeds say, with a share of the comparison's error."""
        table = np.asarray(self.effects[:n], float)
        table = table if table.ndim == 2 else table[:, None]
        folds = folds_of(table)
        known = np.zeros(n, bool) if self.collapsed is None else np.asarray(self.collapsed[:n], bool)
        if np.any((folds < 0) & ~known):
            raise ValueError("a seed without an effect must be one that collapsed")
        found = limits(table, folds, known, share * (1 - self.level))
        mean, error, freedom, low, high, images_low, images_high = (float(each) for each in found[:-1])
        over_seeds, over_images = Interval(mean, low, high), Interval(mean, images_low, images_high)
        collapsed = collapses(int(found.collapsed.sum()), n)
        narrow, wide = (self._decided(interval, collapsed) for interval in (over_seeds, over_images))
        if wide != INCONCLUSIVE:
            population: Population = IMAGES_LIKE_THESE
        else:
            population = THESE_IMAGES if self.images else SEEDS_ONLY
        return Judgement(n, over_seeds, over_images, collapsed, narrow, population, share, error, freedom)

    def _decided(self, interval: Interval, collapsed: Collapses) -> Decision:
        """The decision from an interval.

        That nothing matters is said only where a third of collapses would have been seen.
        """
        decision = decide(interval.low, interval.high, self.margin, self.no_worse)
        absence = decision == EQUIVALENT or (decision == SUPPORTED and interval.low <= self.margin)
        return INCONCLUSIVE if absence and not collapsed.high < MOST_COLLAPSES else decision

    @property
    def interval(self) -> Interval:
        """The mean effect and the interval that the decision rests on."""
        return self.judged.interval

    @property
    def decision(self) -> Decision:
        """The decision from the interval."""
        return self.judged.decision

    @property
    def population(self) -> Population:
        """Whom the decision speaks of."""
        return self.judged.population

    @property
    def look(self) -> int | None:
        """The number of seeds at which the decision fell; None while there is none."""
        return None if self.decision == INCONCLUSIVE else self.judged.n

    @property
    def next_look(self) -> int | None:
        """The number of seeds at which to look next; None where it is decided, or where no look is left."""
        return None if self.plan is None or self.look else self.plan.following(self.n)

    def word(self, words: Words) -> str:
        """The caller's word for the decision."""
        return words[self.decision]
