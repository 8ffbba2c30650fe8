"""What is to be run? A suite is a TOML file a person reads in a minute; its cells are the product of its lists."""

import hashlib
import itertools
import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from bench.errors import UserError
from bench.store.manifest import SuiteName
from bench.store.validation import LARGEST, LONGEST_TEXT, clipped, is_dataset, is_name, shown
from ganlab.datasets import DATASETS, fingerprint, kinds, known, load
from ganlab.errors import no_such
from ganlab.losses import Loss, find_loss
from ganlab.outliers import CLEAN, OUTLIERS
from ganlab.records import FrozenRecord
from ganlab.tasks import TASKS, Experiment
from ganlab.tasks.experiment import Precision, known_loss, valid_outliers

MOST_SEEDS, MOST_CELLS, MOST_BYTES = 1000, 100_000, 2**20  # a typing slip shall not fill the memory
MOST_STEPS, MOST_IMAGES, LARGEST_SEED = 10**9, 10**6, 2**53  # in a training; in a batch; that every format keeps exact
MOST_PREFIXES = 10**7  # tomllib keeps every prefix of a dotted key
LONGEST_MESSAGE = 500  # letters
Role = Literal["tune", "report", "reference"]  # reference: trained to predict others, not to be compared
SUITES = resources.files("bench") / "suites"


class SuiteError(UserError):
    """A suite that cannot be run; the message is one line: file, key, what was found, what would be valid."""


class Cell(Experiment):
    """One cell of the matrix: an experiment, its role, and whether it leaves a picture."""

    role: Role = "report"
    shows_samples: bool = False

    @cached_property
    def cell_id(self) -> str:
        """Twelve hex digits that hash every setting and the data; two runs of one cell share it."""
        data = load(self.dataset, TASKS[self.task].data_kind)
        identity = self.model_dump(exclude={"shows_samples"}) | {"data": fingerprint(data)}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def references(self) -> tuple[str, ...]:
        """The user code it rests on: `package.module:attribute` of its loss and its networks."""
        network = self.settings.get("network")
        return (*find_loss(self.loss).references, *([network] if network else []))

    def cost(self) -> float:
        """A rough guess of its seconds on one core, for the order of work; measured times replace it."""
        per_image_s = {"digits": 1.5e-4, "fashion-mnist": 4e-4, "gaussian": 1.3e-5}
        return self.steps * self.batch_size * per_image_s.get(self.dataset, 6e-4)


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _seeds(value: Any) -> Any:
    """`seeds = 6` means 0 to 5; a list means itself."""
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if not 1 <= value <= MOST_SEEDS:
        raise ValueError(f"seeds = {shown(value)}: a count from 1 to {MOST_SEEDS}, or a list of seeds")
    return list(range(value))


def _rates(value: Any) -> Any:
    return {key: _listed(rates) for key, rates in value.items()} if isinstance(value, dict) else value


T = TypeVar("T")
Listed = Annotated[tuple[T, ...], BeforeValidator(_listed), Field(min_length=1)]


Share = Annotated[float, Field(ge=0, le=1, strict=True)]  # strict: "1" is text, not a number
Positive = Annotated[float, Field(gt=0, le=LARGEST, strict=True, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED, strict=True)]


class Block(FrozenRecord):
    """One `[[matrix]]` of a suite: every list is an axis, and the cells are the product of the axes.

    `lr` is a list, or maps each loss to its own rates. A loss is paired only with heads and outliers it applies to.
    `outliers` maps each kind to its rates; `clean = 0` is the start of every rate axis. `precision = "auto"` is bf16 on
    a device that gains by it, else fp32. `settings` are the task's own (see its `Settings`).
    """

    task: str
    dataset: str
    loss: Listed[str]
    head: Listed[Literal["sigmoid", "raw"]] = ("sigmoid",)
    outliers: Annotated[dict[str, tuple[Share, ...]], BeforeValidator(_rates)] = {CLEAN: (0.0,)}
    schedule: Listed[Literal["constant", "cosine"]] = ("constant",)
    optimizer: Listed[Literal["adam", "sgd"]] = ("adam",)
    lr: Annotated[dict[str, tuple[Positive, ...]], BeforeValidator(_rates)]
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(_seeds), Field(min_length=1)]
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS, strict=True)]
    evaluations: Annotated[int, Field(ge=1, le=25, strict=True)] = 10
    batch_size: Annotated[int, Field(ge=2, le=MOST_IMAGES, strict=True)]
    precision: Listed[Literal[Precision, "auto"]] = ("fp32",)
    redraw: Listed[bool] = (False,)
    scale: Listed[Literal[2, 3, 4]] | None = None
    value_range: Listed[Literal[1, 255]] | None = None
    role: Role = "report"
    settings: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _rates_of_each_loss(cls, content: Any) -> Any:
        """One list of learning rates goes for every loss."""
        if isinstance(content, dict) and "lr" in content and not isinstance(content["lr"], dict):
            losses = [loss for loss in _listed(content.get("loss", "")) if isinstance(loss, str)]
            content = content | {"lr": {loss: content["lr"] for loss in losses}}
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
        for name in (self.dataset, *self.loss):  # files, figures, and reports have to hold it
            if not (is_dataset if name == self.dataset else is_name)(name):
                raise ValueError(f"{shown(name)} is too long for a name, or not printable; give it a shorter one")
        for name in self.loss:
            if reason := self.reason_against(known_loss(name)):
                raise ValueError(f"loss {name} applies to no cell: {reason}")
        if set(self.lr) != set(self.loss):
            odd = sorted(set(self.lr) ^ set(self.loss))
            raise ValueError(f"lr maps losses to rates, but {', '.join(odd)} stands in only one of lr and loss")
        for kind in self.outliers:
            if kind != CLEAN and kind not in OUTLIERS:
                raise ValueError(no_such("outlier kind", kind, valid_outliers(task.corrupts)))
            if kind not in valid_outliers(task.corrupts):
                raise ValueError(
                    f"outlier kind {kind!r} strikes the {OUTLIERS[kind].corrupts}, which task {self.task!r} does not "
                    f"have; there are {', '.join(valid_outliers(task.corrupts))}"
                )
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
            found = f"settings.{first['loc'][0]}: found {shown(first['input'])}"
            raise ValueError(f"{found}; {message[0].lower()}{message[1:]}") from None
        for key, value in self.settings.items():
            if isinstance(value, int | float) and not abs(value) <= LARGEST:  # NaN included
                raise ValueError(f"settings.{key}: found {shown(value)}; at most {LARGEST:g} fits")
        return self

    def settled(self, auto: Precision) -> "Block":
        """The block with an `auto` precision replaced."""
        settled = (auto if precision == "auto" else precision for precision in self.precision)
        return self.model_copy(update={"precision": tuple(dict.fromkeys(settled))})

    def reason_against(self, loss: Loss) -> str | None:
        """Why no cell of the block can be trained under a loss; None where one can."""
        reasons = [loss.reason_against(self.task, head, kind) for head in self.head for kind in self.outliers]
        return reasons[0] if reasons and all(reasons) else None

    @property
    def size(self) -> int:
        """How many cells the product of the axes has at most."""
        axes = (
            self.head,
            self.schedule,
            self.optimizer,
            self.precision,
            self.redraw,
            self.seeds,
            self.scale or (None,),
            self.value_range or (None,),
        )
        arms = sum(len(self.lr[loss]) for loss in self.loss)
        return sum(map(len, self.outliers.values())) * arms * math.prod(map(len, axes))

    def cells(self) -> Iterator[Cell]:
        """The product of the axes, seeds innermost; the first seed of each group leaves a picture."""
        task = TASKS[self.task]
        settings = task.Settings(**self.settings).model_dump()
        conditions = [(kind, rate) for kind, rates in self.outliers.items() for rate in rates]
        shared = self.model_dump(include={"task", "dataset", "batch_size", "steps", "evaluations", "role"})
        listed = ("head", "schedule", "optimizer", "precision", "redraw")
        losses = {name: find_loss(name) for name in self.loss}
        barred = {
            (name, head, kind)
            for name, head, kind in itertools.product(losses, self.head, self.outliers)
            if losses[name].reason_against(self.task, head, kind)
        }
        arms = [(loss, lr) for loss in self.loss for lr in self.lr[loss]]
        axes = {name: getattr(self, name) for name in listed} | {"scale": self.scale or (task.default_scale,)}
        axes |= {"value_range": self.value_range or (task.default_value_range,), "seed": self.seeds}
        for (outlier, rate), (name, lr), *values in itertools.product(conditions, arms, *axes.values()):
            setting = {"loss": name, "lr": lr} | dict(zip(axes, values, strict=True))
            if (name, setting["head"], outlier) in barred:
                continue
            if setting["value_range"] == 255 and not losses[name].of_prediction:
                continue
            redraws = outlier != CLEAN or getattr(task, "redraws_inputs", False)
            setting["redraw"] = setting["redraw"] and redraws  # nothing to redraw: the same cell
            shows = self.role == "report" and setting["seed"] == min(self.seeds)
            yield Cell(**shared, **setting, outlier=outlier, rate=rate, settings=settings, shows_samples=shows)


class Timing(FrozenRecord):
    """How the step times are measured, alone on the device: `rounds` over all losses, chunks of at least `chunk_ms`."""

    rounds: Annotated[int, Field(ge=0, strict=True)] = 8
    chunk_ms: Positive = 150.0


Line = Annotated[str, Field(min_length=1, max_length=1000)]


class Published(FrozenRecord):
    """A `[[published]]` figure, which the report sets beside what this suite measures.

    Attributes:
        what: it is of; `source` says where it stands, `differs` why ours may differ.
        value: the figure, in `unit`.
        metric: the read-out it is beside, a column of cells.csv.
        cells: which cells that is of: settings and their values, enough to single out one group of seeds.
        minus: the cells whose read-out is taken off, seed by seed, where the figure is a difference.
    """

    what: Line
    value: Annotated[float, Field(ge=-LARGEST, le=LARGEST, strict=True, allow_inf_nan=False)]
    unit: Line
    metric: str
    source: Line
    differs: Line
    cells: dict[str, Any]
    minus: dict[str, Any] | None = None

    def reason_against(self, cells: Iterable[Cell]) -> str | None:
        """Why a suite of these cells cannot measure it; None: it can."""
        cells = [cell for cell in cells if cell.role == "report"]
        for key, which in (("cells", self.cells), ("minus", self.minus)):
            if which is None:
                continue
            if odd := next((name for name in which if name not in SINGLED_OUT_BY), None):
                return f"{key}: {no_such('setting', odd, SINGLED_OUT_BY)}"
            found = [cell for cell in cells if self.holds(which, cell.model_dump())]
            groups = {cell.model_dump_json(exclude={"seed", "shows_samples"}) for cell in found}
            if len(groups) != 1:
                return f"{key} is of {len(groups)} groups of seeds among this suite's cells; name what singles out one"
            if self.metric not in (columns := TASKS[found[0].task].columns):
                return f"metric: {no_such(f'read-out of {found[0].task}', self.metric, columns)}"
        return None

    @staticmethod
    def holds(which: Mapping[str, Any], setting: Mapping[str, Any]) -> bool:
        """Whether a cell's setting has these values; of the task's own settings (`settings`) those that are named."""
        own, theirs = which.get("settings", {}), setting["settings"]
        plain = all(setting.get(key) == value for key, value in which.items() if key != "settings")
        return plain and isinstance(own, dict) and all(theirs.get(key) == value for key, value in own.items())


SINGLED_OUT_BY = tuple(name for name in Experiment.model_fields if name not in ("seed", "evaluations"))


class Suite(FrozenRecord):
    """A suite as read from its file."""

    name: SuiteName
    title: Annotated[str, Field(max_length=LONGEST_TEXT)]
    timing: Timing = Timing()
    timeout_s: Positive = 3600.0
    matrix: tuple[Block, ...] = Field(min_length=1)
    published: Annotated[tuple[Published, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _of_a_size_that_fits(self) -> "Suite":
        count = sum(block.size for block in self.matrix)
        if count > MOST_CELLS:
            raise ValueError(f"declares {count} cells, at most {MOST_CELLS} fit: split it")
        return self

    def settled(self, auto: Precision) -> "Suite":
        """The suite with its `auto` precisions replaced."""
        return self.model_copy(update={"matrix": tuple(block.settled(auto) for block in self.matrix)})

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every declared cell once, in the order of the file."""
        unique: dict[str, Cell] = {}
        for block in self.matrix:
            for cell in block.cells():
                unique.setdefault(cell.model_dump_json(exclude={"shows_samples"}), cell)
        return tuple(unique.values())


def shipped() -> dict[str, Path]:
    """The suites that come with the project, by name."""
    return {Path(file.name).stem: Path(str(file)) for file in SUITES.iterdir() if file.name.endswith(".toml")}


def read_suite(name: str, overrides: dict[str, Any] | None = None, auto: Precision = "fp32") -> Suite:
    """The suite of this name or in this file, with `overrides` (key -> value) applied to every block.

    Args:
        auto: what `precision = "auto"` means, see `bench.training.device.fast_precision`; a suite that was read has
            none.

    Raises:
        SuiteError: no such suite, or a mistake in it.
    """
    file = Path(name) if name.endswith(".toml") or "/" in name else shipped().get(name)
    if file is None:
        raise SuiteError(no_such("suite", name, shipped()))
    try:
        with open(file, "rb") as stream:
            text = stream.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES or sum(line.count(b".") ** 2 for line in text.splitlines()) > MOST_PREFIXES:
            raise SuiteError(f"{file} is too long for a suite, which a person reads in a minute")
        content = tomllib.loads(text.decode("utf-8-sig"))
    except FileNotFoundError:
        raise SuiteError(f"no suite file {file}; shipped suites: {', '.join(sorted(shipped()))}") from None
    except OSError as error:
        raise SuiteError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of thousands of digits, a million [
        raise SuiteError(f"{file} is not valid TOML: {clipped(str(error), LONGEST_MESSAGE)}") from None
    if overrides and isinstance(content.get("matrix"), list):
        content["matrix"] = [block | overrides if isinstance(block, dict) else block for block in content["matrix"]]
    try:
        suite = Suite.model_validate({"name": file.stem} | content).settled(auto)
        suite.cells  # noqa: B018 - a cell that contradicts itself is found now, before any work
    except ValidationError as error:
        raise SuiteError(f"{file}: {clipped(explain(error), LONGEST_MESSAGE)}") from None
    for number, block in enumerate(suite.matrix, 1):
        if next(block.cells(), None) is None:
            raise SuiteError(f"{file}: matrix {number}: declares no cell (an empty list, or no loss on these heads)")
    reasons = {number: one.reason_against(suite.cells) for number, one in enumerate(suite.published, 1)}
    if any(reasons.values()) and not overrides:
        number, reason = next((number, reason) for number, reason in reasons.items() if reason)
        raise SuiteError(f"{file}: published {number}.{clipped(reason, LONGEST_MESSAGE)}")
    measured = tuple(one for number, one in enumerate(suite.published, 1) if not reasons[number])
    return suite.model_copy(update={"published": measured}) if overrides else suite


def explain(error: ValidationError) -> str:
    """The first mistake of a suite in one line: where, what was found, and what would be valid."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    keys = [part for part in first["loc"] if isinstance(part, str) and part.isidentifier()]
    where = ".".join(keys)
    if first["loc"][:1] in (("matrix",), ("published",)) and len(first["loc"]) > 1:
        where = ".".join((f"{first['loc'][0]} {first['loc'][1] + 1}", *keys[1:]))
    prefix = f"{where}: " if where else ""
    if first["type"] == "extra_forbidden":
        parts = {"matrix": Block, "timing": Timing, "published": Published}
        model = parts.get(keys[0], Suite) if len(keys) > 1 else Suite
        return prefix + no_such("key", first["loc"][-1], model.model_fields)
    if first["type"] == "missing":
        return f"{prefix}this key is required and missing"
    if first["type"] == "value_error":
        return prefix + message
    if first["type"] == "literal_error":
        valid = [part.strip(" '") for part in first["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return prefix + no_such("value", first["input"], valid)
    return f"{prefix}found {shown(first['input'])}; {message[0].lower()}{message[1:]}"


Used = tuple[str, type]  # a data set's name, and what it is read as: a folder of images can be read as several kinds


def used_data(cells: Iterable[Experiment]) -> list[Used]:
    """The data sets that cells are trained on."""
    used = {(cell.dataset, TASKS[cell.task].data_kind) for cell in cells}
    return sorted(used, key=lambda one: (one[0], one[1].__name__))


def kind_of(cell: Cell) -> tuple[Any, ...]:
    """Cells of one kind do the same work per step."""
    return cell.task, cell.dataset, cell.scale, cell.batch_size, cell.precision, json.dumps(cell.settings)
