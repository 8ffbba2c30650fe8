"""What takes turns? One registry of arms: the usual loop, forms of the harness's step, and what the machine can do.

To add a way of training, write a `Trainer` and add a line to `ARMS`.
"""

import itertools
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from bench.training.gpu.capture import Replay, block_length
from bench.training.gpu.streams import helpers_for
from bench.training.timing import MATMUL_SIDE, MATMUL_TYPES
from ganlab.tasks import TASKS, Experiment
from tools.peers.homes import AS_IT_COMES, HARNESS, ONE_THREAD
from tools.peers.stacked import Stacked
from tools.peers.trainer import Trainer, wait_for
from tools.peers.usual import USUAL

LOG_ROWS = 128  # logged values stay on the device for so many steps
COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}  # of the tensor that is copied; no cache holds it


class Step(Trainer):
    """The harness's path: what `bench.training` does at each step of a cell, the logged values left on the device.

    `stacked`: of so many cells at once, see `tools.peers.stacked`.
    """

    def __init__(self, experiment: Experiment, device: torch.device, precision: str, stacked: int = 1):
        experiment = experiment.model_copy(update={"precision": precision})
        self.task: Any = (
            Stacked(experiment, device, stacked) if stacked > 1 else TASKS[experiment.task](experiment, device)
        )
        self.lr, self.images_per_step, self.cells = experiment.lr, self.task.images_per_step, stacked
        self.networks = [part for part in vars(self.task).values() if isinstance(part, nn.Module)]
        self.log = torch.zeros(LOG_ROWS, len(self.task.logged), device=device)
        self.indices = itertools.count(1)  # step 0 of a GAN is a watched one

    def step(self) -> None:
        """One training step."""
        index = next(self.indices)
        self.task.set_learning_rate(self.lr)
        self.log[index % LOG_ROWS] = self.task.step(index)


class Blocks(Step):
    """The harness's path on a GPU: cells that differ in their seed and take turns, each with a block of captured steps
    on a stream of its own (`bench.training.gpu`). `take` is a turn of each, `step` a plain one of the first.

    `stacked`: a block is of so many cells at once instead.
    """

    def __init__(self, experiment: Experiment, device: torch.device, precision: str, cells: int = 1, stacked: int = 1):
        super().__init__(experiment, device, precision)
        helpers = helpers_for(device, cells)
        others = (Step(experiment.model_copy(update={"seed": seed}), device, precision) for seed in range(1, cells))
        first = Step(experiment, device, precision, stacked) if stacked > 1 else self
        self.lanes = [Lane(step, helpers) for step in (first, *others)]
        wait_for(device)  # what was made on the usual stream is read on others

    @property
    def note(self) -> str:
        """That steps could not be captured, and why."""
        return next((lane.replay.note for lane in self.lanes if lane.replay.note), "")

    def take(self) -> int:
        """Queue a block of each cell."""
        return sum(lane.take() for lane in self.lanes)


class Lane:
    """One of the cells of `Blocks`, or one stack of them, from the second step on."""

    def __init__(self, step: Step, helpers: Executor):
        self.step, self.device = step, step.task.device
        self.stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self.length = block_length(step.task)
        self.log = torch.zeros(self.length, len(step.task.logged), device=self.device)
        with torch.cuda.stream(self.stream):
            step.step()  # gives the optimizers their state
            first = next(step.indices)
            self.plan, ahead = itertools.tee(
                range(start, start + self.length) for start in itertools.count(first, self.length)
            )
            self.replay = Replay(step.task, ahead, lambda index: step.lr, helpers)

    def take(self) -> int:
        """Queue the next block; how many steps of a cell it has."""
        with torch.cuda.stream(self.stream):
            self.replay.take(next(self.plan), self.log)
        return self.length * self.step.cells


class MatrixProduct(Trainer):
    """A large square matrix product: 2 n^3 floating-point operations, the most of which the device is capable."""

    def __init__(self, experiment: Experiment, device: torch.device, precision: str):
        side = MATMUL_SIDE[device.type]
        self.matrix = torch.ones(side, side, dtype=MATMUL_TYPES[precision], device=device)
        self.product = torch.empty_like(self.matrix)

    def step(self) -> None:
        """One product."""
        torch.mm(self.matrix, self.matrix, out=self.product)


class Copy(Trainer):
    """A copy within memory, larger than any cache: as many bytes written as read."""

    def __init__(self, experiment: Experiment, device: torch.device):
        self.source = torch.ones(COPY_BYTES[device.type], dtype=torch.uint8, device=device)
        self.target = torch.empty_like(self.source)

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
        home: what its processes are like, a key of `tools.peers.homes.HOMES`; arms with the same one share processes.
        every_core: in as many processes as there are workers, or in one.
        devices: where it makes sense.
        kind: whether it trains, or measures what the machine can do (`flop`, `bytes`).
    """

    name: str
    build: Callable[[Experiment, torch.device], Trainer]
    precision: str = "fp32"
    home: str = HARNESS
    every_core: bool = False
    devices: tuple[str, ...] = ("cpu", "cuda")
    kind: str = "training"

    def on_every_core(self, device: torch.device) -> bool:
        """Whether it runs in several processes; what the machine can do, one process finds out on a GPU."""
        return self.every_core and (device.type == "cpu" or self.kind == "training")


REFERENCE = "usual loop"  # to which every ratio is taken,
PER_CORE = "usual loop, per core"  # but for that of processor times: it has one thread, as the harness has
PACK = 64  # cells of a matrix that share a GPU
STEP_FP32, STEP_BF16 = partial(Step, precision="fp32"), partial(Step, precision="bf16")
ARMS = (
    Arm(REFERENCE, usual, home=AS_IT_COMES),
    Arm(PER_CORE, usual, home=ONE_THREAD, every_core=True, devices=("cpu",)),
    Arm("usual loop, 4 loaders", partial(usual, loader_workers=4), home=AS_IT_COMES, devices=("cuda",)),
    Arm("step fp32", STEP_FP32),
    Arm("step bf16", STEP_BF16, "bf16"),
    Arm("step fp32, per core", STEP_FP32, every_core=True),
    Arm("step bf16, per core", STEP_BF16, "bf16", every_core=True),
    Arm("captured fp32", partial(Blocks, precision="fp32"), devices=("cuda",)),
    Arm("captured bf16", partial(Blocks, precision="bf16"), "bf16", devices=("cuda",)),
    Arm(f"{PACK} cells fp32", partial(Blocks, precision="fp32", cells=PACK), devices=("cuda",)),
    Arm(f"{PACK} cells bf16", partial(Blocks, precision="bf16", cells=PACK), "bf16", devices=("cuda",)),
    Arm(f"{PACK} stacked fp32", partial(Blocks, precision="fp32", stacked=PACK), devices=("cuda",)),
    Arm(f"{PACK} stacked bf16", partial(Blocks, precision="bf16", stacked=PACK), "bf16", devices=("cuda",)),
    Arm("matrix product fp32", partial(MatrixProduct, precision="fp32"), every_core=True, kind="flop"),
    Arm("matrix product bf16", partial(MatrixProduct, precision="bf16"), "bf16", every_core=True, kind="flop"),
    Arm("copy", Copy, every_core=True, kind="bytes"),
)


def find(name: str) -> Arm:
    """The arm of this name."""
    return next(arm for arm in ARMS if arm.name == name)
