"""Runs without training: a suite of any size, fake work, and an executor that starts no process."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch

from bench.plan.cell import Cell
from bench.plan.suite import Suite
from bench.running.interrupts import Interrupts
from bench.running.runner import run_matrix
from bench.store.writer import RunDirectory
from bench.training.outcome import Outcome

CPU = torch.device("cpu")


def fake_suite(seeds: int, losses: Sequence[str] = ("l1",), **changes) -> Suite:
    """Cells of the location GAN, which need no data and no classifier; `steps` lists a value for each block."""
    steps = changes.pop("steps", [10])
    block = {
        "task": "location",
        "dataset": "gaussian",
        "loss": list(losses),
        "optimizer": "sgd",
        "lr": 0.02,
        "evaluations": 2,
        "batch_size": 50,
        "outliers": {"far": (0.2,)},
    }
    matrix = [block | {"steps": count, "seeds": seeds} for count in steps]
    return Suite.model_validate({"name": "fake", "title": "fake", "timing": {"rounds": 0}, "matrix": matrix} | changes)


def each(work: Callable) -> Callable:
    """Turn work on one cell into work on several."""
    return lambda cells, device, checkpoints: [work(cell, device, checkpoints) for cell in cells]


def fake_work(cell: Cell, device: torch.device, checkpoints: Path) -> Outcome:
    """A cell that is done at once; its numbers depend only on its seed."""
    curves = [{"step": step, "metric": "d_loss", "value": cell.seed / 7} for step in (cell.steps // 2, cell.steps)]
    measured = {"train_s": 0.5, "eval_s": 0.1, "images_per_s": 100.0, "peak_memory_mib": 50.0}
    return Outcome("done", "", cell.steps, measured, {"location_error": cell.seed / 3, "d_loss": 0.5}, [], curves)


class InProcess:
    """An executor of threads in this process: an exception of a call stands for the failure of its worker."""

    def __init__(self, slots: int = 1):
        self.slots, self.most, self.order, self.stopped = slots, 0, [], False
        self.timeouts_s: list[float | None] = []
        self._running, self._lock = 0, threading.Lock()
        self._pool = ThreadPoolExecutor(slots)

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, function: Callable, *args, timeout_s: float | None) -> Future:
        self.timeouts_s.append(timeout_s)

        def call():
            with self._lock:
                self._running += 1
                self.most = max(self.most, self._running)
                self.order += args[1]
            try:
                return function(*args)
            finally:
                with self._lock:
                    self._running -= 1

        return self._pool.submit(call)

    def stop(self) -> None:
        self.stopped = True


def fake_run(path: Path, suite: Suite, work: Callable = fake_work, **options) -> tuple[dict[str, int], list[str]]:
    """Run a suite with work on one cell, or `all_work` on several; returns the count of each status, and the notes."""
    shown: list[str] = []
    show = options.pop("show", lambda progress: shown.append(progress.note) if progress.note else None)
    executor = options.pop("executor", None) or InProcess()
    all_work = options.pop("all_work", each(work))
    selected = options.pop("selected", lambda cell: True)
    with Interrupts(options.pop("leave", lambda: None)) as interrupts, RunDirectory(path) as directory, executor:
        counts = run_matrix(suite, directory, executor, CPU, selected, show, interrupts, work=all_work, **options)
    return counts, shown
