"""Which cells does a run need next? Those at rates that its tuning has found, and more seeds for its open questions.

Both follow from the rows of the run alone, so equal runs train equal cells, whatever machine they are on and however
often they are interrupted.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.analysis.open_questions import Question, open_questions
from bench.analysis.tuning import TARGETS, tuned
from bench.plan.cell import NO_SETTING, Cell
from bench.plan.suite import Suite
from bench.store.reader import Run, load

OVER = frozenset(("done", "diverged", "crashed", "oom", "timeout", "skipped"))  # no attempt of this session is left


def next_cells(path: Path, suite: Suite) -> list[Cell]:
    """The cells of a suite that its run directory needs next, the most urgent first; some may be done already."""
    run = load(path)
    return [*at_tuned_rates(run, suite), *for_questions(open_questions(run), suite)]


def at_tuned_rates(run: Run, suite: Suite) -> Iterator[Cell]:
    """The first seeds of each arm with `lr = "tuned"`, at its best rate, if all of its tuning cells are over."""
    rates = best_rates(run, suite)
    for cell in suite.possible_cells:
        first = cell.first_seeds is None or cell.seed < cell.first_seeds
        if cell.tuned and first and rates.get(cell.arm) == cell.lr:
            yield cell


def for_questions(questions: Iterable[Question], suite: Suite) -> list[Cell]:
    """The cells of the next look of each question, those of the cheapest look first; each cell once."""
    known = {cell.cell_id: cell for cell in suite.possible_cells}
    seeds = defaultdict(list)
    for cell in suite.possible_cells:
        seeds[_without_seed(cell)].append(cell)
    looks = []
    for question in questions:
        sides = {_without_seed(known[key]) for key in question.cells["cell_id"] if key in known}
        have = set(question.cells["cell_id"])
        needed = [cell for side in sides for cell in seeds[side] if cell.seed < (question.next_look or 0)]
        needed = [cell for cell in needed if cell.cell_id not in have]
        if needed:
            looks.append((sum(map(Cell.cost, needed)), question.name, needed))
    looks.sort(key=lambda look: look[:2])
    return list({cell.cell_id: cell for _, _, needed in looks for cell in needed}.values())


def _without_seed(cell: Cell) -> str:
    return cell.model_dump_json(exclude={"seed", *NO_SETTING})


def best_rates(run: Run, suite: Suite) -> dict[tuple[Any, ...], float]:
    """The best rate of each arm (`Cell.arm`) whose tuning is over: that of the best mean over all tuning seeds.

    A rate with a cell that diverged or failed is out; an arm without any other rate has none.
    """
    status = dict(zip(run.cells["cell_id"], run.cells["status"], strict=True))
    rows = tuned(run)
    value = dict(zip(rows["cell_id"], rows["value"], strict=True))
    trials: dict[tuple[Any, ...], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    unfinished = set()
    for cell in suite.cells:
        if cell.role == "tune":
            trials[cell.arm][cell.lr].append(value.get(cell.cell_id, float("nan")))
            if status.get(cell.cell_id) not in OVER:
                unfinished.add(cell.arm)
    best = {}
    for arm, by_rate in trials.items():
        larger = TARGETS[arm[0]].larger
        means = {rate: sum(values) / len(values) for rate, values in by_rate.items()}
        means = {rate: mean if larger else -mean for rate, mean in means.items() if mean == mean}  # without NaN
        if means and arm not in unfinished:
            best[arm] = max(means, key=lambda rate: means[rate])
    return best
