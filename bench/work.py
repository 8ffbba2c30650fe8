"""What does a worker do with a cell? It trains it, and says how long that took, whatever came of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import torch

from bench.suite import Cell
from bench.train import Outcome

Work = Callable[[Cell, torch.device, Path], Outcome]  # the folder is for checkpoints
PackWork = Callable[[Sequence[Cell], torch.device, Path], list[Outcome]]


def timed(work: Work, cell: Cell, device: torch.device, checkpoints: Path) -> tuple[Outcome, float]:
    """The outcome of a cell, and its seconds from the first to the last, in which no worker was being started."""
    started = perf_counter()
    return work(cell, device, checkpoints), perf_counter() - started


def timed_pack(work: PackWork, device: torch.device, checkpoints: Path, *cells: Cell) -> list[tuple[Outcome, float]]:
    """The outcome of each of several cells that are trained at a time, and the seconds of them all."""
    started = perf_counter()
    outcomes = work(cells, device, checkpoints)
    seconds = perf_counter() - started
    return [(outcome, seconds) for outcome in outcomes]
