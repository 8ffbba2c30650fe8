"""How far is a run? The declared cells, what became of each, and the tables and manifest that are published from it.

Of a finished cell only its status and its place in the journal are held in memory; curves and images stay on disk.
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
from bench.store.records import CellRecord, JournalRecord, SessionRecord, TimingRecord
from bench.store.schema import SCHEMA_VERSION
from bench.store.writer import RunDirectory
from bench.training.checkpoints import discard
from bench.training.code import full_code
from bench.training.device import device_description
from bench.training.numerics import precision_settings
from bench.training.outcome import Outcome
from bench.training.timing import timed_cells

FINAL = frozenset(("done", "diverged"))  # a resumed run keeps these; other statuses may have been bad luck
FILES = frozenset(("picture", "weights"))  # of an outcome: they are too large for the journal


class Place(NamedTuple):
    """The status of a cell, and where its record stands in the journal; who was interrupted left none."""

    status: str
    position: int | None = None


@dataclass
class Matrix:
    """The state of a run.

    Attributes:
        slots: cells that run at a time, on all workers together.
        code: fingerprint of the tree, and with user code of each cell (`code_of`); a record of another one is stale.
        context: further entries of the manifest.
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
    timing: list[dict[str, Any]] = field(default_factory=list)
    roofline: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    layouts: dict[str, dict[str, Any]] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    started: str = ""
    sessions_s: dict[str, float] = field(default_factory=dict)
    session: str = field(default_factory=lambda: uuid4().hex[:8])
    session_began: float = field(default_factory=monotonic)
    codes: dict[tuple[str, ...], str] = field(default_factory=dict)

    def code_of(self, *cells: Cell) -> str:
        """The code that these cells together rest on, as it was when it was first asked for."""
        references = tuple(sorted({reference for cell in cells for reference in cell.references}))
        if references not in self.codes:
            self.codes[references] = full_code(self.code, references)
        return self.codes[references]

    def resume(self, directory: RunDirectory) -> list[Cell]:
        """Take over what the journal holds; returns the cells of which it holds stale records alone."""
        declared, stale = {cell.cell_id: cell for cell in self.suite.cells}, set()
        codes = {key: self.code_of(cell) for key, cell in declared.items()} | {self.timing_key: self.timing_code}
        for entry in directory.entries():
            try:
                if entry.record["kind"] == "session":
                    record = SessionRecord.model_validate(entry.record)
                    self.started = self.started or record.started
                    self.sessions_s[record.key] = max(record.seconds, self.sessions_s.get(record.key, 0.0))
                    continue
                if entry.record.get("code") != codes.get(entry.record["key"], self.code):
                    stale.add(entry.record["key"])
                    record = JournalRecord.model_validate(entry.record)
                elif entry.record["kind"] == "timing":
                    record = TimingRecord.model_validate(entry.record)
                    if record.key == self.timing_key:
                        self.timing, self.roofline = entry.record["rows"], entry.record.get("roofline", {})
                else:
                    record = CellRecord.model_validate(entry.record)
                    cell = declared.get(record.key)
                    if cell and (not record.layout or record.layout.kind == cell.task):
                        self.keep(record.key, entry.record, entry.position)
                self.sessions_s[record.session] = max(record.session_s, self.sessions_s.get(record.session, 0.0))
            except ValidationError:
                directory.journal.pass_over(entry.line)
        for cell in filter(self.is_final, declared.values()):
            discard(directory.checkpoints, cell.cell_id)  # left by a run that ended between two files
        return [cell for key, cell in declared.items() if key in stale and key not in self.places]

    def stamp(self) -> dict[str, Any]:
        """When, for a record: the time of day for people, the seconds of this session for sums."""
        self.sessions_s[self.session] = monotonic() - self.session_began
        return {"at": now(), "session": self.session, "session_s": self.sessions_s[self.session]}

    def session_record(self) -> dict[str, Any]:
        """The journal's record of this session, as of now."""
        started = now()
        self.started = self.started or started
        seconds = self.stamp()["session_s"]
        return {"kind": "session", "key": self.session, "started": started, "seconds": seconds}

    @property
    def timing_key(self) -> str:
        """Hashes what is timed, and how: other losses or rounds are timed afresh."""
        timed = [cell.cell_id for cell in timed_cells(self.suite.cells)]
        return hashlib.sha256(json.dumps([timed, self.suite.timing.model_dump()]).encode()).hexdigest()[:12]

    @property
    def timing_code(self) -> str:
        """The code of everything that is timed: it is timed together."""
        return self.code_of(*timed_cells(self.suite.cells))

    def timing_s(self) -> float:
        """Seconds that measuring the step times takes, at the least; 0 where they are not to be measured (again)."""
        if self.timing:
            return 0.0
        return self.suite.timing.rounds * len(timed_cells(self.suite.cells)) * self.suite.timing.chunk_ms / 1e3

    def timing_record(self, whole: bool) -> dict[str, Any]:
        """The journal's record of the step times; unless they are `whole` they are measured again."""
        key = self.timing_key if whole else "partial"
        identity = {"kind": "timing", "key": key, "code": self.timing_code}
        return identity | self.stamp() | {"rows": self.timing, "roofline": self.roofline}

    def record(self, cell: Cell, outcome: Outcome, attempts: int) -> dict[str, Any]:
        """The journal's record of a cell."""
        fields = {name: value for name, value in vars(outcome).items() if name not in FILES}
        identity = {"kind": "cell", "key": cell.cell_id, "code": self.code_of(cell), "attempts": attempts}
        return identity | self.stamp() | {"sharing": self.slots} | fields

    def keep(self, cell_id: str, record: dict[str, Any], position: int) -> None:
        """A cell's record stands at this place in the journal."""
        self.places[cell_id] = Place(record["status"], position)
        if record["layout"]:
            self.layouts[cell_id] = record["layout"]
        if record.get("weights"):
            self.weights[cell_id] = record["weights"]

    def interrupt(self, cells: Iterable[Cell]) -> None:
        """These cells were to be finished, and were not."""
        for cell in cells:
            self.places.setdefault(cell.cell_id, Place("interrupted"))

    def status(self, cell: Cell) -> str:
        """The status of a cell, in the words of the contract."""
        return self.places.get(cell.cell_id, Place("pending")).status

    def is_final(self, cell: Cell) -> bool:
        """Whether a cell needs no more work."""
        return self.status(cell) in FINAL

    def counts(self, cells: Iterable[Cell]) -> Counter[str]:
        """How many of these cells have each status."""
        return Counter(map(self.status, cells))

    def tables(self) -> dict[str, Iterator[dict[str, Any]]]:
        """The rows of every CSV file, in the order of the suite; read from the journal one cell at a time."""
        return {
            "cells": (self.row(cell) for cell in self.suite.cells),
            "images": self._listed("images"),
            "curves": self._listed("curves"),
            "timing": iter(self.timing),
        }

    def _listed(self, name: str) -> Iterator[dict[str, Any]]:
        for cell in self.suite.cells:
            for entry in self._record(cell).get(name, ()):
                yield {"cell_id": cell.cell_id, **entry}

    def _record(self, cell: Cell) -> dict[str, Any]:
        """The journal's record of a cell; where there is none, one that says so."""
        status, position = self.places.get(cell.cell_id, Place("pending"))
        if position is not None:
            return self.journal.read(position)
        reason = "Ctrl-C before it was finished" if status == "interrupted" else None
        return {"status": status, "reason": reason, "measured": {}, "values": {}}

    def row(self, cell: Cell) -> dict[str, Any]:
        """The row of a cell in cells.csv, whatever became of it."""
        record = self._record(cell)
        settings = cell.model_dump(exclude={"settings", "steps", "evaluations", "shows_samples"})
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
        """What manifest.json says, but for the hashes of the files."""
        self.stamp()
        return {
            "schema_version": SCHEMA_VERSION,
            "suite": self.suite.model_dump(mode="json"),
            "cells": len(self.suite.cells),
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
