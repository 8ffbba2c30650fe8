"""What has happened in a run so far? One line of JSON per record, only ever appended to, each on disk before the next.

A power failure can tear the last line, or leave zero bytes instead of it; the torn line is cut off, and its cell runs
again.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from bench.store.files import sync_folder, write_all


class JournalEntry(NamedTuple):
    """A record, the number of its line, and the byte where its JSON begins."""

    line: int
    position: int
    record: dict[str, Any]


class Journal:
    """An open journal; the first record creates its file.

    Args:
        file: its path.
        warn: takes one line on what was cut off or passed over.
    """

    def __init__(self, file: Path, warn: Callable[[str], None]):
        self.file, self.warn = file, warn
        self._descriptor: int | None = None

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def entries(self) -> Iterator[JournalEntry]:
        """Every record, oldest first, one in memory at a time; a torn last line is cut off, an invalid one skipped."""
        if not self.file.exists():
            return
        position = 0
        with open(self.file, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    self._cut(position, len(line))
                    return
                zeros = line.rfind(b"\0") + 1  # of a torn line that a later record was appended to
                try:
                    record = json.loads(line[zeros:])
                except (ValueError, RecursionError):
                    record = None
                if isinstance(record, dict) and all(isinstance(record.get(name), str) for name in ("kind", "key")):
                    if zeros:
                        self.warn(f"{self.file}:{number} begins with {zeros} bytes of a torn line; passed over")
                    yield JournalEntry(number, position + zeros, record)
                else:
                    self.pass_over(number)
                position += len(line)

    def pass_over(self, line: int) -> None:
        """Warn that a line is not a valid record."""
        self.warn(f"{self.file}:{line} is not a record of this harness; passed over, its cell runs again")

    def _cut(self, position: int, torn: int) -> None:
        with open(self.file, "r+b") as out:
            out.truncate(position)
            os.fsync(out.fileno())
        self.warn(f"{self.file}: the last line was torn ({torn} bytes cut off); its cell runs again")

    def read(self, position: int) -> dict[str, Any]:
        """The record that begins at this byte."""
        with open(self.file, "rb") as lines:
            lines.seek(position)
            return json.loads(lines.readline())

    def append(self, record: Mapping[str, object]) -> int:
        """Add a record, which is on disk when this returns; returns the byte where it begins.

        Raises:
            OSError: it could not be written, and no part of it was left in the file.
            ValueError: a number in it is not finite.
        """
        line = json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        if self._descriptor is None:
            self._descriptor = os.open(self.file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            sync_folder(self.file.parent)
        if not os.fstat(self._descriptor).st_nlink:
            raise FileNotFoundError(2, "was deleted while the run was going", str(self.file))
        position = os.lseek(self._descriptor, 0, os.SEEK_END)
        try:
            write_all(self._descriptor, line)
            os.fsync(self._descriptor)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, position)
            raise OSError(error.errno, error.strerror, str(self.file)) from None
        return position
