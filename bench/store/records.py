"""What may a line of the journal hold? A journal may be untrusted: only records that can be published are valid.

A record is a dictionary. The adapters at the end of this file check it and return it unchanged.
"""

from collections.abc import Collection, Mapping
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # pydantic asks for this TypedDict below Python 3.12
    TypeAlias,
)

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from bench.store.manifest import Count, Digest, PictureLayout, RooflinePart, Stamp, Text
from bench.store.schema import COLUMNS, MEASURED_COLUMNS, READOUTS, TEXT_COLUMNS
from bench.store.validation import BOUNDS, KEYS, REQUIRED, STEP, Bounds, Status, expected_name, name_fits, shown

LONGEST_SESSION_S = 1e9
RECORD = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

Number: TypeAlias = int | float  # two types, so that a number is written as it was read
Seconds = Annotated[Number, Field(ge=0, le=LONGEST_SESSION_S)]
Fields: TypeAlias = dict[str, Number | str | None]  # the fields of a row by column; None is an empty field


def check_fields(fields: Mapping[str, object], columns: Collection[str], required: Collection[str] = ()) -> None:
    """Check the fields of a row: only these columns, valid names, numbers within their bounds.

    Raises:
        ValueError: a field is invalid.
    """
    if not fields.keys() <= set(columns):
        raise ValueError(f"not columns: {shown(sorted(fields.keys() - set(columns)))}")
    for column in columns:
        value = fields.get(column)
        if value is None:
            if column in required:
                raise ValueError(f"{column} is missing")
        elif column in TEXT_COLUMNS:
            if not isinstance(value, str) or not name_fits(column, value):
                raise ValueError(f"{column} is {shown(value)}, not {expected_name(column)}")
        elif not isinstance(value, int | float) or not BOUNDS.get(column, Bounds()).hold(value):
            raise ValueError(f"{column} is {shown(value)}, out of its bounds")


def fields_of(columns: Collection[str]) -> AfterValidator:
    """A validator of a dictionary with these columns as keys; columns may be missing."""

    def check(fields: Fields) -> Fields:
        check_fields(fields, columns)
        return fields

    return AfterValidator(check)


def rows_of(table: str) -> AfterValidator:
    """A validator of the rows of a table, whose keys are unique; the rows of a cell leave out its cell_id."""
    columns = [column for column in COLUMNS[table] if column != "cell_id"]
    required = [column for column in REQUIRED[table] if column != "cell_id"]
    keys = [column for column in KEYS[table] if column != "cell_id"]

    def check(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for row in rows:
            check_fields(row, columns, required)
        if len({tuple(row[key] for key in keys) for row in rows}) < len(rows):
            raise ValueError("the same row twice")
        return rows

    return AfterValidator(check)


def check_curves(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Check each value against the bounds of its metric."""
    for point in points:
        low, high, _ = BOUNDS.get(point["metric"], Bounds())
        if not low <= point["value"] <= high:
            raise ValueError(f"{point['metric']} leaves {low:g} to {high:g}")
    return points


def check_timing(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Check that each step whose phases were timed was also timed whole."""
    steps = [tuple(row[key] for key in KEYS["timing"] if key != "phase") for row in rows]
    if set(steps) > {step for step, row in zip(steps, rows, strict=True) if row["phase"] == STEP}:
        raise ValueError("a phase of a step that was not timed whole")
    return rows


def check_layout(layout: dict[str, Any]) -> dict[str, Any]:
    """Check the layout of a picture; it is empty if there is no picture."""
    if layout:
        _LAYOUT.validate_python(layout)
    return layout


def check_roofline(roofline: dict[str, Any]) -> dict[str, Any]:
    """Check the roofline with the model of the manifest."""
    RooflinePart.model_validate(roofline)
    return roofline


_LAYOUT: TypeAdapter[Any] = TypeAdapter(PictureLayout)
Layout = Annotated[dict[str, Any], AfterValidator(check_layout)]
Roofline = Annotated[dict[str, Any], AfterValidator(check_roofline)]


class SessionTime(TypedDict):
    """When a record was written: the time of day, and the seconds of its session on a monotonic clock."""

    at: str
    session: str
    session_s: float


@with_config(RECORD)
class JournalRecord(TypedDict):
    """The common keys of lines on cells and on step times, written by any version of the code."""

    key: Text
    code: NotRequired[Text]
    at: NotRequired[Text]
    session: NotRequired[Text]
    session_s: NotRequired[Seconds]


@with_config(RECORD)
class SessionRecord(TypedDict):
    """The start of a session, or its regular end with its length in seconds."""

    kind: Literal["session"]
    key: Text
    started: Stamp
    seconds: NotRequired[Seconds]


@with_config(RECORD)
class CellRecord(JournalRecord):
    """The outcome of a cell."""

    kind: Literal["cell"]
    attempts: Count
    status: Status
    reason: Text
    steps: Count
    sharing: Count
    measured: Annotated[Fields, fields_of(MEASURED_COLUMNS)]
    values: Annotated[Fields, fields_of(READOUTS)]
    images: Annotated[list[Fields], rows_of("images")]
    curves: Annotated[list[Fields], rows_of("curves"), AfterValidator(check_curves)]
    layout: Layout
    traceback: NotRequired[str]
    note: NotRequired[str]
    weights: NotRequired[Digest | None]


@with_config(RECORD)
class TimingRecord(JournalRecord):
    """The rows of timing.csv and the roofline."""

    kind: Literal["timing"]
    rows: Annotated[list[Fields], rows_of("timing"), AfterValidator(check_timing)]
    roofline: NotRequired[Roofline]


def check_cell(record: CellRecord) -> CellRecord:
    """Check that a cell has read-outs only if it is done."""
    if record["status"] != "done" and (record["images"] or any(v is not None for v in record["values"].values())):
        raise ValueError("read-outs of a cell that is not done")
    return record


SESSION_RECORD = TypeAdapter(SessionRecord)
CELL_RECORD: TypeAdapter[CellRecord] = TypeAdapter(Annotated[CellRecord, AfterValidator(check_cell)])
TIMING_RECORD = TypeAdapter(TimingRecord)
STALE_RECORD = TypeAdapter(JournalRecord)  # a record of other code: only these keys are used
