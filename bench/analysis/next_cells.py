"""Which cells does a run need next? Those at rates that its tuning has found, and more seeds for its open questions.

Both follow from the rows of the run alone, so equal runs train equal cells, whatever machine they are on and however
often they are interrupted.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.analysis.open_questions import Question, open_questions
from bench.analysis.tuning import best_rates
from bench.plan.cell import NO_SETTING, Cell
from bench.plan.suite import Suite
from bench.store.reader import Run, load

UNIT = ("scale", "value_range")  # None in cells, and empty in rows, where a task has none


def next_cells(path: Path, suite: Suite) -> list[Cell]:
    """The cells of a suite that its run directory needs next, the most urgent first; some may be done already."""
    run = load(path)
    return [*at_tuned_rates(run, suite), *for_questions(open_questions(run), suite)]


def at_tuned_rates(run: Run, suite: Suite) -> Iterator[Cell]:
    """The first seeds of each arm with `lr = "tuned"`, at its best rate, if all of its tuning cells are over."""
    rates = rates_found(run)
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


def rates_found(run: Run) -> dict[tuple[Any, ...], float]:
    """The best rate of each arm (`Cell.arm`) whose tuning is over."""
    arm = (
        *("task", "dataset", "loss", "head", "schedule", "optimizer", "planned_steps", "batch_size"),
        *UNIT,
        "training",
    )
    rows = best_rates(run)
    rows = rows[rows["complete"].astype(bool)]
    rows[list(UNIT)] = rows[list(UNIT)].astype(object).where(rows[list(UNIT)].notna(), None)
    return {tuple(row[column] for column in arm): row["lr"] for row in rows.to_dict("records")}
