"""What does a worker do with a cell? It trains it, and says how long that took, whatever came of it."""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch

from bench.suite import Cell
from bench.train import Outcome

Work = Callable[[Cell, torch.device, Path], Outcome]  # the folder is for checkpoints


def timed(work: Work, cell: Cell, device: torch.device, checkpoints: Path) -> tuple[Outcome, float]:
    """The outcome of a cell, and its seconds from the first to the last, in which no worker was being started."""
    started = perf_counter()
    return work(cell, device, checkpoints), perf_counter() - started
