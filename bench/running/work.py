"""What does a worker do with cells? It trains them and measures the time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import torch

from bench.plan.cell import Cell
from bench.training.outcome import Outcome

Work = Callable[[Sequence[Cell], torch.device, Path], list[Outcome]]  # the folder is for checkpoints


def timed(work: Work, cells: Sequence[Cell], device: torch.device, checkpoints: Path) -> tuple[list[Outcome], float]:
    """The outcomes of cells that are trained together, and their total seconds without the start of the worker."""
    started = perf_counter()
    return work(cells, device, checkpoints), perf_counter() - started
