"""What does the harness cost? Images per second in a cell of `run`, divided by those of a bare loop of steps."""

import time

import torch

from bench.analysis.comparison import geometric_interval
from bench.plan.cell import Cell
from bench.running.work import train_cells
from bench.throughput.cells import SETTINGS, experiment
from bench.training.device import resolve_device
from bench.training.numerics import configure
from ganlab.tasks import TASKS

PAIRS = 10
STEPS = 250


def bare_images_per_s(cell: Cell, device: torch.device) -> float:
    """Only training steps."""
    task = TASKS[cell.task](cell, device)
    started = time.perf_counter()
    for step in range(cell.steps):
        logged = task.step(step)
    logged.cpu()  # waits for a GPU
    return cell.steps * task.images_per_step / (time.perf_counter() - started)


def run_images_per_s(cell: Cell, device: torch.device) -> float:
    """The same steps in the loop of `run`: learning rates, logs, and the checks for finite numbers."""
    outcome = train_cells([cell], device)[0]
    if outcome.status != "done":
        raise RuntimeError(f"{cell.task}: {outcome.status}, {outcome.reason}")
    return outcome.measured["images_per_s"]


def main() -> None:
    """Print one line for each task; the two take turns, and each pair gives one ratio."""
    device = resolve_device("auto")
    configure(device)
    print(f"images per second inside `run` over a bare loop on {device}, {PAIRS} pairs of {STEPS} steps; aim: 0.98")
    for name in SETTINGS:
        cell = Cell(**experiment(name, "l2") | {"steps": STEPS})
        bare_images_per_s(cell, device)  # warm-up
        ratios = []
        for pair in range(PAIRS):
            loops = (run_images_per_s, bare_images_per_s)[:: 1 if pair % 2 else -1]
            speed = {loop: loop(cell, device) for loop in loops}
            ratios.append(speed[run_images_per_s] / speed[bare_images_per_s])
        mean, low, high = geometric_interval(ratios)
        print(f"{name:10} {mean:.3f}  ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
