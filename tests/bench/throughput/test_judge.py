"""The verdict rule of `compare`, with synthetic rounds and a fake clock."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from bench.throughput.judge import Interval, Judgement, Rule, decide, judge, overall, run_batch, t_interval

RULE = Rule()
CELLS = ("sr l2", "gan l2", "location l2")


class Rounds:
    """Rounds of one second each: normal noise around the true log ratio."""

    def __init__(self, rng, deviation, effect):
        self.rng, self.deviation, self.effect, self.seconds = rng, deviation, effect, 0.0

    def __call__(self, names):
        self.seconds += 1.0
        return {name: math.log1p(self.effect) + self.rng.normal(0, self.deviation) for name in names}

    def clock(self):
        return self.seconds


def judged(effect, deviation=0.01, seconds=100.0, cells=CELLS, seed=0, rule=RULE):
    rounds = Rounds(np.random.default_rng(seed), deviation, effect)
    return judge(cells, rounds, seconds, rounds.clock, rule), rounds


def test_interval_is_students_t():
    values = [0.01, 0.03, -0.02, 0.05]
    found = t_interval(values, 0.05)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))


def test_interval_against_a_baseline_is_welchs():
    values, baseline = [0.01, 0.03, -0.02, 0.05], [0.0, 0.1, 0.04]
    found = t_interval(values, 0.05, baseline)
    low, high = stats.ttest_ind(values, baseline, equal_var=False).confidence_interval(0.95)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.021, 0.3, "SLOWER"),  # beyond the tolerance of 2 %
        (0.021, 0.04, "SLOWER"),  # although within the margin: SLOWER takes precedence
        (0.0199, 0.3, "SLOWER"),  # in logarithms: ln 1.02 = 0.0198
        (0.019, 0.3, None),
        (-0.3, -0.0199, "FASTER"),
        (-0.3, -0.019, None),
        (-0.048, 0.048, "SAME"),  # ln 1.05 = 0.0488
        (-0.048, 0.049, None),
        (-0.049, 0.048, None),
    ],
)
def test_what_an_interval_allows(low, high, verdict):
    assert decide(Interval((low + high) / 2, (high - low) / 2, 0.01, 9), RULE) == verdict


def test_verdicts_of_quiet_machines():
    for effect, verdict in ((0.0, "SAME"), (0.1, "SLOWER"), (-0.1, "FASTER")):
        judgements, _ = judged(effect)
        assert [one.verdict for one in judgements] == [verdict] * 3
        assert judgements[0].low < 1 + effect < judgements[0].high
    assert judgements[0].rounds[0] >= 6
    assert len(judgements[0].rounds) == 2  # FASTER, too, is seen in two batches
    assert judgements[0].rounds[1] >= 6


def test_noise_is_unsure_and_names_the_visible_slowdown():
    judgements, rounds = judged(0.0, deviation=0.2, seconds=20.0)
    assert {one.verdict for one in judgements} == {"UNSURE"}
    assert judgements[0].rounds == (12,)  # 0.6 of 20 s is the first batch's share; there is no second
    assert rounds.seconds == 12
    one = judgements[0]
    assert f"the smallest slowdown that this machine shows in this time is {100 * one.visible:.1f} %" in one.reason
    assert one.visible > 0.1


def test_at_least_six_rounds_even_without_time():
    judgements, rounds = judged(0.0, deviation=0.2, seconds=0.1)
    assert judgements[0].rounds == (6,)
    assert rounds.seconds == 6


def test_a_change_that_does_not_recur_is_unsure():
    def measure(names):
        measure.rounds += 1
        slow = 0.1 if measure.rounds <= RULE.least_rounds else 0.0  # clear enough for the first look
        return {name: slow + 0.001 * (-1) ** measure.rounds for name in names}

    measure.rounds = 0
    (one,) = judge(CELLS[:1], measure, 100.0, lambda: float(measure.rounds), RULE)
    assert one.verdict == "UNSURE"
    assert one.reason == "SLOWER in the first batch, not again in the second"
    assert one.rounds == (6, 94)  # the second batch has what the first left of 100 s


def test_the_smallest_visible_slowdown_is_of_the_first_batch():
    """Six rounds of 0.1 -+ 0.001: the standard error is sqrt(6 * 1e-6 / 5 / 6) = 0.0004472. At 6 s of the first batch's
    60 s the error spent is 0.05 * 0.1^2 = 0.0005, half of it for each end. A slowdown s shows beyond 2 % in 80 % of
    cases where ln(1 + s) = ln 1.02 + (t(1 - 0.00025) + t(0.8)) standard errors, with 5 degrees of freedom."""

    def measure(names):
        measure.rounds += 1
        noise = 0.001 if measure.rounds <= RULE.least_rounds else 0.003
        return {name: 0.1 + noise * (-1) ** measure.rounds for name in names}

    measure.rounds = 0
    (one,) = judge(CELLS[:1], measure, 100.0, lambda: float(measure.rounds), RULE)
    assert one.rounds == (6, 6)
    reach = (stats.t.ppf(1 - 0.00025, 5) + stats.t.ppf(0.8, 5)) * math.sqrt(1e-6 / 5)
    assert one.visible == pytest.approx(1.02 * math.exp(reach) - 1)


def test_looks_spend_the_error_by_time(monkeypatch):
    """20 s of one round each. Looks come at 6 rounds, then at 1.3 times the last, rounded up, and at the end; up to a
    share f of the time 0.05 * f^2 is spent, by two cells equally: f^2 = 0.09, 0.16, 0.3025, 0.5625, 1."""
    looks = []

    def undecided(values, level, baseline=()):
        looks.append((len(values), level))
        return Interval(0.03, 0.1, 0.01, 5)

    monkeypatch.setattr("bench.throughput.judge.t_interval", undecided)
    rounds = Rounds(np.random.default_rng(0), 0.01, 0.0)
    run_batch(CELLS[:2], rounds, 20.0, rounds.clock, RULE, {})
    spent = (0.09, 0.07, 0.1425, 0.26, 0.4375)
    expected = [(n, 0.05 * part / 2) for n, part in zip((6, 8, 11, 15, 20), spent, strict=True) for _ in CELLS[:2]]
    assert [n for n, _ in looks] == [n for n, _ in expected]
    assert [level for _, level in looks] == pytest.approx([level for _, level in expected])


def test_a_decided_cell_is_measured_no_more():
    noise = itertools.cycle((0.001, -0.001))

    def measure(names):
        measure.asked.append(tuple(names))
        return {name: next(noise) if name == "sr l2" else 0.2 * (-1) ** len(measure.asked) for name in names}

    measure.asked = []
    judgements = judge(CELLS[:2], measure, 50.0, lambda: float(len(measure.asked)), RULE)
    assert [one.verdict for one in judgements] == ["SAME", "UNSURE"]
    assert judgements[0].rounds[0] < judgements[1].rounds[0]
    assert measure.asked[-1] == ("gan l2",)


def test_a_baseline_is_subtracted():
    baselines = {"sr l2": [0.5, 0.502, 0.498, 0.501, 0.499, 0.5]}
    rounds = Rounds(np.random.default_rng(0), 0.002, math.exp(0.5) - 1)
    (one,) = judge(CELLS[:1], rounds, 100.0, rounds.clock, RULE, baselines)
    assert one.verdict == "SAME"
    assert one.ratio == pytest.approx(1.0, abs=0.01)


def test_error_over_cells_and_looks_is_kept():
    """With tolerance and margin next to 0 every interval that excludes the truth shows as a verdict. 600 batches at
    5 %: 30 expected at most, and more than 30 + 3 * 5.3 = 46 would be a broken promise; 0 a test that sees nothing."""
    rule = Rule(tolerance=1e-9, margin=1e-9)
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(600):
        rounds = Rounds(rng, 0.03, 0.0)
        batch = run_batch(CELLS, rounds, 24.0, rounds.clock, rule, {})
        wrong += any(result.verdict for result in batch.values())
    assert 4 <= wrong <= 46


def test_power_and_false_alarms_at_this_noise():
    """One cell, rounds as noisy as 1.5 %, 24 and 16 of them at most: what `calibrate` finds on such a machine."""
    found = {0.0: 0, 0.05: 0, 0.1: 0}
    same = 0
    for seed, effect in itertools.product(range(120), found):
        (one,), _ = judged(effect, 0.015, 40.0, CELLS[:1], seed)
        found[effect] += one.verdict in ("SLOWER", "FASTER")
        same += effect == 0.05 and one.verdict == "SAME"
    assert found[0.0] == 0
    assert found[0.05] > 0.8 * 120
    assert found[0.1] == 120
    assert same <= 0.05 * 120


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        (("SAME", "SLOWER", "BROKEN"), "BROKEN"),
        (("SAME", "UNSURE", "SLOWER"), "SLOWER"),
        (("FASTER", "UNSURE", "SAME"), "UNSURE"),
        (("SAME", "FASTER", "NEW"), "FASTER"),
        (("SAME", "NEW"), "SAME"),
        (("NEW",), "UNSURE"),
    ],
)
def test_the_worst_verdict_is_the_overall_verdict(verdicts, whole):
    assert overall([Judgement(cell=str(i), verdict=verdict) for i, verdict in enumerate(verdicts)]) == whole
