"""What can a user do about it? Every such error is one line: on the command line its end, in Python an exception."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.executors import ExecutorError
from bench.files import NO_ROOM, NOT_ALLOWED, remedy
from bench.provenance import DeviceError
from bench.reports.reporting import UnknownFigure
from bench.store import StoreError
from bench.suite import SuiteError
from bench.throughput import Misuse
from bench.throughput.rounds import Broken
from ganlab.datasets import DataMissing, UnknownDataset
from ganlab.plugins import PluginError


class UsageError(Exception):
    """A mistake in what was asked for; the message is one line."""


class BenchError(Exception):
    """What the functions of `bench` raise for everything a user can do about; the message is one line."""


class NotMeasured(BenchError):
    """Step times that would mean nothing: a tree failed, or did other work than it should."""


USER_ERRORS = (
    UsageError,
    SuiteError,
    StoreError,
    DeviceError,
    ExecutorError,
    UnknownFigure,
    PluginError,
    DataMissing,
    UnknownDataset,
    Misuse,
)


@contextmanager
def one_exception() -> Iterator[None]:
    """Inside, whatever a user can do about becomes a `BenchError`."""
    try:
        yield
    except Broken as error:
        raise NotMeasured(f"BROKEN: {error.cell + ': ' if error.cell else ''}{error}") from error
    except USER_ERRORS as error:
        raise BenchError(one_line(error)) from error
    except OSError as error:
        if not is_users(error):
            raise
        raise BenchError(one_line(error)) from error


def is_users(error: BaseException) -> bool:
    """Whether a user can do something about an error of the file system: a full disk, a folder that is not theirs."""
    return isinstance(error, OSError) and bool(error.filename) and error.errno in NO_ROOM | NOT_ALLOWED


def one_line(error: BaseException) -> str:
    """What is wrong, in one line."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}; {remedy(error)} and try again"
    return " ".join(str(error.args[0] if error.args else error).split())
