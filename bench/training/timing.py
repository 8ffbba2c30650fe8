"""How long does each phase of a training step take under each loss, and how much of it is arithmetic?

Nothing else runs on the device. Steps are timed in interleaved rounds, then the matrix-multiply peak of the device.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.plan.cell import Cell
from bench.plan.suite import Timing
from bench.training.numerics import configure
from ganlab.tasks import TASKS, Task
from ganlab.tasks.experiment import Precision

WARM_UP_STEPS = 10
TOTAL = "step"  # the name of the whole step
BETWEEN = "between"  # logging and the loop: part of the step, but not a phase
MATMUL_SIDE = {
    "cpu": 1024,
    "cuda": 8192,
}  # side of the square matrices for the peak; they are large enough to use the whole device
MATMUL_TRIES = 5  # the fastest one counts: a peak is the speed of the undisturbed device
MATMUL_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class PhaseClock:
    """Milliseconds of each phase. On CUDA it records events and synchronises only in `read`."""

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"
        self.stamps: list[tuple[str, Any]] = []

    def now(self) -> Any:
        """A point in time: a recorded CUDA event, or seconds of the performance counter."""
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def mark(self, phase: str) -> None:
        """End `phase`, which began at the last mark. The time between two steps ends with the mark `BETWEEN`."""
        self.stamps.append((phase, self.now()))

    def read(self) -> dict[str, float]:
        """Total milliseconds of each phase since the last reading. It clears the marks."""
        if self.cuda:
            torch.cuda.synchronize()
        totals: dict[str, float] = defaultdict(float)
        for (_, before), (phase, after) in zip(self.stamps, self.stamps[1:], strict=False):
            totals[phase] += before.elapsed_time(after) if self.cuda else 1e3 * (after - before)
        self.stamps.clear()
        return dict(totals)


def timed_cells(cells: Sequence[Cell]) -> list[Cell]:
    """One cell for each (task, data set, loss, head): the first declared clean cell, or the first declared one.

    Among several precisions it has the one that most losses of the task share, so that step times can be compared. In a
    tie the first declared precision wins.
    """
    reported = [cell for cell in cells if cell.role == "report"]
    arms_by_precision: dict[tuple[str, str, str], set[tuple[str, str]]] = defaultdict(set)
    for cell in reported:
        arms_by_precision[cell.task, cell.dataset, cell.precision].add((cell.loss, cell.head))
    common: dict[tuple[str, str], str] = {}
    for (task, dataset, precision), arms in arms_by_precision.items():
        if len(arms) > len(arms_by_precision[task, dataset, common.setdefault((task, dataset), precision)]):
            common[task, dataset] = precision
    chosen: dict[tuple[str, ...], Cell] = {}
    for cell in sorted(reported, key=lambda cell: (cell.rate != 0, cell.precision != common[cell.task, cell.dataset])):
        chosen.setdefault((cell.task, cell.dataset, cell.loss, cell.head), cell)
    return list(chosen.values())


def time_steps(cells: Sequence[Cell], plan: Timing, device: torch.device) -> list[dict[str, Any]]:
    """Rows of timing.csv: for each cell, phase, and round the mean milliseconds per step over one chunk.

    Cells of one task take turns within a round, in an order that rotates from round to round, so that drift affects
    all losses alike. Warm-up is untimed; the number of steps in a chunk is set from it and is the same in every round.
    """
    configure(device)
    rows = []
    for task_name, dataset in dict.fromkeys((cell.task, cell.dataset) for cell in cells):
        group = [cell for cell in cells if (cell.task, cell.dataset) == (task_name, dataset)]
        tasks = [TASKS[cell.task](cell, device) for cell in group]
        chunk = max(steps_per_chunk(task, plan.chunk_ms, device) for task in tasks)
        position = WARM_UP_STEPS * 2
        for round_index in range(plan.rounds):
            turn = round_index % len(group)
            for cell, task in [*zip(group, tasks, strict=True)][turn:] + [*zip(group, tasks, strict=True)][:turn]:
                clock = PhaseClock(device)
                clock.mark(BETWEEN)
                for step in range(position, position + chunk):
                    task.step(step, clock.mark)
                    clock.mark(BETWEEN)
                phases = clock.read()
                phases[TOTAL] = sum(phases.values())
                del phases[BETWEEN]
                for phase, total in phases.items():
                    rows.append(
                        {
                            "task": cell.task,
                            "dataset": cell.dataset,
                            "loss": cell.loss,
                            "head": cell.head,
                            "device": device.type,
                            "phase": phase,
                            "round": round_index,
                            "batch_size": cell.batch_size,
                            "ms": total / chunk,
                        }
                    )
            position += chunk
    return rows


def steps_per_chunk(task: Task, chunk_ms: float, device: torch.device) -> int:
    """Warm a task up; returns how many of its steps take at least `chunk_ms` milliseconds."""
    for step in range(WARM_UP_STEPS):
        task.step(step)
    clock = PhaseClock(device)
    clock.mark(BETWEEN)
    for step in range(WARM_UP_STEPS, 2 * WARM_UP_STEPS):
        task.step(step)
    clock.mark(TOTAL)
    return max(1, round(chunk_ms * WARM_UP_STEPS / max(clock.read()[TOTAL], 1e-3) + 0.5))


class OneModule:
    """A module tracker for `FlopCounterMode` that does not distinguish modules.

    PyTorch's tracker uses hooks that forbid a gradient inside a step, which the penalties R1 and R2 need.
    """

    parents = frozenset(("Global",))

    def __enter__(self) -> "OneModule":
        return self

    def __exit__(self, *_: object) -> None:
        """There are no hooks to remove."""


def roofline(cells: Sequence[Cell], device: torch.device) -> dict[str, Any]:
    """The device's measured matrix-multiply peak, and the floating-point work of a step of each cell.

    `matmul_gflop_per_s` by precision, on one thread and with TF32 off as in training; `steps` holds task, data set,
    loss, head, precision, and `gflop` (convolutions and matrix products, forward and backward; a multiply-add is two).
    Williams, Waterman, Patterson, "Roofline", Communications of the ACM 2009.
    """
    configure(device)
    steps = []
    for cell in cells:
        task = TASKS[cell.task](cell, device)
        task.step(1)  # step 0 of a GAN is checked
        counter = FlopCounterMode(display=False)
        counter.mod_tracker = OneModule()  # type: ignore[assignment]
        with counter:
            task.step(2)
        steps.append(
            {
                "task": cell.task,
                "dataset": cell.dataset,
                "loss": cell.loss,
                "head": cell.head,
                "precision": cell.precision,
                "gflop": counter.get_total_flops() / 1e9,
            }
        )
    return {"matmul_gflop_per_s": matmul_peaks({cell.precision for cell in cells}, device), "steps": steps}


def matmul_peaks(precisions: Collection[Precision], device: torch.device) -> dict[str, float]:
    """Gflop per second of a large square matrix product, by precision; one that the device lacks is left out."""
    side = MATMUL_SIDE[device.type]
    peaks: dict[str, float] = {}
    for name in sorted(precisions):  # no others: slow bf16 takes seconds
        try:
            matrix = torch.ones(side, side, dtype=MATMUL_TYPES[name], device=device)
            matrix @ matrix  # warm-up
        except RuntimeError:
            continue
        clock = PhaseClock(device)
        fastest_ms = float("inf")
        for _ in range(MATMUL_TRIES):
            clock.mark(BETWEEN)
            matrix @ matrix
            clock.mark(TOTAL)
            fastest_ms = min(fastest_ms, clock.read()[TOTAL])
        peaks[name] = 2 * side**3 / 1e6 / fastest_ms
    return peaks
