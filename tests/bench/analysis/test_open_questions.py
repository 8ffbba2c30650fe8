"""Questions that a run still has: which, at which look, and at what cost."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.analysis.looks import plan_of
from bench.analysis.next_cells import for_questions
from bench.analysis.open_questions import Question, open_questions, questions
from bench.analysis.verdicts import judge
from bench.plan.suite import Suite
from bench.store.reader import Run
from bench.store.schema import COLUMNS
from tests.bench.analysis.test_claims import SR, Builder
from tests.bench.analysis.test_next_cells import error_of, next_cells
from tests.support.fake_runs import InProcess, fake_run, fake_suite

PLAN = {"first_seeds": 6.0, "most_seeds": 48.0, "train_s": 4.0, "eval_s": 1.0}
CLAIM = "l2-reconstruction/sr-raw"


def clean_run(seeds: int, gap: float, scatter: float, **plan: float) -> Run:
    """l1 and l2 on clean targets: l2 is ahead by `gap`, give or take `scatter`, alternating."""
    builder = Builder()
    for loss in ("l1", "l2"):
        for seed in range(seeds):
            level = 30 + (loss == "l2") * (gap + scatter * (-1) ** seed)
            builder.add(level, seeds=[seed], noise=0.0, loss=loss, **SR | {"steps": 100.0, **(PLAN | plan)})
    run = builder.run()
    run.cells["psnr_y_db"] = run.cells["cell_id"].map(run.images.groupby("cell_id")["psnr_y_db"].mean())
    return replace(run, timing=pd.DataFrame(columns=COLUMNS["timing"]))


def named(run: Run, name: str) -> Question:
    return next(question for question in questions(run) if question.name == name)


def test_an_undecided_claim_and_recommendation_are_open_at_their_next_look():
    run = clean_run(6, gap=0.1, scatter=0.2)
    found = {question.name: question.next_look for question in open_questions(run)}
    assert found == {CLAIM: 9, "Clean targets: L1 raw behind L2 raw?": 9}
    assert named(clean_run(8, 0.1, 0.2), CLAIM).next_look == 9  # between two looks
    assert named(clean_run(48, 0.1, 0.2), CLAIM).next_look is None  # after the last one


def test_a_decided_question_needs_nothing_and_says_at_which_look_it_was_decided():
    run = clean_run(9, gap=5.0, scatter=0.2)
    assert list(open_questions(run)) == []
    row = judge(run).set_index("claim").loc[CLAIM]
    assert (row["verdict"], row["look"], row["n"]) == ("SUPPORTED", 6, 6)  # the seeds after it change nothing


def test_fixed_seeds_leave_nothing_open():
    run = clean_run(6, gap=0.1, scatter=0.2, first_seeds=np.nan, most_seeds=np.nan)
    assert list(questions(run)) == []
    assert np.isnan(judge(run).set_index("claim").loc[CLAIM, "look"])


def test_the_narrowest_plan_of_the_sides_holds():
    run = clean_run(6, 0.1, 0.2)
    cells = run.cells.copy()
    cells.loc[cells["loss"] == "l2", ["first_seeds", "most_seeds"]] = 9, 18
    assert plan_of(cells).looks == (9, 12, 18)
    cells.loc[cells["loss"] == "l2", "most_seeds"] = np.nan
    assert plan_of(cells) is None


def test_the_cost_of_a_look_is_that_of_its_missing_seeds():
    assert named(clean_run(6, 0.1, 0.2), CLAIM).cost_s() == pytest.approx(2 * 3 * 5.0)


def suite_of(*losses: str) -> Suite:
    return fake_suite({"first": 6, "most": 12}, losses)


def test_only_cells_of_open_questions_are_needed_the_cheapest_look_first(tmp_path):
    suite = fake_suite({"first": 6, "most": 12}, ("bce", "l1", "l2"), steps=[10])
    by_loss = {loss: [cell for cell in suite.possible_cells if cell.loss == loss] for loss in ("bce", "l1", "l2")}
    rows = clean_run(6, 0.1, 0.2).cells

    def question(name: str, next_look: int, *losses: str) -> Question:
        known = [cell.cell_id for loss in losses for cell in by_loss[loss][:6]]
        comparison = type("Comparison", (), {"next_look": next_look})
        return Question(name, comparison, rows.iloc[: len(known)].assign(cell_id=known))

    needed = for_questions([question("dear", 12, "bce", "l1"), question("cheap", 9, "l2")], suite)
    assert [(cell.loss, cell.seed) for cell in needed[:3]] == [("l2", 6), ("l2", 7), ("l2", 8)]
    assert {(cell.loss, cell.seed) for cell in needed[3:]} == {
        (loss, s) for loss in ("bce", "l1") for s in range(6, 12)
    }
    assert for_questions([], suite) == []


def test_a_run_trains_more_seeds_until_its_recommendation_is_decided(tmp_path):
    """bce and l2 are alike but for scatter, l1 is far behind: their cells get more seeds, its cells do not."""
    suite = suite_of("bce", "l1", "l2")

    def work(cell, device, checkpoints):
        error = {"bce": 0.1, "l1": 10.0, "l2": 0.1 * np.exp(0.35 * (-1) ** cell.seed)}[cell.loss]
        return error_of({cell.lr: error - cell.seed / 1e4})(cell, device, checkpoints)

    executor = InProcess()
    counts, _ = fake_run(tmp_path, suite, work, executor=executor, still_needed=lambda path: next_cells(path, suite))
    seeds = {loss: sorted(cell.seed for cell in executor.order if cell.loss == loss) for loss in ("bce", "l1", "l2")}
    assert seeds == {"bce": list(range(12)), "l1": list(range(6)), "l2": list(range(12))}
    assert counts == {"done": 30}
