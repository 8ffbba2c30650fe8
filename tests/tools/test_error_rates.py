"""Does the rule keep its promise where effects are skewed, heavy-tailed, or collapse, and is the page up to date?"""

import numpy as np
import pytest
from scipy import stats

from bench.analysis import intervals
from bench.analysis.claims import K
from bench.analysis.comparison import ALPHA
from bench.analysis.looks import fixed, sequential
from tools import error_rates
from tools.error_rates import collapsing, in_folds, lognormal, normal, of_law, rates, smoothed, student

REPETITIONS = 20_000
ERROR = ALPHA / error_rates.FAMILY
MOST = stats.binom.isf(1e-3, REPETITIONS, ERROR)  # false verdicts of a rule that errs as often as it may


def false_verdicts(truth, plan, error=ERROR) -> int:
    count, done = rates(truth._replace(share=1.0), [(plan, error)], REPETITIONS, seed=1)
    assert done == REPETITIONS
    return int(count)


@pytest.mark.parametrize(
    ("truth", "plan"),
    [
        (of_law("normal", normal), fixed(10)),
        (of_law("t", student), fixed(10)),
        (of_law("lognormal", lognormal), fixed(10)),
        (of_law("lognormal", lognormal), sequential()),
        (collapsing(0.2, 10, 10), fixed(48)),
        (in_folds(1.0, 0.3, collapses=0.2), fixed(9)),
        (in_folds(3.0, 0.3, lognormal, lognormal), fixed(18)),
    ],
    ids=lambda value: getattr(value, "name", str(getattr(value, "looks", value))),
)
def test_verdicts_are_false_no_more_often_than_promised(truth, plan):
    assert false_verdicts(truth, plan) <= MOST


def test_a_plain_t_interval_would_break_the_promise(monkeypatch):
    monkeypatch.setattr(intervals, "WIDEST", 1.0)
    assert false_verdicts(of_law("lognormal", lognormal), fixed(10)) > 3 * ERROR * REPETITIONS


def test_without_a_fence_collapses_would_break_the_promise(monkeypatch):
    monkeypatch.setattr(intervals, "FENCED_FROM", 1000)
    assert false_verdicts(collapsing(0.2, 10, 10), fixed(48)) > 10 * ERROR * REPETITIONS


def test_looks_without_shares_would_break_the_promise(monkeypatch):
    monkeypatch.setattr(intervals, "WIDEST", 1.0)  # so that nothing else makes up for it
    plan = sequential()
    whole = plan.__class__(plan.looks, (1.0,) * len(plan.looks))
    assert false_verdicts(of_law("normal", normal), whole) > 2 * ERROR * REPETITIONS
    assert false_verdicts(of_law("normal", normal), plan) <= MOST


def test_the_laws_are_standardised_and_as_skewed_as_they_say():
    rng = np.random.default_rng(0)
    values = lognormal(rng, (1_000_000,))
    assert (values.mean(), values.std(), stats.skew(values)) == pytest.approx((0, 1, 1.75), abs=0.05)
    residuals = [stats.zscore([1.0, 2.0, 6.0]), stats.zscore([0.0, 1.0, 1.0, 9.0])]
    for rows in (0, 1):
        drawn = smoothed(residuals)(rng, (2000, 100))[rows::2]
        assert (drawn.mean(), drawn.std()) == pytest.approx((0, 1), abs=0.02)


def test_folds_of_images_take_turns_and_tell_their_true_mean():
    effects, these = in_folds(2.0, 0.0).draw(np.random.default_rng(0), 500, 6)
    tested = ~np.isnan(effects)
    assert (tested.sum(axis=2) == 4).all()
    assert (tested[:, :3].sum(axis=1) == 1).all()  # three seeds test every image once
    assert np.nanmean(effects - these[:, None, None]) == pytest.approx(0, abs=0.1)


def test_a_cell_of_the_page_is_the_error_of_the_family():
    assert error_rates._cell(10, 30_000, 30) == "1.0"
    assert error_rates._cell(50, 30_000, 30) == "5.0 (3.7 to 6.6)"


def test_cells_above_the_promise_are_named():
    table = [
        "| law | n = 6 | all looks |",
        "| --- | --- | --- |",
        "| a | 4.9 (4 to 6) | 5.1 (4 to 6) |",
        "| b | 0.1 | 5.0 |",
    ]
    assert error_rates.above(table) == "Above it: a, all looks (5.1)."
    assert error_rates.above(table[:2]) == "No cell is above it."


def test_the_page_was_made_for_the_rule_of_the_code():
    page = error_rates.PAGE.read_text()
    assert error_rates.constants() in page, "run `python -m tools.error_rates`"
    assert max(error_rates.OTHER_FAMILIES) >= K  # fewer comparisons have larger shares, where less widening is needed
