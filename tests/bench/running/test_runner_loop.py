"""The runner's loop: every cell becomes a row, and an interrupted run resumes to the same rows."""

import cProfile
import csv
import errno
import json
import os
import pstats
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import torch

from bench.executors import ExecutorError, WorkerDied
from bench.running import run_state as matrix
from bench.running import runner
from bench.running.interrupts import Interrupts
from bench.running.runner import Interrupted
from bench.running.work import train_cells
from bench.store import StoreError
from bench.store.reader import load
from bench.store.schema import MEASURED_COLUMNS
from bench.training.outcome import Outcome
from ganlab.tasks import TASKS
from tests.bench.running.test_runner_executor import wait_for
from tests.support.fake_runs import InProcess, fake_run, fake_suite, fake_work


def rows(path: Path) -> dict[str, list[dict[str, str]]]:
    """Every row of a run but for the measured columns."""
    found = {}
    for name in ("cells", "images", "curves", "timing"):
        with open(path / f"{name}.csv", newline="") as table:
            found[name] = [
                {key: value for key, value in row.items() if key not in MEASURED_COLUMNS}
                for row in csv.DictReader(table)
            ]
    return found


def by_seed(path: Path, *columns: str) -> dict[int, tuple]:
    cells = load(path).cells
    return {int(row["seed"]): tuple(row[column] for column in columns) for _, row in cells.iterrows()}


def failing(errors: dict[int, Exception | list]) -> tuple:
    """Work that raises for some seeds; from a list one error each time, until it is empty."""
    tried = []

    def work(cell, device, checkpoints):
        tried.append(cell.seed)
        error = errors.get(cell.seed)
        if isinstance(error, list):
            error = error.pop(0) if error else None
        if error:
            raise error
        return fake_work(cell, device, checkpoints)

    return work, tried


@pytest.fixture(autouse=True)
def _signals_as_before():
    """After an interrupted run the next signal would end this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests started in the background would ignore it
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_every_cell_is_a_row_and_the_longest_are_run_first(tmp_path):
    suite, executor = fake_suite(2, steps=[10, 30, 20]), InProcess(3)
    counts, _ = fake_run(tmp_path, suite, executor=executor)
    assert counts == {"done": 6}
    assert [cell.steps for cell in executor.order] == [30, 30, 20, 20, 10, 10]
    assert executor.most <= 3
    assert executor.stopped
    run = load(tmp_path)
    assert run.cells["cell_id"].tolist() == [cell.cell_id for cell in suite.cells]
    assert run.cells["attempts"].tolist() == [1] * 6
    assert run.curves.groupby("cell_id").size().tolist() == [2] * 6
    assert run.manifest["finished"]
    assert run.warnings == ()


def test_the_fate_of_a_cell_is_in_its_row_and_affects_no_other_cell(tmp_path):
    died = WorkerDied("its worker process was killed by SIGSEGV")
    work, tried = failing(
        {
            0: [died],
            1: [died, died, died],
            2: TimeoutError("longer than 5 s"),
            3: MemoryError("outgrew its 9 MiB"),
            4: ValueError("odd"),
            5: [WorkerDied("gone with its node", lost_node=True)] * 4,
        }
    )
    counts, notes = fake_run(tmp_path, fake_suite(8, timeout_s=5.0), work)
    assert counts == {"done": 4, "crashed": 2, "timeout": 1, "oom": 1}
    assert by_seed(tmp_path, "status", "reason", "attempts") == {
        0: ("done", "", 2),
        1: ("crashed", "its worker process was killed by SIGSEGV", 2),
        2: ("timeout", "longer than the suite's timeout_s = 5", 1),
        3: ("oom", "outgrew its 9 MiB", 1),
        4: ("crashed", "ValueError: odd", 1),
        5: ("done", "", 5),  # a node that is lost is no fault of the cell
        6: ("done", "", 1),
        7: ("done", "", 1),
    }
    assert sorted(tried) == [0, 0, 1, 1, 2, 3, 4, 5, 5, 5, 5, 5, 6, 7]
    assert "location l1 far 0.2 seed 0: its worker process was killed by SIGSEGV; tried once more" in notes


def test_cells_of_lost_nodes_stop_after_some_attempts(tmp_path):
    work, tried = failing({0: WorkerDied("gone with its node", lost_node=True)})
    fake_run(tmp_path, fake_suite(1), work)
    assert by_seed(tmp_path, "status", "attempts") == {0: ("crashed", runner.MOST_ATTEMPTS)}
    assert len(tried) == runner.MOST_ATTEMPTS


def test_a_cuda_device_out_of_memory_is_a_status_and_not_tried_again(tmp_path, monkeypatch):
    class Hungry(TASKS["location"]):
        def step(self, *args):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setitem(TASKS, "location", Hungry)
    counts, _ = fake_run(tmp_path, fake_suite(1), all_work=train_cells)
    assert counts == {"oom": 1}
    assert by_seed(tmp_path, "status", "reason", "attempts") == {
        0: ("oom", "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB", 1)
    }


def test_an_executor_that_can_run_nothing_ends_the_run_and_keeps_what_is_finished(tmp_path):
    work, _ = failing({2: ExecutorError("no node has this code; start them again")})
    with pytest.raises(ExecutorError, match="no node has this code"):
        fake_run(tmp_path, fake_suite(4), work)
    statuses = [status for (status,) in by_seed(tmp_path, "status").values()]
    assert "pending" in statuses
    assert set(statuses) <= {"done", "pending"}


def test_a_resumed_run_does_what_is_left_and_ends_with_the_rows_of_an_unbroken_one(tmp_path):
    suite = fake_suite(6)
    fake_run(tmp_path / "unbroken", suite)
    fake_run(tmp_path / "r", suite, selected=lambda cell: cell.seed < 3)
    assert by_seed(tmp_path / "r", "status")[5] == ("pending",)
    work, tried = failing({4: MemoryError("outgrew"), 3: TimeoutError()})
    assert fake_run(tmp_path / "r", suite, work)[0] == {"done": 4, "oom": 1, "timeout": 1}
    assert sorted(tried) == [3, 4, 5]
    work, tried = failing({})
    counts, notes = fake_run(tmp_path / "r", suite, work)  # these two may have been bad luck
    assert counts == {"done": 6}
    assert sorted(tried) == [3, 4]
    assert notes == ["4 of 6 cells are on disk"]
    assert rows(tmp_path / "r") == rows(tmp_path / "unbroken")


def test_a_divergence_is_a_result_and_not_tried_again(tmp_path):
    def diverge(cell, device, checkpoints):
        return Outcome("diverged", "first non-finite loss at step 3 of 10", 3)

    assert fake_run(tmp_path, fake_suite(1), diverge)[0] == {"diverged": 1}
    work, tried = failing({})
    assert fake_run(tmp_path, fake_suite(1), work)[0] == {"diverged": 1}
    assert tried == []


def test_stale_rows_are_named_never_mixed_in_and_run_again(tmp_path, monkeypatch):
    suite = fake_suite(7)
    monkeypatch.setattr("bench.running.runner.code_fingerprint", lambda device: "0123456789ab")
    fake_run(tmp_path, suite)
    monkeypatch.setattr("bench.running.runner.code_fingerprint", lambda device: "ba9876543210")
    _, notes = fake_run(tmp_path, suite, selected=lambda cell: cell.seed == 6)
    first = suite.cells[0].cell_id
    assert notes[0] == "0 of 7 cells are on disk"
    assert notes[1].startswith(
        "7 are stale (the code changed, it is ba9876543210 now) and are pending; 1 of them run again now: "
        f"location l1 far 0.2 seed 0 ({first}), location"
    )
    assert notes[1].endswith(", and 2 more")
    assert [status for (status,) in by_seed(tmp_path, "status").values()] == ["pending"] * 6 + ["done"]
    assert set(load(tmp_path).cells["code"]) == {"ba9876543210"}
    counts, notes = fake_run(tmp_path, suite)
    assert counts == {"done": 7}
    assert "6 are stale (the code changed, it is ba9876543210 now) and run again: " in notes[1]
    monkeypatch.setattr("bench.running.runner.code_fingerprint", lambda device: "0123456789ab")
    work, tried = failing({})
    fake_run(tmp_path, suite, work)
    assert tried == []  # the first code's records are still there


@pytest.mark.parametrize(
    "change",
    [
        {"status": "fine"},
        {"values": {"location_error": "low"}},
        {"values": {"no_such_column": 1.0}},
        {"steps": -1},
        {"values": {"location_error": float("nan")}},
        {"measured": {"train_s": float("inf")}},
        {"layout": {"kind": "sr"}},
        {"curves": [{"step": 1, "metric": "d_loss"}]},
        {"kind": "cello"},
        {"curves": None},
        {"session_s": -5.0},
    ],
)
def test_invalid_records_are_skipped_and_their_cells_run_again(tmp_path, change):
    suite = fake_suite(2)
    fake_run(tmp_path, suite)
    expected = rows(tmp_path)
    journal = tmp_path / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    index = next(index for index, record in enumerate(lines) if record["kind"] == "cell")
    lines[index] |= change
    journal.write_text("".join(json.dumps(record) + "\n" for record in lines))
    work, tried = failing({})
    _, notes = fake_run(tmp_path, suite, work)
    assert len(tried) == 1
    assert f"journal.jsonl:{index + 1} is not a record of this harness; passed over, its cell runs again" in notes[0]
    assert rows(tmp_path) == expected


@pytest.mark.parametrize("limit", [2, 3, 5, 8])
def test_a_disk_that_fills_up_is_one_line_and_the_rest_runs_once_there_is_room(tmp_path, monkeypatch, limit):
    """The journal takes `limit` records, and half of one more."""
    suite, written = fake_suite(8), []
    fake_run(tmp_path / "unbroken", suite)

    def write(descriptor, data):
        written.append(data)
        os.write(descriptor, data if len(written) <= limit else data[: len(data) // 2])
        if len(written) > limit:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("bench.store.journal.write_all", write)
        with pytest.raises(StoreError) as error:
            fake_run(tmp_path / "r", suite)
    says = "journal.jsonl: No space left on device; make room there, then run the same command again: finished cells"
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert load(tmp_path / "r").warnings == ()  # what was published before is whole
    work, tried = failing({})
    counts, notes = fake_run(tmp_path / "r", suite, work)
    assert counts == {"done": 8}
    assert len(tried) == 8 - (limit - 1)  # one record is the session's
    assert not any("torn" in note for note in notes)
    assert rows(tmp_path / "r") == rows(tmp_path / "unbroken")


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_a_run_gracefully(tmp_path, sign):
    suite = fake_suite(6)

    def work(cell, device, checkpoints):
        if cell.seed == 3:
            os.kill(os.getpid(), sign)
            threading.Event().wait(0.2)  # the runner hears of it first
        return fake_work(cell, device, checkpoints)

    executor = InProcess(1)
    with pytest.raises(Interrupted):
        fake_run(tmp_path / "r", suite, work, executor=executor)
    assert executor.stopped
    statuses = by_seed(tmp_path / "r", "status", "reason")
    done = [seed for seed, (status, _) in statuses.items() if status == "done"]
    assert len(done) == len(executor.order) - 1 < 6
    assert {what for seed, what in statuses.items() if seed not in done} == {
        ("interrupted", "Ctrl-C before it was finished")
    }
    assert load(tmp_path / "r").manifest["finished"] is None
    fake_run(tmp_path / "unbroken", suite)
    assert fake_run(tmp_path / "r", suite)[0] == {"done": 6}
    assert rows(tmp_path / "r") == rows(tmp_path / "unbroken")


def test_a_first_signal_interrupts_no_running_work():
    events = []

    def work():
        with Interrupts() as interrupts, interrupts.politely(lambda: events.append("asked")):
            os.kill(os.getpid(), signal.SIGINT)
            events.append("finished all the same")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert sorted(events) == ["asked", "finished all the same"]


def test_the_second_signal_ends_a_run_at_once(tmp_path):
    """A run whose output is no longer read; cells 3 and 2 are finished then, and cell 1 never is."""
    code = f"""
import os, threading
from pathlib import Path
from bench.running.display import Display
from tests.support.fake_runs import fake_run, fake_suite, fake_work
def work(cell, device, checkpoints):
    if cell.seed == 3:
        input()
    if cell.seed == 1:
        os.write(2, b"under way\\n")
        threading.Event().wait()  # no signal ends this thread, and the executor waits for it
    return fake_work(cell, device, checkpoints)
with Display() as display:
    display.note("begun")
    leave = lambda: os.write(2, b"left\\n")
    fake_run(Path({str(tmp_path)!r}), fake_suite(4), work, show=display.show, leave=leave)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == "begun\n"
    process.stdout.close()
    process.stdin.write("\n")
    process.stdin.close()
    assert process.stderr.readline() == "under way\n"
    process.send_signal(signal.SIGINT)
    wait_for(lambda: "interrupted" in (tmp_path / "cells.csv").read_text())
    process.send_signal(signal.SIGINT)
    assert process.stderr.read() == "left\n"
    assert process.wait() == 130
    assert by_seed(tmp_path, "status") == {0: ("interrupted",), 1: ("interrupted",), 2: ("done",), 3: ("done",)}
    work, tried = failing({})
    assert fake_run(tmp_path, fake_suite(4), work) == ({"done": 4}, ["2 of 4 cells are on disk"])
    assert sorted(tried) == [0, 1]


def test_signal_handlers_are_restored_after_a_run(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_job_in_the_background_goes_on_ignoring_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_IGN


def test_a_clock_that_is_set_back_changes_no_duration_and_no_row(tmp_path, monkeypatch):
    suite = fake_suite(6)
    fake_run(tmp_path / "unbroken", suite)
    stamps = (datetime(2030, 1, 1, tzinfo=UTC) - timedelta(days=day) for day in range(10**6))
    monkeypatch.setattr(matrix, "now", lambda: next(stamps).isoformat())
    monkeypatch.setattr(runner, "now", matrix.now)
    fake_run(tmp_path / "r", suite, selected=lambda cell: cell.seed < 3)
    first = load(tmp_path / "r").manifest
    fake_run(tmp_path / "r", suite)
    run = load(tmp_path / "r")
    assert rows(tmp_path / "r") == rows(tmp_path / "unbroken")
    assert run.manifest["started"] == first["started"]
    assert 0 <= first["wall_s"] <= run.manifest["wall_s"] < 600
    assert run.warnings == ()


def test_time_of_a_killed_session_is_counted(tmp_path):
    suite = fake_suite(2)
    fake_run(tmp_path, suite)
    journal = tmp_path / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    cells = [record for record in lines if record["kind"] == "cell"]
    killed = {"kind": "session", "key": "k", "started": "2031-01-01T00:00:00+00:00", "seconds": 0.0}
    ended = {"kind": "session", "key": "e", "started": "2029-01-01T00:00:00+00:00", "seconds": 200.0}
    cells[0] |= {"session": "k", "session_s": 100.0}  # the last that is known of the killed session
    cells[1] |= {"session": "e", "session_s": 150.0}
    journal.write_text("".join(json.dumps(record) + "\n" for record in [killed, cells[0], ended, cells[1]]))
    fake_run(tmp_path, suite)
    manifest = load(tmp_path).manifest
    assert manifest["started"] == "2031-01-01T00:00:00+00:00"
    assert 300 <= manifest["wall_s"] < 400


def test_readers_see_a_consistent_state_at_any_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "PUBLISH_EVERY_S", 0.0)
    monkeypatch.setattr(runner, "PUBLISH_SHARE", 0)
    suite, seen, stop = fake_suite(12), [], threading.Event()

    def read():
        while not stop.is_set():
            if (tmp_path / "manifest.json").exists():
                run = load(tmp_path)
                assert len(run.cells) == 12
                done = set(run.cells.loc[run.cells["status"] == "done", "cell_id"])
                assert set(run.curves["cell_id"]) == done
                seen.append(len(done))

    failures = []
    monkeypatch.setattr(threading, "excepthook", lambda args: failures.append(args.exc_value))
    reader = threading.Thread(target=read)
    reader.start()
    fake_run(tmp_path, suite)
    stop.set()
    reader.join()
    assert failures == []
    assert seen == sorted(seen)
    assert len(seen) > 1


def test_publishing_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    """By a clock that runs only while a cell is trained (1 s) or the run is published (3 s)."""
    clock, published = [0.0], []
    publish = runner.RunDirectory.publish

    def slow_publish(self, *args):
        published.append(clock[0])
        clock[0] += 3.0
        publish(self, *args)

    def work(*args):
        clock[0] += 1.0
        return fake_work(*args)

    monkeypatch.setattr(runner, "monotonic", lambda: clock[0])
    monkeypatch.setattr(runner.RunDirectory, "publish", slow_publish)
    fake_run(tmp_path, fake_suite(400), work)
    first, *between, last = published
    assert first == 0
    assert [round(b - a) for a, b in zip([first, *between], between, strict=False)] == [3 + 150 + 1] * 2
    assert last == clock[0] - 3


def test_time_left_is_shown_once_a_cell_is_finished(tmp_path):
    seen = []

    def show(progress):
        seen.append((progress.last is not None, progress.seconds_left))

    fake_run(tmp_path, fake_suite(5), show=show)
    finished = [left for last, left in seen if last]
    assert len(finished) == 5
    assert all(left is not None for left in finished)
    assert finished[-1] == 0


def test_a_warning_of_the_training_is_shown(tmp_path):
    def work(cell, device, checkpoints):
        outcome = fake_work(cell, device, checkpoints)
        outcome.note = "no checkpoint could be written"
        return outcome

    _, notes = fake_run(tmp_path, fake_suite(1), work)
    assert notes == ["location l1 far 0.2 seed 0: no checkpoint could be written"]


def test_checkpoints_of_finished_cells_are_removed_and_others_stay(tmp_path):
    suite = fake_suite(3)

    def work(cell, device, checkpoints):
        (checkpoints / f"{cell.cell_id}.pt").write_text("state")
        return fake_work(cell, device, checkpoints) if cell.seed else Outcome("oom", "too large")

    fake_run(tmp_path, suite, work)
    left = tmp_path / "checkpoints" / f"{suite.cells[0].cell_id}.pt"
    assert [*(tmp_path / "checkpoints").iterdir()] == [left]
    (tmp_path / "checkpoints" / f"{suite.cells[1].cell_id}.pt").write_text("of a run that was killed just then")
    fake_run(tmp_path, suite, selected=lambda cell: cell.seed == 2)
    assert [*(tmp_path / "checkpoints").iterdir()] == [left]


def test_cost_per_cell_does_not_grow_with_the_number_of_cells(tmp_path, monkeypatch):
    """Counted in calls, which no other work on the machine can disturb; of a session, and of one that finds it done."""
    monkeypatch.setattr(runner, "TICK_S", 60.0)
    monkeypatch.setattr(runner, "PUBLISH_EVERY_S", 60.0)
    fake_run(tmp_path / "warm", fake_suite(2))
    calls: dict[int, list[int]] = {}
    for cells in (100, 200, 400):
        suite = fake_suite(cells)
        calls[cells] = [calls_of(partial(fake_run, tmp_path / str(cells), suite)) for _ in range(2)]
    for first, second, third in zip(*calls.values(), strict=True):
        assert (third - second) / (second - first) == pytest.approx(2, rel=0.03)


def calls_of(function) -> int:
    """Calls of this thread while the function runs."""
    profile = cProfile.Profile()
    profile.runcall(function)
    return pstats.Stats(profile).total_calls
