"""What has happened in a run so far? One line of JSON per record, appended and synced to the disk.

After a power failure the last line may be incomplete or zero bytes. It is cut off, and its cell runs again.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from bench.store.files import sync_folder, write_all


class JournalEntry(NamedTuple):
    """A record, its line number, and the byte position of its JSON."""

    line: int
    position: int
    record: dict[str, Any]


class Journal:
    """An open journal; the first record creates its file.

    Args:
        file: its path.
        warn: is called with one line for each record that was cut off or skipped.
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
        """Every record, oldest first, read one by one; an incomplete last line is cut off, an invalid line skipped."""
        if not self.file.exists():
            return
        position = 0
        with open(self.file, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    self._cut(position, len(line))
                    return
                zeros = line.rfind(b"\0") + 1  # of an incomplete line that a later record was appended to
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

    def _cut(self, position: int, length: int) -> None:
        with open(self.file, "r+b") as out:
            out.truncate(position)
            os.fsync(out.fileno())
        self.warn(f"{self.file}: the last line was torn ({length} bytes cut off); its cell runs again")

    def read(self, position: int) -> dict[str, Any]:
        """The record at this byte position."""
        with open(self.file, "rb") as lines:
            lines.seek(position)
            return json.loads(lines.readline())

    def append(self, record: Mapping[str, object]) -> int:
        """Add a record and sync it to the disk; returns its byte position.

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
