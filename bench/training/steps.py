"""What do the loops for CPU and GPU share? Start, learning rates, evaluations, checkpoints, and the end."""

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
    """The state in which a training begins or continues.

    Attributes:
        past: the progress and cost so far.
        log: the logged values of each step, (steps, values) on the device; those before `evaluated` are not restored.
        evaluated: number of steps up to the last point on the curves.
    """

    task: Task
    past: TrainingState
    log: Tensor
    evaluated: int


class Snapshot(NamedTuple):
    """The input of an evaluation, on the host.

    Attributes:
        log: the logged values of the steps since the last evaluation, (steps, values).
        finite: whether all weights are finite, ().
        seen: the snapshot of the task.
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
    """The task of a cell, restored from its checkpoint or fresh; the outcome gets the curves so far."""
    task, past, points = TASKS[cell.task](cell, device), TrainingState(), evaluation_points(cell)
    log = torch.zeros(cell.steps, len(task.logged), device=device)
    if checkpoint.exists():
        try:
            past, logged = checkpoint.restore(task, points)
        except Exception as error:  # the file may hold anything: it must not harm the cell
            reason = str(error) if isinstance(error, Unusable) else reason_of(error)
            outcome.note = f"started afresh, without the checkpoint: {reason}"
            task = TASKS[cell.task](cell, device)  # not a half restored one
        else:
            log[past.step - len(logged) : past.step] = logged
            outcome.curves = [point.model_dump() for point in past.curves]
    return Beginning(task, past, log, max((point for point in points if point <= past.step), default=0))


def save(checkpoint: Checkpoint, task: Task, log: Tensor, step: int, cost: Cost, outcome: Outcome) -> None:
    """Write the checkpoint after `step` steps; `log` has the values of the steps since the last evaluation."""
    curves = tuple(Point(**point) for point in outcome.curves)
    state = TrainingState(step=step, curves=curves, **cost.so_far())
    outcome.note = checkpoint.save(task, log, state) or outcome.note


def take_snapshot(task: Task, log: Tensor, last: bool, non_blocking: bool = False) -> Snapshot:
    """The input of an evaluation.

    Args:
        log: the logged values of the steps since the last evaluation, (steps, values) on the device.
        last: whether training is finished, so that `conclude` also uses the snapshot.
        non_blocking: whether to return at once; a GPU writes the values later.
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
    if not snapshot.finite:  # the loss of the last step was computed before its update
        raise Diverged(f"first non-finite weights after step {point} of {cell.steps}")
    means = dict(zip(task.logged, snapshot.log.double().mean(dim=0).tolist(), strict=True))
    for metric, value in {**means, **task.evaluate(point, means, snapshot.seen)}.items():
        outcome.curves.append({"step": point, "metric": metric, "value": value})


def accept(cell: Cell, task: Task, readouts: Readouts, outcome: Outcome) -> None:
    """Put the read-outs of a training into its outcome.

    Raises:
        Diverged: a read-out or a point on a curve is not finite.
    """
    named = [*readouts.values.items(), *(item for image in readouts.images for item in image.items())]
    named += [(point["metric"], point["value"]) for point in outcome.curves]
    invalid = next((name for name, value in named if isinstance(value, float) and not math.isfinite(value)), None)
    if invalid:
        raise Diverged(f"{invalid} is not finite after step {cell.steps} of {cell.steps}")
    outcome.values, outcome.images = readouts.values, readouts.images
    if cell.shows_samples:
        outcome.weights = weights_of(getattr(task, "network", None))  # only a reconstruction has a single network
        if readouts.picture is not None:
            outcome.picture, outcome.layout = readouts.picture, readouts.layout
