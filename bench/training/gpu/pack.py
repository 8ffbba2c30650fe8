"""How do several cells share one GPU? They take turns at queueing work, each on a stream of its own.

A turn queues a block of steps and waits for nothing, so the GPU always finds work of several cells, and snapshots are
judged by other threads meanwhile. A cell gets what it gets alone, and its failure is its own.
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
    """Train and test several cells at a time. One that runs out of memory is tried alone.

    A lost CUDA context ends the process: nobody knows whose fault it was, and all of the pack have to be tried alone.
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
    """Give each a turn, round by round, until all are through; wait only where none could use one."""
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
