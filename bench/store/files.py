"""How is a file written so that it is never half written, also after a power failure?

It is written under a temporary name, synced to the disk, and renamed; then the entry of its folder is synced too.
"""

import errno
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TEMPORARY = ".*.tmp"  # left behind by a writer that was killed
CHUNK = 1 << 20  # bytes written at once


def write_atomically(file: Path, content: bytes | str) -> None:
    """Replace `file`, or leave it unchanged.

    Raises:
        OSError: with the file's name in it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with Replacement() as replacement:
        replacement.write(file, [content])


class Replacement:
    """Several files replaced together: all are on disk under temporary names before the first is renamed.

    A full disk then leaves all of them unchanged. A context manager: it renames them on exit without an exception.
    """

    def __init__(self) -> None:
        self._staged: list[tuple[Path, Path]] = []

    def write(self, file: Path, content: Iterable[bytes | str]) -> str:
        """Write the new content of `file`; returns its SHA-256 in hex. Text is UTF-8.

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
    """Write all of `data`; the system may accept less at once."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Sync a folder's entries to the disk: only then is a renamed or new file safe."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system without this operation
            raise
    finally:
        os.close(descriptor)


def remove_leftovers(*folders: Path) -> None:
    """Delete the temporary files of a writer that was killed; only the writer of these folders may call this."""
    for folder in folders:
        for file in folder.glob(TEMPORARY):
            with suppress(OSError):
                file.unlink()
