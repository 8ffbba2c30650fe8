"""How are the cells of a suite run? An executor's workers train them; only this process writes the results.

Every cell gets a row with its status and reason. If its worker dies, the cell is tried once more, and no other cell is
affected. A finished cell goes to the journal at once, so that a run can end at any time and be resumed.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

import torch

from bench.executors import Executor, ExecutorError, WorkerDied
from bench.plan.cell import Cell
from bench.plan.suite import Suite
from bench.running.interrupts import Interrupts
from bench.running.preparation import prepare
from bench.running.progress import Progress, describe
from bench.running.run_state import FINAL, RunState, now
from bench.running.schedule import Forecast
from bench.running.work import Work, timed, train_cells
from bench.store.records import CellRecord
from bench.store.writer import RunDirectory
from bench.training.checkpoints import discard
from bench.training.code import code_fingerprint
from bench.training.outcome import Outcome
from bench.training.timing import roofline, time_steps, timed_cells

CRASH_RETRIES = 1
MOST_ATTEMPTS = 10  # most attempts of a cell whose machines are lost one after the other
TICK_S = 1.0  # longest time between two updates of the display
PUBLISH_EVERY_S = 5.0
PUBLISH_SHARE = 50  # publishing takes at most 1 / PUBLISH_SHARE of the time
STALE_NAMED = 5  # number of stale cells that a note names; the others are counted
CLOSING_SHARE = 0.1  # in the last share of the minutes running cells may finish, but none is started


class Interrupted(Exception):
    """Ctrl-C: finished cells are kept."""


def run_matrix(
    suite: Suite,
    directory: RunDirectory,
    executor: Executor,
    device: torch.device,
    selected: Callable[[Cell], bool],
    show: Callable[[Progress], None],
    interrupts: Interrupts,
    argv: Sequence[str] = (),
    work: Work = train_cells,
    pack: int = 1,
    minutes: float | None = None,
    context: Mapping[str, Any] | None = None,
    still_needed: Callable[[Path], Sequence[Cell]] = lambda path: (),
) -> Counter[str]:
    """Run every selected cell that is not finished, measure step times, and publish; returns the count of each status.

    Args:
        executor: an entered executor; it is stopped at the end.
        selected: whether to run a cell now.
        show: shows the progress.
        argv: the command line, for the manifest.
        work: trains the cells of a worker.
        pack: number of cells that a worker trains together.
        minutes: the run ends after this time, possibly with pending cells; None means no limit.
        context: further entries of the manifest.
        still_needed: the cells of the suite that open questions need next, the most urgent first, from the rows of the
            published run directory; empty when all is decided, or no seed is left.

    Raises:
        Interrupted: after Ctrl-C; finished cells are published, the others are marked interrupted.
        StoreError: the run directory can no longer be written; it stays valid.
        ExecutorError: the executor cannot run any call.
    """
    run_until = monotonic() + 60 * minutes if minutes else math.inf
    torch.set_num_threads(1)
    code = code_fingerprint(device.type)
    state = RunState(suite, device, executor.slots * pack, argv, directory.journal, code)
    stale = state.resume(directory)
    todo = [cell for cell in state.declared if selected(cell) and not state.is_final(cell)]
    kept = sum(map(state.is_final, state.declared))
    progress = Progress(len(todo) + kept, kept)
    runner = Runner(state, directory, executor, show, work, progress, Forecast(todo), pack)
    if minutes:
        runner.start_until, runner.run_until = run_until - CLOSING_SHARE * 60 * minutes, run_until
    for warning in directory.warnings:
        runner.note(warning)
    if kept or stale:
        runner.note(f"{kept} of {len(state.declared)} cells are on disk")
    if stale:
        codes = ", ".join(sorted({state.code_of(cell) for cell in stale}))
        runner.note(stale_note(stale, codes, sum(map(selected, stale))))
    directory.append(state.session_record())
    finished = None
    try:
        state.context = prepare(suite, runner.note) | dict(context or {})
        runner.publish()
        with interrupts.politely(runner.end_soon):
            runner.train_cells()
            while not runner.is_late() and (more := runner.needed(still_needed, selected)):
                todo += more
                runner.train_cells()
            if not runner.is_late() and state.timing_s():
                runner.measure_timing()
        finished = None if runner.is_late() else now()
    except KeyboardInterrupt:
        state.interrupt(todo)
        raise Interrupted from None
    finally:
        with interrupts.politely(lambda: None):
            executor.stop()
            directory.append(state.session_record())
            runner.publish(finished)
    return state.counts(filter(selected, state.declared))


def stale_note(stale: Sequence[Cell], code: str, selected: int) -> str:
    """A line on the cells that have only records of other code; `selected` of them are run again now, with `code`."""
    names = ", ".join(f"{describe(cell)} ({cell.cell_id})" for cell in stale[:STALE_NAMED])
    more = f", and {len(stale) - STALE_NAMED} more" if len(stale) > STALE_NAMED else ""
    action = "run again" if selected == len(stale) else f"are pending; {selected} of them run again now"
    return f"{len(stale)} are stale (the code changed, it is {code} now) and {action}: {names}{more}"


@dataclass
class Attempt:
    """The cells that one worker is training."""

    cells: Sequence[Cell]
    began: float = field(default_factory=monotonic)


@dataclass
class Runner:
    """The loop of a run, and its state.

    Attributes:
        forecast: the waiting cells.
        running: the running cells, by their call.
        attempts: how often each cell was started, by cell_id.
        crashes: how often the worker of each cell died, without losses of its machine.
        retry_alone: cells whose pack failed; each is tried alone.
        events: finished futures; None means that the run must end.
    """

    state: RunState
    directory: RunDirectory
    executor: Executor
    show: Callable[[Progress], None]
    work: Work
    progress: Progress
    forecast: Forecast
    pack: int = 1
    start_until: float = math.inf
    run_until: float = math.inf
    running: dict[Future, Attempt] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)
    crashes: Counter[str] = field(default_factory=Counter)
    retry_alone: set[str] = field(default_factory=set)
    events: SimpleQueue[Future | None] = field(default_factory=SimpleQueue)
    publish_at: float = 0.0

    def __post_init__(self) -> None:
        self.closing_s = self.state.timing_s()  # time between the last cell and the end

    def train_cells(self) -> None:
        """Train the cells with all slots; each goes to the journal as soon as it is finished.

        Raises:
            KeyboardInterrupt: the run must end; finished cells are in the journal.
        """
        while (self.forecast and monotonic() < self.start_until) or (self.running and monotonic() < self.run_until):
            while self.forecast and len(self.running) < self.executor.slots and monotonic() < self.start_until:
                self.start(self.next_pack())
            finished = []
            with suppress(Empty):
                finished = self.finish(self.next_done(TICK_S))
            if monotonic() > self.publish_at:
                self.publish()
            for last in finished:
                self.show_progress(last)
            if not finished:
                self.show_progress(None)
        for future in [future for future in self.running if future.done()]:  # finished just before the time limit
            self.finish(future)

    def needed(self, still_needed: Callable[[Path], Sequence[Cell]], selected: Callable[[Cell], bool]) -> list[Cell]:
        """Declare the cells that open questions need next; returns those that are to be trained, now waiting."""
        if len(self.state.declared) == len(self.state.suite.possible_cells):
            return []
        self.publish()
        wanted = [cell for cell in still_needed(self.directory.path) if selected(cell)]
        self.state.declare(wanted)
        waiting = [cell for cell in wanted if self.state.status(cell) == "pending"]
        self.forecast.put_in_order(waiting)
        self.progress.total += len(waiting)
        if waiting:
            self.note(f"{len(waiting)} more cells, at tuned rates or for what is not decided yet")
        return waiting

    def is_late(self) -> bool:
        """Whether the time limit passed before all cells were finished."""
        return bool(self.forecast or self.running)

    def next_pack(self) -> list[Cell]:
        """The cells for the next worker: the longest waiting cells, at most an equal share of them."""
        size = min(self.pack, -(-len(self.forecast) // self.executor.slots))
        cells = [self.forecast.take()]
        while len(cells) < size and cells[0].cell_id not in self.retry_alone:
            cells.append(self.forecast.take())
            if cells[-1].cell_id in self.retry_alone:
                self.forecast.put(cells.pop())
                break
        return cells

    def start(self, cells: Sequence[Cell]) -> None:
        """Submit cells to the executor for one worker."""
        self.attempts.update(cell.cell_id for cell in cells)
        call = timed, self.work, cells, self.state.device, self.directory.checkpoints
        future = self.executor.submit(*call, timeout_s=len(cells) * self.state.suite.timeout_s)  # the cells take turns
        self.running[future] = Attempt(cells)
        future.add_done_callback(self.events.put)

    def finish(self, future: Future) -> list[tuple[Cell, CellRecord]]:
        """Record the cells of a finished call and return their records, except of cells that are tried again."""
        cells, error = self.running[future].cells, future.exception()
        seconds = monotonic() - self.running.pop(future).began
        if isinstance(error, ExecutorError):
            raise error
        if error and len(cells) > 1:  # the cell at fault is unknown
            self.note(f"{len(cells)} cells in one worker: {error or type(error).__name__}; each is tried alone")
            self.retry_alone.update(cell.cell_id for cell in cells)
        elif isinstance(error, WorkerDied) and self.should_retry(cells[0], error):
            self.note(f"{describe(cells[0])}: {error}; tried once more")
        else:
            outcomes, seconds = ([self.outcome_of(error)], seconds) if error else future.result()
            return [self.record(cell, outcome, seconds) for cell, outcome in zip(cells, outcomes, strict=True)]
        for cell in cells:
            self.forecast.put(cell)
        return []

    def record(self, cell: Cell, outcome: Outcome, seconds: float) -> tuple[Cell, CellRecord]:
        """Write the record of a cell and return it."""
        self.forecast.learn(cell, seconds)
        if outcome.picture is not None:
            self.directory.write_sample(cell.cell_id, outcome.picture)
        record = self.state.record(cell, outcome, self.attempts[cell.cell_id])
        if outcome.weights:
            record["weights"] = self.directory.write_weights(cell.cell_id, outcome.weights)
        self.state.keep(record, self.directory.append(record))
        if outcome.status in FINAL:
            discard(self.directory.checkpoints, cell.cell_id)
        self.progress.finished += 1
        self.progress.counts[outcome.status] += 1
        if outcome.note:
            self.note(f"{describe(cell)}: {outcome.note}")
        return cell, record

    def should_retry(self, cell: Cell, error: WorkerDied) -> bool:
        """Whether to try a cell once more after its worker died."""
        self.crashes[cell.cell_id] += not error.lost_node
        return self.crashes[cell.cell_id] <= CRASH_RETRIES and self.attempts[cell.cell_id] < MOST_ATTEMPTS

    def outcome_of(self, error: BaseException) -> Outcome:
        """The outcome of a cell whose worker returned nothing."""
        if isinstance(error, TimeoutError):
            return Outcome("timeout", f"longer than the suite's timeout_s = {self.state.suite.timeout_s:g}")
        if isinstance(error, MemoryError):
            return Outcome("oom", str(error))
        return Outcome("crashed", str(error) if isinstance(error, WorkerDied) else f"{type(error).__name__}: {error}")

    def measure_timing(self) -> None:
        """Time the steps of the cells that are done. After a failure, which is noted, timing.csv stays empty."""
        self.note("step times, alone on the device")
        declared = timed_cells(self.state.suite.cells)
        chosen = [cell for cell in declared if self.state.status(cell) == "done"]
        try:
            self.state.timing = self.call(time_steps, chosen, self.state.suite.timing, self.state.device)
            self.state.roofline = self.call(roofline, chosen, self.state.device)
        except Exception as error:
            self.note(f"step times could not be measured: {type(error).__name__}: {error}")
        else:
            self.directory.append(self.state.timing_record(whole=len(chosen) == len(declared)))

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """The result of a function in a worker, while no other call is running."""
        future = self.executor.submit(function, *args, timeout_s=None)
        future.add_done_callback(self.events.put)
        return self.next_done(None).result()

    def next_done(self, timeout_s: float | None) -> Future:
        """The next finished future.

        Raises:
            Empty: no future finished within the time limit.
            KeyboardInterrupt: the run must end.
        """
        future = self.events.get(timeout=timeout_s)
        if future is None:
            raise KeyboardInterrupt
        return future

    def end_soon(self) -> None:
        """End the run at the next event; safe to call from a signal handler."""
        self.events.put(None)

    def publish(self, finished: str | None = None) -> None:
        """Replace the CSV files and the manifest with the present state."""
        started = monotonic()
        self.directory.publish(self.state.manifest(finished), self.state.tables())
        self.publish_at = monotonic() + max(PUBLISH_EVERY_S, PUBLISH_SHARE * (monotonic() - started))

    def show_progress(self, last: tuple[Cell, CellRecord] | None) -> None:
        """Show the progress of the run; `last` is the cell that has just been finished and its record."""
        running = [(cell, monotonic() - pack.began) for pack in self.running.values() for cell in pack.cells]
        left_s = self.forecast.seconds_left(running, self.executor.slots * self.pack)
        self.progress.running = [cell for cell, _ in running]
        self.progress.seconds_left = None if left_s is None else left_s + self.closing_s
        self.progress.last = last
        self.show(self.progress)

    def note(self, text: str) -> None:
        """Show one permanent line."""
        self.progress.note, self.progress.last = text, None
        self.show(self.progress)
        self.progress.note = ""
