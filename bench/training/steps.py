"""What do the plain loop and the GPU's have in common? Beginning, learning rates, evaluations, checkpoints, the end."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bench.plan.cell import Cell
from bench.training.checkpoints import Checkpoint, Point, TrainingState, Unusable
from bench.training.cost import Cost
from bench.training.outcome import Diverged, Outcome, reason_of
from bench.training.weights import weights_of
from ganlab.tasks import TASKS, Readouts, Task


class Beginning(NamedTuple):
    """Where a training begins, or goes on from.

    Attributes:
        past: how far it has come, and what that cost.
        log: what each step logs, (steps, values) on the device; it holds those that no evaluation has seen.
        evaluated: steps up to the last point on the curves.
    """

    task: Task
    past: TrainingState
    log: Tensor
    evaluated: int


class Snapshot(NamedTuple):
    """What an evaluation looks at, on the host.

    Attributes:
        log: what the steps since the last evaluation logged, (steps, values).
        finite: whether all weights are, ().
        seen: the task's own snapshot.
    """

    log: Tensor
    finite: Tensor
    seen: dict[str, Tensor]


def learning_rate(cell: Cell, step: int) -> float:
    """The learning rate of step `step` (from 0): constant, or a cosine from `lr` to 0 over the run."""
    if cell.schedule == "constant":
        return cell.lr
    return cell.lr * 0.5 * (1 + math.cos(math.pi * step / cell.steps))


def evaluation_points(cell: Cell) -> list[int]:
    """The step counts after which a cell is evaluated; evenly spaced, the last at the end."""
    return [round(cell.steps * (i + 1) / cell.evaluations) for i in range(cell.evaluations)]


def begin(cell: Cell, device: torch.device, outcome: Outcome, checkpoint: Checkpoint) -> Beginning:
    """The task of a cell as its checkpoint left it, or afresh; the outcome gets the curves so far."""
    task, past, points = TASKS[cell.task](cell, device), TrainingState(), evaluation_points(cell)
    log = torch.zeros(cell.steps, len(task.logged), device=device)
    if checkpoint.exists():
        try:
            past, logged = checkpoint.restore(task, points)
        except Exception as error:  # whatever somebody wrote there: the cell shall not suffer
            why = str(error) if isinstance(error, Unusable) else reason_of(error)
            outcome.note = f"started afresh, without the checkpoint: {why}"
            task = TASKS[cell.task](cell, device)  # nothing half restored
        else:
            log[past.step - len(logged) : past.step] = logged
            outcome.curves = [point.model_dump() for point in past.curves]
    return Beginning(task, past, log, max((point for point in points if point <= past.step), default=0))


def save(checkpoint: Checkpoint, task: Task, log: Tensor, step: int, cost: Cost, outcome: Outcome) -> None:
    """Write the checkpoint after `step` steps; `log` is what those since the last evaluation logged."""
    curves = tuple(Point(**point) for point in outcome.curves)
    state = TrainingState(step=step, curves=curves, **cost.so_far())
    outcome.note = checkpoint.save(task, log, state) or outcome.note


def take_snapshot(task: Task, log: Tensor, last: bool, non_blocking: bool = False) -> Snapshot:
    """What an evaluation looks at.

    Args:
        log: what the steps since the last evaluation logged, (steps, values) on the device.
        last: whether training is over, and `conclude` looks at it too.
        non_blocking: whether to return at once; a GPU puts the values there when it gets there.
    """

    def on_host(tensor: Tensor) -> Tensor:
        return tensor.to("cpu", non_blocking=non_blocking)

    log, finite = on_host(log), on_host(finite_weights(task))
    return Snapshot(log, finite, {name: on_host(tensor) for name, tensor in task.snapshot(last).items()})


def finite_weights(task: Task) -> Tensor:
    """Whether every weight of a task's networks is finite, () on the device."""
    networks = (part for part in vars(task).values() if isinstance(part, torch.nn.Module))
    return torch.stack([weight.isfinite().all() for network in networks for weight in network.parameters()]).all()


def evaluate(cell: Cell, task: Task, point: int, snapshot: Snapshot, outcome: Outcome) -> None:
    """Add a point to each curve, after `point` steps.

    Raises:
        Diverged: a loss or a weight is not finite.
    """
    finite = snapshot.log.isfinite().all(dim=1)
    if not finite.all():
        outcome.steps = point - len(finite) + int(finite.int().argmin()) + 1
        raise Diverged(f"first non-finite loss at step {outcome.steps} of {cell.steps}")
    outcome.steps = point
    if not snapshot.finite:  # the last step's loss was taken before it
        raise Diverged(f"first non-finite weights after step {point} of {cell.steps}")
    means = dict(zip(task.logged, snapshot.log.double().mean(dim=0).tolist(), strict=True))
    for metric, value in {**means, **task.evaluate(point, means, snapshot.seen)}.items():
        outcome.curves.append({"step": point, "metric": metric, "value": value})


def accept(cell: Cell, task: Task, readouts: Readouts, outcome: Outcome) -> None:
    """Take what a training leaves into its outcome.

    Raises:
        Diverged: a read-out, or a point on a curve, is not finite.
    """
    read = [*readouts.values.items(), *(item for image in readouts.images for item in image.items())]
    read += [(point["metric"], point["value"]) for point in outcome.curves]
    odd = next((name for name, value in read if isinstance(value, float) and not math.isfinite(value)), None)
    if odd:
        raise Diverged(f"{odd} is not finite after step {cell.steps} of {cell.steps}")
    outcome.values, outcome.images = readouts.values, readouts.images
    if cell.shows_samples:
        outcome.weights = weights_of(getattr(task, "network", None))  # of a reconstruction; a GAN has two
        if readouts.picture is not None:
            outcome.picture, outcome.layout = readouts.picture, readouts.layout
