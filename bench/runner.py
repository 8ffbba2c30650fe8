"""How do many cells become rows? Worker processes train them; this process alone writes what they return.

A worker runs cells one after another. If it dies, its cell is tried once more and then becomes a row with its reason;
pebble replaces the worker, and no other cell notices. If this process dies, the workers end themselves.
"""

import hashlib
import itertools
import json
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch
from pebble import ProcessExpired, ProcessPool

from bench import provenance
from bench.store import SCHEMA_VERSION, RunDirectory
from bench.suite import Cell, Suite
from bench.throughput.calibrate import known_calibration
from bench.throughput.records import Machine
from bench.timing import roofline, time_steps, timed_cells
from bench.train import Outcome, configure, precision_settings, train
from ganlab.classifiers import frozen_classifier
from ganlab.datasets import LabelledImages, load

FINAL = frozenset(("done", "diverged"))  # a resumed run keeps these; other statuses may have been bad luck
CRASH_RETRIES = 1
PUBLISH_EVERY_S = 5.0
LONGEST_GAP_S = 600.0  # between two finished cells of one session; a longer one is a pause
PUBLISH_SHARE = 20  # publishing takes at most one part in so many of the time


class Interrupted(Exception):
    """Ctrl-C: finished cells are kept."""


@dataclass
class Progress:
    """What a display needs to know after every event; `seconds_left` is None until the first cell is finished."""

    total: int
    finished: int
    counts: Counter
    running: list[Cell]
    seconds_left: float | None
    last: tuple[Cell, dict[str, Any]] | None = None
    note: str = ""


@dataclass
class Matrix:
    """The state of a run: the declared cells, the record of each finished one, and what is published from them."""

    suite: Suite
    device: torch.device
    workers: int
    argv: Sequence[str]
    code: str
    git: dict[str, Any]
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    timing: list[dict[str, Any]] = field(default_factory=list)
    roofline: dict[str, Any] = field(default_factory=dict)
    started: str = ""
    wall_s: float = 0.0
    context: dict[str, Any] = field(default_factory=dict)

    @property
    def timing_key(self) -> str:
        """Hashes what is timed, and how: other losses or rounds are timed afresh."""
        timed = [cell.cell_id for cell in timed_cells(self.suite.cells)]
        return hashlib.sha256(json.dumps([timed, self.suite.timing.model_dump()]).encode()).hexdigest()[:12]

    def resume(self, directory: RunDirectory) -> int:
        """Take over what the journal holds; returns the count of stale cells."""
        declared, stale = {cell.cell_id for cell in self.suite.cells}, set()
        sessions, stamps = [], []
        for record in directory.records():
            if record["kind"] == "session":
                sessions.append((datetime.fromisoformat(record["started"]), record["seconds"]))
                continue
            if "at" in record:
                stamps.append(datetime.fromisoformat(record["at"]))
            if record.get("code") != self.code:
                stale.add(record["key"])
            elif record["kind"] == "timing" and record["key"] == self.timing_key:
                self.timing, self.roofline = record["rows"], record.get("roofline", {})
            elif record["key"] in declared:
                self.records[record["key"]] = record
        self.wall_s = worked_s(sessions, stamps)
        first = min([start for start, _ in sessions] + stamps, default=None)
        self.started = first.isoformat(timespec="seconds") if first else ""
        return len((stale & declared) - self.records.keys())

    def record(self, cell: Cell, outcome: Outcome, attempts: int) -> dict[str, Any]:
        """The journal's record of a cell."""
        fields = {name: value for name, value in vars(outcome).items() if name != "picture"}
        identity = {"kind": "cell", "key": cell.cell_id, "code": self.code, "attempts": attempts, "at": now()}
        return identity | {"sharing": self.workers} | fields

    def is_final(self, cell: Cell) -> bool:
        """Whether a cell needs no more work."""
        return self.records.get(cell.cell_id, {}).get("status") in FINAL

    def is_done(self, cell: Cell) -> bool:
        """Whether a cell has its read-outs."""
        return self.records.get(cell.cell_id, {}).get("status") == "done"

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of every CSV file, in the order of the suite."""
        images, curves = [], []
        for cell in self.suite.cells:
            record = self.records.get(cell.cell_id, {})
            images += [{"cell_id": cell.cell_id, **image} for image in record.get("images", ())]
            curves += [{"cell_id": cell.cell_id, **point} for point in record.get("curves", ())]
        return {
            "cells": [self.row(cell) for cell in self.suite.cells],
            "images": images,
            "curves": curves,
            "timing": self.timing,
        }

    def row(self, cell: Cell) -> dict[str, Any]:
        """The row of a cell in cells.csv, whatever became of it."""
        record = self.records.get(cell.cell_id) or {"status": "pending", "measured": {}, "values": {}}
        settings = cell.model_dump(exclude={"settings", "steps", "evaluations", "shows_samples"})
        extra = cell.settings | {"evaluations": cell.evaluations, "steps": cell.steps}
        return {
            **settings,
            "cell_id": cell.cell_id,
            "code": self.code,
            "device": self.device.type,
            "status": record["status"],
            "reason": record.get("reason"),
            "attempts": record.get("attempts", 0),
            "steps": record.get("steps", 0),
            "cells_sharing_device": record.get("sharing"),
            "settings": json.dumps(extra, sort_keys=True),
            **record["measured"],
            **record["values"],
        }

    def manifest(self, finished: str | None) -> dict[str, Any]:
        """What manifest.json says, but for the hashes of the files."""
        return {
            "schema_version": SCHEMA_VERSION,
            "suite": self.suite.model_dump(mode="json"),
            "cells": len(self.suite.cells),
            "git": self.git,
            "packages": provenance.package_versions(),
            "device": provenance.device_description(self.device),
            "threads": {"per_worker": 1, "workers": self.workers},
            "precision": precision_settings(),
            **self.context,
            "roofline": self.roofline,
            "argv": list(self.argv),
            "started": self.started,
            "finished": finished,
            "wall_s": round(self.wall_s, 1),
            "samples": {key: record["layout"] for key, record in self.records.items() if record.get("layout")},
        }


def worked_s(sessions: Sequence[tuple[datetime, float]], stamps: Sequence[datetime]) -> float:
    """Seconds of work behind a journal: its sessions, and of those that were killed the time between finished cells.

    Args:
        sessions: start and seconds of each session that ended by itself.
        stamps: when each cell was finished.
    """

    def within(stamp: datetime) -> bool:
        return any(-1 <= (stamp - start).total_seconds() <= seconds + 1 for start, seconds in sessions)

    lost = sorted(stamp for stamp in stamps if not within(stamp))
    gaps = ((b - a).total_seconds() for a, b in itertools.pairwise(lost))
    return sum(seconds for _, seconds in sessions) + sum(gap for gap in gaps if gap < LONGEST_GAP_S)


def now() -> str:
    """UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def run_matrix(
    suite: Suite,
    directory: RunDirectory,
    device: torch.device,
    workers: int,
    selected: Callable[[Cell], bool],
    show: Callable[[Progress], None],
    argv: Sequence[str] = (),
) -> dict[str, int]:
    """Run every selected cell that is not finished, measure step times, and publish; returns the count of each status.

    Raises:
        Interrupted: after Ctrl-C; what is finished is published, the rest is marked interrupted.
    """
    session, started = time.perf_counter(), now()
    torch.set_num_threads(1)
    matrix = Matrix(suite, device, workers, argv, provenance.code_fingerprint(device), provenance.git_state())
    stale = matrix.resume(directory)
    matrix.started = matrix.started or started
    earlier_s = matrix.wall_s
    todo = [cell for cell in suite.cells if selected(cell) and not matrix.is_final(cell)]
    todo.sort(key=lambda cell: -cell.cost())
    kept = sum(matrix.is_final(cell) for cell in suite.cells)
    progress = Progress(len(todo) + kept, kept, Counter(), [], None)

    def note(text: str) -> None:
        progress.note, progress.last = text, None
        show(progress)
        progress.note = ""

    def publish(finished: str | None = None) -> None:
        matrix.wall_s = earlier_s + time.perf_counter() - session
        directory.publish(matrix.manifest(finished), matrix.tables())

    for warning in directory.warnings:
        note(warning)
    if kept or stale:
        again = f"; {stale} are stale (the code changed) and run again" if stale else ""
        note(f"{kept} of {len(suite.cells)} cells are on disk{again}")
    finished = None
    try:
        calibration = known_calibration(Machine.here(str(device)))
        matrix.context = prepare(suite, note) | {"calibration": calibration.summary() if calibration else {}}
        publish()
        with worker_pool(workers, device) as pool:
            try:
                run_cells(pool, todo, matrix, directory, suite.timeout_s, publish, progress, show)
                if suite.timing.rounds and not matrix.timing:
                    note("step times, alone on the device")
                    measure_timing(pool, matrix, directory, note)
            except BaseException:
                pool.stop()
                raise
        finished = now()
    except KeyboardInterrupt:
        outcome = Outcome("interrupted", "Ctrl-C before it was finished")
        for cell in todo:
            matrix.records.setdefault(cell.cell_id, matrix.record(cell, outcome, attempts=0))
        raise Interrupted from None
    finally:
        seconds = time.perf_counter() - session
        directory.append({"kind": "session", "key": started, "started": started, "seconds": seconds})
        publish(finished)
    return Counter(matrix.row(cell)["status"] for cell in suite.cells if selected(cell))


def prepare(suite: Suite, note: Callable[[str], None]) -> dict[str, Any]:
    """Train or fetch from the cache what all cells share, before there are workers; returns the provenance of it."""
    datasets = {cell.dataset for cell in suite.cells}
    labelled = sorted(name for name in datasets if isinstance(load(name), LabelledImages))
    if labelled:
        note(f"frozen classifier for {', '.join(labelled)}: trained once, then cached")
    return provenance.data_provenance(datasets, {name: frozen_classifier(load(name)) for name in labelled})


def measure_timing(pool: ProcessPool, matrix: Matrix, directory: RunDirectory, note: Callable[[str], None]) -> None:
    """Time the steps of the cells that finished; a failure is said and leaves timing.csv empty, no more."""
    wanted = timed_cells(matrix.suite.cells)
    chosen = [cell for cell in wanted if matrix.is_done(cell)]
    try:
        matrix.timing = pool.schedule(time_steps, args=(chosen, matrix.suite.timing, matrix.device)).result()
        matrix.roofline = pool.schedule(roofline, args=(chosen, matrix.device)).result()
    except Exception as error:
        note(f"step times could not be measured: {type(error).__name__}: {error}")
    else:
        key = matrix.timing_key if len(chosen) == len(wanted) else "partial"  # a partial one is measured again
        directory.append({"kind": "timing", "key": key, "code": matrix.code, "rows": matrix.timing,
                          "roofline": matrix.roofline})  # fmt: skip


def run_cells(
    pool: ProcessPool,
    todo: Sequence[Cell],
    matrix: Matrix,
    directory: RunDirectory,
    timeout_s: float,
    publish: Callable[[], None],
    progress: Progress,
    show: Callable[[Progress], None],
) -> None:
    """Train the cells, as many at a time as there are workers; each is in the journal as soon as it is finished."""
    queue = deque((cell, 1) for cell in todo)
    running: dict[Any, tuple[Cell, int, float]] = {}
    paid = spent = 0.0
    due = time.perf_counter() + PUBLISH_EVERY_S
    while queue or running:
        while queue and len(running) < matrix.workers:
            cell, attempt = queue.popleft()
            running[pool.schedule(train, args=(cell, matrix.device), timeout=timeout_s)] = (
                cell,
                attempt,
                time.perf_counter(),
            )
        progress.running = [cell for cell, _, _ in running.values()]
        for future in wait(running, timeout=1.0, return_when=FIRST_COMPLETED).done:
            cell, attempt, started = running.pop(future)
            outcome = outcome_of(future, timeout_s)
            if (
                outcome.status == "crashed"
                and isinstance(future.exception(), ProcessExpired)
                and attempt <= CRASH_RETRIES
            ):
                queue.append((cell, attempt + 1))
                continue
            paid, spent = paid + cell.cost(), spent + time.perf_counter() - started
            record = matrix.record(cell, outcome, attempt)
            if outcome.picture is not None:
                directory.write_sample(cell.cell_id, outcome.picture)
            directory.append(record)
            matrix.records[cell.cell_id] = record
            progress.finished += 1
            progress.counts[outcome.status] += 1
            progress.last = cell, record
            left = sum(cell.cost() for cell, _ in queue) + sum(cell.cost() for cell, _, _ in running.values()) / 2
            progress.seconds_left = left * spent / paid / matrix.workers
            show(progress)
            progress.last = None
        if time.perf_counter() > due:
            began = time.perf_counter()
            publish()
            due = time.perf_counter() + max(PUBLISH_EVERY_S, PUBLISH_SHARE * (time.perf_counter() - began))
        show(progress)


def outcome_of(future: Any, timeout_s: float) -> Outcome:
    """What a worker returned, or what its silence means."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, TimeoutError):
        return Outcome("timeout", f"longer than the suite's timeout_s = {timeout_s:g}")
    if isinstance(error, ProcessExpired):
        return Outcome("crashed", f"its worker process died (exit code {error.exitcode})")
    return Outcome("crashed", f"{type(error).__name__}: {error}")


def worker_pool(workers: int, device: torch.device) -> ProcessPool:
    """Fresh interpreters with one compute thread each."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # inherited by the workers, read when their torch is loaded
    context = multiprocessing.get_context("spawn")
    return ProcessPool(max_workers=workers, context=context, initializer=start_worker, initargs=[os.getpid(), device])


def start_worker(runner: int, device: torch.device) -> None:
    """Runs first in each worker: Ctrl-C is the runner's business, and no worker outlives the runner."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == runner:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    configure(device)
