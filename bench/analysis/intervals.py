"""How far may the mean of paired effects be from the truth, over seeds alone, and over seeds and images?

Every function takes many comparisons at once, (..., seeds) or (..., seeds, images), so that a simulation of the error
rates runs the rule itself. A seed tests all images or, where photographs take turns in the test set, those of its fold.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

WIDENING: Final = 1.5  # of Student's quantile, for skewed effects: what docs/error-rates.md shows to be needed
FENCE: Final = 3.0  # interquartile ranges beyond the quartiles: "far out" in Tukey, "Exploratory Data Analysis" (1977)
FENCED_FROM: Final = 12  # seeds; the quartiles of fewer are too uncertain


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

    Over seeds, each fold's mean varies by the variance of its seeds, which is pooled over folds: n - folds degrees of
    freedom. Over images, the variance is that of the images' means over m. It counts some of the variation between
    seeds a second time, so the sum of both is too large rather than too small: the min F' of Clark, "The
    Language-as-Fixed-Effect Fallacy" (Journal of Verbal Learning and Verbal Behavior, 1973).

    Args:
        effects: (..., seeds, images), NaN where not tested; without images (..., seeds, 1).
        folds: (seeds,) from `folds_of`.
        kept: (..., seeds) bool, the seeds to use.
    """
    per_seed = seed_means(effects)
    counts, sizes, means, squares, of_images = [], [], [], 0.0, []
    for fold in range(folds.max(initial=-1) + 1):
        seeds = folds == fold
        images = ~np.isnan(effects[..., seeds, :]).reshape(-1, effects.shape[-1]).all(axis=0)
        used = kept[..., seeds]
        count = used.sum(axis=-1)
        inside = np.where(used, per_seed[..., seeds], 0.0)
        mean = inside.sum(axis=-1) / np.where(count, count, np.nan)
        squares = squares + np.where(used, (inside - mean[..., None]) ** 2, 0.0).sum(axis=-1)
        table = np.where(used[..., None], effects[..., seeds, :][..., images], 0.0)
        of_images.append(table.sum(axis=-2) / np.where(count, count, np.nan)[..., None])
        counts.append(count)
        sizes.append(images.sum() * (count > 0))
        means.append(mean)
    shape = kept.shape[:-1]
    if not counts:
        return Spread(*(np.full(shape, np.nan) for _ in Spread._fields))
    count, size, fold_means = (np.stack(parts, axis=-1) for parts in (counts, sizes, means))
    total = size.sum(axis=-1)
    weight = size / np.where(total, total, np.nan)[..., None]
    mean = np.nansum(weight * np.nan_to_num(fold_means), axis=-1) + np.where(total, 0.0, np.nan)
    freedom = count.sum(axis=-1) - (count > 0).sum(axis=-1)
    share = np.divide(weight**2, count, out=np.zeros(count.shape), where=count > 0).sum(axis=-1)
    error = np.sqrt(squares / np.where(freedom > 0, freedom, np.nan) * share)
    images_freedom = total - 1
    deviations = (np.concatenate(of_images, axis=-1) - mean[..., None]) ** 2
    enough = np.where(images_freedom > 0, images_freedom, np.nan)
    images_error = np.sqrt(np.nansum(deviations, axis=-1) / enough / np.where(total, total, np.nan))
    return Spread(mean, error, freedom, images_error, images_freedom)


def quantile(freedom: ArrayLike, error: float) -> np.ndarray:
    """How many standard errors an interval reaches: Student's two-sided quantile, widened; NaN below one freedom."""
    freedom = np.asarray(freedom, float)
    return WIDENING * stats.t.isf(error / 2, np.where(freedom > 0, freedom, np.nan))


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

    Of effects per seed (..., seeds), as distances from the median of their fold. None among fewer than 12 seeds.
    """
    if kept.shape[-1] < FENCED_FROM:
        return np.zeros(kept.shape, bool)
    inside = np.where(kept, effects, np.nan)
    centred = np.full(inside.shape, np.nan)
    for fold in range(folds.max(initial=-1) + 1):
        seeds = folds == fold
        centred[..., seeds] = inside[..., seeds] - np.nanmedian(inside[..., seeds], axis=-1, keepdims=True)
    low, high = np.nanquantile(centred, [0.25, 0.75], axis=-1)[..., None]
    reach = FENCE * (high - low)
    return (reach > 0) & ((centred < low - reach) | (centred > high + reach))
