"""Which arms take turns? A registry: the usual loop, forms of the harness's step, and the machine's peaks.

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
from tools.peers.homes import DEFAULT, HARNESS, ONE_THREAD
from tools.peers.stacked import Stacked
from tools.peers.trainer import Trainer, wait_for
from tools.peers.usual import USUAL

LOG_ROWS = 128  # logged values stay on the device for this many steps
COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}  # of the tensor that is copied; no cache holds it


class Step(Trainer):
    """The harness's step, as in `bench.training`; logged values stay on the device.

    `stacked`: the number of cells in one step, see `tools.peers.stacked`.
    """

    def __init__(self, experiment: Experiment, device: torch.device, precision: str, stacked: int = 1):
        experiment = experiment.model_copy(update={"precision": precision})
        self.task: Any = (
            Stacked(experiment, device, stacked) if stacked > 1 else TASKS[experiment.task](experiment, device)
        )
        self.lr, self.images_per_step, self.cells = experiment.lr, self.task.images_per_step, stacked
        self.networks = [part for part in vars(self.task).values() if isinstance(part, nn.Module)]
        self.log = torch.zeros(LOG_ROWS, len(self.task.logged), device=device)
        self.indices = itertools.count(1)  # step 0 of a GAN is a checked step

    def step(self) -> None:
        """One training step."""
        index = next(self.indices)
        self.task.set_learning_rate(self.lr)
        self.log[index % LOG_ROWS] = self.task.step(index)


class Blocks(Step):
    """The harness's steps on a GPU: cells that differ in their seed take turns, each with a block of captured steps on
    its own stream (`bench.training.gpu`). `take` is one turn of each cell, `step` a plain step of the first.

    `stacked`: the number of stacked cells in a block, instead of several streams.
    """

    def __init__(self, experiment: Experiment, device: torch.device, precision: str, cells: int = 1, stacked: int = 1):
        super().__init__(experiment, device, precision)
        helpers = helpers_for(device, cells)
        others = (Step(experiment.model_copy(update={"seed": seed}), device, precision) for seed in range(1, cells))
        first = Step(experiment, device, precision, stacked) if stacked > 1 else self
        self.lanes = [Lane(step, helpers) for step in (first, *others)]
        wait_for(device)  # other streams read what the default stream wrote

    @property
    def note(self) -> str:
        """Why steps could not be captured; empty if they were."""
        return next((lane.replay.note for lane in self.lanes if lane.replay.note), "")

    def take(self) -> int:
        """Queue a block of each cell."""
        return sum(lane.take() for lane in self.lanes)


class Lane:
    """One cell of `Blocks`, or one stack of cells, from the second step on."""

    def __init__(self, step: Step, helpers: Executor):
        self.step, self.device = step, step.task.device
        self.stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self.length = block_length(step.task)
        self.log = torch.zeros(self.length, len(step.task.logged), device=self.device)
        with torch.cuda.stream(self.stream):
            step.step()  # creates the optimizers' state
            first = next(step.indices)
            self.plan, ahead = itertools.tee(
                range(start, start + self.length) for start in itertools.count(first, self.length)
            )
            self.replay = Replay(step.task, ahead, lambda index: step.lr, helpers)

    def take(self) -> int:
        """Queue the next block; returns its number of cell steps."""
        with torch.cuda.stream(self.stream):
            self.replay.take(next(self.plan), self.log)
        return self.length * self.step.cells


class MatrixProduct(Trainer):
    """A large square matrix product: 2 n^3 floating-point operations at the peak rate of the device."""

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
        build: makes its trainer from the experiment and the device. In one process, arms with the same `build` share a
            trainer.
        precision: fp32 or bf16.
        home: the environment of its processes, a key of `tools.peers.homes.HOMES`; arms of one home share processes.
        every_core: whether it runs in as many processes as there are workers, or in one.
        devices: types of devices that it applies to.
        kind: `training`, or the measured peak of the machine (`flop`, `bytes`).
    """

    name: str
    build: Callable[[Experiment, torch.device], Trainer]
    precision: str = "fp32"
    home: str = HARNESS
    every_core: bool = False
    devices: tuple[str, ...] = ("cpu", "cuda")
    kind: str = "training"

    def on_every_core(self, device: torch.device) -> bool:
        """Whether it runs in several processes; on a GPU one process measures the machine's peaks."""
        return self.every_core and (device.type == "cpu" or self.kind == "training")


REFERENCE = "usual loop"  # the denominator of every ratio of speeds
PER_CORE = "usual loop, per core"  # the denominator of ratios of processor time: one thread, like the harness
PACK = 64  # cells of a matrix that share a GPU
STEP_FP32, STEP_BF16 = partial(Step, precision="fp32"), partial(Step, precision="bf16")
ARMS = (
    Arm(REFERENCE, usual, home=DEFAULT),
    Arm(PER_CORE, usual, home=ONE_THREAD, every_core=True, devices=("cpu",)),
    Arm("usual loop, 4 loaders", partial(usual, loader_workers=4), home=DEFAULT, devices=("cuda",)),
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
