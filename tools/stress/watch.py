"""Are the files on disk complete and correct at every moment? A separate process reads them during the run."""

import csv
import hashlib
import io
import json
import multiprocessing
import time
from contextlib import suppress
from dataclasses import dataclass, field, fields
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Self

from PIL import Image

from bench.store import StoreError
from bench.store.reader import load
from bench.store.schema import COLUMNS, MEASURED
from bench.store.validation import STATUSES
from tools.stress.runs import Failed, rows, without_measured

PAUSE_S = 0.02  # between two looks, so that the reader does not occupy a core
MOST_FAULTS = 5  # faults in a message
TAILS = {"report.html": b"</html>", "report.md": b"\n"}


@dataclass
class Truth:
    """The rows and pictures of an unbroken run; an interrupted run may have fewer, but no others."""

    cells: dict[str, dict[str, str]]
    parts: dict[str, set[tuple]]
    samples: dict[str, bytes]

    @classmethod
    def of(cls, run: Path) -> "Truth":
        """From a finished run."""
        parts = {name: {tuple(row.values()) for row in rows(run / f"{name}.csv")} for name in ("images", "curves")}
        samples = {file.name: file.read_bytes() for file in (run / "samples").iterdir()}
        return cls({row["cell_id"]: row for row in rows(run / "cells.csv")}, parts, samples)


@dataclass
class Seen:
    """What a reader has observed."""

    looks: int = 0  # readings of the whole directory
    files: int = 0  # read, and complete
    loads: int = 0  # readings as by `python -m bench report`
    apart: int = 0  # looks at which manifest and tables did not match
    faults: list[str] = field(default_factory=list)

    def __add__(self, other: "Seen") -> "Seen":
        return Seen(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))


def look(run: Path, truth: Truth, seen: Seen) -> None:
    """Read every file of a run directory once, and note everything that is truncated or wrong."""
    seen.looks += 1
    manifest = content(run / "manifest.json")
    tables = {f"{name}.csv": content(run / f"{name}.csv") for name in COLUMNS}
    if manifest is not None:
        seen.files += 1
        try:
            files = json.loads(manifest)["files"]
        except (ValueError, KeyError, TypeError):
            seen.faults.append(f"manifest.json is torn: {manifest[-80:]!r}")
        else:
            match = all(hashlib.sha256(tables[name] or b"").hexdigest() == digest for name, digest in files.items())
            seen.apart += not match
            seen.faults += [
                f"{name}.csv is missing beside a manifest" for name in MEASURED if not tables[f"{name}.csv"]
            ]
            _load(run, truth, seen)
    for name, text in tables.items():
        if text is not None:
            seen.files += 1
            seen.faults += table_faults(name.removesuffix(".csv"), text, truth)
    for name, tail in TAILS.items():
        if (text := content(run / name)) is not None:
            seen.files += 1
            seen.faults += [f"{name} is torn"] * (not text.rstrip(b" \n").endswith(tail.strip()) or not text)
    seen.faults += journal_faults(content(run / "journal.jsonl") or b"")
    seen.faults += picture_faults(run, truth, seen)


def content(file: Path) -> bytes | None:
    """The current content of a file; None if there is no file."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return file.read_bytes()
    return None


def _load(run: Path, truth: Truth, seen: Seen) -> None:
    """Load the run directory as a report does."""
    try:
        loaded = load(run)
    except StoreError as error:
        seen.faults.append(f"a reader is refused: {error}")
    else:
        seen.loads += 1
        if len(loaded.cells) != len(truth.cells):
            seen.faults.append(f"a reader finds {len(loaded.cells)} of {len(truth.cells)} cells")


def table_faults(name: str, text: bytes, truth: Truth) -> list[str]:
    """What is truncated or wrong in a CSV file."""
    try:
        lines = list(csv.reader(io.StringIO(text.decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        return [f"{name}.csv is torn: {error}"]
    if not lines or not text.endswith(b"\n") or tuple(lines[0]) != COLUMNS[name] or len({*map(len, lines)}) > 1:
        return [f"{name}.csv is torn: {text[-80:]!r}"]
    table = [without_measured(dict(zip(lines[0], line, strict=True))) for line in lines[1:]]
    if name == "cells":
        return cell_faults(table, truth)
    true_rows = truth.parts.get(name)
    return [f"{name}.csv says {row}" for row in table if true_rows is not None and tuple(row.values()) not in true_rows]


def cell_faults(table: list[dict[str, str]], truth: Truth) -> list[str]:
    """Wrong rows of cells.csv: each must be a known cell, have a status, and if done, the numbers of its cell."""
    faults = [f"cells.csv has {len(table)} of {len(truth.cells)} cells"] * (len(table) != len(truth.cells))
    for row in table:
        expected = truth.cells.get(row["cell_id"])
        if expected is None or row["status"] not in STATUSES or (row["status"] == "done" and row != expected):
            faults.append(f"cells.csv says {row}")
    return faults


def journal_faults(text: bytes) -> list[str]:
    """Lines of the journal that are not records; the last line may be incomplete."""
    faults = []
    for number, line in enumerate(text.split(b"\n")[:-1], 1):
        try:
            record = json.loads(line)
            record["kind"], record["key"]
        except (ValueError, KeyError, TypeError):
            faults.append(f"journal.jsonl:{number} is no record: {line[:80]!r}")
    return faults


def picture_faults(run: Path, truth: Truth, seen: Seen) -> list[str]:
    """Truncated figures, and sample pictures that differ from those of the unbroken run."""
    faults = []
    for folder in ("samples", "figures"):
        for file in sorted((run / folder).glob("[!.]*.png")):
            text = content(file)
            if text is None:
                continue  # a figure that this report no longer has
            seen.files += 1
            if folder == "samples" and truth.samples.get(file.name) != text:
                faults.append(f"samples/{file.name} is not the unbroken run's")
            try:
                Image.open(io.BytesIO(text), formats=["PNG"]).load()
            except Exception as error:  # Pillow raises many kinds of errors for a truncated file
                faults.append(f"{folder}/{file.name} is torn: {error}")
    return faults


class Reader:
    """A process that reads a run directory repeatedly while the context lasts; then `seen` has its observations."""

    def __init__(self, run: Path, truth: Truth):
        context = multiprocessing.get_context("spawn")
        self.seen = Seen()
        self._stop = context.Event()
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_read, args=(run, truth, self._stop, sender), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        try:
            self.seen = self._receiver.recv()
        except EOFError:
            raise Failed("the reader died") from None
        self._process.join()

    def demand_no_fault(self) -> None:
        """Raise `Failed` if anything was truncated or wrong."""
        if self.seen.faults:
            raise Failed(f"{len(self.seen.faults)} faults: {'; '.join(self.seen.faults[:MOST_FAULTS])}")


def _read(run: Path, truth: Truth, stop: Event, report: Connection) -> None:
    seen = Seen()
    while not stop.is_set():
        look(run, truth, seen)
        time.sleep(PAUSE_S)
    look(run, truth, seen)
    report.send(seen)
