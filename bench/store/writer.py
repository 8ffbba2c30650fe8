"""How is a run directory written so that it is always valid?

It has one writer, which holds its lock. Each finished cell goes to the journal at once. At intervals the CSV files
and the manifest are made from the journal and replaced together, so a reader always finds a consistent state. A resumed
run starts from the journal; a report is made from CSV files, manifest, and samples (see `reader.py`).
"""

import fcntl
import hashlib
import io
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.errors import remedy
from bench.store import StoreError
from bench.store.csv_format import csv_lines
from bench.store.files import Replacement, remove_leftovers, write_all, write_atomically
from bench.store.journal import Journal, JournalEntry
from bench.store.reader import refuse_links
from bench.store.schema import COLUMNS, CURVE_DIGITS, DIGITS
from bench.store.weights import FOLDER, packed


class RunDirectory:
    """The only writer of a run directory; use it as a context manager, which holds the lock.

    Attributes:
        warnings: one line for each record of the journal that was cut off or skipped.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.warnings: list[str] = []
        self.journal = Journal(self.path / "journal.jsonl", self.warnings.append)

    @property
    def checkpoints(self) -> Path:
        """The folder for the checkpoints of unfinished cells."""
        return (self.path / "checkpoints").absolute()

    @property
    def samples(self) -> Path:
        """The folder for the pictures of cells."""
        return self.path / "samples"

    def __enter__(self) -> "RunDirectory":
        refuse_links(self.path)
        try:
            for folder in (self.samples, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = hold(self.path / "lock")
            remove_leftovers(self.path, self.samples, self.checkpoints, self.path / FOLDER)
        except OSError as error:
            raise StoreError(
                f"cannot write to {self.path}: {error.strerror}; {remedy(error)}, or choose another folder with --out"
            ) from None
        try:
            self._refuse_foreign_files()
        except StoreError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.journal.close()
        with suppress(OSError):
            os.ftruncate(self._lock, 0)
        os.close(self._lock)

    def _refuse_foreign_files(self) -> None:
        """Refuse published files without a journal: this harness did not write them, or the journal is lost."""
        if self.journal.file.exists():
            return
        for name in ("manifest.json", *(f"{table}.csv" for table in COLUMNS)):
            if (self.path / name).exists():
                raise StoreError(
                    f"{self.path / name} exists but journal.jsonl does not, so this harness did not write it or cannot "
                    f"resume it; nothing was overwritten: move it away, use --fresh, or choose another --out"
                )

    def entries(self) -> Iterator[JournalEntry]:
        """The journal's records, oldest first."""
        return self.journal.entries()

    def append(self, record: Mapping[str, object]) -> int:
        """Add a record to the journal; it is on disk on return. Returns its position, for `Journal.read`.

        Raises:
            StoreError: it could not be written.
        """
        with in_one_line():
            return self.journal.append(record)

    def publish(self, manifest: dict[str, Any], tables: Mapping[str, Iterable[Mapping[str, object]]]) -> None:
        """Replace the CSV files and the manifest, which holds their hashes, together.

        Raises:
            StoreError: they could not be written; the old ones remain.
        """
        with in_one_line(), Replacement() as replacement:
            hashes = {}
            for name, rows in tables.items():
                lines = csv_lines(COLUMNS[name], rows, CURVE_DIGITS if name == "curves" else DIGITS)
                hashes[f"{name}.csv"] = replacement.write(self.path / f"{name}.csv", lines)
            text = json.dumps(manifest | {"files": hashes}, indent=1) + "\n"
            replacement.write(self.path / "manifest.json", [text])

    def write_sample(self, cell_id: str, picture: np.ndarray) -> None:
        """Write a cell's picture, uint8 (height, width) or (height, width, 3), as PNG.

        Raises:
            StoreError: it could not be written.
        """
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "PNG", optimize=True)
        with in_one_line():
            write_atomically(self.samples / f"{cell_id}.png", out.getvalue())

    def write_weights(self, cell_id: str, weights: Mapping[str, np.ndarray]) -> str:
        """Write a cell's weights as .npz; returns the SHA-256 of the file.

        Raises:
            StoreError: they could not be written.
        """
        content = packed(weights)
        with in_one_line():
            write_atomically(self.path / FOLDER / f"{cell_id}.npz", content)
        return hashlib.sha256(content).hexdigest()


@contextmanager
def in_one_line() -> Iterator[None]:
    """Turn an OSError into a StoreError: one line that says what the user can do."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{error.filename}: {error.strerror}; {remedy(error)}, then run the same command again: "
            "finished cells are kept"
        ) from None


def hold(lock: Path) -> int:
    """Lock this file and write the holder into it; returns its descriptor. The kernel frees the lock of a dead process.

    Raises:
        StoreError: another process holds it.
        OSError: it cannot be written.
    """
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_same_file(descriptor, lock):  # otherwise the folder has just been renamed by `set_aside`
                os.ftruncate(descriptor, 0)
                since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
                write_all(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode())
                return descriptor
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise StoreError(
                f"{lock.parent} is being written by {holder}; wait for it, or choose another --out"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def is_same_file(descriptor: int, file: Path) -> bool:
    """Whether an open file still has this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def set_aside(path: Path) -> Path:
    """Rename a run directory that no process is writing, to make way for a fresh one; returns the new path.

    Raises:
        StoreError: it is no run directory, another process is writing it, or it cannot be renamed.
    """
    if not (path / "journal.jsonl").exists():
        raise StoreError(f"{path} is not a run directory (it has no journal.jsonl): --fresh leaves it alone; use --out")
    with RunDirectory(path):
        stamp = f"{path.name}.{datetime.now():%Y%m%d-%H%M%S}"
        names = (path.with_name(stamp + suffix) for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
        new_path = next(name for name in names if not name.exists())  # a clock that is set back repeats a time
        try:
            return path.rename(new_path)
        except OSError as error:
            raise StoreError(f"{path} cannot be set aside as {new_path.name}: {error.strerror}") from None
