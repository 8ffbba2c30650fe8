"""How does a GPU take many small steps without waiting for Python? Steps are drawn ahead in blocks and replayed.

A step of these networks is a hundred kernels of a few microseconds: launched one by one, they make the GPU wait for the
host. So the host draws a block of steps ahead, from the usual seeds, and copies it at once. The call of `advance` is
captured once as a CUDA graph: it reads the next row of the block, takes the step, writes the logged values, and
increments the counter, all on the device. The step itself is the task's own code.

On a CPU the same rows, counter, and log are used with the step itself instead of the graph; tests use this.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress

import torch
from torch import Tensor

from ganlab.tasks import Task

BLOCK_STEPS = 64  # drawn, copied, and queued together; an evaluation waits for one or two blocks, other cells for none
BLOCK_BYTES = 2**24  # largest block, for steps with large draws
WARM_UP = 3  # ordinary steps before capture, in which libraries allocate their workspaces
WORD = torch.int64  # rows consist of words, so that every tensor in a row is aligned
LR_TYPE = {"cpu": torch.float64, "cuda": torch.float32}  # the type of learning rate that the fused optimizers read


class RowLayout:
    """The layout of the tensors of a step's draw in a row of words.

    Args:
        drawn: the draw of one step; the draws of all steps have the same shapes, types, and strides.
    """

    def __init__(self, drawn: Sequence[Tensor]):
        self.parts, self.words = [], 0
        for tensor in drawn:
            words = -(-tensor.numel() * tensor.element_size() // WORD.itemsize)
            words += words % 2  # kernels are faster with an alignment of 16 bytes
            strides = torch.empty_like(tensor).stride()  # keeps channels-last
            self.parts.append((slice(self.words, self.words + words), tensor.dtype, tensor.shape, strides))
            self.words += words

    def tensors(self, row: Tensor) -> tuple[Tensor, ...]:
        """The tensors in a row (words,), as views."""
        return tuple(row[words].view(dtype).as_strided(shape, strides) for words, dtype, shape, strides in self.parts)


def block_length(task: Task) -> int:
    """The number of steps in a block of a task."""
    row_bytes = RowLayout(task.draw(0)).words * WORD.itemsize
    return max(1, min(BLOCK_STEPS, BLOCK_BYTES // row_bytes))


class HostBlock:
    """The draws of a block of steps in the host's memory; with a GPU it is pinned, for asynchronous copies."""

    def __init__(self, layout: RowLayout, rows: int, device: torch.device):
        self.rows = torch.empty(rows, layout.words, dtype=WORD, pin_memory=device.type == "cuda")
        self.tensors = [layout.tensors(row) for row in self.rows]
        self.copied = torch.cuda.Event() if device.type == "cuda" else None

    def fill(self, draws: Iterator[Sequence[Tensor]]) -> "HostBlock":
        """Overwrite the rows, from the first on, after the copy of the last block has finished."""
        if self.copied:
            self.copied.synchronize()
        for targets, drawn in zip(self.tensors, draws, strict=False):
            for target, tensor in zip(targets, drawn, strict=True):
                target.copy_(tensor)
        return self

    def copy_to(self, rows: Tensor, count: int) -> None:
        """Queue the copy of the first `count` rows."""
        rows[:count].copy_(self.rows[:count], non_blocking=True)
        if self.copied:
            self.copied.record()


class Replay:
    """Takes a task's steps in blocks, with the results of its `step` and one launch per step.

    `ahead` is the future of the next block.

    Args:
        task: a task after at least one step, so that its optimizers have their state.
        plan: the blocks to take, in this order.
        learning_rate: the learning rate of a step.
        helpers: draw the next block while this one runs.
    """

    def __init__(self, task: Task, plan: Iterator[range], learning_rate: Callable[[int], float], helpers: Executor):
        self.task, self.learning_rate, self.helpers = task, learning_rate, helpers
        self.device, self.plan = task.device, plan
        self.layout, longest = RowLayout(self.draw(0)), block_length(task)
        self.hosts = itertools.cycle([HostBlock(self.layout, longest, self.device) for _ in range(2)])
        self.rows = torch.empty(longest, self.layout.words, dtype=WORD, device=self.device)
        self.log = torch.empty(longest, len(task.logged), device=self.device)
        self.counter = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.launch: Callable[[], None] = self.step
        self.launched, self.note = 0, ""
        self.ahead = self.draw_ahead()

    def draw(self, index: int) -> tuple[Tensor, ...]:
        """The inputs of step `index`: the task's draw and the learning rate."""
        rate = torch.tensor(self.learning_rate(index), dtype=LR_TYPE[self.device.type])
        return *self.task.draw(index), rate

    def draw_ahead(self) -> Future | None:
        """Let a helper draw the next block."""
        steps, host = next(self.plan, None), next(self.hosts)
        return self.helpers.submit(host.fill, map(self.draw, steps)) if steps else None

    def take(self, steps: range, log: Tensor) -> None:
        """Queue the next block of the plan; its logged values go to `log` (steps, values)."""
        assert self.ahead, "the plan is at its end"
        self.ahead.result().copy_to(self.rows, len(steps))
        self.ahead = self.draw_ahead()
        self.counter.zero_()
        for _ in steps:
            if self.launched == WARM_UP and self.device.type == "cuda":
                self.capture()
            self.launch()
            self.launched += 1
        log.copy_(self.log[: len(steps)])

    def step(self) -> None:
        """Take the step whose draw is in row `counter`; this is what is captured."""
        *drawn, rate = self.layout.tensors(self.rows.index_select(0, self.counter)[0])
        self.task.set_learning_rate(rate)
        logged = self.task.advance(tuple(drawn))
        self.log.index_copy_(0, self.counter, logged[None])
        self.counter += 1

    def capture(self) -> None:
        """Capture the step as a graph to launch. If that fails, steps run kernel by kernel, and `note` says so.

        Capturing does not run the step: training continues where it was.
        """
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device)
        try:
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):  # helpers are other threads
                self.step()
        except RuntimeError as error:
            with suppress(RuntimeError):
                graph.reset()
            self.note = f"its step was not captured: {' '.join(str(error).split())[:200]}"
        else:
            self.launch = graph.replay
