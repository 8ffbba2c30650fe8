"""How far is a run? The declared cells, the status of each, and the tables and manifest made from them.

Only the status of a finished cell and the position of its record in the journal are in memory. Curves and images stay
on disk.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, NamedTuple
from uuid import uuid4

import torch
from pydantic import ValidationError

from bench.plan.cell import Cell
from bench.plan.suite import Suite
from bench.running.provenance import git_state, package_versions
from bench.store.journal import Journal
from bench.store.records import (
    CELL_RECORD,
    SESSION_RECORD,
    STALE_RECORD,
    TIMING_RECORD,
    CellRecord,
    Fields,
    JournalRecord,
    SessionRecord,
    SessionTime,
    TimingRecord,
)
from bench.store.schema import SCHEMA_VERSION
from bench.store.validation import Status
from bench.store.writer import RunDirectory
from bench.training.checkpoints import discard
from bench.training.code import full_code
from bench.training.device import device_description
from bench.training.numerics import precision_settings
from bench.training.outcome import Outcome
from bench.training.timing import timed_cells

FINAL = frozenset(
    ("done", "diverged")
)  # a resumed run keeps these; cells with another status may succeed on the next attempt


class CellState(NamedTuple):
    """The status of a cell, and the position of its record in the journal; None without a record."""

    status: Status
    position: int | None = None


@dataclass
class RunState:
    """The declared cells and their records.

    Attributes:
        slots: number of cells that run at the same time, on all workers together.
        code: fingerprint of the tree; `code_of` adds a cell's user code. A record of other code is stale.
        context: further entries of the manifest.
        states: the states by cell_id; a missing cell is pending.
        layouts: the layout of a cell's picture, by cell_id.
        weights: SHA-256 of a cell's weights, by cell_id.
        declared: the cells with a row, in the order of the suite; questions that are still open add cells (`declare`).
        sessions_s: seconds of each session of this run, by its name.
        codes: the cached results of `code_of`, by the references to user code.
    """

    suite: Suite
    device: torch.device
    slots: int
    argv: Sequence[str]
    journal: Journal
    code: str
    git: dict[str, Any] = field(default_factory=git_state)
    packages: dict[str, str] = field(default_factory=package_versions)
    context: dict[str, Any] = field(default_factory=dict)
    timing: list[Fields] = field(default_factory=list)
    roofline: dict[str, Any] = field(default_factory=dict)
    states: dict[str, CellState] = field(default_factory=dict)
    layouts: dict[str, dict[str, Any]] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    started: str = ""
    sessions_s: dict[str, float] = field(default_factory=dict)
    session: str = field(default_factory=lambda: uuid4().hex[:8])
    session_began: float = field(default_factory=monotonic)
    codes: dict[tuple[str, ...], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.declared = self.suite.cells

    def declare(self, cells: Iterable[Cell]) -> None:
        """Add cells of the suite to those with a row."""
        keys = {cell.cell_id for cell in (*self.declared, *cells)}
        self.declared = tuple(cell for cell in self.suite.possible_cells if cell.cell_id in keys)

    def code_of(self, *cells: Cell) -> str:
        """The fingerprint of the code that these cells use together, computed at the first call."""
        references = tuple(sorted({reference for cell in cells for reference in cell.references}))
        if references not in self.codes:
            self.codes[references] = full_code(self.code, references)
        return self.codes[references]

    def resume(self, directory: RunDirectory) -> list[Cell]:
        """Take over the records of the journal; returns the declared cells that have only stale records."""
        possible = {cell.cell_id: cell for cell in self.suite.possible_cells}
        codes = {key: self.code_of(cell) for key, cell in possible.items()} | {self.timing_key: self.timing_code}
        stale = set()
        for entry in directory.entries():
            key = entry.record["key"]
            is_current = entry.record.get("code") == codes.get(key, self.code)
            try:
                if entry.record["kind"] == "session":
                    self._resume_session(SESSION_RECORD.validate_python(entry.record))
                elif not is_current:
                    stale.add(key)
                    self._count_session(STALE_RECORD.validate_python(entry.record))
                elif entry.record["kind"] == "timing":
                    self._resume_timing(TIMING_RECORD.validate_python(entry.record))
                else:
                    self._resume_cell(CELL_RECORD.validate_python(entry.record), possible.get(key), entry.position)
            except ValidationError:
                directory.journal.pass_over(entry.line)
        self.declare(filter(self.is_final, possible.values()))  # also what an earlier session needed beyond the first
        for cell in filter(self.is_final, self.declared):
            discard(directory.checkpoints, cell.cell_id)  # a run that ended before it removed its checkpoint
        return [cell for cell in self.declared if cell.cell_id in stale and cell.cell_id not in self.states]

    def _resume_session(self, record: SessionRecord) -> None:
        self.started = self.started or record["started"]
        self.sessions_s[record["key"]] = max(record.get("seconds", 0.0), self.sessions_s.get(record["key"], 0.0))

    def _resume_timing(self, record: TimingRecord) -> None:
        if record["key"] == self.timing_key:
            self.timing, self.roofline = record["rows"], record.get("roofline", {})
        self._count_session(record)

    def _resume_cell(self, record: CellRecord, cell: Cell | None, position: int) -> None:
        if cell and (not record["layout"] or record["layout"]["kind"] == cell.task):
            self.keep(record, position)
        self._count_session(record)

    def _count_session(self, record: JournalRecord) -> None:
        """Extend the session of this record: it lasted at least until the record was written."""
        session = record.get("session", "")
        self.sessions_s[session] = max(record.get("session_s", 0.0), self.sessions_s.get(session, 0.0))

    def stamp(self) -> SessionTime:
        """The present time, for a record."""
        self.sessions_s[self.session] = monotonic() - self.session_began
        return {"at": now(), "session": self.session, "session_s": self.sessions_s[self.session]}

    def session_record(self) -> SessionRecord:
        """The journal's record of this session, until now."""
        started = now()
        self.started = self.started or started
        seconds = self.stamp()["session_s"]
        return {"kind": "session", "key": self.session, "started": started, "seconds": seconds}

    @property
    def timing_key(self) -> str:
        """A hash of the timed cells and the timing options: if either changes, the steps are timed again."""
        timed = [cell.cell_id for cell in timed_cells(self.suite.cells)]
        return hashlib.sha256(json.dumps([timed, self.suite.timing.model_dump()]).encode()).hexdigest()[:12]

    @property
    def timing_code(self) -> str:
        """The fingerprint of the code of all timed cells, since they are timed together."""
        return self.code_of(*timed_cells(self.suite.cells))

    def timing_s(self) -> float:
        """The least seconds for measuring the step times; 0 if they are known."""
        if self.timing:
            return 0.0
        return self.suite.timing.rounds * len(timed_cells(self.suite.cells)) * self.suite.timing.chunk_ms / 1e3

    def timing_record(self, whole: bool) -> TimingRecord:
        """The journal's record of the step times; a later run measures them again unless they are `whole`."""
        return {
            "kind": "timing",
            "key": self.timing_key if whole else "partial",
            "code": self.timing_code,
            **self.stamp(),
            "rows": self.timing,
            "roofline": self.roofline,
        }

    def record(self, cell: Cell, outcome: Outcome, attempts: int) -> CellRecord:
        """The journal's record of a cell; its picture and its weights are separate files."""
        return {
            "kind": "cell",
            "key": cell.cell_id,
            "code": self.code_of(cell),
            "attempts": attempts,
            **self.stamp(),
            "sharing": self.slots,
            "status": outcome.status,
            "reason": outcome.reason,
            "steps": outcome.steps,
            "measured": {**outcome.measured},
            "values": {**outcome.values},
            "images": outcome.images,
            "curves": outcome.curves,
            "layout": {**outcome.layout},
            "traceback": outcome.traceback,
            "note": outcome.note,
        }

    def keep(self, record: CellRecord, position: int) -> None:
        """Store the position of a cell's record in the journal."""
        cell_id = record["key"]
        self.states[cell_id] = CellState(record["status"], position)
        if record["layout"]:
            self.layouts[cell_id] = record["layout"]
        if weights := record.get("weights"):
            self.weights[cell_id] = weights

    def interrupt(self, cells: Iterable[Cell]) -> None:
        """Mark the cells without a record as interrupted."""
        for cell in cells:
            self.states.setdefault(cell.cell_id, CellState("interrupted"))

    def status(self, cell: Cell) -> Status:
        """The status of a cell."""
        return self.states.get(cell.cell_id, CellState("pending")).status

    def is_final(self, cell: Cell) -> bool:
        """Whether a cell needs no more work."""
        return self.status(cell) in FINAL

    def counts(self, cells: Iterable[Cell]) -> Counter[str]:
        """How many of these cells have each status."""
        return Counter(map(self.status, cells))

    def tables(self) -> dict[str, Iterator[dict[str, Any]]]:
        """The rows of every CSV file in the order of the suite, read from the journal cell by cell."""
        return {
            "cells": (self.row(cell) for cell in self.declared),
            "images": self._listed("images"),
            "curves": self._listed("curves"),
            "timing": iter(self.timing),
        }

    def _listed(self, name: str) -> Iterator[dict[str, Any]]:
        for cell in self.declared:
            for row in self._record(cell).get(name, ()):
                yield {"cell_id": cell.cell_id, **row}

    def _record(self, cell: Cell) -> dict[str, Any]:
        """The journal's record of a cell; without a record only its status and the reason."""
        status, position = self.states.get(cell.cell_id, CellState("pending"))
        if position is not None:
            return self.journal.read(position)
        reason = "Ctrl-C before it was finished" if status == "interrupted" else None
        return {"status": status, "reason": reason, "measured": {}, "values": {}}

    def row(self, cell: Cell) -> dict[str, Any]:
        """The row of a cell in cells.csv."""
        record = self._record(cell)
        settings = cell.model_dump(exclude={"settings", "steps", "evaluations", "shows_samples", "tuned"})
        extra = cell.settings | {"evaluations": cell.evaluations, "steps": cell.steps}
        return {
            **settings,
            "cell_id": cell.cell_id,
            "code": self.code_of(cell),
            "device": self.device.type,
            "status": record["status"],
            "reason": record["reason"],
            "attempts": record.get("attempts", 0),
            "steps": record.get("steps", 0),
            "cells_sharing_device": record.get("sharing"),
            "settings": json.dumps(extra, sort_keys=True),
            **record["measured"],
            **record["values"],
        }

    def manifest(self, finished: str | None) -> dict[str, Any]:
        """The content of manifest.json, without the hashes of the files."""
        self.stamp()
        return {
            "schema_version": SCHEMA_VERSION,
            "suite": self.suite.model_dump(mode="json"),
            "cells": len(self.declared),
            "git": self.git,
            "packages": self.packages,
            "device": device_description(self.device),
            "threads": {"per_worker": 1, "workers": self.slots},
            "precision": precision_settings(),
            **self.context,
            "roofline": self.roofline,
            "argv": list(self.argv),
            "started": self.started,
            "finished": finished,
            "wall_s": round(sum(self.sessions_s.values()), 1),
            "samples": self.layouts,
            "weights": self.weights,
        }


def now() -> str:
    """UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
