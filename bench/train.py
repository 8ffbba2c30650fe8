"""How is one cell trained? The loop, the evaluation points, the status; what a step does is in `ganlab/tasks/`."""

import itertools
import math
import os
import resource
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.checkpoints import EVERY_S, Checkpoint, Progress, Unusable
from bench.suite import Cell
from ganlab.tasks import TASKS


@dataclass
class Outcome:
    """What became of a cell. `values` and `images` are empty unless it is done; curves go as far as it came."""

    status: str
    reason: str = ""
    steps: int = 0
    measured: dict[str, float] = field(default_factory=dict)
    values: dict[str, float | None] = field(default_factory=dict)
    images: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    picture: np.ndarray | None = None
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
    try:
        _train(cell, device, outcome, Checkpoint(checkpoints, cell, device, checkpoint_every_s))
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
        torch.cuda.empty_cache()  # other workers share the GPU
    if outcome.status != "done":
        outcome.curves = [point for point in outcome.curves if math.isfinite(point["value"])]
    return outcome


def _train(cell: Cell, device: torch.device, outcome: Outcome, checkpoint: Checkpoint) -> None:
    reset_peak_memory(device)
    task, past, logged = begin(cell, device, outcome, checkpoint)
    clock = Clock(past.train_s, past.eval_s)
    for first, point in itertools.pairwise([0, *evaluation_points(cell)]):
        if point <= past.step:
            continue
        log = torch.zeros(point - first, len(task.logged), device=device)
        start, log[: len(logged)] = first + len(logged), logged
        for step in range(start, point):
            if step > past.step and checkpoint.due():
                with clock.pause():
                    now = Progress(step=step, curves=outcome.curves, train_s=clock.train_s, eval_s=clock.eval_s,
                                   peak_memory_mib=max(past.peak_memory_mib, peak_memory_mib(device)))  # fmt: skip
                    outcome.note = checkpoint.save(task, log[: step - first], now) or outcome.note
            task.set_learning_rate(learning_rate(cell, step))
            log[step - first] = task.step(step)
        recent, logged = log.cpu(), log[:0]  # the one synchronisation of the interval
        with clock.pause():
            evaluate(cell, task, point, recent, outcome)
    train_s = clock.train_s
    with clock.pause():
        readouts = task.conclude()
    read = [*readouts.values.items(), *(item for image in readouts.images for item in image.items())]
    read += [(point["metric"], point["value"]) for point in outcome.curves]
    odd = next((name for name, value in read if isinstance(value, float) and not math.isfinite(value)), None)
    if odd:
        raise Diverged(f"{odd} is not finite after step {cell.steps} of {cell.steps}")
    outcome.values, outcome.images = readouts.values, readouts.images
    if cell.shows_samples and readouts.picture is not None:
        outcome.picture, outcome.layout = readouts.picture, readouts.layout
    outcome.measured = {
        "train_s": train_s,
        "eval_s": clock.eval_s,
        "images_per_s": cell.steps * task.images_per_step / train_s,
        "peak_memory_mib": max(past.peak_memory_mib, peak_memory_mib(device)),
    }


def begin(
    cell: Cell, device: torch.device, outcome: Outcome, checkpoint: Checkpoint
) -> tuple[Any, Progress, torch.Tensor]:
    """The task of a cell, how far it has come, and what it logged since its last evaluation (steps, values)."""
    task = TASKS[cell.task](cell, device)
    if checkpoint.exists():
        try:
            past, logged = checkpoint.restore(task, evaluation_points(cell))
        except Exception as error:  # whatever a stranger wrote there: the cell shall not suffer
            why = str(error) if isinstance(error, Unusable) else _one_line(error)
            outcome.note = f"started afresh, without the checkpoint: {why}"
            task = TASKS[cell.task](cell, device)  # nothing half restored
        else:
            outcome.curves = [point.model_dump() for point in past.curves]
            return task, past, logged
    return task, Progress(), torch.empty(0, len(task.logged))


def evaluate(cell: Cell, task: Any, point: int, recent: torch.Tensor, outcome: Outcome) -> None:
    """Add a point to each curve.

    Args:
        point: steps so far.
        recent: what the steps since the last evaluation logged, (steps, values), on the CPU.

    Raises:
        Diverged: a loss or a weight is not finite.
    """
    finite = recent.isfinite().all(dim=1)
    if not finite.all():
        outcome.steps = point - len(recent) + int(finite.int().argmin()) + 1
        raise Diverged(f"first non-finite loss at step {outcome.steps} of {cell.steps}")
    outcome.steps = point
    if not has_finite_weights(task):  # the last step's loss was taken before it
        raise Diverged(f"first non-finite weights after step {point} of {cell.steps}")
    means = dict(zip(task.logged, recent.double().mean(dim=0).tolist(), strict=True))
    for metric, value in {**means, **task.evaluate(point, means)}.items():
        outcome.curves.append({"step": point, "metric": metric, "value": value})


class Clock:
    """Seconds of training and of all else since it was made, added to those of earlier sessions."""

    def __init__(self, train_s: float, eval_s: float):
        self.eval_s, self.started = eval_s, time.perf_counter() - train_s - eval_s

    @property
    def train_s(self) -> float:
        """Seconds so far, but for the pauses."""
        return time.perf_counter() - self.started - self.eval_s

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Inside, the time counts as evaluation."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.eval_s += time.perf_counter() - begun


def has_finite_weights(task: Any) -> bool:
    """Whether every weight of a task's networks is finite."""
    networks = (part for part in vars(task).values() if isinstance(part, torch.nn.Module))
    return all(bool(weight.isfinite().all()) for network in networks for weight in network.parameters())


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def reset_peak_memory(device: torch.device) -> None:
    """Start the count of `peak_memory_mib` afresh, where the system allows it (Linux and CUDA do)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        with suppress(OSError):  # a hardened container may forbid it: the peak is then the process's
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory in MiB since `reset_peak_memory`: allocated on the GPU, or resident in this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
