"""Do these seeds detect the stated effects, and do the p values match those of other implementations?"""

from itertools import product
from math import comb

import numpy as np
import pytest
from scipy import stats

from bench.analysis.comparison import EQUIVALENT, INCONCLUSIVE, REFUTED, SUPPORTED, t_interval
from bench.analysis.intervals import widening
from bench.analysis.looks import sequential
from bench.analysis.power import (
    decision_statistics,
    detectable_effect,
    holm,
    outlook,
    p_sign_flip,
    p_value,
    seeds_needed,
)
from tests.bench.analysis.test_comparison import FAMILY, MARGIN, SEEDS, TRIALS, _drawn, comparison, decisions

# What the rule can see


def detectable(deviation: float = 1.0, n: int = SEEDS, margin: float = MARGIN, level: float = FAMILY) -> float:
    return detectable_effect(deviation / n**0.5, n - 1, margin, 1 - level)


def like(mean: float, deviation: float, n: int = SEEDS) -> np.ndarray:
    """Effects of exactly this mean and standard deviation."""
    return mean + deviation * stats.zscore(np.random.default_rng(0).permutation(n), ddof=1)


def needed(mean: float, deviation: float, margin: float = MARGIN, level: float = FAMILY, **other) -> int | None:
    return seeds_needed(comparison(like(mean, deviation), margin, level, **other))


@pytest.mark.parametrize("sign", [1, -1])
def test_twice_the_detectable_effect_is_detected(sign):
    found = decisions(_drawn(sign * 2 * detectable())) == (SUPPORTED if sign > 0 else REFUTED)
    assert found.mean(axis=0).min() >= 0.8


@pytest.mark.parametrize("deviation", [0.02, 1.0])
def test_the_detectable_effect_is_detected_in_four_of_five_cases(deviation):
    found = decisions(_drawn(detectable(deviation), deviation)) == SUPPORTED
    assert found.mean() == pytest.approx(0.8, abs=0.01)  # 40,000 draws: standard error 0.002


def test_detectable_effect_by_hand_where_the_t_is_a_normal():
    # n = 10,000: z = 1.95996 for 0.975, widened by 1.02, and 0.84162 for 0.8, over 100 beyond the margin
    assert detectable(1.0, 10_000, 0.1, level=0.95) == pytest.approx(0.1 + (1.02 * 1.95996 + 0.84162) / 100, abs=3e-5)
    assert detectable(0.0, 10, 0.1) == 0.1


@pytest.mark.parametrize(("mean", "wanted"), [(1.0, SUPPORTED), (-1.0, REFUTED), (0.1, EQUIVALENT)])
def test_the_recommended_number_of_seeds_decides(mean, wanted):
    n = needed(mean, 1.0)
    draws = np.random.default_rng(2).normal(mean, 1.0, (TRIALS, n))
    assert 0.78 <= (decisions(draws) == wanted).mean() <= 0.84
    fewer = decisions(draws[:, : n * 3 // 4]) == wanted
    assert fewer.mean() < 0.75  # so no seed is asked for in vain


def power(n: int, gap: float, level: float) -> float:
    """The probability that the interval of n effects of deviation 1 lies beyond a point `gap` below their true mean."""
    return float(stats.nct.sf(widening(n) * stats.t.ppf((1 + level) / 2, n - 1), n - 1, gap * n**0.5))


@pytest.mark.parametrize("gap", [0.5, 0.9, 1.6, 2.35, 3.75])
def test_seeds_needed_is_the_first_number_that_has_the_power(gap):
    first = next(n for n in range(3, 300) if power(n, gap, FAMILY) >= 0.8)
    for sign in (1, -1):
        assert needed(sign * (MARGIN + gap), 1.0) == first
        assert needed(sign * 2 * (MARGIN + gap), 2.0, 2 * MARGIN) == first  # in another unit


def test_seeds_needed_inside_the_margin_by_hand():
    # 0.3 inside [-0.5, 0.5]: 0.2 below the upper, 0.8 above the lower margin; the latter is found surely
    n = needed(0.3, 1.0, level=0.95)
    assert power(n - 1, 0.2, 0.95) < 0.8 <= power(n, 0.2, 0.95)
    assert n == needed(-0.3, 1.0, level=0.95)
    # In the middle both margins are 0.5 away, and both must be cleared: a risk of 0.1 each
    n = needed(0.0, 1.0, level=0.95)
    assert power(n - 1, 0.5, 0.95) < 0.9 <= power(n, 0.5, 0.95)


def test_that_nothing_matters_needs_ten_seeds():
    assert needed(0.0, 1e-6) == needed(0.0, 1e-6, no_worse=True) == 10
    assert needed(9.0, 1e-6) < 10


def test_at_most_a_thousand_seeds_are_recommended():
    # The gap that n seeds find with probability 0.8 is the detectable effect without a margin.
    for n, wanted in ((999, 999), (1000, 1000), (1001, None)):
        assert needed(MARGIN + detectable(1.0, n, 0.0, 0.95) + 1e-9, 1.0, level=0.95) == wanted


def test_an_estimate_on_the_margin_needs_too_many_seeds():
    assert needed(MARGIN, 1.0) is None
    assert seeds_needed(comparison([MARGIN] * SEEDS, MARGIN)) is None


# What stands beside a decision


def test_power_of_a_decision_by_hand():
    # 1 to 5: mean 3, error 0.70711: t = 4.24264 with 4 degrees of freedom: p = 0.013236. Of 32 flips only all + and
    # all - reach the sum 15: 2 / 32.
    found = decision_statistics(comparison([1, 2, 3, 4, 5], margin=0.05))
    assert found["p_value"] == pytest.approx(0.013236, abs=1e-6)
    assert (found["p_sign_flip"], found["seeds_needed"]) == (2 / 32, None)
    assert found["mde"] == pytest.approx(detectable(np.sqrt(5 / 2), 5, 0.05, 0.95))


def test_a_look_detects_with_its_own_seeds_and_share():
    effects = like(0.1, 1.0, 10)
    found = decision_statistics(comparison(effects, plan=sequential()))  # the look at 9 seeds
    assert found["mde"] == pytest.approx(detectable(effects[:9].std(ddof=1), 9, 0.1, 1 - 0.05 / 7))
    assert found["p_value"] == pytest.approx(p_value(effects[:9]))


def test_the_opposite_effects_have_the_same_p_values():
    effects = np.array([0.4, 0.5, 0.45, 0.6])
    assert decision_statistics(comparison(effects)) == pytest.approx(decision_statistics(comparison(-effects)))


@pytest.mark.parametrize("effects", [[], [5.0]])
def test_fewer_than_two_seeds_have_no_power(effects):
    assert set(decision_statistics(comparison(effects)).values()) == {None}


def test_collapsed_seeds_without_an_effect_have_no_part_in_it():
    some = comparison([1.0, 1.5, np.nan, 2.0], collapsed=np.arange(4) == 2)
    assert decision_statistics(some) == pytest.approx(decision_statistics(comparison([1.0, 1.5, 2.0])))


def test_non_inferiority_reports_the_distance_from_the_margin():
    effects = np.array([-0.06, -0.04, -0.05, -0.05])
    found = decision_statistics(comparison(effects, no_worse=True))
    assert found["p_value"] == pytest.approx(p_value(effects + 0.1))  # of the hypothesis that 0.1 is lost
    assert found["p_sign_flip"] == 2 / 2**4
    # The smallest effect found SUPPORTED: beyond -0.1 by what is found beyond 0.
    least = detectable(effects.std(ddof=1), 4, 0.0, 0.95) - 0.1
    assert found["mde"] == pytest.approx(least)
    assert least < 0


# What could still decide


def test_only_fixed_seeds_are_told_how_many_new_ones_a_new_run_needs():
    effects = like(0.75, 0.6, 6)
    alone, looking = comparison(effects), comparison(effects, plan=sequential())
    assert alone.decision == looking.decision == INCONCLUSIVE
    number = decision_statistics(alone)["seeds_needed"]
    assert number == seeds_needed(alone) > 6
    assert (
        outlook(alone)
        == f"Were the estimate the truth, a new run with {number} new seeds would decide in 4 of 5 cases."
    )
    assert decision_statistics(looking)["seeds_needed"] is None
    assert outlook(looking) == "The next look is at 9 seeds."


def test_after_the_last_look_the_estimate_lies_at_the_margin():
    found = comparison(like(-0.11, 0.06, 48), plan=sequential())
    assert outlook(found) == "At the margin: -0.11 dB, margin 0.1, undecided at the last look, 48 seeds."


def test_outlook_where_there_is_none():
    assert outlook(comparison([5.0, 5.1, 5.0])) == ""
    assert outlook(comparison([5.0])) == "An interval needs two seeds."
    assert "even 1000 seeds would be too few" in outlook(comparison(like(0.1, 1.0)))


# p values


def test_p_value_is_that_of_scipy():
    effects = np.random.default_rng(0).normal(0.3, 1, 9)
    assert p_value(effects) == pytest.approx(stats.ttest_1samp(effects, 0).pvalue)
    assert p_value(-effects) == pytest.approx(p_value(effects))


def test_p_value_of_constant_effects_is_its_limit():
    assert (p_value([0.0, 0.0]), p_value([0.25, 0.25])) == (1, 0)


def test_p_value_and_interval_agree():
    effects = np.random.default_rng(4).normal(1, 1, 6)
    assert t_interval(effects, 1 - p_value(effects)).low == pytest.approx(0, abs=1e-9)


def test_sign_flip_p_by_hand_and_its_floor():
    # 1, 1, 1, 1, -1: the sum 3 or more needs at most one minus: 1 + 5 of 32 flips, and as many below -3
    assert p_sign_flip([1, 1, 1, 1, -1]) == pytest.approx(2 * (1 + comb(5, 1)) / 32)
    assert p_sign_flip(np.arange(1, 11)) == 2 / 2**10
    assert p_sign_flip([0.0, 0.0, 0.0]) == 1
    assert p_sign_flip(np.arange(1, 21)) == p_sign_flip(np.arange(1, 21)) < 2e-4  # drawn, but always the same


def test_sign_flip_p_counts_every_flip_of_eight_and_of_fifteen_seeds():
    effects = np.random.default_rng(5).normal(0.4, 1, 8)
    sums = np.array([np.dot(signs, effects) for signs in product((1, -1), repeat=8)])
    assert p_sign_flip(effects) == pytest.approx((np.abs(sums) >= abs(effects.sum()) - 1e-12).mean())
    assert p_sign_flip(np.arange(1, 16)) == 2 / 2**15


def test_drawn_flips_are_always_the_same():
    effects = np.random.default_rng(6).normal(0.2, 1, 20)
    assert 0.01 < p_sign_flip(effects) < 0.99  # many of the flips drawn count
    assert p_sign_flip(effects) == p_sign_flip(effects)


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.5 times 4, 3, 2; the fourth claim has no p, yet counts
    assert holm([0.5, 0.01, np.nan, 0.02], claims=4).tolist() == pytest.approx([1.0, 0.04, np.nan, 0.06], nan_ok=True)
    # sorted 0.02, 0.025, 0.03 times 3, 2, 1: never below the one before
    assert holm([0.03, 0.02, 0.025], claims=3).tolist() == pytest.approx([0.06, 0.06, 0.06])
    assert holm([0.6, 0.7], claims=2).tolist() == [1.0, 1.0]  # 1.2 is no probability
