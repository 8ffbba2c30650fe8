"""How is one cell trained? The loop, the evaluation points, the status; what a step does is in `ganlab/tasks/`."""

import math
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.plan.suite import Cell
from bench.store.validation import Status
from bench.training.checkpoints import EVERY_S, Checkpoint, TrainingState, Unusable
from bench.training.cost import Clock, peak_memory_mib, reset_peak_memory
from bench.training.gpu.capture import Replay, block_length
from bench.training.gpu.streams import current_stream, helpers_for, on_stream, until
from bench.training.weights import weights_of
from ganlab.tasks import TASKS, Readouts


@dataclass
class Outcome:
    """What became of a cell. `values` and `images` are empty unless it is done; curves go as far as it came.

    Who shows samples leaves a picture, and where one network made it its `weights`, by their names in it.
    """

    status: Status
    reason: str = ""
    steps: int = 0
    measured: dict[str, float] = field(default_factory=dict)
    values: dict[str, float | None] = field(default_factory=dict)
    images: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    picture: np.ndarray | None = None
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    layout: dict[str, Any] = field(default_factory=dict)
    traceback: str = ""
    note: str = ""  # a checkpoint passed over, say: worth a line to the user, but no read-out


class Diverged(Exception):
    """Training met its first non-finite loss."""


def configure(device: torch.device) -> None:
    """The numeric settings of a training process, explicit so that they can be recorded: see `precision_settings`."""
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if device.type == "cuda":
        torch.cuda.set_device(device)


def precision_settings() -> dict[str, bool]:
    """What `configure` sets, for the manifest."""
    return {"tf32_matmul": False, "tf32_cudnn": False, "cudnn_benchmark": False, "cudnn_deterministic": True}


def learning_rate(cell: Cell, step: int) -> float:
    """The learning rate of step `step` (from 0): constant, or a cosine from `lr` to 0 over the run."""
    if cell.schedule == "constant":
        return cell.lr
    return cell.lr * 0.5 * (1 + math.cos(math.pi * step / cell.steps))


def evaluation_points(cell: Cell) -> list[int]:
    """The step counts after which a cell is evaluated; evenly spaced, the last at the end."""
    return [round(cell.steps * (i + 1) / cell.evaluations) for i in range(cell.evaluations)]


def train(
    cell: Cell, device: torch.device, checkpoints: Path | None = None, checkpoint_every_s: float = EVERY_S
) -> Outcome:
    """Train and test one cell; every failure becomes an outcome with its status and reason.

    Args:
        checkpoints: the folder to leave checkpoints in, and to go on from the one of an earlier attempt.
        checkpoint_every_s: seconds between two checkpoints, and before the first.
    """
    outcome = Outcome("crashed")
    with helpers_for(device) as helpers:
        checkpoint = Checkpoint(checkpoints, cell, device, checkpoint_every_s)
        for waited_for in attempt(cell, device, outcome, checkpoint, helpers):
            if waited_for:
                wait([waited_for])
    return finalize(outcome)


def attempt(
    cell: Cell, device: torch.device, outcome: Outcome, checkpoint: Checkpoint, helpers: Executor, **how: Any
) -> Iterator[Future | None]:
    """Fill in the outcome of a cell, turn by turn; see `training_steps`, which takes `how`."""
    try:
        yield from on_stream(device, training_steps(cell, device, outcome, checkpoint, helpers, **how))
        outcome.status = "done"
    except Diverged as error:
        outcome.status, outcome.reason = "diverged", str(error)
    except FloatingPointError as error:
        outcome.status, outcome.reason = "diverged", f"{error} after step {outcome.steps} of {cell.steps}"
    except (MemoryError, torch.OutOfMemoryError) as error:
        outcome.status, outcome.reason = "oom", _one_line(error)
    except Exception as error:
        out_of_memory = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
        outcome.status, outcome.reason = ("oom" if out_of_memory else "crashed"), _one_line(error)
        outcome.traceback = traceback.format_exc()
        if isinstance(error, getattr(torch, "AcceleratorError", ())):
            os._exit(1)  # the CUDA context is lost, and every later cell of this process with it: let it be replaced
    if outcome.status == "oom" and device.type == "cuda":
        torch.cuda.empty_cache()  # others share the GPU


def finalize(outcome: Outcome) -> Outcome:
    """The outcome of an attempt that is over, its helpers too: curves of a cell that is not done may end in NaN."""
    if outcome.status != "done":
        outcome.curves = [point for point in outcome.curves if math.isfinite(point["value"])]
    return outcome


def training_steps(
    cell: Cell,
    device: torch.device,
    outcome: Outcome,
    checkpoint: Checkpoint,
    helpers: Executor,
    alone: bool = True,
    replay: bool | None = None,
) -> Iterator[Future | None]:
    """The training of a cell, its evaluations, and its read-outs.

    On a GPU a turn only queues work. What it yields is None, or what has to be done before the next turn is of use.

    Args:
        helpers: judge snapshots, and draw ahead, while training goes on.
        alone: whether the process has no other cell in hand: only then its peak memory is the cell's.
        replay: whether steps are drawn in blocks and captured (`bench.training.gpu.capture`); None: on a GPU.
    """
    if alone:
        reset_peak_memory(device)
    begun = helpers.submit(begin, cell, device, outcome, checkpoint, current_stream(device))
    yield from until(begun)
    task, past, logged = begun.result()
    replay = device.type == "cuda" if replay is None else replay
    clock, points = Clock(past.train_s, past.eval_s), evaluation_points(cell)
    log = torch.zeros(cell.steps, len(task.logged), device=device)
    first = past.step - len(logged)  # of the steps that the next point on the curves is about
    log[first : past.step] = logged
    rate = partial(learning_rate, cell)
    plan = partial(stretches, past.step, points, block_length(task) if replay else 1)
    taker: Plain | Replay = Plain(task, rate)  # takes the first step in any case: a GAN watches it
    judged: Future = helpers.submit(int)  # nothing yet
    for number, steps in enumerate(plan()):
        if number and checkpoint.due():
            with clock.pause():
                yield from until(judged)
                peak = max(past.peak_memory_mib, peak_memory_mib(device))
                now = TrainingState(
                    step=steps.start,
                    curves=outcome.curves,
                    train_s=clock.train_s,
                    eval_s=clock.eval_s,
                    peak_memory_mib=peak,
                )
                outcome.note = checkpoint.save(task, log[first : steps.start], now) or outcome.note
        if replay and number == 1:
            taker = Replay(task, islice(plan(), 1, None), rate, helpers)
        if taker.ahead:
            yield from until(taker.ahead)  # a GPU is two blocks behind, or its draws are: others can have the turn
        taker.take(steps, log[steps.start : steps.stop])
        yield None
        if steps.stop in points:
            with clock.pause():
                snapshot = Snapshot(task, log[first : steps.stop], last=steps.stop == cell.steps)
                yield from until(judged)
                judged = helpers.submit(evaluate, cell, task, steps.stop, snapshot, outcome)
                first = steps.stop
            if judged.done():
                judged.result()  # whoever has diverged is stopped as soon as it is known
    yield from until(helpers.submit(snapshot.wait))
    train_s = clock.train_s
    with clock.pause():
        yield from until(judged)
        concluded = helpers.submit(task.conclude, snapshot.seen)
        yield from until(concluded)
    accept(cell, concluded.result(), outcome)
    if cell.shows_samples:
        outcome.weights = weights_of(getattr(task, "network", None))  # of a reconstruction; a GAN has two
    outcome.note = outcome.note or taker.note
    outcome.measured = {
        "train_s": train_s,
        "eval_s": clock.eval_s,
        "images_per_s": cell.steps * task.images_per_step / train_s,
    }
    if alone:
        outcome.measured["peak_memory_mib"] = max(past.peak_memory_mib, peak_memory_mib(device))


def stretches(start: int, points: Sequence[int], longest: int) -> Iterator[range]:
    """All steps from `start` on, in stretches that end at every evaluation point; the first is a single step."""
    steps = range(start, start + 1)
    yield steps
    for point in points:
        while steps.stop < point:
            steps = range(steps.stop, min(steps.stop + longest, point))
            yield steps


class Plain:
    """Takes steps one by one, as they stand in `ganlab/tasks/`."""

    ahead, note = None, ""  # nothing is drawn ahead, nothing can go wrong

    def __init__(self, task: Any, rate: Callable[[int], float]):
        self.task, self.rate = task, rate

    def take(self, steps: range, log: torch.Tensor) -> None:
        """Take the steps; what they log goes to `log` (steps, values)."""
        for row, step in zip(log, steps, strict=True):
            self.task.set_learning_rate(self.rate(step))
            row.copy_(self.task.step(step))


class Snapshot:
    """What an evaluation looks at, on its way to the host while training goes on.

    Attributes:
        log: what the steps since the last evaluation logged, (steps, values).
        finite: whether all weights are, ().
        seen: the task's own snapshot.
    """

    def __init__(self, task: Any, log: torch.Tensor, last: bool):
        self.log, self.finite = copy_to_host_async(log), copy_to_host_async(finite_weights(task))
        self.seen = {name: copy_to_host_async(tensor) for name, tensor in task.snapshot(last).items()}
        self.taken = torch.cuda.Event() if log.is_cuda else None
        if self.taken:
            self.taken.record()

    def wait(self) -> None:
        """Until all of it is there."""
        if self.taken:
            self.taken.synchronize()


def copy_to_host_async(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's values on the host, where a GPU will have put them when it gets there."""
    return tensor.to("cpu", non_blocking=True)


def begin(
    cell: Cell, device: torch.device, outcome: Outcome, checkpoint: Checkpoint, stream: Any
) -> tuple[Any, TrainingState, torch.Tensor]:
    """The task of a cell, how far it has come, and what it logged since its last evaluation (steps, values).

    `stream` is the one of its training, which may be another thread's.
    """
    with torch.cuda.stream(stream):  # None: no GPU, nothing to do
        task = TASKS[cell.task](cell, device)
        if not checkpoint.exists():
            return task, TrainingState(), torch.empty(0, len(task.logged))
        try:
            past, logged = checkpoint.restore(task, evaluation_points(cell))
        except Exception as error:  # whatever a stranger wrote there: the cell shall not suffer
            why = str(error) if isinstance(error, Unusable) else _one_line(error)
            outcome.note = f"started afresh, without the checkpoint: {why}"
            task = TASKS[cell.task](cell, device)  # nothing half restored
            return task, TrainingState(), torch.empty(0, len(task.logged))
        outcome.curves = [point.model_dump() for point in past.curves]
        return task, past, logged


def evaluate(cell: Cell, task: Any, point: int, snapshot: Snapshot, outcome: Outcome) -> None:
    """Add a point to each curve, after `point` steps.

    Raises:
        Diverged: a loss or a weight is not finite.
    """
    snapshot.wait()
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


def accept(cell: Cell, readouts: Readouts, outcome: Outcome) -> None:
    """Take the read-outs into the outcome.

    Raises:
        Diverged: a read-out, or a point on a curve, is not finite.
    """
    read = [*readouts.values.items(), *(item for image in readouts.images for item in image.items())]
    read += [(point["metric"], point["value"]) for point in outcome.curves]
    odd = next((name for name, value in read if isinstance(value, float) and not math.isfinite(value)), None)
    if odd:
        raise Diverged(f"{odd} is not finite after step {cell.steps} of {cell.steps}")
    outcome.values, outcome.images = readouts.values, readouts.images
    if cell.shows_samples and readouts.picture is not None:
        outcome.picture, outcome.layout = readouts.picture, readouts.layout


def finite_weights(task: Any) -> torch.Tensor:
    """Whether every weight of a task's networks is finite, () on the device."""
    networks = (part for part in vars(task).values() if isinstance(part, torch.nn.Module))
    return torch.stack([weight.isfinite().all() for network in networks for weight in network.parameters()]).all()


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
