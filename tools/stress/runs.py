"""How is a run started from outside, and which results must be the same in every run?"""

import csv
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import uuid4

import bench
from bench.store.schema import MEASURED_COLUMNS

ROOT = Path(bench.__file__).parents[1]
EQUAL = ("cells", "images", "curves", "summary")  # tables that are equal in equal runs, except for measured columns
LONGEST_S = 600.0  # the longest wait for anything
ORPHANS_END_WITHIN_S = 15.0
MARK = "STRESS_SESSION"  # in the environment of every process of a session, whatever its parent


class Failed(Exception):
    """A check failed; the message says which."""


def demand(holds: object, message: str) -> None:
    """Raise `Failed` unless it holds."""
    if not holds:
        raise Failed(message)


def wait_for(condition: Callable[[], Any], description: str, seconds: float = LONGEST_S) -> Any:
    """The first true value of a condition; `Failed` when it takes too long."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        demand(time.monotonic() < deadline, f"waited {seconds:g} s in vain for {description}")
        time.sleep(0.005)
    return value


class CommandResult(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    def refused(self, *words: str) -> str:
        """Check for exit code 2 and one line on standard error with these words; returns the line."""
        demand(self.code == 2, f"exit code {self.code} instead of 2: {self.err[-500:]}")
        demand(self.err.count("\n") == 1 and self.err.startswith("bench: "), f"not one line: {self.err[-500:]}")
        for word in words:
            demand(word in self.err, f"{word!r} is not said in: {self.err}")
        return self.err.strip().removeprefix("bench: ")


class Session:
    """A process `python -m bench ...` and its children; leaving the context kills the remaining processes.

    Args:
        folder: its working directory, which also keeps its output.
        arguments: of the command.
        file_bytes: the largest size of a file.
        environment: additional variables.
    """

    def __init__(self, folder: Path, *arguments: object, file_bytes: int | None = None, **environment: str):
        self.mark = uuid4().hex
        self._files = [folder / f".{self.mark}.{name}" for name in ("out", "err")]
        variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", MARK: self.mark} | environment

        def limited() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore Ctrl-C
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

        with open(self._files[0], "wb") as out, open(self._files[1], "wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bench", *map(str, arguments)],
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=limited,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for pid in self.processes():
            kill(pid)
        self.process.wait()
        for file in self._files:
            file.unlink(missing_ok=True)

    def ended(self) -> bool:
        """Whether the command itself has ended."""
        return self.process.poll() is not None

    def ends_within(self, seconds: float) -> bool:
        """Wait this long, or until the command itself has ended; returns whether it has."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.ended()

    def wait(self) -> CommandResult:
        """Wait for the end of the command; returns its result."""
        demand(self.ends_within(LONGEST_S), f"{self.process.args!r} was not over after {LONGEST_S:g} s")
        return CommandResult(self.process.returncode, *(file.read_text(errors="replace") for file in self._files))

    def processes(self) -> list[int]:
        """Every living process of this session, including those whose parent has ended."""
        mark, pids = f"{MARK}={self.mark}".encode(), []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in environ.read_bytes().split(b"\0"):
                    pids.append(int(environ.parent.name))
        return pids

    def demand_no_orphan(self) -> None:
        """Check that all processes end after the command."""
        wait_for(lambda: not self.processes(), "the workers to end", ORPHANS_END_WITHIN_S)

    def workers(self) -> list[int]:
        """The processes that train cells."""
        return [pid for pid in self.processes() if b"executors" in command_of(pid)]


def command_of(pid: int) -> bytes:
    """The command line of a process; empty if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def kill(pid: int) -> None:
    """`kill -9`; no error if the process has ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def call(folder: Path, *arguments: object, **options: Any) -> CommandResult:
    """Run a command to its end."""
    with Session(folder, *arguments, **options) as session:
        return session.wait()


def finished_cells(run: Path) -> int:
    """The number of cells in the journal."""
    journal = run / "journal.jsonl"
    return journal.read_bytes().count(b'"kind":"cell"') if journal.exists() else 0


def rows(file: Path) -> list[dict[str, str]]:
    """The rows of a table without its measured columns."""
    with open(file, newline="", encoding="utf-8") as table:
        return [without_measured(row) for row in csv.DictReader(table, strict=True)]


def without_measured(row: dict[str, str]) -> dict[str, str]:
    """The columns of a row that are the same in every run."""
    return {column: text for column, text in row.items() if column not in MEASURED_COLUMNS}


def demand_equal(run: Path, unbroken: Path) -> int:
    """Check that a finished run has the rows and pictures of the unbroken one; returns the number of compared rows."""
    count = 0
    for name in EQUAL:
        actual, expected = rows(run / f"{name}.csv"), rows(unbroken / f"{name}.csv")
        different = next((pair for pair in zip(actual, expected, strict=False) if pair[0] != pair[1]), None)
        demand(
            actual == expected,
            f"{name}.csv: {len(actual)} rows, of the unbroken run {len(expected)}; they differ in {different}",
        )
        count += len(actual)
    pictures = {file.name: file.read_bytes() for file in (unbroken / "samples").iterdir()}
    actual_pictures = {file.name: file.read_bytes() for file in (run / "samples").iterdir()}
    names = sorted(set(actual_pictures) ^ set(pictures))
    demand(actual_pictures == pictures, f"pictures differ: {names or 'in their bytes'}")
    return count
