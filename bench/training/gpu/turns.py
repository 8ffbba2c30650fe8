"""How does a cell train on a GPU without keeping it waiting? In turns, each of which only queues work.

It begins, is evaluated, and ends as in the plain loop (`bench.training.steps`), but helpers see to that meanwhile.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from bench.plan.cell import Cell
from bench.training.checkpoints import Checkpoint
from bench.training.cost import Cost, reset_peak_memory
from bench.training.gpu.capture import Replay, block_length
from bench.training.gpu.streams import current_stream, on_stream, until
from bench.training.outcome import Outcome, record_failure
from bench.training.steps import (
    Beginning,
    Snapshot,
    accept,
    begin,
    evaluate,
    evaluation_points,
    learning_rate,
    save,
    take_snapshot,
)
from ganlab.tasks import Task

Turns = Iterator[Future | None]  # what each yields has to be done before the next is of use; None: nothing


def attempt(
    cell: Cell,
    device: torch.device,
    outcome: Outcome,
    checkpoint: Checkpoint,
    helpers: Executor,
    alone: bool = True,
    replay: bool | None = None,
) -> Turns:
    """Fill in the outcome of a cell, turn by turn, on a stream of its own; see `training_turns`."""
    replay = device.type == "cuda" if replay is None else replay
    try:
        yield from on_stream(device, training_turns(cell, device, outcome, checkpoint, helpers, alone, replay))
        outcome.status = "done"
    except Exception as error:
        record_failure(outcome, error, cell)
        if outcome.status == "crashed" and isinstance(error, getattr(torch, "AcceleratorError", ())):
            os._exit(1)  # the CUDA context is lost, and every later cell of this process with it: let it be replaced
    if outcome.status == "oom" and device.type == "cuda":
        torch.cuda.empty_cache()  # others share the GPU


def training_turns(
    cell: Cell,
    device: torch.device,
    outcome: Outcome,
    checkpoint: Checkpoint,
    helpers: Executor,
    alone: bool,
    replay: bool,
) -> Turns:
    """The training of a cell, its evaluations, and its read-outs.

    Args:
        helpers: judge snapshots, and draw ahead, while training goes on.
        alone: whether the process has no other cell in hand: only then its peak memory is the cell's.
        replay: whether steps are drawn in blocks and captured (`bench.training.gpu.capture`).
    """
    if alone:
        reset_peak_memory(device)
    begun = helpers.submit(begin_on, current_stream(device), cell, device, outcome, checkpoint)
    task, past, log, evaluated = yield from until(begun)
    cost = Cost(device, past.train_s, past.eval_s, past.peak_memory_mib)
    points = evaluation_points(cell)
    rate = partial(learning_rate, cell)
    plan = partial(stretches, past.step, points, block_length(task) if replay else 1)
    taker: OneByOne | Replay = OneByOne(task, rate)  # takes the first step in any case: a GAN watches it
    judged: Future = helpers.submit(int)  # nothing yet

    for number, steps in enumerate(plan()):
        if number and checkpoint.due():
            with cost.pause():
                yield from until(judged)
                save(checkpoint, task, log[evaluated : steps.start], steps.start, cost, outcome)
        if replay and number == 1:
            taker = Replay(task, islice(plan(), 1, None), rate, helpers)
        if taker.ahead:
            yield from until(taker.ahead)  # a GPU is two blocks behind, or its draws are: others can have the turn
        taker.take(steps, log[steps.start : steps.stop])
        yield None
        if steps.stop in points:
            with cost.pause():
                pending = PendingSnapshot(task, log[evaluated : steps.stop], last=steps.stop == cell.steps)
                yield from until(judged)
                judged = helpers.submit(evaluate_pending, pending, cell, task, steps.stop, outcome)
                evaluated = steps.stop
            if judged.done():
                judged.result()  # whoever has diverged is stopped as soon as it is known

    snapshot = yield from until(helpers.submit(pending.arrived))
    with cost.pause():
        yield from until(judged)
        readouts = yield from until(helpers.submit(task.conclude, snapshot.seen))
        accept(cell, task, readouts, outcome)
    outcome.note = outcome.note or taker.note
    outcome.measured = cost.of_images(cell.steps * task.images_per_step)
    if not alone:
        del outcome.measured["peak_memory_mib"]


def begin_on(stream: torch.cuda.Stream | None, *what: Any) -> Beginning:
    """Begin a training on its own stream, whichever thread this is; None: there are no streams."""
    with torch.cuda.stream(stream):
        return begin(*what)


def stretches(start: int, points: Sequence[int], longest: int) -> Iterator[range]:
    """All steps from `start` on, in stretches that end at every evaluation point; the first is a single step."""
    steps = range(start, start + 1)
    yield steps
    for point in points:
        while steps.stop < point:
            steps = range(steps.stop, min(steps.stop + longest, point))
            yield steps


class OneByOne:
    """Takes steps as they stand in `ganlab/tasks/`."""

    ahead, note = None, ""  # nothing is drawn ahead, nothing can go wrong

    def __init__(self, task: Task, rate: Callable[[int], float]):
        self.task, self.rate = task, rate

    def take(self, steps: range, log: Tensor) -> None:
        """Take the steps; what they log goes to `log` (steps, values)."""
        for row, step in zip(log, steps, strict=True):
            self.task.set_learning_rate(self.rate(step))
            row.copy_(self.task.step(step))


class PendingSnapshot:
    """A snapshot on its way to the host while training goes on."""

    def __init__(self, task: Task, log: Tensor, last: bool):
        self.snapshot = take_snapshot(task, log, last, non_blocking=True)
        self.taken = torch.cuda.Event() if log.is_cuda else None
        if self.taken:
            self.taken.record()

    def arrived(self) -> Snapshot:
        """The snapshot, when all of it is there."""
        if self.taken:
            self.taken.synchronize()
        return self.snapshot


def evaluate_pending(pending: PendingSnapshot, cell: Cell, task: Task, point: int, outcome: Outcome) -> None:
    """Evaluate a cell when its snapshot is there."""
    evaluate(cell, task, point, pending.arrived(), outcome)
