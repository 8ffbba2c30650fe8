"""Blocks with lr = "tuned": trained at the rate that the suite's own tuning finds."""

import pytest
from pydantic import ValidationError

from bench.plan.suite import Suite
from tests.bench.plan.test_suite import BLOCK, suite

TUNE = BLOCK | {"role": "tune", "seeds": [100, 101, 102], "lr": {"bce": [1e-3, 1e-2], "l1": [1e-4, 1e-3]}}
TUNED = BLOCK | {"lr": "tuned"}


def test_no_tuned_cell_is_trained_before_its_rate_is_known():
    both = suite(TUNE, TUNED)
    assert [cell.role for cell in both.cells] == ["tune"] * 12
    reported = [cell for cell in both.possible_cells if cell.role == "report"]
    rates = {("bce", 1e-3), ("bce", 1e-2), ("l1", 1e-4), ("l1", 1e-3)}
    assert {(cell.loss, cell.lr) for cell in reported} == rates
    assert len(reported) == 4 * 2
    assert all(cell.tuned for cell in reported)
    assert Suite.model_validate(both.model_dump(mode="json")) == both


def test_each_arm_is_trained_only_at_rates_that_are_tried_for_it():
    tuning = [TUNE | {"schedule": "cosine", "lr": 1e-2, "loss": "l1"}, TUNE | {"lr": [1e-3, 1e-4], "loss": "l1"}]
    both = suite(*tuning, TUNED | {"schedule": ["constant", "cosine"], "loss": "l1"})
    rates = {(cell.schedule, cell.lr) for cell in both.possible_cells if cell.tuned}
    assert rates == {("cosine", 1e-2), ("constant", 1e-3), ("constant", 1e-4)}


def test_a_rate_that_another_block_gives_is_trained_in_any_case():
    given = BLOCK | {"lr": 1e-3, "loss": "l1", "seeds": 3}
    both = suite(TUNE, TUNED, given)
    assert [(cell.lr, cell.seed) for cell in both.cells if cell.role == "report"] == [(1e-3, 0), (1e-3, 1), (1e-3, 2)]


def test_rates_are_tuned_for_outliers_and_precisions_together():
    assert suite(TUNE, TUNED | {"outliers": {"salt": 0.2}, "precision": "auto"}).settled("bf16").possible_cells


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"loss": ["bce"], "lr": 1e-3}, "matrix 2: lr = 'tuned', but no block of role tune has loss l1"),
        (
            {"steps": 11},
            "no block of role tune has sr on photographs, loss bce, sigmoid head, constant, adam, 10 steps",
        ),
        ({"head": "raw", "loss": "l1", "lr": 1e-3}, "no block of role tune has loss bce"),
        ({"role": "report"}, "no block of role tune has loss bce"),
    ],
)
def test_an_untuned_arm_is_refused(tune, message):
    with pytest.raises(ValidationError, match=message):
        suite(TUNE | tune, TUNED)


def test_odd_losses_are_refused_in_words():
    for loss in ({"a": 1}, [["l1"]], None):
        with pytest.raises(ValidationError):
            suite(TUNE | {"loss": loss}, TUNED | {"loss": loss})
