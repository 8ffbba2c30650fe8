"""Does the verdict rule err as rarely as it promises, and find what it says it can find?"""

from math import comb

import numpy as np
import pytest
from scipy import stats

from bench.analysis.verdicts import (
    EQUIVALENT,
    INCONCLUSIVE,
    REFUTED,
    SUPPORTED,
    decide,
    detectable_effect,
    holm,
    judge_effects,
    judge_no_worse,
    p_sign_flip,
    p_value,
    seeds_and_images_limits,
    seeds_needed,
    simultaneous_level,
    t_limits,
)

TRIALS = 2000
CLAIMS = 20
SEEDS = 10
MARGIN = 0.5
LEVEL = simultaneous_level(CLAIMS)


def _verdicts(effect: float, deviation: float = 1.0, rho: float = 0.0, margin: float = MARGIN) -> np.ndarray:
    """Verdicts (trials, claims) on normal effects of the given mean; claims correlate by `rho` within a trial."""
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((TRIALS, 1, SEEDS))
    own = rng.standard_normal((TRIALS, CLAIMS, SEEDS))
    effects = effect + deviation * (np.sqrt(rho) * shared + np.sqrt(1 - rho) * own)
    return decide(*t_limits(effects, LEVEL), margin)


# The errors the rule may make


@pytest.mark.parametrize("rho", [0.0, 0.8])
@pytest.mark.parametrize("margin", [0.0, MARGIN])
def test_under_the_null_all_claims_together_are_rarely_false(margin, rho):
    false = np.isin(_verdicts(0.0, rho=rho, margin=margin), [SUPPORTED, REFUTED])
    assert false.any(axis=1).mean() <= 0.05


@pytest.mark.parametrize("deviation", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_on_the_margin_neither_an_effect_nor_its_absence_is_claimed(sign, deviation):
    # An effect of exactly d is neither above d nor inside (-d, d): every word but INCONCLUSIVE is false.
    false = _verdicts(sign * MARGIN, deviation) != INCONCLUSIVE
    assert false.any(axis=1).mean() <= 0.05 + 2 * np.sqrt(
        0.05 * 0.95 / TRIALS
    )  # up to 0.049 by design: no slack but noise


def test_a_rule_that_ignores_the_number_of_claims_would_fail_this_proof():
    rng = np.random.default_rng(1)
    careless = decide(*t_limits(rng.standard_normal((TRIALS, CLAIMS, SEEDS)), 0.95), 0.0)
    assert np.isin(careless, [SUPPORTED, REFUTED]).any(axis=1).mean() > 0.5  # 1 - 0.95^20 = 0.64


# What the rule can see


@pytest.mark.parametrize("sign", [1, -1])
def test_effects_of_twice_the_detectable_one_are_found(sign):
    effect = sign * 2 * detectable_effect(1.0, SEEDS, MARGIN, LEVEL)
    found = _verdicts(effect) == (SUPPORTED if sign > 0 else REFUTED)
    assert found.mean(axis=0).min() >= 0.8


@pytest.mark.parametrize("deviation", [0.02, 1.0])
def test_the_detectable_effect_is_found_in_four_of_five(deviation):
    found = _verdicts(detectable_effect(deviation, SEEDS, MARGIN, LEVEL), deviation) == SUPPORTED
    assert found.mean() == pytest.approx(0.8, abs=0.01)  # 40,000 draws: standard error 0.002


def test_detectable_effect_by_hand_where_the_t_is_a_normal():
    # n = 10,000: z = 1.95996 for 0.975 and 0.84162 for 0.8, so it is (1.95996 + 0.84162) / 100 beyond the margin
    assert detectable_effect(1.0, 10_000, 0.1, level=0.95) == pytest.approx(0.1 + 0.0280158, abs=2e-5)
    assert detectable_effect(0.0, 10, 0.1, LEVEL) == 0.1


@pytest.mark.parametrize(("mean", "wanted"), [(1.0, SUPPORTED), (-1.0, REFUTED), (0.1, EQUIVALENT)])
def test_the_seeds_asked_for_would_decide(mean, wanted):
    n = seeds_needed(mean, 1.0, SEEDS, MARGIN, LEVEL)
    draws = np.random.default_rng(2).normal(mean, 1.0, (TRIALS, n))
    assert 0.78 <= (decide(*t_limits(draws, LEVEL), MARGIN) == wanted).mean() <= 0.84
    fewer = decide(*t_limits(draws[:, : n * 3 // 4], LEVEL), MARGIN) == wanted
    assert fewer.mean() < 0.75  # so no seed is asked for in vain


def test_an_estimate_on_the_margin_asks_for_more_seeds_than_anyone_runs():
    assert seeds_needed(MARGIN, 1.0, SEEDS, MARGIN, LEVEL) is None


# The rule itself


def test_half_widths_of_the_design_page():
    # science.md section 8: K = 6; at n = 10 about 1.06 standard deviations, at n = 6 1.72
    for n, half in ((10, 1.06), (6, 1.72)):
        effects = stats.zscore(np.arange(n), ddof=1)
        assert t_limits(effects, simultaneous_level(6))[1] == pytest.approx(half, abs=0.005)


def test_a_verdict_by_hand():
    # 1 to 5: mean 3, sd sqrt(5 / 2), error sqrt(1 / 2) = 0.70711; t(0.975, 4) = 2.77645: [1.03675, 4.96325].
    # t = 4.24264 with 4 degrees of freedom: p = 0.013236. Of 32 flips only all + and all - reach the sum 15: 2 / 32.
    verdict = judge_effects([1, 2, 3, 4, 5], margin=1.0, level=0.95)
    assert (verdict.verdict, verdict.n, verdict.estimate, verdict.seeds_needed) == (SUPPORTED, 5, 3.0, None)
    assert (verdict.ci_low, verdict.ci_high) == pytest.approx((1.03675, 4.96325), abs=1e-5)
    assert verdict.p_value == pytest.approx(0.013236, abs=1e-6)
    assert verdict.p_sign_flip == 2 / 32


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.11, 0.2, SUPPORTED),
        (0.1, 0.2, INCONCLUSIVE),
        (-0.1, 0.1, EQUIVALENT),
        (0.05, 0.06, EQUIVALENT),
        (-0.2, -0.11, REFUTED),
        (-0.2, 0.05, INCONCLUSIVE),
        (-9, 9, INCONCLUSIVE),
        (np.nan, np.nan, INCONCLUSIVE),
    ],
)
def test_each_verdict_at_its_edge(low, high, verdict):
    assert decide(low, high, 0.1) == verdict


def test_the_opposite_effects_get_the_opposite_verdict():
    effects = np.array([0.4, 0.5, 0.45, 0.6])
    one, other = judge_effects(effects, 0.1, 0.95), judge_effects(-effects, 0.1, 0.95)
    assert (one.verdict, other.verdict) == (SUPPORTED, REFUTED)
    assert (one.p_value, one.p_sign_flip, one.mde) == (other.p_value, other.p_sign_flip, other.mde)


@pytest.mark.parametrize("n", [0, 1])
def test_without_two_seeds_nothing_is_concluded(n):
    verdict = judge_effects([5.0] * n, 0.1, LEVEL)
    assert verdict.verdict == INCONCLUSIVE
    assert (verdict.ci_low, verdict.p_value, verdict.mde, verdict.seeds_needed) == (None, None, None, None)
    assert verdict.estimate == (5.0 if n else None)


@pytest.mark.parametrize(
    ("value", "wanted"), [(0.5, SUPPORTED), (-0.5, REFUTED), (0.0, EQUIVALENT), (0.25, EQUIVALENT)]
)
def test_equal_effects_are_their_own_interval(value, wanted):
    verdict = judge_effects([value] * 3, 0.25, LEVEL)
    assert verdict.verdict == wanted
    assert verdict.ci_low == verdict.ci_high == pytest.approx(value)


# The p values beside it


def test_p_value_is_that_of_scipy():
    effects = np.random.default_rng(0).normal(0.3, 1, 9)
    assert p_value(effects) == pytest.approx(stats.ttest_1samp(effects, 0).pvalue)


def test_sign_flip_p_by_hand_and_its_floor():
    # 1, 1, 1, 1, -1: the sum 3 or more needs at most one minus: 1 + 5 of 32 flips, and as many below -3
    assert p_sign_flip([1, 1, 1, 1, -1]) == pytest.approx(2 * (1 + comb(5, 1)) / 32)
    assert p_sign_flip(np.arange(1, 11)) == 2 / 2**10
    assert p_sign_flip([0.0, 0.0, 0.0]) == 1
    assert p_sign_flip(np.arange(1, 21)) == p_sign_flip(np.arange(1, 21)) < 2e-4  # drawn, but always the same


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.5 times 4, 3, 2; the fourth claim has no p, yet counts
    assert holm([0.5, 0.01, np.nan, 0.02], claims=4).tolist() == pytest.approx([1.0, 0.04, np.nan, 0.06], nan_ok=True)


# Seeds and images


def test_seeds_and_images_by_hand():
    # Seeds' means 1 and 3 (variance 2, over 2: 1), images' means 1 and 3 (the same): error sqrt(2), and
    # 1 / (0.25 / 1 + 0.25 / 1) = 2 degrees of freedom: t(0.975, 2) = 4.30265 times sqrt(2) = 6.08487 around 2.
    low, high = seeds_and_images_limits([[0.0, 2.0], [2.0, 4.0]], 0.95)
    assert (low, high) == pytest.approx((2 - 6.08487, 2 + 6.08487), abs=1e-4)


@pytest.mark.parametrize(
    ("seed_sd", "image_sd", "residual_sd"), [(1, 0, 0.3), (0, 1, 0.3), (1, 1, 0.3), (0.1, 1, 0.1), (1, 1, 1), (0, 0, 1)]
)
def test_seeds_and_images_interval_covers_what_it_promises(seed_sd, image_sd, residual_sd):
    rng = np.random.default_rng(0)
    trials, seeds, images = 10_000, 10, 4
    effects = seed_sd * rng.standard_normal((trials, seeds, 1)) + image_sd * rng.standard_normal((trials, 1, images))
    low, high = seeds_and_images_limits(effects + residual_sd * rng.standard_normal((trials, seeds, images)), 0.95)
    assert ((low < 0) & (high > 0)).mean() >= 0.94  # standard error 0.002


def test_seeds_alone_say_too_little_about_other_images():
    rng = np.random.default_rng(0)
    effects = rng.standard_normal((TRIALS, 1, 4)) + 0.1 * rng.standard_normal((TRIALS, 10, 4))
    low, high = t_limits(effects.mean(axis=-1), 0.95)
    assert ((low < 0) & (high > 0)).mean() < 0.2  # 0.95 is promised: why the other interval is stated beside


def test_one_image_gives_no_interval_over_images():
    assert np.isnan(seeds_and_images_limits(np.ones((5, 1)), 0.95)).all()
    assert seeds_and_images_limits(np.ones((5, 3)), 0.95) == (1, 1)


def test_no_worse_is_judged_by_its_distance_from_the_margin():
    effects = [-0.06, -0.04, -0.05, -0.05]
    found = judge_no_worse(effects, 0.1, 0.95)
    low, high = (float(limit) for limit in t_limits(effects, 0.95))
    assert (found.estimate, found.ci_low, found.ci_high) == pytest.approx((-0.05, low, high))
    assert (found.verdict, judge_effects(effects, 0.1, 0.95).verdict) == (SUPPORTED, EQUIVALENT)
    assert judge_no_worse([-0.2, -0.22, -0.21], 0.1, 0.95).verdict == REFUTED
    assert judge_no_worse([-0.1, -0.2, 0.05], 0.1, 0.95).verdict == INCONCLUSIVE
    assert found.p_value == pytest.approx(p_value(np.array(effects) + 0.1))  # of the hypothesis that 0.1 is lost
    assert judge_no_worse([], 0.1, 0.95).verdict == INCONCLUSIVE
