"""What is a block of a suite? One `[[matrix]]`: every list is an axis, and its cells are the product of the axes."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationError, model_validator

from bench.plan.cell import Cell, Role
from bench.plan.seeds import FixedSeeds, SeedPlan
from bench.store.validation import LARGEST, is_dataset, is_name, shown
from ganlab.datasets import DATASETS, kinds, known
from ganlab.errors import no_such
from ganlab.losses import Loss, find_loss
from ganlab.outliers import CLEAN, OUTLIERS
from ganlab.records import FrozenRecord
from ganlab.tasks import TASKS
from ganlab.tasks.experiment import Precision, known_loss, valid_outliers

MOST_STEPS, MOST_IMAGES = 10**9, 10**6  # of a training; of a batch


def listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def names_of_losses(block: dict[str, Any]) -> list[str]:
    """The losses of an unchecked block."""
    return [loss for loss in listed(block.get("loss", "")) if isinstance(loss, str)]


def _rates(value: Any) -> Any:
    return {key: listed(rates) for key, rates in value.items()} if isinstance(value, dict) else value


T = TypeVar("T")
Listed = Annotated[tuple[T, ...], BeforeValidator(listed), Field(min_length=1)]


Share = Annotated[float, Field(ge=0, le=1, strict=True)]  # strict: the text "1" is not a number
Positive = Annotated[float, Field(gt=0, le=LARGEST, strict=True, allow_inf_nan=False)]


def _form_of_seeds(value: Any) -> str:
    return "a plan" if isinstance(value, dict | SeedPlan) else "a list"


Seeds = Annotated[  # the tags are no part of an error's place, as they are no identifiers
    Annotated[SeedPlan, Tag("a plan")] | Annotated[FixedSeeds, Tag("a list")], Discriminator(_form_of_seeds)
]


class Block(FrozenRecord):
    """One `[[matrix]]` of a suite: every list is an axis, and the cells are the product of the axes.

    `lr` is a list, or maps each loss to its own rates, or is "tuned": each arm is trained at the rate that blocks of
    role `tune` find for it on validation data (then `lr` has their grid, and `tuned` is set). A loss is paired only
    with heads and outliers it applies to. `outliers` maps each kind to its rates; `clean = 0` is the start of every
    rate axis. `precision = "auto"` is bf16 on a device that has fast instructions for it, else fp32. `settings` are
    those of the task (see its `Settings`).
    """

    task: str
    dataset: str
    loss: Listed[str]
    head: Listed[Literal["sigmoid", "raw"]] = ("sigmoid",)
    outliers: Annotated[dict[str, tuple[Share, ...]], BeforeValidator(_rates)] = {CLEAN: (0.0,)}
    schedule: Listed[Literal["constant", "cosine"]] = ("constant",)
    optimizer: Listed[Literal["adam", "sgd"]] = ("adam",)
    lr: Annotated[dict[str, tuple[Positive, ...]], BeforeValidator(_rates)]
    seeds: Seeds
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS, strict=True)]
    evaluations: Annotated[int, Field(ge=1, le=25, strict=True)] = 10
    batch_size: Annotated[int, Field(ge=2, le=MOST_IMAGES, strict=True)]
    precision: Listed[Literal[Precision, "auto"]] = ("fp32",)
    redraw: Listed[bool] = (False,)
    expected: bool = False
    scale: Listed[Literal[2, 3, 4]] | None = None
    value_range: Listed[Literal[1, 255]] | None = None
    role: Role = "report"
    settings: dict[str, Any] = {}
    tuned: bool = False

    @model_validator(mode="before")
    @classmethod
    def _rates_of_each_loss(cls, content: Any) -> Any:
        """A single list of learning rates applies to every loss."""
        if isinstance(content, dict) and "lr" in content and not isinstance(content["lr"], dict):
            content = content | {"lr": {loss: content["lr"] for loss in names_of_losses(content)}}
        return content

    @model_validator(mode="after")
    def _known_names(self) -> "Block":
        if self.task not in TASKS:
            raise ValueError(no_such("task", self.task, TASKS))
        task = TASKS[self.task]
        if not known(self.dataset):
            folder = f"; the images of a folder are 'folder:{self.dataset}'" if Path(self.dataset).is_dir() else ""
            raise ValueError(no_such("data set", self.dataset, DATASETS) + folder)
        if task.data_kind not in kinds(self.dataset):
            fitting = ", ".join(name for name, data in DATASETS.items() if data.kind is task.data_kind)
            raise ValueError(f"task {self.task!r} cannot train on {self.dataset!r}; there is {fitting}")
        for name in (self.dataset, *self.loss):  # files, figures, and reports contain it
            if not (is_dataset if name == self.dataset else is_name)(name):
                raise ValueError(f"{shown(name)} is too long for a name, or not printable; give it a shorter one")
        for name in self.loss:
            if reason := self.reason_against(known_loss(name)):
                raise ValueError(f"loss {name} applies to no cell: {reason}")
        if set(self.lr) != set(self.loss):
            unpaired = sorted(set(self.lr) ^ set(self.loss))
            raise ValueError(f"lr maps losses to rates, but {', '.join(unpaired)} stands in only one of lr and loss")
        for kind in self.outliers:
            if kind != CLEAN and kind not in OUTLIERS:
                raise ValueError(no_such("outlier kind", kind, valid_outliers(task.corrupts)))
            if kind not in valid_outliers(task.corrupts):
                raise ValueError(
                    f"outlier kind {kind!r} corrupts the {OUTLIERS[kind].corrupts}, which task {self.task!r} does not "
                    f"have; there are {', '.join(valid_outliers(task.corrupts))}"
                )
        if self.expected and self.role != "reference":
            raise ValueError("expected = true predicts other cells, so its role is 'reference'")
        for key in self.settings:
            if key not in task.Settings.model_fields:
                raise ValueError(f"settings: {no_such(f'setting of {self.task}', key, task.Settings.model_fields)}")
        try:
            task.Settings.model_validate(self.settings, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            message = first["msg"].removeprefix("Value error, ")
            if not first["loc"]:  # the settings contradict each other
                raise ValueError(f"settings: {message}") from None
            value = f"settings.{first['loc'][0]}: found {shown(first['input'])}"
            raise ValueError(f"{value}; {message[0].lower()}{message[1:]}") from None
        for key, value in self.settings.items():
            if isinstance(value, int | float) and not abs(value) <= LARGEST:  # also NaN
                raise ValueError(f"settings.{key}: found {shown(value)}; at most {LARGEST:g} fits")
        return self

    def settled(self, auto: Precision) -> "Block":
        """The block with `auto` replaced in its precisions."""
        settled = (auto if precision == "auto" else precision for precision in self.precision)
        return self.model_copy(update={"precision": tuple(dict.fromkeys(settled))})

    def reason_against(self, loss: Loss) -> str | None:
        """Why no cell of the block can be trained under a loss; None if one can."""
        reasons = [loss.reason_against(self.task, head, kind) for head in self.head for kind in self.outliers]
        return reasons[0] if reasons and all(reasons) else None

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Every seed that the block may train."""
        return tuple(range(self.seeds.most)) if isinstance(self.seeds, SeedPlan) else self.seeds

    @property
    def size(self) -> int:
        """An upper bound of the number of cells."""
        axes = (
            self.head,
            self.schedule,
            self.optimizer,
            self.precision,
            self.redraw,
            self.all_seeds,
            self.scale or (None,),
            self.value_range or (None,),
        )
        arms = sum(len(self.lr[loss]) for loss in self.loss)
        return sum(map(len, self.outliers.values())) * arms * math.prod(map(len, axes))

    def cells(self) -> Iterator[Cell]:
        """The product of the axes with every seed, seeds innermost; the first seed of each group saves a picture."""
        task = TASKS[self.task]
        settings = task.Settings(**self.settings).model_dump()
        conditions = [(kind, rate) for kind, rates in self.outliers.items() for rate in rates]
        shared = self.model_dump(
            include={"task", "dataset", "batch_size", "steps", "evaluations", "role", "expected", "tuned"}
        )
        listed = ("head", "schedule", "optimizer", "precision", "redraw")
        losses = {name: find_loss(name) for name in self.loss}
        inapplicable = {
            (name, head, kind)
            for name, head, kind in itertools.product(losses, self.head, self.outliers)
            if losses[name].reason_against(self.task, head, kind)
        }
        arms = [(loss, lr) for loss in self.loss for lr in self.lr[loss]]
        axes = {name: getattr(self, name) for name in listed} | {"scale": self.scale or (task.default_scale,)}
        axes |= {"value_range": self.value_range or (task.default_value_range,), "seed": self.all_seeds}
        if isinstance(self.seeds, SeedPlan):
            shared |= {"first_seeds": self.seeds.first, "most_seeds": self.seeds.most}
        for (outlier, rate), (name, lr), *values in itertools.product(conditions, arms, *axes.values()):
            setting = {"loss": name, "lr": lr} | dict(zip(axes, values, strict=True))
            if (name, setting["head"], outlier) in inapplicable:
                continue
            if setting["value_range"] == 255 and not losses[name].of_prediction:
                continue
            redraws = outlier != CLEAN or getattr(task, "redraws_inputs", False)
            setting["redraw"] = setting["redraw"] and redraws  # nothing to redraw: the same cell
            shows = self.role == "report" and setting["seed"] == min(self.all_seeds)
            yield Cell(**shared, **setting, outlier=outlier, rate=rate, settings=settings, shows_samples=shows)
