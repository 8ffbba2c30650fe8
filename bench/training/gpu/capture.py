"""How does a GPU take many small steps without waiting for Python? Drawn ahead, copied at once, captured, replayed.

A step of these networks is a hundred kernels of a few microseconds: launched one by one, the GPU waits for the host. So
a block of steps is drawn ahead on the host, from the same seeds as ever, and copied in one go; and what `advance` does
with a step's draw is captured once as a CUDA graph, which reads the next row of the block, takes the step, writes what
it logs, and moves the counter on, all on the device. The step itself is the task's; nothing of it is repeated here.

On a CPU the same rows, counter, and log surround the step itself in place of the graph: that is how they are tested.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress

import torch
from torch import Tensor

from ganlab.tasks import Task

BLOCK_STEPS = 64  # drawn, copied, and queued at a time; evaluations wait for one or two blocks, other cells for none
BLOCK_BYTES = 2**24  # at most, where a step draws a lot
WARM_UP = 3  # steps before capture, in which libraries find their workspaces; they are steps like any other
WORD = torch.int64  # rows are made of words, so that every tensor in one is aligned
LR_TYPE = {"cpu": torch.float64, "cuda": torch.float32}  # what the fused optimizers read a learning rate as


class RowLayout:
    """Where the tensors of a step's draw lie in its row of words.

    Args:
        drawn: a step's draw; all others have its shapes, types, and strides.
    """

    def __init__(self, drawn: Sequence[Tensor]):
        self.parts, self.words = [], 0
        for tensor in drawn:
            words = -(-tensor.numel() * tensor.element_size() // WORD.itemsize)
            words += words % 2  # kernels like 16 bytes
            strides = torch.empty_like(tensor).stride()  # channels-last stays so
            self.parts.append((slice(self.words, self.words + words), tensor.dtype, tensor.shape, strides))
            self.words += words

    def tensors(self, row: Tensor) -> tuple[Tensor, ...]:
        """The tensors in a row (words,), as views."""
        return tuple(row[where].view(dtype).as_strided(shape, strides) for where, dtype, shape, strides in self.parts)


def block_length(task: Task) -> int:
    """How many steps of a task make a block."""
    row_bytes = RowLayout(task.draw(0)).words * WORD.itemsize
    return max(1, min(BLOCK_STEPS, BLOCK_BYTES // row_bytes))


class HostBlock:
    """The draws of a block of steps in the host's memory, on a GPU's machine in pages that it copies from by itself."""

    def __init__(self, layout: RowLayout, rows: int, device: torch.device):
        self.rows = torch.empty(rows, layout.words, dtype=WORD, pin_memory=device.type == "cuda")
        self.tensors = [layout.tensors(row) for row in self.rows]
        self.copied = torch.cuda.Event() if device.type == "cuda" else None

    def fill(self, draws: Iterator[Sequence[Tensor]]) -> "HostBlock":
        """Overwrite the rows, from the first on, when the copy of what they held is over."""
        if self.copied:
            self.copied.synchronize()
        for places, drawn in zip(self.tensors, draws, strict=False):
            for place, tensor in zip(places, drawn, strict=True):
                place.copy_(tensor)
        return self

    def copy_to(self, rows: Tensor, count: int) -> None:
        """Queue the copy of the first `count` rows."""
        rows[:count].copy_(self.rows[:count], non_blocking=True)
        if self.copied:
            self.copied.record()


class Replay:
    """Takes a task's steps in blocks, as its `step` would, one launch each. `ahead` is the next block being drawn.

    Args:
        task: has taken a step already, so that its optimizers have their state.
        plan: the blocks it will be asked for, in that order.
        learning_rate: of a step.
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
        """What step `index` is given: the task's draw, and the learning rate."""
        rate = torch.tensor(self.learning_rate(index), dtype=LR_TYPE[self.device.type])
        return *self.task.draw(index), rate

    def draw_ahead(self) -> Future | None:
        """Have the next block drawn."""
        steps, host = next(self.plan, None), next(self.hosts)
        return self.helpers.submit(host.fill, map(self.draw, steps)) if steps else None

    def take(self, steps: range, log: Tensor) -> None:
        """Queue the next block of the plan; what it logs goes to `log` (steps, values)."""
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
        """What is captured: the step whose draw stands in row `counter`."""
        *drawn, rate = self.layout.tensors(self.rows.index_select(0, self.counter)[0])
        self.task.set_learning_rate(rate)
        logged = self.task.advance(tuple(drawn))
        self.log.index_copy_(0, self.counter, logged[None])
        self.counter += 1

    def capture(self) -> None:
        """Make the launch a graph of the step; a step that cannot be captured goes on kernel by kernel, and says so.

        Capturing runs nothing: training goes on from where it was.
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
