"""What happens if the disk is full, the folder read-only, the clock wrong, memory missing, or a second runner starts?

Each scenario is a function of its own folder and the unbroken run. It returns its observation in one line, and raises
`Failed` if anything was lost, wrong, or not reported. Afterwards the same command, without the fault, must complete the
run with the rows of the unbroken run.
"""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.store.reader import load
from tools.stress.runs import (
    LONGEST_S,
    CommandResult,
    Session,
    call,
    demand,
    demand_equal,
    finished_cells,
    rows,
    wait_for,
)
from tools.stress.watch import Seen, Truth, look

HOOKS = Path(__file__).parent / "hooks"
DISK_MIB = 64
LEAK_LIMIT_MIB = 2000
JUMP = timedelta(days=3)  # as in hooks/clock.c


class CannotRun(Exception):
    """This machine cannot run the scenario; the message says why."""


def smoke(run: Path, *more: object) -> tuple[object, ...]:
    """The command of a run."""
    return ("run", "smoke", "--out", run, "--workers", 2, *more)


def demand_true(run: Path, unbroken: Path) -> Counter:
    """Check that all files are complete and correct; returns the statuses of the cells."""
    seen = Seen()
    look(run, Truth.of(unbroken), seen)
    demand(not seen.faults, "; ".join(seen.faults[:3]))
    return Counter(row["status"] for row in rows(run / "cells.csv"))


def demand_resumed(run: Path, unbroken: Path) -> str:
    """Check that the same command completes the run with the rows of the unbroken one."""
    kept = finished_cells(run)
    ended = call(run.parent, *smoke(run))
    demand(ended.code == 0, f"the resumed run ended with exit code {ended.code}: {ended.err[-500:]}")
    count = demand_equal(run, unbroken)
    return f"resumed with {kept} cells in the journal: {count} rows equal"


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A mount at this folder while the context lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(f"cannot mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def fill(disk: Path) -> Path:
    """Fill a disk to the last byte with one file; returns the file."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as out, suppress(OSError):
        for size in (2**20, 2**12, 1):
            with suppress(OSError):
                while out.write(b"\0" * size):
                    pass
    return ballast


def disk_full(folder: Path, unbroken: Path, cells: int) -> str:
    """A disk that is full after this many finished cells."""
    with mounted(folder / "disk", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs") as disk:
        run = disk / "run"
        if cells:
            with Session(folder, *smoke(run)) as session:
                wait_for(lambda: finished_cells(run) >= cells or session.ended(), f"{cells} cells")
                ballast = fill(disk)
                ended = session.wait()
                session.demand_no_orphan()
        else:
            ballast = fill(disk)
            ended = call(folder, *smoke(run))
        line = ended.refused("No space left on device")
        statuses = dict(demand_true(run, unbroken)) if (run / "cells.csv").exists() else "no cells.csv"
        ballast.unlink()
        return f"{line} [{statuses}; {demand_resumed(run, unbroken)}]"


def disk_full_at_once(folder: Path, unbroken: Path) -> str:
    """A disk that is full before anything is written."""
    return disk_full(folder, unbroken, 0)


def disk_full_under_way(folder: Path, unbroken: Path) -> str:
    """A disk that fills after a third of the cells."""
    return disk_full(folder, unbroken, len(rows(unbroken / "cells.csv")) // 3)


def disk_full_at_the_end(folder: Path, unbroken: Path) -> str:
    """A disk that fills when all cells are finished and the report is not."""
    return disk_full(folder, unbroken, len(rows(unbroken / "cells.csv")))


def file_too_large(folder: Path, unbroken: Path) -> str:
    """A limit on the size of files (RLIMIT_FSIZE) that the journal exceeds."""
    run = folder / "run"
    ended = call(folder, *smoke(run), file_bytes=(unbroken / "journal.jsonl").stat().st_size // 2)
    line = ended.refused("File too large")
    return f"{line} [{dict(demand_true(run, unbroken))}; {demand_resumed(run, unbroken)}]"


@contextmanager
def read_only(folder: Path) -> Iterator[str]:
    """Make this folder read-only while the context lasts; root needs a read-only mount."""
    if os.geteuid() == 0:
        with mounted(folder, "--bind", str(folder)):
            subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True, capture_output=True)
            yield "bind mount"
    else:
        folder.chmod(0o555)
        try:
            yield "permissions"
        finally:
            folder.chmod(0o755)


def read_only_results(folder: Path, unbroken: Path) -> str:
    """A results folder that neither a run nor a report can write."""
    results = folder / "results"
    results.mkdir()
    finished = folder / "finished"
    shutil.copytree(unbroken, finished)
    with read_only(results) as way:
        line = call(folder, *smoke(results / "run")).refused("cannot write to")
        demand(not list(results.iterdir()), "something was written")
    with read_only(finished):
        message = call(folder, "report", finished).refused("finished")
        status = call(folder, "status", finished)
        demand(status.code == 0, f"status of a read-only run directory: {status.err}")
    return f"{line}; report: {message} [{way}]"


def read_only_at_the_end(folder: Path, unbroken: Path) -> str:
    """A disk that becomes read-only before the report is written.

    Linux does not allow this while a file is open for writing; the journal is open until the last cell.
    """
    with mounted(folder / "disk", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs") as disk:
        run = disk / "run"
        with Session(folder, *smoke(run)) as session:
            wait_for(lambda: session.ended() or remounted(disk, "ro"), "a read-only remount")
            ended = session.wait()
            session.demand_no_orphan()
        line = ended.refused("Read-only file system")
        statuses = dict(demand_true(run, unbroken))
        wait_for(lambda: remounted(disk, "rw"), "a writable remount")
        return f"{line} [{statuses}; {demand_resumed(run, unbroken)}]"


def remounted(disk: Path, way: str) -> bool:
    """Remount a disk, read-only or writable; returns whether that was possible."""
    if way == "ro" and not finished_cells(disk / "run"):
        return False
    command = ["mount", "-o", f"remount,{way}", str(disk)]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def clock_jumps_back(folder: Path, unbroken: Path) -> str:
    """The wall clock jumps back three days during the run, and the run is killed and resumed on that day.

    A preloaded library (hooks/clock.c) changes the time of every process of the run, and of no other process.
    """
    run, shim, jumped = folder / "run", folder / "clock.so", folder / "jumped"
    compiler = shutil.which("cc")
    if compiler is None:
        raise CannotRun("no C compiler for hooks/clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", shim, HOOKS / "clock.c"], check=True, capture_output=True)
    environment: dict[str, Any] = {"LD_PRELOAD": str(shim), "STRESS_CLOCK": str(jumped)}
    with Session(folder, *smoke(run), **environment) as session:
        wait_for(lambda: finished_cells(run) >= 5 or session.ended(), "5 cells")
        jumped.touch()
        wait_for(lambda: finished_cells(run) >= 10 or session.ended(), "10 cells")
    ended = call(folder, *smoke(run), **environment)
    demand(ended.code == 0, f"exit code {ended.code}: {ended.err[-500:]}")
    demand_true(run, unbroken)
    count = demand_equal(run, unbroken)
    manifest = load(run).manifest
    started, finished = (datetime.fromisoformat(manifest[key]) for key in ("started", "finished"))
    demand(finished < datetime.now(UTC) - JUMP / 2, f"the clock did not jump: finished {finished}")
    demand(0 < manifest["wall_s"] < LONGEST_S, f"the run is said to have taken {manifest['wall_s']} s")
    times = f"started {started:%d %H:%M}, finished {finished:%d %H:%M}, {manifest['wall_s']:g} s of work"
    return f"{times}; {count} rows equal"


def faulty(folder: Path, unbroken: Path, fault: str, status: str, word: str, *more: object) -> str:
    """Cells of l1 with seed 1 fail; they get this status and a reason with this word, and no other cell is affected."""
    run = folder / "run"
    environment = {"PYTHONPATH": os.pathsep.join((str(HOOKS), str(HOOKS.parents[1]))), "STRESS_FAULT": fault}
    ended: CommandResult = call(folder, *smoke(run, *more), **environment)
    demand(ended.code == 20, f"exit code {ended.code} instead of 20: {ended.err[-500:]}")
    lines = ended.err.splitlines()
    demand(len(lines) == 1, f"not one line: {ended.err[-500:]}")
    demand_true(run, unbroken)
    table = rows(run / "cells.csv")
    broken = [row for row in table if row["task"] == "sr" and row["loss"] == "l1" and row["seed"] == "1"]
    demand(broken and {row["status"] for row in broken} == {status}, f"statuses {[row['status'] for row in broken]}")
    demand(all(word in row["reason"] for row in broken), f"reason: {broken[0]['reason']}")
    demand(all(row["status"] == "done" for row in table if row not in broken), "another cell noticed")
    return f"{lines[0]}; reason: {broken[0]['reason']} [{demand_resumed(run, unbroken)}]"


def leak(folder: Path, unbroken: Path) -> str:
    """A worker that leaks memory to its limit."""
    return faulty(folder, unbroken, "leak", "oom", "memory", "--memory-mib", LEAK_LIMIT_MIB)


def cuda_oom(folder: Path, unbroken: Path) -> str:
    """A GPU without memory, as PyTorch reports it."""
    return faulty(folder, unbroken, "cuda-oom", "oom", "CUDA out of memory")


def segfault(folder: Path, unbroken: Path) -> str:
    """A worker that crashes."""
    return faulty(folder, unbroken, "segfault", "crashed", "SIGSEGV")


def two_runners(folder: Path, unbroken: Path) -> str:
    """A second runner on the directory of a running first one."""
    run = folder / "run"
    with Session(folder, *smoke(run)) as first:
        wait_for(lambda: finished_cells(run) >= 1 or first.ended(), "the first cell")
        line = call(folder, *smoke(run)).refused("is being written by", str(first.process.pid))
        call(folder, *smoke(run), "--fresh").refused("is being written by", str(first.process.pid))
        demand(not first.ended(), "the first was over before the second came")
        ended = first.wait()
    demand(ended.code == 0, f"the first ended with exit code {ended.code}: {ended.err[-500:]}")
    return f"{line} [the first: {demand_equal(run, unbroken)} rows equal]"


SCENARIOS: dict[str, Callable[[Path, Path], str]] = {
    "disk-full-at-once": disk_full_at_once,
    "disk-full-under-way": disk_full_under_way,
    "disk-full-at-the-end": disk_full_at_the_end,
    "file-too-large": file_too_large,
    "read-only": read_only_results,
    "read-only-at-the-end": read_only_at_the_end,
    "clock": clock_jumps_back,
    "leak": leak,
    "cuda-oom": cuda_oom,
    "segfault": segfault,
    "two-runners": two_runners,
}
