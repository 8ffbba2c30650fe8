"""How is one cell trained on a CPU? One step after the other, with evaluations in the loop.

The steps themselves are in `ganlab/tasks/`. A GPU takes the same steps in blocks, see `bench/training/gpu/`.
"""

from pathlib import Path

import torch

from bench.plan.cell import Cell
from bench.training.checkpoints import EVERY_S, Checkpoint
from bench.training.cost import Cost, reset_peak_memory
from bench.training.outcome import Outcome, finalize, record_failure
from bench.training.steps import accept, begin, evaluate, evaluation_points, learning_rate, save, take_snapshot


def train(
    cell: Cell, device: torch.device, checkpoints: Path | None = None, checkpoint_every_s: float = EVERY_S
) -> Outcome:
    """Train and test one cell; every failure becomes an outcome with its status and reason.

    Args:
        checkpoints: the folder for checkpoints; the cell continues from the checkpoint of an earlier attempt.
        checkpoint_every_s: seconds between two checkpoints, and before the first.
    """
    outcome = Outcome("crashed")
    checkpoint = Checkpoint(checkpoints, cell, device, checkpoint_every_s)
    try:
        take_steps(cell, device, checkpoint, outcome)
        outcome.status = "done"
    except Exception as error:
        record_failure(outcome, error, cell)
    return finalize(outcome)


def take_steps(cell: Cell, device: torch.device, checkpoint: Checkpoint, outcome: Outcome) -> None:
    """Train a cell from its beginning or its checkpoint to its end, and put its measurements into the outcome."""
    reset_peak_memory(device)
    task, past, log, evaluated = begin(cell, device, outcome, checkpoint)  # past.step is 0 without a checkpoint
    cost = Cost(device, past.train_s, past.eval_s, past.peak_memory_mib)
    points = evaluation_points(cell)

    for step in range(past.step, cell.steps):
        if checkpoint.due() and step > past.step:
            with cost.pause():
                save(checkpoint, task, log[evaluated:step], step, cost, outcome)
        task.set_learning_rate(learning_rate(cell, step))
        log[step] = task.step(step)
        if step + 1 in points:
            with cost.pause():
                snapshot = take_snapshot(task, log[evaluated : step + 1], last=step + 1 == cell.steps)
                evaluate(cell, task, step + 1, snapshot, outcome)
                evaluated = step + 1

    with cost.pause():
        accept(cell, task, task.conclude(snapshot.seen), outcome)
    outcome.measured = cost.of_images(cell.steps * task.images_per_step)
