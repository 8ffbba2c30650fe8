"""What may `manifest.json` hold? Every key that a reader uses, with its allowed values: the file is untrusted."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from bench.store.validation import (
    CELL_ID,
    LARGEST,
    LONGEST_DATASET,
    LONGEST_NAME,
    LONGEST_TEXT,
    Invalid,
    clipped,
    is_dataset,
    is_name,
    shown,
)

MOST_PIXELS = 4_000_000  # largest sample picture


def _dataset(text: str) -> str:
    if not is_dataset(text):
        raise ValueError(
            f"a data set is a name, or folder: and a path of at most {LONGEST_DATASET} printable characters"
        )
    return text


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"a name is 1 to {LONGEST_NAME} printable characters without $")
    return text


def _suite_name(text: str) -> str:
    if not re.fullmatch(r"\w[\w.+-]{0,99}", text, re.ASCII):  # it names a folder and is typed on command lines
        raise ValueError(f"{shown(text)} cannot name a suite; use letters, digits, and . _ + -")
    return text


def _stamp(text: str) -> str:
    if text and datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time needs its zone")
    return text


def _counted(tally: dict[str, int]) -> dict[str, int]:
    if tally and not sum(tally.values()):
        raise ValueError("counts nothing")
    return tally


CellId = Annotated[str, Field(pattern=rf"^{CELL_ID.pattern}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # SHA-256
SuiteName = Annotated[str, AfterValidator(_suite_name)]
Name = Annotated[str, AfterValidator(_name)]
DatasetName = Annotated[str, AfterValidator(_dataset)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Amount = Annotated[float, Field(ge=0, le=LARGEST)]
Positive = Annotated[float, Field(ge=1 / LARGEST, le=LARGEST)]
Scalar = Annotated[float, Field(ge=-LARGEST, le=LARGEST)] | Annotated[int, Field(ge=-(2**53), le=2**53)] | bool | Text
Stamp = Annotated[str, AfterValidator(_stamp)]
Share = Annotated[str, Field(pattern=r"^[0-9](\.[0-9]+)?(e-[0-9]+)?$")]  # as Python prints it
Tally = Annotated[dict[Name, Annotated[int, Field(ge=0, le=10**9)]], AfterValidator(_counted)]
Length = Annotated[int, Field(ge=1, le=2**20)]


class Part(BaseModel):
    """A part of the manifest. Later versions may add keys, which this version ignores."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)


T = TypeVar("T", bound=Part)


class CropLayout(Part):
    """The square tiles in a picture of reconstructions: a row for each image."""

    kind: Literal["sr", "depth", "interpolation", "restoration"]  # the task
    images: Annotated[list[Name], Field(min_length=1)]
    columns: Annotated[list[Name], Field(min_length=3, max_length=3)]  # target, baseline (bicubic), prediction
    tile: Length


class GridLayout(Part):
    """The square tiles in a picture of generated images."""

    kind: Literal["gan"]
    rows: Length
    columns: Length
    tile: Length


def _check_size(layout: CropLayout | GridLayout) -> CropLayout | GridLayout:
    height, width = picture_size(layout.model_dump())
    if height * width > MOST_PIXELS:
        raise ValueError(f"a picture of {height} x {width} pixels")
    return layout


def picture_size(layout: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width in pixels of the picture with this layout of the manifest."""
    crops = layout["kind"] != "gan"
    rows, columns = (len(layout["images"]), len(layout["columns"])) if crops else (layout["rows"], layout["columns"])
    return rows * layout["tile"], columns * layout["tile"]


PictureLayout = Annotated[CropLayout | GridLayout, Field(discriminator="kind"), AfterValidator(_check_size)]


class PublishedPart(Part):
    """A published value that the suite measures again."""

    what: Text
    value: Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
    unit: Text
    metric: Name
    source: Text
    differs: Text
    cells: dict[Name, JsonValue]
    minus: dict[Name, JsonValue] | None = None


class SuitePart(Part):
    """The suite of the run."""

    name: SuiteName = "unnamed"
    title: Text = ""
    matrix: list[dict[str, JsonValue]] = []
    published: list[PublishedPart] = []


class GitPart(Part):
    """The state of the git checkout."""

    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{7,64}$")] | None = None
    dirty: bool | None = None


class DevicePart(Part):
    """The device of the run; further keys are scalars."""

    __pydantic_extra__: dict[str, Scalar | None]
    type: Literal["cpu", "cuda"] | None = None


class StepWork(Part):
    """The arithmetic of a training step."""

    task: Name
    dataset: DatasetName
    loss: Name
    head: Name
    precision: Name
    gflop: Amount


class LossPart(Part):
    """The statistic that a user's loss seeks."""

    minimiser: Text | None = None


class RooflinePart(Part):
    """The arithmetic of training steps and the peak speed of the device."""

    matmul_gflop_per_s: dict[Name, Positive] = {}
    steps: list[StepWork] = []


class CalibrationPart(Part):
    """How often the throughput check erred on the machine of the run: counts of verdicts by planted slowdown."""

    minutes: Amount = 0.0
    cells: list[Name] = []
    trials: dict[Share, Tally] = {}
    simulated: dict[Share, Tally] = {}


class Version(Part):
    """The key of every version of the manifest."""

    schema_version: int


class Manifest(Version):
    """`manifest.json`: every key that a reader uses, with its allowed values."""

    cells: Annotated[int, Field(ge=0, le=10**6)]
    suite: SuitePart | None = None
    git: GitPart | None = None
    packages: dict[Name, Text] | None = None
    device: DevicePart | None = None
    threads: dict[Name, Count] | Count | Name | None = None
    data: dict[DatasetName, Name] | None = None
    credits: list[Text] | None = None
    classifiers: dict[DatasetName, dict[Name, Scalar | dict[Name, Scalar]]] | None = None
    calibration: CalibrationPart | None = None
    roofline: RooflinePart | None = None
    losses: dict[Name, LossPart] | None = None
    argv: list[Text] | None = None
    started: Stamp | None = None
    finished: Stamp | None = None
    wall_s: Annotated[float, Field(ge=0, le=1e10)] | None = None
    samples: dict[CellId, PictureLayout] | None = None
    weights: dict[CellId, Digest] | None = None
    files: dict[Name, Name] | None = None


def schema_version(content: bytes) -> int:
    """The version of a manifest; other keys are not checked.

    Raises:
        Invalid: the version is missing.
    """
    return _parsed(Version, content).schema_version


def parse_manifest(content: bytes) -> dict[str, Any]:
    """The manifest as a dictionary of the keys that are present.

    Raises:
        Invalid: the content is not JSON, or a value is not allowed.
    """
    return _parsed(Manifest, content).model_dump(exclude_unset=True)


def _parsed(model: type[T], content: bytes) -> T:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Invalid(clipped(f"{where}: {first['msg']}" if where else first["msg"])) from None
