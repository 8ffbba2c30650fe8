"""How does a cell train on a GPU so that the GPU never waits? In turns, each of which only queues work.

A cell begins, is evaluated, and ends as in the plain loop (`bench.training.steps`), but helper threads do this while
training continues.
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

Turns = Iterator[Future | None]  # yields the future that must be done before the next turn; None if there is none


def attempt(
    cell: Cell,
    device: torch.device,
    outcome: Outcome,
    checkpoint: Checkpoint,
    helpers: Executor,
    alone: bool = True,
    replay: bool | None = None,
) -> Turns:
    """Fill in the outcome of a cell, turn by turn, on its own stream; see `training_turns`."""
    replay = device.type == "cuda" if replay is None else replay
    try:
        yield from on_stream(device, training_turns(cell, device, outcome, checkpoint, helpers, alone, replay))
        outcome.status = "done"
    except Exception as error:
        record_failure(outcome, error, cell)
        if outcome.status == "crashed" and isinstance(error, getattr(torch, "AcceleratorError", ())):
            os._exit(1)  # the CUDA context is lost, so every later cell of this process would fail: end it
    if outcome.status == "oom" and device.type == "cuda":
        torch.cuda.empty_cache()  # for the other cells on the GPU


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
        helpers: evaluate snapshots and draw ahead while training continues.
        alone: whether the process trains no other cell: only then its peak memory is that of the cell.
        replay: whether steps are drawn in blocks and captured (`bench.training.gpu.capture`).
    """
    if alone:
        reset_peak_memory(device)
    beginning = helpers.submit(begin_on, current_stream(device), cell, device, outcome, checkpoint)
    task, past, log, evaluated = yield from until(beginning)
    cost = Cost(device, past.train_s, past.eval_s, past.peak_memory_mib)
    points = evaluation_points(cell)
    rate = partial(learning_rate, cell)
    plan = partial(step_blocks, past.step, points, block_length(task) if replay else 1)
    taker: OneByOne | Replay = OneByOne(task, rate)  # takes at least the first step: a GAN checks it
    evaluation: Future = helpers.submit(int)  # no evaluation yet

    for number, steps in enumerate(plan()):
        if number and checkpoint.due():
            with cost.pause():
                yield from until(evaluation)
                save(checkpoint, task, log[evaluated : steps.start], steps.start, cost, outcome)
        if replay and number == 1:
            taker = Replay(task, islice(plan(), 1, None), rate, helpers)
        if taker.ahead:
            yield from until(taker.ahead)  # the GPU or the draws are two blocks behind: other cells can use the turn
        taker.take(steps, log[steps.start : steps.stop])
        yield None
        if steps.stop in points:
            with cost.pause():
                pending = PendingSnapshot(task, log[evaluated : steps.stop], last=steps.stop == cell.steps)
                yield from until(evaluation)
                evaluation = helpers.submit(evaluate_pending, pending, cell, task, steps.stop, outcome)
                evaluated = steps.stop
            if evaluation.done():
                evaluation.result()  # stops a diverged cell as soon as this is known

    snapshot = yield from until(helpers.submit(pending.arrived))
    with cost.pause():
        yield from until(evaluation)
        readouts = yield from until(helpers.submit(task.conclude, snapshot.seen))
        accept(cell, task, readouts, outcome)
    outcome.note = outcome.note or taker.note
    outcome.measured = cost.of_images(cell.steps * task.images_per_step)
    if not alone:
        del outcome.measured["peak_memory_mib"]


def begin_on(stream: torch.cuda.Stream | None, *arguments: Any) -> Beginning:
    """Begin a training on its own stream, in any thread; `stream` is None without a GPU."""
    with torch.cuda.stream(stream):
        return begin(*arguments)


def step_blocks(start: int, points: Sequence[int], longest: int) -> Iterator[range]:
    """All steps from `start` on, in blocks that end at every evaluation point; the first block is a single step."""
    steps = range(start, start + 1)
    yield steps
    for point in points:
        while steps.stop < point:
            steps = range(steps.stop, min(steps.stop + longest, point))
            yield steps


class OneByOne:
    """Takes steps one by one with the task's own `step`."""

    ahead, note = None, ""  # it draws nothing ahead and has nothing to report

    def __init__(self, task: Task, rate: Callable[[int], float]):
        self.task, self.rate = task, rate

    def take(self, steps: range, log: Tensor) -> None:
        """Take the steps; their logged values go to `log` (steps, values)."""
        for row, step in zip(log, steps, strict=True):
            self.task.set_learning_rate(self.rate(step))
            row.copy_(self.task.step(step))


class PendingSnapshot:
    """A snapshot that is being copied to the host while training continues."""

    def __init__(self, task: Task, log: Tensor, last: bool):
        self.snapshot = take_snapshot(task, log, last, non_blocking=True)
        self.taken = torch.cuda.Event() if log.is_cuda else None
        if self.taken:
            self.taken.record()

    def arrived(self) -> Snapshot:
        """The snapshot, after its copy has finished."""
        if self.taken:
            self.taken.synchronize()
        return self.snapshot


def evaluate_pending(pending: PendingSnapshot, cell: Cell, task: Task, point: int, outcome: Outcome) -> None:
    """Evaluate a cell after its snapshot has been copied."""
    evaluate(cell, task, point, pending.arrived(), outcome)
