"""What takes turns? One registry of arms: the usual loop, forms of the harness's step, and what the machine can do.

To add a way of training, write a class with `step`, `images_per_step`, and `networks`, and add a line to `ARMS`.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from bench.timing import MATMUL_SIDE, MATMUL_TYPES
from ganlab.tasks import TASKS, Experiment
from peers.usual import USUAL

LOG_ROWS = 128  # logged values stay on the device for so many steps
COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}  # of the tensor that is copied; no cache holds it


class Trainer(Protocol):
    """One process's part of an arm. `images_per_step`: training images of one call of `step`; 0 where none are."""

    images_per_step: int
    networks: list[nn.Module]

    def step(self) -> None: ...


class Step:
    """The harness's path: what `bench.train` does at each step of a cell, the logged values left on the device."""

    def __init__(self, experiment: Experiment, device: torch.device, precision: str):
        self.task = TASKS[experiment.task](experiment.model_copy(update={"precision": precision}), device)
        self.lr, self.images_per_step = experiment.lr, self.task.images_per_step
        self.networks = [part for part in vars(self.task).values() if isinstance(part, nn.Module)]
        self.log = torch.zeros(LOG_ROWS, len(self.task.logged), device=device)
        self.indices = itertools.count(1)  # step 0 of a GAN is a watched one

    def step(self) -> None:
        """One training step."""
        index = next(self.indices)
        self.task.set_learning_rate(self.lr)
        self.log[index % LOG_ROWS] = self.task.step(index)


class MatrixProduct:
    """A large square matrix product: 2 n^3 floating-point operations, the most of which the device is capable."""

    images_per_step = 0

    def __init__(self, experiment: Experiment, device: torch.device, precision: str):
        side = MATMUL_SIDE[device.type]
        self.matrix = torch.ones(side, side, dtype=MATMUL_TYPES[precision], device=device)
        self.product = torch.empty_like(self.matrix)
        self.networks: list[nn.Module] = []

    def step(self) -> None:
        """One product."""
        torch.mm(self.matrix, self.matrix, out=self.product)


class Copy:
    """A copy within memory, larger than any cache: as many bytes written as read."""

    images_per_step = 0

    def __init__(self, experiment: Experiment, device: torch.device):
        self.source = torch.ones(COPY_BYTES[device.type], dtype=torch.uint8, device=device)
        self.target = torch.empty_like(self.source)
        self.networks: list[nn.Module] = []

    def step(self) -> None:
        """One copy."""
        self.target.copy_(self.source)


def usual(experiment: Experiment, device: torch.device, loader_workers: int = 0) -> Trainer:
    """The usual loop of a task."""
    return USUAL[experiment.task](experiment, device, loader_workers)


@dataclass(frozen=True)
class Arm:
    """One line of the table.

    Attributes:
        name: in a few words.
        build: its trainer, from the experiment and the device. In one process, arms with the same one share a trainer.
        precision: fp32 or bf16.
        threads: of each process; None is PyTorch's default, one for each core.
        every_core: in as many processes as there are workers, or in one.
        devices: where it makes sense.
        kind: whether it trains, or measures what the machine can do (`flop`, `bytes`).
    """

    name: str
    build: Callable[[Experiment, torch.device], Trainer]
    precision: str = "fp32"
    threads: int | None = 1
    every_core: bool = False
    devices: tuple[str, ...] = ("cpu", "cuda")
    kind: str = "training"

    def on_every_core(self, device: torch.device) -> bool:
        """Whether it runs in several processes; what the machine can do, one process finds out on a GPU."""
        return self.every_core and (device.type == "cpu" or self.kind == "training")


REFERENCE = "usual loop"  # to which every ratio is taken
STEP_FP32, STEP_BF16 = partial(Step, precision="fp32"), partial(Step, precision="bf16")
ARMS = (
    Arm(REFERENCE, usual, threads=None),
    Arm("usual loop, per core", usual, every_core=True, devices=("cpu",)),
    Arm("usual loop, 4 loaders", partial(usual, loader_workers=4), threads=None, devices=("cuda",)),
    Arm("step fp32", STEP_FP32),
    Arm("step bf16", STEP_BF16, "bf16"),
    Arm("step fp32, per core", STEP_FP32, every_core=True),
    Arm("step bf16, per core", STEP_BF16, "bf16", every_core=True),
    Arm("matrix product fp32", partial(MatrixProduct, precision="fp32"), every_core=True, kind="flop"),
    Arm("matrix product bf16", partial(MatrixProduct, precision="bf16"), "bf16", every_core=True, kind="flop"),
    Arm("copy", Copy, every_core=True, kind="bytes"),
)  # fmt: skip


def find(name: str) -> Arm:
    """The arm of this name."""
    return next(arm for arm in ARMS if arm.name == name)


LOOK_UPS = (torch.ops.aten.index.Tensor, torch.ops.aten.index_select.default, torch.ops.aten.gather.default)


class Traffic(TorchDispatchMode):
    """Counts the bytes that operators read and write, as if nothing stayed in a cache; views are free.

    What is looked up in a table costs what comes out, not the whole table.

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
        if not func.is_view:
            touched = tree_leaves((result, result) if func in LOOK_UPS else (args, kwargs, result))
            self.bytes += sum(part.numel() * part.element_size() for part in touched if isinstance(part, Tensor))
        return result


def work(trainer: Trainer) -> dict[str, float]:
    """What one step is: trained parameters, images, gflop (a multiply-add is two), gigabytes that operators touch."""
    with FlopCounterMode(display=False) as flop, Traffic() as traffic:
        trainer.step()
    return {"parameters": sum(weight.numel() for network in trainer.networks for weight in network.parameters()),
            "images_per_step": trainer.images_per_step, "gflop_per_step": flop.get_total_flops() / 1e9,
            "gbyte_per_step": traffic.bytes / 1e9}  # fmt: skip


def run(trainer: Trainer, seconds: float, device: torch.device) -> dict[str, float]:
    """Steps for at least `seconds`: how many, and how long they took until the device had done them."""
    started, steps = time.perf_counter(), 0
    while not steps or time.perf_counter() - started < seconds:
        trainer.step()
        steps += 1
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return {"steps": steps, "seconds": time.perf_counter() - started}
