"""How does a long cell continue after a crash? Once a minute it saves everything that training changes.

A crash then costs a minute, not the cell. The randomness of a step depends only on seed and step, so no generator is
saved. A checkpoint is only data: a digest, then tensors and JSON, read with `weights_only` and copied value by value
into a training. A checkpoint that is torn, foreign, or of other code is ignored; the cell starts from the beginning.
"""

import hashlib
import io
import json
import os
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from bench.plan.cell import Cell
from bench.store.files import write_atomically
from bench.training.code import code_fingerprint, full_code
from ganlab.records import FrozenRecord
from ganlab.tasks import Task

EVERY_S = 60.0  # shorter cells save no checkpoint
MAGIC = b"ganlab checkpoint 1 "  # followed by the payload's SHA-256 in hex, a line feed, the payload


@cache
def loaded_code(device_type: str, references: tuple[str, ...]) -> str:
    """The code of cells, cached at the first cell of this process: later edits of the files do not change what runs."""
    return full_code(code_fingerprint(device_type), references)


class Unusable(Exception):
    """A checkpoint that a cell cannot continue from; the message says why, as in "it is torn"."""


class Point(FrozenRecord):
    """A point on a curve."""

    step: int
    metric: str
    value: int | float


class TrainingState(FrozenRecord):
    """The progress of a training, without its tensors.

    `step` is the number of finished steps; `curves` end at the last evaluation; seconds and MiB include all earlier
    sessions.
    """

    step: Annotated[int, Field(ge=0)] = 0
    curves: tuple[Point, ...] = ()
    train_s: float = 0.0
    eval_s: float = 0.0
    peak_memory_mib: float = 0.0


class Facts(FrozenRecord):
    """The JSON part of a checkpoint; `extra` is the part of the task's `extra_state` that is not tensors."""

    cell_id: str
    code: str
    progress: TrainingState
    extra: dict[str, bool | int | float | list[float] | dict[str, int | float | None]]


def tensors_of(task: Task) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that training changes, by name: networks, optimizers, and the task's `extra_state`."""
    for name, part in vars(task).items():
        if isinstance(part, torch.nn.Module):
            yield from ((f"{name}.{key}", value) for key, value in part.state_dict().items())
        elif isinstance(part, torch.optim.Optimizer):
            for index, state in part.state_dict()["state"].items():
                yield from ((f"{name}.{index}.{key}", value) for key, value in state.items() if value is not None)
        elif name in task.extra_state and isinstance(part, Tensor):
            yield name, part


def extra_of(task: Task) -> dict[str, Any]:
    """The part of the task's `extra_state` that is not tensors."""
    values = {name: getattr(task, name) for name in task.extra_state}
    return {name: value for name, value in values.items() if not isinstance(value, Tensor)}


class Checkpoint:
    """The checkpoint of one cell. A worker on another machine that cannot see the run's folder has none.

    Args:
        folder: the folder of the file `<cell_id>.pt`.
        every_s: seconds between two checkpoints, and before the first.
    """

    def __init__(self, folder: Path | None, cell: Cell, device: torch.device, every_s: float = EVERY_S):
        self.file: Path | None = None
        self.code = ""
        if folder is not None and folder.is_dir() and not folder.is_symlink():  # never write to another folder
            self.file = folder / f"{cell.cell_id}.pt"
            self.code = loaded_code(device.type, cell.references)
        self.cell, self.every_s, self.last = cell, every_s, time.perf_counter()

    def due(self) -> bool:
        """Whether it is time to save."""
        return self.file is not None and time.perf_counter() - self.last >= self.every_s

    def save(self, task: Task, log: Tensor, progress: TrainingState) -> str:
        """Replace the file with the present state; returns a warning if it cannot be written, as on a full disk.

        Args:
            task: a task after at least one step.
            log: the logged values of the steps since the last evaluation, (steps, values).
        """
        assert self.file, "none is due"
        facts = Facts(cell_id=self.cell.cell_id, code=self.code, progress=progress, extra=extra_of(task))
        tensors = {name: value.detach().cpu() for name, value in tensors_of(task)} | {"log": log.cpu().clone()}
        payload = io.BytesIO()
        torch.save({"facts": json.dumps(facts.model_dump()), "tensors": tensors}, payload)
        digest = hashlib.sha256(payload.getbuffer()).hexdigest().encode()
        try:
            write_atomically(self.file, MAGIC + digest + b"\n" + payload.getvalue())
        except OSError as error:
            return f"no checkpoint could be written ({error.strerror}): a crash would cost the cell"
        finally:
            self.last = time.perf_counter()
        return ""

    def exists(self) -> bool:
        """Whether there is a file to continue from."""
        return self.file is not None and self.file.is_file()

    def restore(self, task: Task, points: Sequence[int]) -> tuple[TrainingState, Tensor]:
        """Put the saved state into a fresh `task`; returns the saved progress and log.

        Args:
            points: the steps after which the cell is evaluated.

        Raises:
            Unusable: the file does not fit. `task` may then be half restored and must not be used.
        """
        facts, saved = self.read()
        step, log = facts.progress.step, saved.pop("log", torch.empty(0))
        passed = [point for point in points if point <= step]
        if not 0 < step < points[-1] or {point.step for point in facts.progress.curves} != set(passed):
            raise Unusable("its curves do not go as far as its steps")
        if log.shape != (step - max(passed, default=0), len(task.logged)):
            raise Unusable("its log does not go as far as its steps")
        task.step(step)  # any step works: it creates the optimizers' state, and everything it changes is replaced
        live, extra = dict(tensors_of(task)), extra_of(task)
        if live.keys() != saved.keys() or extra.keys() != facts.extra.keys():
            raise Unusable("it holds other parts than this training has")
        for name, value in live.items():
            if (value.shape, value.dtype) != (saved[name].shape, saved[name].dtype):
                raise Unusable(f"{name} has another shape or type in this training")
            value.detach().copy_(saved[name])  # copied into the task's memory, whatever strides the file claims
        for name, kept in facts.extra.items():
            if type(kept) is not type(extra[name]):
                raise Unusable(f"{name} is of another type in this training")
            setattr(task, name, kept)
        return facts.progress, log

    def read(self) -> tuple[Facts, dict[str, Tensor]]:
        """The facts and tensors of the file.

        Raises:
            Unusable: the file is torn, no checkpoint, of another cell, or of other code.
        """
        assert self.file, "none exists"
        try:
            content = self.file.read_bytes()
        except OSError as error:
            raise Unusable(f"it cannot be read ({error.strerror})") from None
        head, _, payload = content.partition(b"\n")
        if head != MAGIC + hashlib.sha256(payload).hexdigest().encode():
            raise Unusable("it is torn, or no checkpoint")
        try:
            record = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
            facts = Facts.model_validate(json.loads(record["facts"]))
            tensors = {str(name): value for name, value in record["tensors"].items() if isinstance(value, Tensor)}
        except Exception as error:  # a crafted file can fail in any way
            raise Unusable(f"this harness did not write it ({type(error).__name__})") from None
        if facts.cell_id != self.cell.cell_id:
            raise Unusable("it is of another cell")
        if facts.code != self.code:
            raise Unusable("it is of other code")
        return facts, tensors


def discard(folder: Path, cell_id: str) -> None:
    """Delete the checkpoint of a finished cell, and the temporary file of a crash during writing."""
    for name in os.listdir(folder):  # few files; `glob` would compile a pattern for each cell
        if name == f"{cell_id}.pt" or (name.startswith(f".{cell_id}.pt.") and name.endswith(".tmp")):
            (folder / name).unlink(missing_ok=True)
