"""Does the decision rule keep its error rate, and are intervals, levels, and decisions those computed by hand?"""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from scipy import stats

from bench.analysis.comparison import (
    EQUIVALENT,
    INCONCLUSIVE,
    LEVEL,
    REFUTED,
    SUPPORTED,
    PairedComparison,
    critical_value,
    decide,
    family_level,
    geometric_interval,
    half_width,
    seeds_and_images_limits,
    t_interval,
    words,
)

TRIALS = 2000
SIZE = 20
SEEDS = 10
MARGIN = 0.5
FAMILY = family_level(SIZE)


def limits(effects: np.ndarray, level: float = FAMILY) -> tuple[np.ndarray, np.ndarray]:
    """The t interval of many comparisons at once, from (..., seeds)."""
    half = half_width(effects.std(-1, ddof=1), effects.shape[-1], level)
    return effects.mean(-1) - half, effects.mean(-1) + half


def decisions(effects: np.ndarray, margin: float = MARGIN, level: float = FAMILY) -> np.ndarray:
    """The decision on many comparisons at once."""
    return np.vectorize(decide)(*limits(effects, level), margin)


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
    assert np.isin(careless, [SUPPORTED, REFUTED]).any(axis=1).mean() > 0.5  # 1 - 0.95^20 = 0.64


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
    # 1 to 5: mean 3, sd sqrt(5 / 2), error sqrt(1 / 2) = 0.70711; t(0.975, 4) = 2.77645: [1.03675, 4.96325]
    found = comparison([1, 2, 3, 4, 5], margin=1.0)
    assert (found.decision, found.n, found.unit, found.margin) == (SUPPORTED, 5, "dB", 1.0)
    assert found.interval == pytest.approx((3.0, 1.03675, 4.96325), abs=1e-5)
    # t(0.995, 4) = 4.60409: [-0.25559, 6.25559]
    wider = replace(found, level=0.99)
    assert wider.decision == INCONCLUSIVE
    assert wider.interval == pytest.approx((3.0, -0.25559, 6.25559), abs=1e-5)


def test_images_of_a_seed_are_averaged():
    found = comparison([[0.0, 2.0], [2.0, 4.0]])
    assert (found.n, found.per_seed.tolist()) == (2, [1.0, 3.0])
    assert found.interval == t_interval([1.0, 3.0])


def test_the_interval_over_images_differs():
    effects = [[0.0, 2.0], [2.0, 4.0]]
    for level in (0.90, 0.95):
        found = comparison(effects, level=level, over_images=True)
        assert found.interval == pytest.approx((2, *seeds_and_images_limits(effects, level)))
    assert not comparison([[1.0], [2.0]], over_images=True).interval.defined


def test_the_caller_defines_the_verdict_words():
    mine = words(supported="ahead", refuted="behind", equivalent="level", inconclusive="open")
    found = [comparison([value] * 3).word(mine) for value in (0.2, -0.2, 0.05)]
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
    found = comparison([value] * 3, 0.25, FAMILY)
    assert found.decision == wanted
    assert found.interval.low == found.interval.high == pytest.approx(value)


def test_no_worse_is_decided_by_the_distance_from_the_margin():
    effects = [-0.06, -0.04, -0.05, -0.05]
    found = comparison(effects, no_worse=True)
    assert found.interval == t_interval(effects)
    assert (found.decision, comparison(effects).decision) == (SUPPORTED, EQUIVALENT)
    assert comparison([-0.2, -0.22, -0.21], no_worse=True).decision == REFUTED
    assert comparison([-0.1, -0.2, 0.05], no_worse=True).decision == INCONCLUSIVE
    assert comparison([], no_worse=True).decision == INCONCLUSIVE


# Seeds and images


def test_seeds_and_images_by_hand():
    # Seeds' means 1 and 3 (variance 2, over 2: 1), images' means 1 and 3 (the same): error sqrt(2), and
    # 1 / (0.25 / 1 + 0.25 / 1) = 2 degrees of freedom: t(0.975, 2) = 4.30265 times sqrt(2) = 6.08487 around 2.
    low, high = seeds_and_images_limits([[0.0, 2.0], [2.0, 4.0]], 0.95)
    assert (low, high) == pytest.approx((2 - 6.08487, 2 + 6.08487), abs=1e-4)


def test_seeds_and_images_of_different_numbers_by_hand():
    # Seeds' means 1, 2, 6 (mean 3, variance 7, over 3: 7/3), images' means 2 and 4 (variance 2, over 2: 1): variance
    # 10/3, shares 0.7 and 0.3; 1 / (0.49 / 2 + 0.09 / 1) = 2.98507 degrees of freedom.
    low, high = seeds_and_images_limits([[0.0, 2.0], [1.0, 3.0], [5.0, 7.0]], 0.90)
    half = stats.t.ppf(0.95, 1 / 0.335) * np.sqrt(10 / 3)
    assert (low, high) == pytest.approx((3 - half, 3 + half))


@pytest.mark.parametrize(
    ("seed_sd", "image_sd", "residual_sd"), [(1, 0, 0.3), (0, 1, 0.3), (1, 1, 0.3), (0.1, 1, 0.1), (1, 1, 1), (0, 0, 1)]
)
def test_seeds_and_images_interval_coverage(seed_sd, image_sd, residual_sd):
    rng = np.random.default_rng(0)
    trials, seeds, images = 10_000, 10, 4
    effects = seed_sd * rng.standard_normal((trials, seeds, 1)) + image_sd * rng.standard_normal((trials, 1, images))
    low, high = seeds_and_images_limits(effects + residual_sd * rng.standard_normal((trials, seeds, images)), 0.95)
    assert ((low < 0) & (high > 0)).mean() >= 0.94  # standard error 0.002


def test_intervals_over_seeds_do_not_cover_other_images():
    rng = np.random.default_rng(0)
    effects = rng.standard_normal((TRIALS, 1, 4)) + 0.1 * rng.standard_normal((TRIALS, 10, 4))
    low, high = limits(effects.mean(axis=-1), 0.95)
    assert ((low < 0) & (high > 0)).mean() < 0.2  # 0.95 is promised: why the other interval is stated beside


def test_one_image_or_one_seed_gives_no_interval_over_images():
    assert np.isnan(seeds_and_images_limits(np.ones((5, 1)), 0.95)).all()
    assert np.isnan(seeds_and_images_limits(np.ones((1, 5)), 0.95)).all()
    assert seeds_and_images_limits(np.ones((5, 3)), 0.95) == (1, 1)
