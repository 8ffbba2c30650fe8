"""What is one process's part of an arm, how is it timed, and how much work is a step?"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


class Trainer(ABC):
    """A workload that takes steps.

    Attributes:
        images_per_step: training images; 0 if it does not train.
        networks: the trained networks.
    """

    images_per_step = 0
    networks: Sequence[nn.Module] = ()

    @property
    def note(self) -> str:
        """A note for the reader on how it computes; empty if there is none."""
        return ""

    @abstractmethod
    def step(self) -> None:
        """One step."""

    def take(self) -> int:
        """Launch a block of steps and return their number. This is the timed operation."""
        self.step()
        return 1


ATEN = torch.ops.aten
LOOK_UPS = (ATEN.index.Tensor, ATEN.index_select.default, ATEN.gather.default)  # they read as much as they write
ALLOCATIONS = (
    ATEN.empty.memory_format,
    ATEN.empty_like.default,
    ATEN.empty_strided.default,
)  # they read and write nothing


class Traffic(TorchDispatchMode):
    """Counts the bytes that operators read and write, as if there were no cache; views are free.

    >>> with Traffic() as traffic:
    ...     total = torch.ones(1000) + torch.ones(1000)  # writes 4,000 bytes twice, then reads both and writes a third
    >>> traffic.bytes
    20000
    """

    def __enter__(self) -> "Traffic":
        self.bytes = 0
        return super().__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.is_view or func in ALLOCATIONS:
            touched = []
        elif func in LOOK_UPS:
            touched = [result, result]
        elif func is ATEN.copy_.default:  # overwrites its first argument
            touched = [args[1], result]
        else:
            touched = tree_leaves((args, kwargs, result))
        self.bytes += sum(part.numel() * part.element_size() for part in touched if isinstance(part, Tensor))
        return result


def work(trainer: Trainer) -> dict[str, float]:
    """The work of one step: trained parameters, images, gflop (a multiply-add is two), gigabytes operators touch."""
    trainer.step()  # forks a loader's workers, which would otherwise be counted
    with FlopCounterMode(display=False) as flop, Traffic() as traffic:
        trainer.step()
    return {
        "parameters": sum(weight.numel() for network in trainer.networks for weight in network.parameters()),
        "images_per_step": trainer.images_per_step,
        "gflop_per_step": flop.get_total_flops() / 1e9,
        "gbyte_per_step": traffic.bytes / 1e9,
    }


def run(trainer: Trainer, seconds: float, device: torch.device) -> dict[str, float]:
    """Steps for at least `seconds`: their number, the time until the device has completed them, processor seconds.

    One untimed step comes first, because other arms have left their data in caches and heap. The host is at most one
    turn ahead of a GPU, because the queue would accept a thousand large matrix products at once; blocks, on their own
    streams, wait for their copies.
    """
    trainer.take()
    wait_for(device)
    before = None
    started, cpu_s, steps = time.perf_counter(), time.process_time(), 0
    while steps == 0 or time.perf_counter() - started < seconds:
        steps += trainer.take()
        before = queued_after(before, device)
    wait_for(device)
    return {"steps": steps, "seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu_s}


def queued_after(before: Any, device: torch.device) -> Any:
    """A new mark after the queued work of a GPU, once the GPU has passed the mark `before`; None on a CPU."""
    if device.type != "cuda":
        return None
    mark = torch.cuda.Event()
    mark.record(torch.cuda.current_stream(device))
    if before:
        before.synchronize()
    return mark


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has completed its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
