"""What does a worker do with cells? It trains them, by the plain loop or sharing a GPU, and measures the time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import torch

from bench.plan.cell import Cell
from bench.training.checkpoints import EVERY_S
from bench.training.gpu.pack import train_pack
from bench.training.outcome import Outcome
from bench.training.train import train

Work = Callable[[Sequence[Cell], torch.device, Path], list[Outcome]]  # the folder is for checkpoints


def timed(work: Work, cells: Sequence[Cell], device: torch.device, checkpoints: Path) -> tuple[list[Outcome], float]:
    """The outcomes of cells that are trained together, and their total seconds without the start of the worker."""
    started = perf_counter()
    return work(cells, device, checkpoints), perf_counter() - started


def train_cells(
    cells: Sequence[Cell], device: torch.device, checkpoints: Path | None = None, checkpoint_every_s: float = EVERY_S
) -> list[Outcome]:
    """Train and test cells; see `train`."""
    if device.type == "cuda":
        return train_pack(cells, device, checkpoints, checkpoint_every_s)
    return [train(cell, device, checkpoints, checkpoint_every_s) for cell in cells]
