"""What is one process's part of an arm, how is it timed, and what is a step of it?"""

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
    """Something that takes steps.

    Attributes:
        images_per_step: training images; 0 where none are trained on.
        networks: what is trained.
    """

    images_per_step = 0
    networks: Sequence[nn.Module] = ()

    @property
    def note(self) -> str:
        """What a reader must know of how it computes; empty where there is nothing to say."""
        return ""

    @abstractmethod
    def step(self) -> None:
        """One step."""

    def take(self) -> int:
        """As many steps as are launched at once; how many they are. This is what is timed."""
        self.step()
        return 1


ATEN = torch.ops.aten
LOOK_UPS = (ATEN.index.Tensor, ATEN.index_select.default, ATEN.gather.default)  # read as much as comes out
ALLOCATIONS = (ATEN.empty.memory_format, ATEN.empty_like.default, ATEN.empty_strided.default)  # touch nothing


class Traffic(TorchDispatchMode):
    """Counts the bytes that operators read and write, as if nothing stayed in a cache; views are free.

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
        elif func is ATEN.copy_.default:  # overwrites what it is given first
            touched = [args[1], result]
        else:
            touched = tree_leaves((args, kwargs, result))
        self.bytes += sum(part.numel() * part.element_size() for part in touched if isinstance(part, Tensor))
        return result


def work(trainer: Trainer) -> dict[str, float]:
    """What one step is: trained parameters, images, gflop (a multiply-add is two), gigabytes that operators touch."""
    trainer.step()  # a loader's workers are forked in it, and would count along for ever
    with FlopCounterMode(display=False) as flop, Traffic() as traffic:
        trainer.step()
    return {
        "parameters": sum(weight.numel() for network in trainer.networks for weight in network.parameters()),
        "images_per_step": trainer.images_per_step,
        "gflop_per_step": flop.get_total_flops() / 1e9,
        "gbyte_per_step": traffic.bytes / 1e9,
    }


def run(trainer: Trainer, seconds: float, device: torch.device) -> dict[str, float]:
    """Steps for at least `seconds`: how many, how long they took until the device had done them, processor seconds.

    One goes before, untimed: caches and heap are as other arms have left them, where a training meets its own. A GPU is
    one turn behind at most, since its queue would take a thousand large matrix products at once; blocks, on streams of
    their own, wait for their copies.
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
    """A mark behind what a GPU has been given so far, when it has passed the mark before; None on a CPU."""
    if device.type != "cuda":
        return None
    mark = torch.cuda.Event()
    mark.record(torch.cuda.current_stream(device))
    if before:
        before.synchronize()
    return mark


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
