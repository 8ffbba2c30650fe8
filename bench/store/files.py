"""How does a file get on disk so that neither a reader nor a power failure ever meets half of it?

It is written whole under a temporary name, forced to the disk, renamed, and the folder's new entry is forced there too.
"""

import errno
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TEMPORARY = ".*.tmp"  # what a writer that was killed leaves behind
CHUNK = 1 << 20  # bytes written at a time


def write_atomically(file: Path, content: bytes | str) -> None:
    """Replace `file` whole, or leave it as it was.

    Raises:
        OSError: with the file's name in it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with Replacement() as replacement:
        replacement.write(file, [content])


class Replacement:
    """Several files replaced together: all are on disk under temporary names before the first is renamed.

    So a full disk leaves all of them as they were. A context manager; leaving it without an exception renames them.
    """

    def __init__(self) -> None:
        self._staged: list[tuple[Path, Path]] = []

    def write(self, file: Path, content: Iterable[bytes | str]) -> str:
        """Write what will be `file`; returns its SHA-256 in hex. Text is UTF-8.

        Raises:
            OSError: with the file's name in it.
        """
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        self._staged.append((temporary, file))
        digest, buffer = hashlib.sha256(), bytearray()
        try:
            with open(temporary, "wb", buffering=0) as out:
                for part in content:
                    buffer += part.encode() if isinstance(part, str) else part
                    if len(buffer) >= CHUNK:
                        digest.update(buffer)
                        write_all(out.fileno(), buffer)
                        buffer = bytearray()
                digest.update(buffer)
                write_all(out.fileno(), buffer)
                os.fsync(out.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from None
        return digest.hexdigest()

    def __enter__(self) -> "Replacement":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                for temporary, file in self._staged:
                    os.replace(temporary, file)
                for folder in {file.parent for _, file in self._staged}:
                    sync_folder(folder)
        finally:
            for temporary, _ in self._staged:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)


def write_all(descriptor: int, data: bytes | bytearray) -> None:
    """Write all of `data`, however little the system takes at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk: a renamed or new file is safe only then."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that knows no such thing
            raise
    finally:
        os.close(descriptor)


def remove_leftovers(*folders: Path) -> None:
    """Delete the temporary files of a writer that was killed; only for who is the one writer of these folders."""
    for folder in folders:
        for file in folder.glob(TEMPORARY):
            with suppress(OSError):
                file.unlink()
