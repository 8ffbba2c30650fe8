"""What can a user do something about? At the bottom of the house: it imports nothing of it.

Every error a user can cause is a `UserError`, whose message is one line: what is wrong, where, and what to do. On the
command line that line is the end, with the error's exit code; in Python the functions of `bench` raise a `BenchError`.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ganlab.errors import UserError as UserError

EXIT_USAGE, EXIT_BROKEN = 2, 12
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NOT_ALLOWED = {errno.EROFS, errno.EACCES, errno.EPERM}


class UsageError(UserError):
    """A mistake in what was asked for."""


class Broken(UserError):
    """A measurement that would mean nothing: the message says why; `cell` is where it was met, if in one."""

    def __init__(self, reason: str, cell: str = ""):
        super().__init__(reason)
        self.cell = cell


class BenchError(Exception):
    """What the functions of `bench` raise for everything a user can do about; the message is one line."""


class NotMeasured(BenchError):
    """Step times that would mean nothing: a tree failed, or did other work than it should."""


@contextmanager
def one_exception() -> Iterator[None]:
    """Inside, whatever a user can do about becomes a `BenchError`."""
    try:
        yield
    except Broken as error:
        raise NotMeasured(f"BROKEN: {error.cell + ': ' if error.cell else ''}{error}") from error
    except UserError as error:
        raise BenchError(one_line(error)) from error
    except OSError as error:
        if not is_users(error):
            raise
        raise BenchError(one_line(error)) from error


def is_users(error: BaseException) -> bool:
    """Whether a user can do something about an error of the file system: a full disk, a folder that is not theirs."""
    return isinstance(error, OSError) and bool(error.filename) and error.errno in NO_ROOM | NOT_ALLOWED


def remedy(error: OSError) -> str:
    """What a user can do about a file that cannot be written."""
    if error.errno in NO_ROOM:
        return "make room there"
    if error.errno in NOT_ALLOWED:
        return "make it writable"
    return "see that it can be written"


def one_line(error: BaseException) -> str:
    """What is wrong, in one line."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}; {remedy(error)} and try again"
    return " ".join(str(error.args[0] if error.args else error).split())
