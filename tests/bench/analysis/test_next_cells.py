"""Which cells a run needs next, by known answers on fake runs."""

import pytest

from bench.analysis.next_cells import next_cells
from bench.plan.suite import Suite
from bench.store.reader import load
from bench.training.outcome import Outcome
from tests.support.fake_runs import InProcess, fake_run, fake_suite, fake_work

GRID = [0.01, 0.02, 0.04]


def tuned_suite(**report) -> Suite:
    block = fake_suite(1).model_dump()["matrix"][0] | {"lr": "tuned"}
    tune = block | {"role": "tune", "seeds": [100, 101], "lr": GRID, "outliers": {"clean": [0.0]}}
    blocks = [tune, block | {"seeds": 3} | report]
    return Suite.model_validate({"name": "fake", "title": "fake", "timing": {"rounds": 0}, "matrix": blocks})


def error_of(errors: dict[float, float]):
    """Work whose location error depends on the learning rate; NaN: it diverges."""

    def work(cell, device, checkpoints):
        error = errors[cell.lr] + cell.seed / 1e4
        if error != error:
            return Outcome("diverged", "the loss is nan", 5, fake_work(cell, device, checkpoints).measured, {}, [], [])
        done = fake_work(cell, device, checkpoints)
        curves = [{"step": step, "metric": "location_error", "value": error} for step in (5, 10)]
        return Outcome("done", "", cell.steps, done.measured, {"location_error": error}, [], curves)

    return work


def run(path, suite, errors, **options):
    executor = InProcess()
    more = options.pop("still_needed", lambda folder: next_cells(folder, suite))
    counts, _ = fake_run(path, suite, error_of(errors), executor=executor, still_needed=more, **options)
    return counts, executor.order


def test_an_arm_is_reported_at_the_rate_that_its_tuning_finds(tmp_path):
    counts, order = run(tmp_path, tuned_suite(), {0.01: 0.5, 0.02: 0.3, 0.04: 0.4})
    assert counts == {"done": 6 + 3}
    assert {cell.role for cell in order[:6]} == {"tune"}
    assert [(cell.role, cell.lr, cell.seed) for cell in order[6:]] == [("report", 0.02, seed) for seed in range(3)]
    assert load(tmp_path).manifest["finished"]


def test_a_rate_at_which_a_seed_diverged_is_out(tmp_path):
    _, order = run(tmp_path, tuned_suite(), {0.01: 0.5, 0.02: float("nan"), 0.04: 0.4})
    assert {cell.lr for cell in order[6:]} == {0.04}


def test_without_a_rate_that_converges_nothing_is_reported(tmp_path):
    counts, _ = run(tmp_path, tuned_suite(), dict.fromkeys(GRID, float("nan")))
    assert counts == {"diverged": 6}


def test_no_rate_is_chosen_before_all_of_its_rivals_are_tried(tmp_path):
    counts, order = run(
        tmp_path, tuned_suite(), dict.fromkeys(GRID, 0.3), selected=lambda cell: cell.role == "report" or cell.lr < 0.03
    )
    assert counts == {"done": 4}
    assert {cell.role for cell in order} == {"tune"}


@pytest.mark.parametrize("minutes_over", [3, 7])
def test_an_interrupted_run_ends_with_the_same_rows(tmp_path, minutes_over):
    errors = {0.01: 0.5, 0.02: 0.3, 0.04: 0.4}
    run(tmp_path / "whole", tuned_suite(), errors)
    some = [cell.cell_id for cell in tuned_suite().possible_cells][:minutes_over]
    run(tmp_path / "parts", tuned_suite(), errors, selected=lambda cell: cell.cell_id in some)
    run(tmp_path / "parts", tuned_suite(), errors)
    columns = ["cell_id", "lr", "seed", "status", "location_error"]
    assert load(tmp_path / "parts").cells[columns].equals(load(tmp_path / "whole").cells[columns])


def test_a_plan_starts_at_the_tuned_rate_with_its_first_seeds(tmp_path):
    _, order = run(tmp_path, tuned_suite(seeds={"first": 6, "most": 12}), {0.01: 0.2, 0.02: 0.3, 0.04: 0.4})
    assert [(cell.lr, cell.seed) for cell in order[6:]] == [(0.01, seed) for seed in range(6)]
