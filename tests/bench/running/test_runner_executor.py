"""Local workers: every failure is reported, costs one call, and leaves no process behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.executors import WorkerDied
from bench.executors.local import LocalExecutor, machine_memory_mib, own_memory_mib, share_of_memory_mib
from tests.support import calls

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def executor():
    with LocalExecutor(2, memory_mib=150) as executor:
        yield executor


def exception_of(executor, function, *args, timeout_s=60.0):
    return executor.submit(function, *args, timeout_s=timeout_s).exception(120)


def result_of(executor, function, *args):
    return executor.submit(function, *args, timeout_s=60.0).result(120)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] if Path("/proc").exists() else ""
        os.kill(pid, 0)
        return state != "Z" or len(os.listdir(f"/proc/{pid}/task")) > 1  # its other threads may still be ending
    except (OSError, IndexError):
        return False


def wait_for(condition, seconds=300.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("waited in vain")


@pytest.mark.parametrize(
    ("function", "args", "reason"),
    [
        (calls.signalled, (signal.SIGSEGV,), "its worker process was killed by SIGSEGV"),
        pytest.param(
            calls.signalled,
            (40,),
            "its worker process was killed by signal 40",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="a real-time signal"),
        ),
        (
            calls.signalled,
            (signal.SIGKILL,),
            "its worker process was killed by SIGKILL, by a user or by a system short of memory",
        ),
        (calls.leave, (3,), "its worker process ended with exit code 3"),
        (calls.leave, (0,), "its worker process ended with exit code 0"),
    ],
)
def test_a_dead_worker_loses_only_its_call(executor, function, args, reason):
    others = [executor.submit(calls.double, number, timeout_s=60) for number in range(3)]
    error = exception_of(executor, function, *args)
    assert type(error) is WorkerDied
    assert (str(error), error.lost_node) == (reason, False)
    assert [other.result(120) for other in others] == [0, 2, 4]
    assert result_of(executor, calls.double, 21) == 42


def test_a_call_that_takes_too_long_is_ended(executor):
    error = exception_of(executor, calls.never, timeout_s=0.3)
    assert type(error) is TimeoutError
    assert str(error) == "longer than 0.3 s"
    assert result_of(executor, calls.double, 1) == 2


def test_a_leak_ends_at_the_limit_and_says_so(executor):
    error = exception_of(executor, calls.leak)
    assert type(error) is MemoryError
    assert str(error) == "its worker exceeded its limit of 150 MiB of memory"
    assert result_of(executor, calls.double, 1) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak counts, and the worker is replaced in any case")
def test_leftovers_of_a_call_do_not_affect_the_next():
    with LocalExecutor(1, memory_mib=150) as executor:
        slim = result_of(executor, calls.process_id)
        assert result_of(executor, calls.hold, 1) == slim
        assert result_of(executor, calls.hold, 90) == slim  # within the limit, but more than half of it is now gone
        fresh = result_of(executor, calls.hold, 90)
        assert fresh != slim
        assert not is_running(slim)


def test_exceptions_are_returned_or_described(executor):
    error = exception_of(executor, calls.fail)
    assert type(error) is KeyError
    assert error.args == ("missing",)
    assert str(exception_of(executor, calls.fail_awkwardly)) == "Awkward: odd"
    assert "cannot be pickled" in str(exception_of(executor, calls.unpicklable))
    assert "pickle" in str(exception_of(executor, lambda: None)).lower()
    assert result_of(executor, calls.double, 1) == 2


def test_workers_are_reused_and_a_kill_between_calls_fails_no_call(tmp_path):
    with LocalExecutor(1) as executor:
        first = result_of(executor, calls.process_id)
        assert result_of(executor, calls.process_id) == first
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: not is_running(first))
        assert result_of(executor, calls.process_id) != first


def test_a_kill_during_an_answer_affects_no_other_worker():
    """Answers longer than any buffer: the worker is still sending when it dies."""
    with LocalExecutor(2) as executor:
        pids = {result_of(executor, calls.process_id) for _ in range(20)}
        long = [executor.submit(calls.answer_at_length, 200, timeout_s=60) for _ in range(2)]
        time.sleep(0.05)
        os.kill(pids.pop(), signal.SIGKILL)
        for future in long:
            error = future.exception(120)
            assert error is None or "SIGKILL" in str(error)
        assert [result_of(executor, calls.double, number) for number in range(4)] == [0, 2, 4, 6]


def test_set_up_runs_first_in_every_worker_and_may_fail():
    with LocalExecutor(1, [(calls.hold, (1,)), (calls.fail, ())]) as executor:
        assert type(exception_of(executor, calls.double, 1)) is KeyError
    with LocalExecutor(1, [(calls.leave, (5,))]) as executor:
        assert "exit code 5" in str(exception_of(executor, calls.double, 1))
        assert "exit code 5" in str(exception_of(executor, calls.double, 1))


def test_leaving_the_context_ends_workers_and_their_children(tmp_path):
    with LocalExecutor(2) as executor:
        worker = result_of(executor, calls.process_id)
        grandchild = result_of(executor, calls.start_grandchild, tmp_path / "pid")
        assert result_of(executor, calls.group_id) != os.getpgid(0)
        under_way = executor.submit(calls.never, timeout_s=None)
        waiting = [executor.submit(calls.never, timeout_s=None) for _ in range(3)]
        wait_for(under_way.running)
    wait_for(lambda: not is_running(worker) and not is_running(grandchild))
    assert {type(future.exception(60)) for future in (under_way, *waiting)} == {WorkerDied}
    assert str(waiting[-1].exception()) == "the executor was stopped"
    executor.stop()  # twice is once


def test_a_dead_worker_leaves_no_grandchild(executor, tmp_path):
    assert "SIGKILL" in str(exception_of(executor, calls.grandchild_and_death, tmp_path / "pid"))
    wait_for(lambda: not is_running(int((tmp_path / "pid").read_text())))


def test_no_orphan_outlives_a_runner_that_is_killed(tmp_path):
    code = f"""
from bench.executors.local import LocalExecutor
from tests.support import calls
with LocalExecutor(1) as executor:
    print(executor.submit(calls.process_id, timeout_s=None).result(), flush=True)
    executor.submit(calls.start_grandchild_and_wait, {str(tmp_path / "pid")!r}, timeout_s=None).result()
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    runner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    worker = int(runner.stdout.readline())
    grandchild = int(wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    assert is_running(worker)
    assert is_running(grandchild)
    runner.kill()
    runner.communicate()
    wait_for(lambda: not is_running(worker) and not is_running(grandchild))


def test_memory_is_divided_with_a_minimum_per_worker(monkeypatch):
    monkeypatch.setattr("bench.executors.local.machine_memory_mib", lambda: 10_000.0)
    assert share_of_memory_mib(1) == 9000
    assert share_of_memory_mib(4) == 2250
    assert share_of_memory_mib(100) == 2048
    monkeypatch.setattr("bench.executors.local.machine_memory_mib", lambda: 1000.0)
    assert share_of_memory_mib(4) == 900


def test_a_container_has_the_memory_it_was_given(tmp_path):
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20
    assert machine_memory_mib(tmp_path) == machine
    (tmp_path / "memory.max").write_text("max\n")
    assert machine_memory_mib(tmp_path) == machine
    (tmp_path / "memory.max").write_text(f"{512 * 2**20}\n")
    assert machine_memory_mib(tmp_path) == 512
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{256 * 2**20}\n")  # control groups of version 1
    assert machine_memory_mib(tmp_path) == 256


def test_process_memory_counts_touched_pages():
    before = own_memory_mib()
    block = bytearray(b"x" * (64 * 2**20))
    assert 60 < own_memory_mib() - before < 80
    del block
