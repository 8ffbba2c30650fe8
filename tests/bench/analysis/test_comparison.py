"""Does the decision rule keep its error rate, and are intervals, levels, and decisions those computed by hand?"""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from scipy import stats

from bench.analysis.comparison import (
    EQUIVALENT,
    IMAGES_LIKE_THESE,
    INCONCLUSIVE,
    LEVEL,
    REFUTED,
    SEEDS_ONLY,
    SUPPORTED,
    THESE_IMAGES,
    PairedComparison,
    collapses,
    critical_value,
    decide,
    family_level,
    geometric_interval,
    half_width,
    t_interval,
    words,
)
from bench.analysis.intervals import limits
from bench.analysis.looks import LOOKS, sequential

TRIALS = 2000
SIZE = 20
SEEDS = 10
MARGIN = 0.5
FAMILY = family_level(SIZE)


def decisions(effects: np.ndarray, margin: float = MARGIN, level: float = FAMILY) -> np.ndarray:
    """The decision on many comparisons at once, from (..., seeds)."""
    none = np.zeros(effects.shape, bool)
    found = limits(effects[..., None], np.zeros(effects.shape[-1], int), none, 1 - level)
    return np.vectorize(decide)(found.low, found.high, margin)


def _drawn(effect: float, deviation: float = 1.0, rho: float = 0.0) -> np.ndarray:
    """Normal effects (trials, comparisons, seeds) of the given mean; comparisons of a trial correlate by `rho`."""
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((TRIALS, 1, SEEDS))
    own = rng.standard_normal((TRIALS, SIZE, SEEDS))
    return effect + deviation * (np.sqrt(rho) * shared + np.sqrt(1 - rho) * own)


def comparison(effects, margin: float = 0.1, level: float = 0.95, **other) -> PairedComparison:
    return PairedComparison(np.asarray(effects, float), margin, "dB", level, **other)


# The errors the rule may make


@pytest.mark.parametrize("rho", [0.0, 0.8])
@pytest.mark.parametrize("margin", [0.0, MARGIN])
def test_family_error_rate_under_the_null(margin, rho):
    false = np.isin(decisions(_drawn(0.0, rho=rho), margin), [SUPPORTED, REFUTED])
    assert false.any(axis=1).mean() <= 0.05


@pytest.mark.parametrize("deviation", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_effect_on_the_margin_is_inconclusive(sign, deviation):
    # An effect of exactly d is neither above d nor inside (-d, d): every decision but INCONCLUSIVE is false.
    false = decisions(_drawn(sign * MARGIN, deviation)) != INCONCLUSIVE
    assert false.any(axis=1).mean() <= 0.05 + 2 * np.sqrt(
        0.05 * 0.95 / TRIALS
    )  # up to 0.049 by design: no slack but noise


def test_ignoring_the_family_size_exceeds_the_error_rate():
    rng = np.random.default_rng(1)
    careless = decisions(rng.standard_normal((TRIALS, SIZE, SEEDS)), 0.0, 0.95)
    assert np.isin(careless, [SUPPORTED, REFUTED]).any(axis=1).mean() > 0.1  # 0.64, were it not for the widening


# The interval


def test_t_interval_by_hand():
    # mean 4, sum of squares 10, sd = sqrt(10 / 3), n = 4: half-width = t(0.975, 3) sd / 2, and t = 3.18245
    mean, low, high = t_interval([2, 3, 5, 6, np.nan])
    assert mean == 4
    assert (high - mean) == pytest.approx(3.18245 * np.sqrt(10 / 3) / 2, rel=1e-5)
    assert (mean - low) == pytest.approx(high - mean)


def test_t_interval_is_that_of_scipy():
    values = np.random.default_rng(3).normal(7, 3, 9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.99)
    assert t_interval(values, 0.99)[1:] == pytest.approx(tuple(expected))


def test_t_interval_at_another_level_is_narrower():
    # t(0.95, 2) = 2.91999 and sd / sqrt(n) = 1 / sqrt(3)
    assert t_interval([1, 2, 3], level=0.90).high == pytest.approx(2 + 2.91999 / np.sqrt(3), rel=1e-5)


def test_an_interval_needs_two_values():
    # 1 and 3: mean 2, sd sqrt(2), error 1; t(0.975, 1) = 12.7062
    found = t_interval([1.0, 3.0])
    assert found.defined
    assert found == pytest.approx((2, 2 - 12.7062, 2 + 12.7062), abs=1e-4)
    for values, mean in (([1.5], 1.5), ([np.nan], np.nan), ([], np.nan)):
        found = t_interval(values)
        assert not found.defined
        assert found == pytest.approx((mean, np.nan, np.nan), nan_ok=True)


def test_the_interval_of_equal_values_has_no_width():
    assert t_interval([0.25] * 3) == (0.25, 0.25, 0.25)


def test_interval_coverage():
    draws = np.random.default_rng(0).normal(7, 3, (2000, 4))
    intervals = [t_interval(row) for row in draws]
    covered = np.mean([low < 7 < high for _, low, high in intervals])
    assert 0.935 < covered < 0.965  # 0.95 -+ three standard errors


def test_many_half_widths_at_once():
    # sd 2: n = 4: 3.18245 * 2 / 2; n = 9: 2.30600 * 2 / 3; one value and none have no interval
    assert half_width([2.0, 2.0, 2.0, 2.0], [4, 9, 1, 0], 0.95) == pytest.approx(
        [3.18245, 1.53734, np.nan, np.nan], abs=1e-5, nan_ok=True
    )
    assert critical_value(4, 0.95) == pytest.approx(3.18245, abs=1e-5)


def test_geometric_interval_by_hand():
    # logarithms of 1/2, 1, 2 are -ln 2, 0, ln 2: mean 0, sd ln 2, half-width 4.30265 ln 2 / sqrt 3
    mean, low, high = geometric_interval([0.5, 1, 2])
    assert mean == pytest.approx(1)
    assert high == pytest.approx(np.exp(4.30265 * np.log(2) / np.sqrt(3)), rel=1e-4)
    assert low == pytest.approx(1 / high)
    narrower = np.exp(2.91999 * np.log(2) / np.sqrt(3))  # t(0.95, 2) = 2.91999
    assert geometric_interval([0.5, 1, 2], level=0.9).high == pytest.approx(narrower, rel=1e-4)
    assert geometric_interval([2.0]) == pytest.approx((2.0, np.nan, np.nan), nan_ok=True)


# How a family shares its error


def test_levels_of_families_by_hand():
    # Bonferroni: each of 1, 2, 10 comparisons may err with probability 0.05, 0.025, 0.005; no comparison, no share
    assert [family_level(size) for size in (0, 1, 2, 10)] == pytest.approx([0.95, 0.95, 0.975, 0.995], abs=1e-12)
    assert pytest.approx(0.95) == LEVEL


def test_half_widths_of_the_design_page():
    # science.md section 8: K = 6; at n = 10 about 1.06 standard deviations, at n = 6 1.72
    for n, half in ((10, 1.06), (6, 1.72)):
        assert t_interval(stats.zscore(np.arange(n), ddof=1), family_level(6)).high == pytest.approx(half, abs=0.005)


# The decision


@pytest.mark.parametrize(
    ("low", "high", "decision"),
    [
        (0.11, 0.2, SUPPORTED),
        (0.1, 0.2, INCONCLUSIVE),
        (-0.1, 0.1, EQUIVALENT),
        (0.05, 0.06, EQUIVALENT),
        (-0.11, 0.1, INCONCLUSIVE),
        (-0.1, 0.11, INCONCLUSIVE),
        (-0.2, -0.11, REFUTED),
        (-0.2, -0.1, INCONCLUSIVE),
        (-0.2, 0.05, INCONCLUSIVE),
        (-9, 9, INCONCLUSIVE),
        (np.nan, np.nan, INCONCLUSIVE),
    ],
)
def test_each_decision_at_its_edge(low, high, decision):
    assert decide(low, high, 0.1) == decision


@pytest.mark.parametrize(
    ("low", "high", "decision"),
    [
        (-0.09, 9, SUPPORTED),
        (-0.05, 0.05, SUPPORTED),  # EQUIVALENT, were it not about a loss alone
        (-0.1, 9, INCONCLUSIVE),
        (-0.2, -0.1, INCONCLUSIVE),
        (-0.1, -0.1, INCONCLUSIVE),
        (-0.2, -0.11, REFUTED),
        (np.nan, np.nan, INCONCLUSIVE),
    ],
)
def test_each_decision_on_a_loss_at_its_edge(low, high, decision):
    assert decide(low, high, 0.1, no_worse=True) == decision


# The whole comparison


def test_a_comparison_by_hand():
    # 1 to 5: mean 3, sd sqrt(5 / 2), error sqrt(1 / 2) = 0.70711; t(0.975, 4) = 2.77645, widened by 1.5
    found = comparison([1, 2, 3, 4, 5], margin=0.05)
    assert (found.decision, found.n, found.unit, found.margin) == (SUPPORTED, 5, "dB", 0.05)
    half = 1.5 * 2.77645 * 0.70711
    assert found.interval == pytest.approx((3.0, 3 - half, 3 + half), abs=1e-4)
    wider = replace(found, level=0.99)  # t(0.995, 4) = 4.60409
    assert wider.decision == INCONCLUSIVE
    half = 1.5 * 4.60409 * 0.70711
    assert wider.interval == pytest.approx((3.0, 3 - half, 3 + half), abs=1e-4)
    assert (found.population, found.look, wider.look, found.next_look) == (SEEDS_ONLY, 5, None, None)


def test_many_seeds_widen_the_interval_less():
    effects = np.linspace(-1, 1, 100)  # 1 + 2 / sqrt(100) = 1.2
    plain, found = t_interval(effects), comparison(effects).interval
    assert found.high == pytest.approx(1.2 * plain.high)


def test_images_of_a_seed_are_averaged():
    found = comparison([[0.0, 2.0], [2.0, 4.0]])
    assert (found.n, found.per_seed.tolist(), found.images) == (2, [1.0, 3.0], 2)
    assert found.judged.over_seeds == pytest.approx(tuple(comparison([1.0, 3.0]).interval))


def test_the_caller_defines_the_verdict_words():
    mine = words(supported="ahead", refuted="behind", equivalent="level", inconclusive="open")
    found = [comparison([value] * 10).word(mine) for value in (0.2, -0.2, 0.05)]
    assert [*found, comparison([0.3]).word(mine)] == ["ahead", "behind", "level", "open"]


def test_a_comparison_is_frozen():
    with pytest.raises(FrozenInstanceError):
        comparison([1.0]).level = 0.5


def test_opposite_effects_get_opposite_decisions():
    effects = np.array([0.4, 0.5, 0.45, 0.6])
    assert (comparison(effects).decision, comparison(-effects).decision) == (SUPPORTED, REFUTED)


@pytest.mark.parametrize("effects", [[], [5.0], np.empty((0, 0)), np.empty((0, 3)), [[5.0, 5.0]]])
def test_without_two_seeds_nothing_is_decided(effects):
    found = comparison(effects)
    assert (found.decision, found.n) == (INCONCLUSIVE, len(effects))
    assert found.interval == pytest.approx((5.0 if len(effects) else np.nan, np.nan, np.nan), nan_ok=True)


@pytest.mark.parametrize(
    ("value", "wanted"), [(0.5, SUPPORTED), (-0.5, REFUTED), (0.0, EQUIVALENT), (0.25, EQUIVALENT)]
)
def test_the_interval_of_equal_effects_has_no_width(value, wanted):
    found = comparison([value] * 10, 0.25, FAMILY)
    assert found.decision == wanted
    assert found.interval.low == found.interval.high == pytest.approx(value)


def test_no_worse_is_decided_by_the_distance_from_the_margin():
    effects = [-0.06, -0.04] * 5
    found = comparison(effects, no_worse=True)
    assert (found.decision, comparison(effects).decision) == (SUPPORTED, EQUIVALENT)
    assert comparison([-0.2, -0.22, -0.21], no_worse=True).decision == REFUTED
    assert comparison([-0.1, -0.2, 0.05], no_worse=True).decision == INCONCLUSIVE
    assert comparison([], no_worse=True).decision == INCONCLUSIVE


# Looks


def test_a_plan_by_hand():
    plan = sequential(9, 24)
    assert (plan.looks, sum(plan.shares)) == ((9, 12, 18, 24), pytest.approx(1))
    assert [plan.following(n) for n in (0, 9, 10, 24)] == [9, 12, 12, None]
    assert sequential().looks == LOOKS
    for wrong in ((7, 12), (6, 100), (12, 6)):
        with pytest.raises(ValueError, match="looks are at 6, 9, 12, 18, 24, 36, 48 seeds"):
            sequential(*wrong)


def noisy(n: int, mean: float) -> np.ndarray:
    return mean + np.random.default_rng(3).standard_normal(n)


def test_the_first_look_that_decides_wins_whatever_more_seeds_say():
    plan = sequential()
    decided = noisy(48, 5.0)
    first = comparison(decided, plan=plan)
    assert first.decision == SUPPORTED
    assert (first.judged.n, first.next_look) == (first.look, None)
    against = np.r_[decided[: first.look], np.full(48 - first.look, -100.0)]
    again = comparison(against, plan=plan)
    assert (again.decision, again.look, again.interval) == (SUPPORTED, first.look, first.interval)
    before = comparison(decided[: first.look - 1], plan=plan)
    assert (before.decision, before.look) == (INCONCLUSIVE, None)


def test_between_looks_the_last_look_stands():
    open_one = comparison(noisy(10, 0.1), plan=sequential())
    assert (open_one.decision, open_one.n, open_one.judged.n, open_one.next_look) == (INCONCLUSIVE, 10, 9, 12)
    assert comparison(noisy(48, 0.1), plan=sequential()).next_look is None


def test_before_the_first_look_nothing_is_decided():
    early = comparison([5.0, 5.1, 5.0, 5.1, 5.0], plan=sequential())
    assert (early.decision, early.look, early.next_look, early.judged.n) == (INCONCLUSIVE, None, 6, 5)
    assert early.interval.low > 4  # shown, but it does not decide
    assert comparison([5.0, 5.1, 5.0, 5.1, 5.0]).decision == SUPPORTED


def test_each_look_spends_its_share():
    effects = noisy(6, 0.0)
    look = comparison(effects, plan=sequential()).interval
    alone = comparison(effects, level=1 - 0.05 / 7).interval
    assert look == pytest.approx(tuple(alone))
    assert comparison(effects).interval.high < look.high


# Seeds and images


def in_folds(table: np.ndarray, folds: int = 3) -> np.ndarray:
    """(seeds, images) with NaN where the fold of a seed does not test an image."""
    seeds, images = table.shape
    away = np.arange(seeds)[:, None] % folds != np.arange(images) * folds // images
    return np.where(away, np.nan, table)


def test_seeds_and_images_by_hand():
    # Seeds' means 1 and 3 (variance 2, over 2: 1), images' means 1 and 3 (the same): each with one degree of freedom,
    # t(0.975, 1) = 12.7062, widened by 1.5; together sqrt(2) times as far.
    judged = comparison([[0.0, 2.0], [2.0, 4.0]]).judged
    half = 1.5 * 12.7062
    assert judged.over_seeds == pytest.approx((2, 2 - half, 2 + half), abs=1e-3)
    assert judged.over_images == pytest.approx((2, 2 - half * 2**0.5, 2 + half * 2**0.5), abs=1e-3)


def test_images_in_folds_by_hand():
    # Two folds of one image; seeds 0, 2 test the first (1, 3), seeds 1, 3 the second (5, 7): images' means 2 and 6, the
    # mean over images 4. All seeds about it: squares 9 + 1 + 1 + 9 = 20, over 3; over 4 seeds: error sqrt(5 / 3).
    nan = np.nan
    judged = comparison([[1, nan], [nan, 5], [3, nan], [nan, 7]]).judged
    assert (judged.interval.mean, judged.freedom) == (4, 3)
    assert judged.standard_error == pytest.approx((5 / 3) ** 0.5)
    # Images: variance 8 over 2 = 4 with one degree of freedom.
    seeds, images = 1.5 * stats.t.ppf(0.975, 3) * (5 / 3) ** 0.5, 1.5 * stats.t.ppf(0.975, 1) * 2
    assert judged.over_images.high - 4 == pytest.approx(np.hypot(seeds, images))


def test_the_mean_is_over_images_where_folds_have_unequal_seeds():
    nan = np.nan
    found = comparison([[0, nan], [nan, 6], [0, nan]]).judged
    assert found.interval.mean == 3  # not 2: the first image is tested twice
    # each seed of the first fold weighs 1/4, the one of the second 1/2: 2 / 16 + 1 / 4 = 3 / 8 of the variance 27 / 2
    assert found.standard_error == pytest.approx((27 / 2 * 3 / 8) ** 0.5)


def test_from_18_seeds_on_differences_between_folds_do_not_count_as_differences_between_seeds():
    rng = np.random.default_rng(0)
    table = 10 * np.arange(3) + 0.1 * rng.standard_normal((18, 3))
    many, few = comparison(in_folds(table)).judged, comparison(in_folds(table[:15])).judged
    assert (many.freedom, few.freedom) == (15, 14)
    assert many.standard_error < 0.05 < 1 < few.standard_error
    residual = np.concatenate([table[fold::3, fold] - table[fold::3, fold].mean() for fold in range(3)])
    assert many.standard_error == pytest.approx((residual @ residual / 15 / 18) ** 0.5)


def test_the_wide_interval_contains_the_narrow_one_and_names_its_population():
    rng = np.random.default_rng(1)
    for image_sd, population in ((0.01, IMAGES_LIKE_THESE), (6.0, THESE_IMAGES)):
        table = 4 + image_sd * stats.zscore(np.arange(12)) + 0.2 * rng.standard_normal((24, 12))
        found = comparison(in_folds(table))
        assert (found.decision, found.population, found.images) == (SUPPORTED, population, 12)
        narrow, wide = found.judged.over_seeds, found.judged.over_images
        assert wide.low < narrow.low < narrow.high < wide.high
        assert found.interval == (wide if population == IMAGES_LIKE_THESE else narrow)


def test_one_image_gives_no_interval_over_images():
    found = comparison(np.full((5, 1), 1.0) + np.arange(5)[:, None] / 100)
    assert not found.judged.over_images.defined
    assert (found.decision, found.population) == (SUPPORTED, THESE_IMAGES)
    assert found.word(words(supported="a", refuted="b", equivalent="c", inconclusive="d")) == "a"


def test_overlapping_folds_are_refused():
    with pytest.raises(ValueError, match="same images, or have none in common"):
        _ = comparison([[1.0, 2.0, np.nan], [np.nan, 2.0, 3.0]]).decision


@pytest.mark.parametrize("image_sd", [0.0, 1.0, 5.0])
def test_the_interval_over_images_covers_other_images(image_sd):
    # At 0.05 / 30, where Satterthwaite's approximation misses up to 2.5 times too often
    rng = np.random.default_rng(0)
    trials = 20_000
    table = image_sd * rng.standard_normal((trials, 1, 12)) + rng.standard_normal((trials, 12, 1))
    effects = np.stack([in_folds(each) for each in table[:1]])
    pattern = np.isnan(effects[0])
    effects = np.where(pattern, np.nan, table)
    found = limits(effects, np.arange(12) % 3, np.zeros((trials, 12), bool), 0.05 / 30)
    assert ((found.images_low > 0) | (found.images_high < 0)).mean() <= 0.05 / 30
    if image_sd == 5:  # the interval over seeds speaks of these images only
        assert ((found.low > 0) | (found.high < 0)).mean() > 0.01


# Collapses


def test_collapses_by_hand():
    assert collapses(0, 10) == pytest.approx((0, 10, 0, 1 - 0.025**0.1))
    assert collapses(10, 10) == pytest.approx((10, 10, 0.025**0.1, 1))
    low, high = stats.binomtest(3, 17).proportion_ci(method="exact")
    assert collapses(3, 17) == pytest.approx((3, 17, low, high))


def test_a_seed_far_out_is_counted_and_the_interval_covers_the_mean_with_and_without_it():
    usual = np.random.default_rng(2).normal(3.0, 0.2, 23)
    found, without = comparison([*usual, 33.0]).judged, comparison(usual).judged
    assert found.collapses[:2] == (1, 24)
    assert found.interval.mean == pytest.approx(without.interval.mean)
    everything = t_interval([*usual, 33.0])
    factor = 1 + 2 / 24**0.5
    assert found.interval.high == pytest.approx(everything.mean + factor * (everything.high - everything.mean))
    assert found.interval.low < without.interval.low
    assert (without.decision, found.decision) == (SUPPORTED, SUPPORTED)
    assert comparison([*usual, -33.0]).decision == INCONCLUSIVE  # the one seed would turn the mean


def test_up_to_seventeen_seeds_no_seed_is_called_far_out():
    usual = np.random.default_rng(2).normal(3.0, 0.2, 17)
    assert comparison([*usual[:16], 33.0]).judged.collapses.number == 0
    assert comparison([*usual, 33.0]).judged.collapses.number == 1


def test_without_a_majority_it_is_not_clear_which_seeds_collapsed():
    effects = np.r_[np.full(12, 5.0), np.full(8, -5.0)] + np.random.default_rng(1).normal(0, 0.1, 20)
    found = comparison(effects)
    assert found.decision == INCONCLUSIVE
    assert not found.interval.defined


def test_seeds_known_to_have_collapsed_are_left_out_and_counted():
    effects = np.array([1.0, 1.1, np.nan, 0.9, 1.0, -50.0])
    known = np.array([False, False, True, False, False, True])
    found = comparison(effects, collapsed=known).judged
    assert found.interval == pytest.approx(tuple(comparison([1.0, 1.1, 0.9, 1.0]).interval))
    assert (found.n, found.collapses[:2], found.decision) == (6, (2, 6), SUPPORTED)
    with pytest.raises(ValueError, match="must be one that collapsed"):
        _ = comparison(effects).decision


def test_a_known_collapse_leaves_out_a_whole_row_of_images():
    nan = np.nan
    table = [[1.0, nan], [nan, 1.0], [nan, nan], [nan, 1.2], [1.1, nan]]
    found = comparison(table, collapsed=np.arange(5) == 2).judged
    assert found.interval.mean == pytest.approx((1.05 + 1.1) / 2)


def test_that_nothing_matters_needs_ten_seeds_without_a_collapse():
    # upper limits of the rate: 0 of 9 34 %, 0 of 10 31 %, 1 of 14 34 %, 1 of 15 32 %
    assert [comparison([0.0] * n).decision for n in (9, 10)] == [INCONCLUSIVE, EQUIVALENT]
    assert [comparison([0.0] * n, no_worse=True).decision for n in (9, 10)] == [INCONCLUSIVE, SUPPORTED]
    for n, wanted in ((14, INCONCLUSIVE), (15, EQUIVALENT)):
        assert comparison([0.0] * n, collapsed=np.arange(n) == 3).decision == wanted


def test_the_order_of_images_does_not_matter():
    table = in_folds(np.random.default_rng(4).normal(1.0, 1.0, (24, 12)))
    mixed = table[:, np.random.default_rng(5).permutation(12)]
    for a, b in zip(comparison(mixed).judged[1:3], comparison(table).judged[1:3], strict=True):
        assert a == pytest.approx(tuple(b))
