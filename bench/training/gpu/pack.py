"""How do several cells share one GPU? They take turns to queue work, each on its own stream.

A turn queues a block of steps without waiting, so the GPU always has work of several cells. Other threads evaluate
snapshots meanwhile. A cell has the same results as alone, and its failure does not affect the others.
"""

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path

import torch

from bench.plan.cell import Cell
from bench.training.checkpoints import EVERY_S, Checkpoint
from bench.training.gpu.streams import helpers_for
from bench.training.gpu.turns import Turns, attempt
from bench.training.outcome import Outcome, finalize


def train_pack(
    cells: Sequence[Cell],
    device: torch.device,
    checkpoints: Path | None = None,
    checkpoint_every_s: float = EVERY_S,
    helpers: Executor | None = None,
) -> list[Outcome]:
    """Train and test several cells together. A cell that runs out of memory is tried again alone.

    A lost CUDA context ends the process: the cell at fault is unknown, so each cell must be tried alone.
    """
    outcomes = [Outcome("crashed") for _ in cells]
    with helpers or helpers_for(device, len(cells)) as helpers:
        take_turns(
            [
                attempt(
                    cell,
                    device,
                    outcome,
                    Checkpoint(checkpoints, cell, device, checkpoint_every_s),
                    helpers,
                    alone=len(cells) == 1,
                )
                for cell, outcome in zip(cells, outcomes, strict=True)
            ]
        )
    crowded = len(cells) > 1
    return [
        train_pack([cell], device, checkpoints, checkpoint_every_s)[0]
        if crowded and outcome.status == "oom"
        else finalize(outcome)
        for cell, outcome in zip(cells, outcomes, strict=True)
    ]


def take_turns(attempts: Sequence[Turns]) -> None:
    """Give each attempt a turn, round by round, until all have ended; wait only if none can use a turn."""
    waiting: dict[Turns, Future | None] = dict.fromkeys(attempts)
    while waiting:
        for turns, future in list(waiting.items()):
            if future and not future.done():
                continue
            try:
                waiting[turns] = next(turns)
            except StopIteration:
                del waiting[turns]
        futures = [future for future in waiting.values() if future]
        if waiting and len(futures) == len(waiting):
            wait(futures, return_when=FIRST_COMPLETED)
