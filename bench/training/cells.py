"""How does a worker train its cells? On a CPU one after the other, on a GPU together."""

from collections.abc import Sequence
from pathlib import Path

import torch

from bench.plan.cell import Cell
from bench.training.checkpoints import EVERY_S
from bench.training.gpu.pack import train_pack
from bench.training.outcome import Outcome
from bench.training.train import train


def train_cells(
    cells: Sequence[Cell], device: torch.device, checkpoints: Path | None = None, checkpoint_every_s: float = EVERY_S
) -> list[Outcome]:
    """Train and test cells; see `train`."""
    if device.type == "cuda":
        return train_pack(cells, device, checkpoints, checkpoint_every_s)
    return [train(cell, device, checkpoints, checkpoint_every_s) for cell in cells]
