"""What may a line of the journal say? Only what can be published, and then read again: it may be a stranger's."""

from collections.abc import Collection, Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, create_model, model_validator

from bench.store.manifest import Count, Digest, Name, Part, PictureLayout, RooflinePart, Stamp, Text
from bench.store.schema import COLUMNS, MEASURED_COLUMNS, READOUTS, TEXT_COLUMNS
from bench.store.validation import BOUNDS, KEYS, REQUIRED, STATUSES, STEP, Bounds

LONGEST_SESSION_S = 1e9
Seconds = Annotated[float, Field(ge=0, le=LONGEST_SESSION_S)]


class Row(Part):
    """A row of a table: these columns, and no others."""

    model_config = ConfigDict(extra="forbid")


def row_of(columns: Iterable[str], required: Collection[str] = ()) -> type[Row]:
    """A row in which names are names, and every number is within its bounds; None is an empty field."""
    types = {column: Name if column in TEXT_COLUMNS else quantity(column) for column in columns}
    return create_model(
        "Row",
        __base__=Row,
        **{column: (kind, ...) if column in required else (kind | None, None) for column, kind in types.items()},
    )


def quantity(column: str) -> Any:
    """A number within the bounds of its column."""
    low, high, whole = BOUNDS.get(column, Bounds())
    return Annotated[float, Field(ge=low, le=high, multiple_of=1 if whole else None)]


def rows_of(table: str, apart_from: Collection[str] = ()) -> Any:
    """Rows of this table, no two of them alike in what tells them apart."""
    keys = [column for column in KEYS[table] if column not in apart_from]

    def distinct(rows: list[Row]) -> list[Row]:
        if len({tuple(getattr(row, key) for key in keys) for row in rows}) < len(rows):
            raise ValueError("the same row twice")
        return rows

    columns = [column for column in COLUMNS[table] if column not in apart_from]
    return Annotated[list[row_of(columns, REQUIRED[table])], AfterValidator(distinct)]


class JournalRecord(Part):
    """A line of the journal."""

    key: Text
    session: Text = ""  # the session that wrote it, and
    session_s: Seconds = 0.0  # the seconds of that session until then, by a clock nobody can set


class SessionRecord(JournalRecord):
    """A session has begun, or has ended by itself after so many seconds."""

    kind: Literal["session"]
    started: Stamp
    seconds: Seconds = 0.0


class CellRecord(JournalRecord):
    """What became of a cell."""

    kind: Literal["cell"]
    attempts: Count
    status: Literal[*STATUSES]
    reason: Text
    steps: Count
    sharing: Count
    measured: row_of(MEASURED_COLUMNS)
    values: row_of(READOUTS)
    images: rows_of("images", apart_from=("cell_id",))
    curves: rows_of("curves", apart_from=("cell_id",))
    layout: PictureLayout | Annotated[dict, Field(max_length=0)]
    weights: Digest | None = None

    @model_validator(mode="after")
    def _fits_itself(self) -> Self:
        if self.status != "done" and (self.images or self.values.model_dump(exclude_none=True)):
            raise ValueError("read-outs of a cell that is not done")
        for point in self.curves:
            low, high, _ = BOUNDS.get(point.metric, Bounds())
            if not low <= point.value <= high:
                raise ValueError(f"{point.metric} leaves {low:g} to {high:g}")
        return self


class TimingRecord(JournalRecord):
    """The rows of timing.csv, and the roofline."""

    kind: Literal["timing"]
    rows: rows_of("timing")
    roofline: RooflinePart = RooflinePart()

    @model_validator(mode="after")
    def _times_whole_steps(self) -> Self:
        steps = [tuple(getattr(row, key) for key in KEYS["timing"] if key != "phase") for row in self.rows]
        if set(steps) > {step for step, row in zip(steps, self.rows, strict=True) if row.phase == STEP}:
            raise ValueError("a phase of a step that was not timed whole")
        return self
