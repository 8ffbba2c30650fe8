"""What is a cell? One training of a suite: an experiment with a role, and an identity that hashes every setting."""

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Literal

from ganlab.datasets import fingerprint, load
from ganlab.losses import find_loss
from ganlab.tasks import TASKS, Experiment

Role = Literal["tune", "report", "reference"]  # reference: its results predict those of other cells; it is not compared
NO_SETTING = ("shows_samples", "first_seeds", "most_seeds", "tuned")  # fields that do not change a cell's training
Used = tuple[str, type]  # a data set's name and kind: a folder of images can be read as several kinds


class Cell(Experiment):
    """One cell of the matrix: an experiment, its role, whether it saves a picture, and how many seeds its arm may get.

    `first_seeds` and `most_seeds` are those of the block's plan (`bench.plan.seeds`), None for a fixed list of seeds.
    `tuned`: it is trained only if its learning rate is the one that the suite's own tuning finds.
    """

    role: Role = "report"
    shows_samples: bool = False
    first_seeds: int | None = None
    most_seeds: int | None = None
    tuned: bool = False

    @cached_property
    def cell_id(self) -> str:
        """Twelve hex digits that hash every setting and the data; they are equal in every run of the cell."""
        data = load(self.dataset, TASKS[self.task].data_kind)
        identity = self.model_dump(exclude=set(NO_SETTING)) | {"data": fingerprint(data)}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def arm(self) -> tuple[Any, ...]:
        """What a learning rate is tuned for: equal for cells that differ in rate, seed, outliers, or precision."""
        names = (
            "task",
            "dataset",
            "loss",
            "head",
            "schedule",
            "optimizer",
            "steps",
            "batch_size",
            "scale",
            "value_range",
        )
        return (*(getattr(self, name) for name in names), json.dumps(self.settings, sort_keys=True))

    @property
    def references(self) -> tuple[str, ...]:
        """The user code that it needs: `package.module:attribute` of its loss and its networks."""
        network = self.settings.get("network")
        return (*find_loss(self.loss).references, *([network] if network else []))

    def cost(self) -> float:
        """A rough estimate of its seconds on one core, for the order of work; measured times replace it."""
        per_image_s = {"digits": 1.5e-4, "fashion-mnist": 4e-4, "gaussian": 1.3e-5}
        return self.steps * self.batch_size * per_image_s.get(self.dataset, 6e-4)


def used_data(cells: Iterable[Experiment]) -> list[Used]:
    """The data sets that cells are trained on."""
    used = {(cell.dataset, TASKS[cell.task].data_kind) for cell in cells}
    return sorted(used, key=lambda pair: (pair[0], pair[1].__name__))


def kind_of(cell: Cell) -> tuple[Any, ...]:
    """The kind of a cell: cells of one kind do the same work per step."""
    return (
        cell.task,
        cell.dataset,
        cell.scale,
        cell.batch_size,
        cell.precision,
        cell.expected,
        json.dumps(cell.settings),
    )
