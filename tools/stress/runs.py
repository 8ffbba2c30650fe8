"""How is a run started from outside, and what must be the same however it went?"""

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
EQUAL = ("cells", "images", "curves", "summary")  # tables that equal runs share, but for the measured columns
LONGEST_S = 600.0  # of anything that is waited for
ORPHANS_END_WITHIN_S = 15.0
MARK = "STRESS_SESSION"  # in the environment of every process of a session, wherever it came from


class Failed(Exception):
    """Something did not hold; the message says what."""


def demand(holds: object, says: str) -> None:
    """Raise `Failed` unless it holds."""
    if not holds:
        raise Failed(says)


def wait_for(condition: Callable[[], Any], what: str, seconds: float = LONGEST_S) -> Any:
    """The first true value of a condition; `Failed` when it takes too long."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        demand(time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.005)
    return value


class Ended(NamedTuple):
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    def refused(self, *words: str) -> str:
        """The one line on standard error of a command that ended with exit code 2, with these words in it."""
        demand(self.code == 2, f"exit code {self.code} instead of 2: {self.err[-500:]}")
        demand(self.err.count("\n") == 1 and self.err.startswith("bench: "), f"not one line: {self.err[-500:]}")
        for word in words:
            demand(word in self.err, f"{word!r} is not said in: {self.err}")
        return self.err.strip().removeprefix("bench: ")


class Session:
    """A process `python -m bench ...` and whatever it starts; leaving the context kills what is left of it.

    Args:
        folder: where it runs, and where its output is kept.
        arguments: of the command.
        file_bytes: no file may grow beyond this.
        environment: further variables.
    """

    def __init__(self, folder: Path, *arguments: object, file_bytes: int | None = None, **environment: str):
        self.mark = uuid4().hex
        self._files = [folder / f".{self.mark}.{name}" for name in ("out", "err")]
        surroundings = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", MARK: self.mark} | environment

        def limited() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore Ctrl-C
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

        with open(self._files[0], "wb") as out, open(self._files[1], "wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bench", *map(str, arguments)],
                cwd=folder,
                env=surroundings,
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
        """Whether the command itself is over."""
        return self.process.poll() is not None

    def ends_within(self, seconds: float) -> bool:
        """Wait so long, or until the command itself is over; returns whether it is."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.ended()

    def wait(self) -> Ended:
        """What it left, once it is over."""
        demand(self.ends_within(LONGEST_S), f"{self.process.args!r} was not over after {LONGEST_S:g} s")
        return Ended(self.process.returncode, *(file.read_text(errors="replace") for file in self._files))

    def processes(self) -> list[int]:
        """Every living process of this session, also those whose parent is gone."""
        mark, found = f"{MARK}={self.mark}".encode(), []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
        return found

    def demand_no_orphan(self) -> None:
        """Whether all processes end once the command has."""
        wait_for(lambda: not self.processes(), "the workers to end", ORPHANS_END_WITHIN_S)

    def workers(self) -> list[int]:
        """The processes that train cells."""
        return [pid for pid in self.processes() if b"executors" in command_of(pid)]


def command_of(pid: int) -> bytes:
    """The command line of a process; empty when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def kill(pid: int) -> None:
    """`kill -9`, whether or not it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def call(folder: Path, *arguments: object, **options: Any) -> Ended:
    """Run a command to its end."""
    with Session(folder, *arguments, **options) as session:
        return session.wait()


def finished_cells(run: Path) -> int:
    """How many cells the journal holds."""
    journal = run / "journal.jsonl"
    return journal.read_bytes().count(b'"kind":"cell"') if journal.exists() else 0


def rows(file: Path) -> list[dict[str, str]]:
    """The rows of a table without its measured columns."""
    with open(file, newline="", encoding="utf-8") as table:
        return [without_measured(row) for row in csv.DictReader(table, strict=True)]


def without_measured(row: dict[str, str]) -> dict[str, str]:
    """What of a row is the same in every run."""
    return {column: text for column, text in row.items() if column not in MEASURED_COLUMNS}


def demand_equal(run: Path, unbroken: Path) -> int:
    """Whether a finished run has the unbroken one's rows and pictures; returns how many rows were compared."""
    count = 0
    for name in EQUAL:
        here, there = rows(run / f"{name}.csv"), rows(unbroken / f"{name}.csv")
        odd = next((pair for pair in zip(here, there, strict=False) if pair[0] != pair[1]), None)
        demand(here == there, f"{name}.csv: {len(here)} rows, of the unbroken run {len(there)}; they differ in {odd}")
        count += len(here)
    pictures = {file.name: file.read_bytes() for file in (unbroken / "samples").iterdir()}
    found = {file.name: file.read_bytes() for file in (run / "samples").iterdir()}
    demand(found == pictures, f"pictures differ: {sorted(set(found) ^ set(pictures)) or 'in their bytes'}")
    return count
