"""What does a long cell leave behind on its way? Everything its training has changed, once a minute.

A crash then costs a minute, not the cell; step randomness depends on seed and step alone, so there is no generator to
save. A checkpoint is data: tensors and JSON behind a digest, read with `weights_only` and fitted into a training value
by value. One that is torn, foreign, or of other code is passed over, and the cell starts afresh.
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

EVERY_S = 60.0  # cells that last less leave none
MAGIC = b"ganlab checkpoint 1 "  # then the payload's SHA-256 in hex, a line feed, the payload


@cache
def loaded_code(device_type: str, references: tuple[str, ...]) -> str:
    """The code of cells as of this process's first one: editing the files later does not change what runs."""
    return full_code(code_fingerprint(device_type), references)


class Unusable(Exception):
    """A checkpoint that cannot be gone on from; the message says why, as in "it is torn"."""


class Point(FrozenRecord):
    """A point on a curve."""

    step: int
    metric: str
    value: int | float


class TrainingState(FrozenRecord):
    """How far a training has come, but for what is in its tensors.

    `step` steps are done; `curves` go up to the last evaluation; seconds and MiB are those of every session that led
    here.
    """

    step: Annotated[int, Field(ge=0)] = 0
    curves: tuple[Point, ...] = ()
    train_s: float = 0.0
    eval_s: float = 0.0
    peak_memory_mib: float = 0.0


class Facts(FrozenRecord):
    """What a checkpoint says beside its tensors; `extra` are those of the task's `extra_state` that are no tensors."""

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
    """The task's `extra_state` as far as it is no tensor."""
    values = {name: getattr(task, name) for name in task.extra_state}
    return {name: value for name, value in values.items() if not isinstance(value, Tensor)}


class Checkpoint:
    """The checkpoint of one cell. A worker that cannot see the run's folder, on another machine, does without.

    Args:
        folder: where it lies, as `<cell_id>.pt`.
        every_s: seconds between two of them, and before the first.
    """

    def __init__(self, folder: Path | None, cell: Cell, device: torch.device, every_s: float = EVERY_S):
        self.file: Path | None = None
        self.code = ""
        if folder is not None and folder.is_dir() and not folder.is_symlink():  # nothing is written elsewhere
            self.file = folder / f"{cell.cell_id}.pt"
            self.code = loaded_code(device.type, cell.references)
        self.cell, self.every_s, self.last = cell, every_s, time.perf_counter()

    def due(self) -> bool:
        """Whether it is time to save."""
        return self.file is not None and time.perf_counter() - self.last >= self.every_s

    def save(self, task: Task, log: Tensor, progress: TrainingState) -> str:
        """Replace the file by the state of now; returns a warning where it cannot be written, on a full disk say.

        Args:
            task: after at least one step.
            log: what its steps since the last evaluation logged, (steps, values).
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
        """Whether there is a file to go on from."""
        return self.file is not None and self.file.is_file()

    def restore(self, task: Task, points: Sequence[int]) -> tuple[TrainingState, Tensor]:
        """Put the saved state into a fresh `task`; returns the progress, and the log as it was saved.

        Args:
            points: the steps after which the cell is evaluated.

        Raises:
            Unusable: the file does not fit. `task` may be half restored: throw it away.
        """
        facts, saved = self.read()
        step, log = facts.progress.step, saved.pop("log", torch.empty(0))
        passed = [point for point in points if point <= step]
        if not 0 < step < points[-1] or {point.step for point in facts.progress.curves} != set(passed):
            raise Unusable("its curves do not go as far as its steps")
        if log.shape != (step - max(passed, default=0), len(task.logged)):
            raise Unusable("its log does not go as far as its steps")
        task.step(step)  # any step would do: it makes the optimizers' state, and whatever it changes is replaced
        live, extra = dict(tensors_of(task)), extra_of(task)
        if live.keys() != saved.keys() or extra.keys() != facts.extra.keys():
            raise Unusable("it holds other parts than this training has")
        for name, value in live.items():
            if (value.shape, value.dtype) != (saved[name].shape, saved[name].dtype):
                raise Unusable(f"{name} has another shape or type in this training")
            value.detach().copy_(saved[name])  # into memory of the task's own, whatever strides the file claims
        for name, kept in facts.extra.items():
            if type(kept) is not type(extra[name]):
                raise Unusable(f"{name} is of another type in this training")
            setattr(task, name, kept)
        return facts.progress, log

    def read(self) -> tuple[Facts, dict[str, Tensor]]:
        """The file's facts and tensors.

        Raises:
            Unusable: it is torn, no checkpoint, of another cell, or of other code.
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
    """Delete the checkpoint of a cell that needs none any more, and what a crash left of one being written."""
    for name in os.listdir(folder):  # few; a pattern of each cell's own would be compiled again and again
        if name == f"{cell_id}.pt" or (name.startswith(f".{cell_id}.pt.") and name.endswith(".tmp")):
            (folder / name).unlink(missing_ok=True)
