"""How far may the mean of paired effects be from the truth, over seeds alone, and over seeds and images?

Every function takes many comparisons at once, (..., seeds) or (..., seeds, images), so that a simulation of the error
rates runs the rule itself. A seed tests all images or, where photographs take turns in the test set, those of its fold.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

WIDEST: Final = 1.5  # factor on Student's quantile for effects that are not normal: `widening`
FENCE: Final = 3.0  # interquartile ranges beyond the quartiles: "far out" in Tukey, "Exploratory Data Analysis" (1977)
FENCED_FROM: Final = 18  # seeds; the quartiles of fewer are too uncertain
MOST_FAR_OUT: Final = 1 / 3  # of the seeds of a fold


class Spread(NamedTuple):
    """Of many comparisons, each (...): the mean effect and its standard errors with their degrees of freedom.

    `error` is that from seeds, the images being fixed; `images_error` that from images, NaN for effects without images.
    """

    mean: np.ndarray
    error: np.ndarray
    freedom: np.ndarray
    images_error: np.ndarray
    images_freedom: np.ndarray


def folds_of(effects: np.ndarray) -> np.ndarray:
    """The fold of each seed (seeds,), from 0 on: seeds that tested the same images. -1 for a seed without any effect.

    Args:
        effects: (seeds,) or (seeds, images), NaN where not tested.

    Raises:
        ValueError: if two seeds share some of their images, but not all.
    """
    tested = ~np.isnan(effects if effects.ndim == 2 else effects[:, None])
    patterns, folds = np.unique(tested, axis=0, return_inverse=True)
    if patterns.sum(axis=0).max(initial=0) > 1:
        raise ValueError("two seeds must have tested the same images, or have none in common")
    empty = ~tested.any(axis=1)
    return np.where(empty, -1, folds.ravel() - int(empty.any()))  # the pattern without images sorts first


def seed_means(effects: ArrayLike) -> np.ndarray:
    """One effect per seed (..., seeds): the mean over the images that it tested; NaN for a seed without any."""
    effects = np.asarray(effects, float)
    if effects.ndim == 1:
        return effects
    counts = (~np.isnan(effects)).sum(axis=-1)
    return np.divide(np.nansum(effects, axis=-1), counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def spread(effects: np.ndarray, folds: np.ndarray, kept: np.ndarray) -> Spread:
    """The mean over images of the mean over the kept seeds that tested them, and its standard errors.

    Over seeds: from 18 seeds on, a fold's mean varies by the variance of its seeds, pooled (n - folds degrees of
    freedom). Below, all seeds vary about the one mean (n - 1). That adds the differences between folds, so it is too
    large rather than too small; but two or three seeds of a fold that all collapsed could not be told from the others.

    Over images: the variance of the images' means over m. It counts some of the variation between seeds a second time,
    so the sum of both is too large rather than too small: the min F' of Clark, "The Language-as-Fixed-Effect Fallacy"
    (Journal of Verbal Learning and Verbal Behavior, 1973).

    Args:
        effects: (..., seeds, images), NaN where not tested; without images (..., seeds, 1).
        folds: (seeds,) from `folds_of`.
        kept: (..., seeds) bool, the seeds to use.
    """
    tested = ~np.isnan(effects) & kept[..., None]
    times = tested.sum(axis=-2)
    images = (times > 0).sum(axis=-1)
    of_images = _over(np.where(tested, effects, 0.0).sum(axis=-2), times)
    mean = _over(np.nansum(of_images, axis=-1), images)
    weight = _over(np.where(tested, _over(1.0, times)[..., None, :], 0.0).sum(axis=-1), images[..., None])  # of a seed
    per_seed = np.where(kept, seed_means(effects), 0.0)
    if kept.shape[-1] < FENCED_FROM:
        centre, freedom = mean[..., None], kept.sum(axis=-1) - 1
    else:
        member = (folds[:, None] == np.arange(folds.max(initial=0) + 1)).astype(float)  # (seeds, folds)
        count = kept @ member
        centre, freedom = _over(per_seed @ member, count)[..., folds], (count - 1).clip(min=0).sum(axis=-1)
    variance = _over(np.where(kept, (per_seed - centre) ** 2, 0.0).sum(axis=-1), freedom)
    deviations = np.nansum((of_images - mean[..., None]) ** 2, axis=-1)
    images_error = np.sqrt(_over(_over(deviations, images - 1), images))
    return Spread(mean, np.sqrt(variance * (weight**2).sum(axis=-1)), freedom, images_error, images - 1)


def _over(numerator: ArrayLike, denominator: np.ndarray) -> np.ndarray:
    """The quotient; NaN where the denominator is not positive."""
    return numerator / np.where(denominator > 0, denominator, np.nan)


def widening(n: ArrayLike) -> np.ndarray:
    """The factor on Student's quantile for n values that may be skewed: 1 + 2 / sqrt(n), at most 1.5.

    Skewness makes a t interval miss too often, by an error of the order 1 / sqrt(n), and the more so the higher its
    level. The factor is what lognormal effects of skew 1.75 need at any n and at levels up to 0.9999; a correction by
    the skewness of the sample (Johnson, 1978; Hall, 1992) does not do, as samples that mislead look symmetric.
    `python -m tools.error_rates` measures what it achieves.

    >>> [float(factor) for factor in widening([6, 16, 100])]
    [1.5, 1.5, 1.2]
    """
    return np.minimum(WIDEST, 1 + 2 / np.sqrt(n))


def quantile(freedom: ArrayLike, error: float) -> np.ndarray:
    """How many standard errors an interval reaches: Student's two-sided quantile, widened; NaN below one freedom."""
    freedom = np.asarray(freedom, float)
    freedom = np.where(freedom > 0, freedom, np.nan)
    return widening(freedom + 1) * stats.t.isf(error / 2, freedom)


def half_over_seeds(found: Spread, error: float) -> np.ndarray:
    """Half of the interval over seeds, which misses with probability `error`: for these images."""
    return quantile(found.freedom, error) * found.error


def half_over_images(found: Spread, error: float) -> np.ndarray:
    """Half of the interval over seeds and images: for images like these; NaN for fewer than two images.

    The two errors are combined with their own quantiles, sqrt((t1 s1)^2 + (t2 s2)^2), which never misses more often
    than promised, however many the degrees of freedom and whatever the true shares: Banerjee, "On Confidence Interval
    for Two-Means Problem Based on Separate Estimates of Variances and Tabulated Values of t-Table" (Sankhya A, 1961).
    Satterthwaite's approximation does not hold at the levels of a large family. It contains the interval over seeds.
    """
    return np.hypot(half_over_seeds(found, error), quantile(found.images_freedom, error) * found.images_error)


def far_out(effects: np.ndarray, folds: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Which kept seeds (..., seeds) lie more than 3 interquartile ranges outside the quartiles: collapses.

    The quartiles are the ends of the shortest interval that holds half of the seeds, because not even 40 % of collapsed
    seeds move them: Rousseeuw, Leroy, "Robust Regression and Outlier Detection" (1987), chapter 4. Effects per seed
    (..., seeds) are taken as distances from the middle of that interval of their fold. None among fewer than 18 seeds.
    """
    if kept.shape[-1] < FENCED_FROM:
        return np.zeros(kept.shape, bool)
    centred = np.where(kept, effects, np.nan)
    for fold in range(folds.max(initial=-1) + 1):
        seeds = folds == fold
        low, high = _shortest_half(centred[..., seeds])
        centred[..., seeds] -= (low + high) / 2
    low, high = _shortest_half(centred)
    reach = FENCE * (high - low)
    return (reach > 0) & ((centred < low - reach) | (centred > high + reach))


def _shortest_half(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends, each (..., 1), of the shortest interval that holds half of the values that are not NaN."""
    ordered = np.sort(values, axis=-1)  # NaN last
    steps = ((~np.isnan(values)).sum(axis=-1, keepdims=True) - 1).clip(min=0) // 2
    places = np.arange(values.shape[-1]) + steps
    ends = np.take_along_axis(ordered, places.clip(max=values.shape[-1] - 1), axis=-1)
    lengths = np.where(places < values.shape[-1], ends - ordered, np.nan)
    first = np.where(np.isnan(lengths), np.inf, lengths).argmin(axis=-1)[..., None]
    return np.take_along_axis(ordered, first, axis=-1), np.take_along_axis(ends, first, axis=-1)


class Limits(NamedTuple):
    """The mean effect of the seeds that did not collapse, and two intervals; each (...), `collapsed` (..., seeds).

    `error` is the standard error of the mean over seeds, with `freedom` degrees of freedom; `low` and `high` are the
    ends over seeds, `images_low` and `images_high` those over seeds and images.
    """

    mean: np.ndarray
    error: np.ndarray
    freedom: np.ndarray
    low: np.ndarray
    high: np.ndarray
    images_low: np.ndarray
    images_high: np.ndarray
    collapsed: np.ndarray


def limits(effects: np.ndarray, folds: np.ndarray, known: np.ndarray, error: float) -> Limits:
    """The intervals that decide: with and without the seeds that lie far out, so that no decision hangs on them.

    NaN where more than a third of the seeds of a fold lie far out, for then it is not clear which ones collapsed.

    Args:
        effects: (..., seeds, images), NaN where not tested; without images (..., seeds, 1).
        folds: (seeds,) from `folds_of`.
        known: (..., seeds) bool, the seeds that are known to have collapsed; they are left out.
        error: the probability that an interval may miss.
    """
    far = far_out(seed_means(effects), folds, ~known)
    ends = []
    for kept in (~known, ~known & ~far) if far.any() else (~known,):
        found = spread(effects, folds, kept)
        halves = half_over_seeds(found, error), half_over_images(found, error)
        ends.append([each for half in halves for each in (found.mean - half, found.mean + half)])
    member = (folds[:, None] == np.arange(folds.max(initial=0) + 1)).astype(float)
    unclear = (far @ member > MOST_FAR_OUT * (~known @ member)).any(axis=-1)
    low, high, images_low, images_high = (
        np.where(unclear, np.nan, pick(parts, axis=0))
        for pick, parts in zip((np.min, np.max, np.min, np.max), zip(*ends, strict=True), strict=True)
    )
    return Limits(found.mean, found.error, found.freedom, low, high, images_low, images_high, known | far)
