"""What does the runner itself cost per cell, and does the cost grow with the number of cells?

Cells that train nothing pass through every stage: suite, worker processes, journal with its fsync, published tables.
Start-up is excluded: workers are warm, and the clock runs from the first submitted cell to the last recorded one. Runs
of 10, 100, and 1,000 cells take turns, so other work on the machine affects all of them equally; each round gives a
ratio. The processor time of the runner is reported too, because other work disturbs it less. Run directories are in the
system's temporary folder (TMPDIR): to measure fsync, it must be on a disk, not in memory.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Annotated, Any, NamedTuple, Self

import torch
import typer

from bench.analysis.comparison import geometric_interval
from bench.executors.local import LocalExecutor
from bench.plan.cell import Cell
from bench.plan.suite import Suite
from bench.running.interrupts import Interrupts
from bench.running.progress import Progress
from bench.running.runner import run_matrix
from bench.store.writer import RunDirectory
from bench.training.cost import peak_memory_mib, reset_peak_memory
from bench.training.numerics import configure
from bench.training.outcome import Outcome

SIZES = {10: 20, 100: 4, 1000: 1}  # cells of a run, and the number of such runs in a round
BASE = min(SIZES)
SEEDS = 1000  # suites with more cells have more learning rates
WORKERS = 2
CPU = torch.device("cpu")


def no_op(cells: Sequence[Cell], device: torch.device, checkpoints: Path) -> list[Outcome]:
    """Trains nothing and returns as much data as a GAN's cell: four curves of 25 points."""
    curves = [
        {"step": step, "metric": name, "value": step / 7}
        for name in ("g_loss", "d_loss", "real_loss", "fake_loss")
        for step in range(1, 26)
    ]
    measured = {"train_s": 0.0, "eval_s": 0.0, "images_per_s": 0.0, "peak_memory_mib": 0.0}
    return [Outcome("done", "", cell.steps, measured, {"location_error": cell.seed / 3}, [], curves) for cell in cells]


def no_op_suite(cells: int) -> Suite:
    """A suite of `cells` cells of the location GAN, which needs neither data nor classifier."""
    rates = -(-cells // SEEDS)
    block = {
        "task": "location",
        "dataset": "gaussian",
        "loss": "l1",
        "optimizer": "sgd",
        "outliers": {"far": 0.2},
        "lr": [0.01 * (n + 1) for n in range(rates)],
        "seeds": cells // rates,
        "steps": 100,
        "batch_size": 50,
    }
    return Suite.model_validate({"name": "no-op", "title": "no-op", "timing": {"rounds": 0}, "matrix": [block]})


class Warm:
    """An executor whose workers are reused in the next run; it records when the first call of a run was submitted."""

    def __init__(self, executor: LocalExecutor):
        self.slots, self._executor = executor.slots, executor
        self.first: tuple[float, float] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Does nothing: the next run uses the same workers."""

    def submit(self, function: Callable[..., Any], *args: Any, timeout_s: float | None) -> Future:
        """See `Executor.submit`."""
        self.first = self.first or stamp()
        return self._executor.submit(function, *args, timeout_s=timeout_s)

    def stop(self) -> None:
        """Does nothing: the next run uses the same workers."""


def stamp() -> tuple[float, float]:
    """Milliseconds of the wall clock, and of this process's processor time."""
    return 1e3 * perf_counter(), 1e3 * process_time()


class Cost(NamedTuple):
    """The cost of one run in milliseconds: wall time per cell, processor time per cell, and final publishing."""

    cell_ms: float
    cpu_ms: float
    publish_ms: float


def run_once(suite: Suite, executor: Warm) -> Cost:
    """Run a suite of cells that train nothing in a new directory."""
    last: tuple[float, float] | None = None
    executor.first = None

    def show(progress: Progress) -> None:
        nonlocal last
        if progress.last:
            last = stamp()

    with tempfile.TemporaryDirectory() as folder, RunDirectory(folder) as directory, Interrupts() as interrupts:
        counts = run_matrix(suite, directory, executor, CPU, lambda cell: True, show, interrupts, work=no_op)
        end = stamp()
    if counts != {"done": len(suite.cells)}:
        raise RuntimeError(f"not every cell is done: {dict(counts)}")
    if executor.first is None or last is None:
        raise RuntimeError("no cell was run")
    cell_ms, cpu_ms = ((b - a) / len(suite.cells) for a, b in zip(executor.first, last, strict=True))
    return Cost(cell_ms, cpu_ms, end[0] - last[0])


def resident_mib() -> float:
    """Current memory of this process, shared memory included, as in its peak."""
    reset_peak_memory(CPU)
    return peak_memory_mib(CPU)


def measure_memory(cells: int) -> dict[str, float]:
    """One run in this process: MiB after all imports, MiB with the suite, peak MiB, and milliseconds per cell."""
    imported = resident_mib()
    suite = no_op_suite(cells)
    with_suite = len(suite.cells) and resident_mib()
    with LocalExecutor(WORKERS, [(configure, (CPU,))]) as executor:
        for future in [executor.submit(resident_mib, timeout_s=None) for _ in range(WORKERS)]:
            future.result()
        cost = run_once(suite, Warm(executor))
    return {"imported_mib": imported, "suite_mib": with_suite, "peak_mib": peak_memory_mib(CPU), **cost._asdict()}


def measure_growth(rounds: int) -> dict[int, list[Cost]]:
    """The cost at each size, by round; sizes take turns, and each round starts with another size."""
    costs_by_size: dict[int, list[Cost]] = {size: [] for size in SIZES}
    suites = {size: no_op_suite(size) for size in SIZES}
    with LocalExecutor(WORKERS, [(configure, (CPU,))]) as executor:
        warm = Warm(executor)
        run_once(suites[100], warm)  # starts the workers
        for number in range(rounds):
            turn = number % len(SIZES)
            for size in [*SIZES][turn:] + [*SIZES][:turn]:
                costs = [run_once(suites[size], warm) for _ in range(SIZES[size])]
                costs_by_size[size].append(Cost(*(sum(column) / len(costs) for column in zip(*costs, strict=True))))
    return costs_by_size


def main(
    rounds: Annotated[int, typer.Option(min=2, help="rounds over all sizes")] = 10,
    most: Annotated[int, typer.Option(min=1, help="cells of the longest run, whose memory is measured")] = 10_000,
    memory_of: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    """Print milliseconds per cell at each size, their ratios with 95 % intervals, and the runner's memory."""
    if memory_of:
        print(json.dumps(measure_memory(memory_of)))
        return
    print(f"cells that train nothing, {WORKERS} workers, run directories in {tempfile.gettempdir()}", flush=True)
    costs_by_size = measure_growth(rounds)
    ratio = f"over {BASE} cells"
    print(f"{'cells':>6}  {'ms per cell':>11}  {ratio:24}  {'of processor':>12}  {ratio:24}  ms to publish at the end")
    for size, costs in costs_by_size.items():
        columns = [f"{size:6}"]
        for name, width in (("cell_ms", 11), ("cpu_ms", 12)):
            pairs = zip(costs, costs_by_size[BASE], strict=True)
            grown = geometric_interval([getattr(cost, name) / getattr(base, name) for cost, base in pairs])
            compared = "" if size == BASE else f"{grown.mean:.3f} ({grown.low:.3f} to {grown.high:.3f})"
            columns += [f"{median(getattr(cost, name) for cost in costs):{width}.2f}", f"{compared:24}"]
        print("  ".join([*columns, f"{median(cost.publish_ms for cost in costs):24.0f}"]), flush=True)
    for cells in (BASE, most):
        command = [sys.executable, "-m", "tools.microbench.runner_cost", "--memory-of", str(cells)]
        memory = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        taken = memory["peak_mib"] - memory["imported_mib"]
        held = f"{memory['imported_mib']:.0f} MiB at the start, {memory['suite_mib']:.0f} with the suite"
        print(
            f"{cells:6} cells: {memory['cell_ms']:6.2f} ms per cell; the runner holds {held}, "
            f"{memory['peak_mib']:.0f} at most: a run takes {taken:.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    from tools.microbench import runner_cost  # workers cannot import functions of a main module

    typer.run(runner_cost.main)
