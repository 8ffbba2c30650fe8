"""A run trains more seeds while questions are open: which ones depends on its rows alone."""

import pytest

from bench.executors import ExecutorError
from bench.store.reader import load
from tests.support.fake_runs import InProcess, fake_run, fake_suite, fake_work

PLAN = {"first": 6, "most": 24}


def grower(suite, until: int, asked: list[int] | None = None):
    """A question that is open until `until` seeds are done, with a look after every three."""

    def still_needed(path):
        done = (load(path).cells["status"] == "done").sum()
        if asked is not None:
            asked.append(int(done))
        return [cell for cell in suite.possible_cells if cell.seed < done // 3 * 3 + 3] if done < until else []

    return still_needed


def seeds(path):
    return load(path).cells["seed"].tolist()


def test_an_open_question_gets_seeds_until_it_is_decided(tmp_path):
    suite, asked = fake_suite(PLAN), []
    counts, notes = fake_run(tmp_path, suite, executor=InProcess(2), still_needed=grower(suite, 12, asked))
    assert counts == {"done": 12}
    assert asked == [6, 9, 12]
    assert seeds(tmp_path) == list(range(12))
    assert notes.count("3 more cells, at tuned rates or for what is not decided yet") == 2
    run = load(tmp_path)
    assert set(run.cells["first_seeds"]) == {6}
    assert set(run.cells["most_seeds"]) == {24}
    assert run.manifest["cells"] == 12


def test_a_decided_question_gets_none(tmp_path):
    suite = fake_suite(PLAN)
    assert fake_run(tmp_path, suite)[0] == {"done": 6}
    assert seeds(tmp_path) == list(range(6))


def test_cells_are_trained_in_the_order_in_which_they_are_needed(tmp_path):
    suite, executor = fake_suite(PLAN, steps=[10, 1000]), InProcess(1)
    more = [cell for seed in (8, 6) for cell in suite.possible_cells if cell.seed == seed]
    fake_run(tmp_path, suite, executor=executor, still_needed=_once(more))
    assert [(cell.steps, cell.seed) for cell in executor.order[12:]] == [(10, 8), (1000, 8), (10, 6), (1000, 6)]


def _once(cells):
    answers = iter([cells])
    return lambda path: next(answers, [])


def test_a_resumed_run_keeps_what_it_needed_and_goes_on(tmp_path):
    suite = fake_suite(PLAN)

    def ended(cell, device, checkpoints):
        if cell.seed == 10:
            raise ExecutorError("no machine is left")
        return fake_work(cell, device, checkpoints)

    with pytest.raises(ExecutorError):
        fake_run(tmp_path, suite, ended, still_needed=grower(suite, 12))
    executor = InProcess()
    shown = []

    def show(progress):
        shown.append(len(load(tmp_path).cells))

    counts, _ = fake_run(tmp_path, suite, executor=executor, still_needed=grower(suite, 12), show=show)
    assert counts == {"done": 12}
    assert seeds(tmp_path) == list(range(12))
    assert min(shown) >= 10  # rows of earlier looks never disappear
    assert sorted(cell.seed for cell in executor.order) == [10, 11]


def test_only_selected_cells_are_added(tmp_path):
    suite = fake_suite(PLAN, losses=("l1", "l2"))
    more = [cell for cell in suite.possible_cells if cell.seed == 6]
    counts, _ = fake_run(tmp_path, suite, selected=lambda cell: cell.loss == "l1", still_needed=_once(more))
    assert counts == {"done": 7}


def test_a_cell_that_failed_is_not_asked_for_again(tmp_path):
    suite = fake_suite(PLAN)

    def work(cell, device, checkpoints):
        if cell.seed == 7:
            raise ValueError("odd")
        return fake_work(cell, device, checkpoints)

    def still_needed(path):
        return [cell for cell in suite.possible_cells if cell.seed < 9]

    counts, _ = fake_run(tmp_path, suite, work, still_needed=still_needed)
    assert counts == {"done": 8, "crashed": 1}
