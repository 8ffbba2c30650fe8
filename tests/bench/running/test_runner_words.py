"""Which messages does a user get from a run?"""

import errno
import os
import sys

import pytest
import torch

from bench import run
from bench.api import launch
from bench.api.launch import make_executor
from bench.cli import main as cli
from bench.errors import BenchError, UsageError
from bench.executors.local import LocalExecutor
from bench.running.display import Display
from bench.store import StoreError
from tests.support.fake_runs import fake_run, fake_suite


def test_an_unknown_executor_is_named_with_the_nearest():
    with pytest.raises(UsageError, match="unknown executor 'rai'; did you mean 'ray'"):
        make_executor("rai", None, torch.device("cpu"), None, ())


def test_workers_have_a_share_of_the_memory_by_default(monkeypatch):
    monkeypatch.setattr(launch, "share_of_memory_mib", lambda workers: 1000.0 * workers)
    found = [make_executor("local", 3, torch.device("cpu"), limit, ())._memory_mib for limit in (None, 700)]
    assert found == [3000, 700]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    executor = make_executor("local", None, torch.device("cpu"), None, ())
    assert isinstance(executor, LocalExecutor)
    assert executor.slots == cores


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "r/report.html"),
            2,
            "bench: r/report.html: No space left on device; make room there and try again\n",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "r/summary.csv"),
            2,
            "bench: r/summary.csv: Read-only file system; make it writable and try again\n",
        ),
        (
            StoreError("r is being written by process 7 on host since then"),
            2,
            "bench: r is being written by process 7 on host since then\n",
        ),
    ],
)
def test_disk_errors_are_one_line(monkeypatch, capsys, error, code, line):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["bench", "run"])
    monkeypatch.setattr(cli.signal, "signal", lambda *arguments: None)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == code
    assert capsys.readouterr().err == line


def test_internal_errors_are_not_disk_errors(monkeypatch, capsys):
    def fail(*arguments, **options):
        raise OSError(errno.EBADF, "Bad file descriptor", "x")

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["bench", "run"])
    monkeypatch.setattr(cli.signal, "signal", lambda *arguments: None)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 70


def test_each_finished_cell_is_a_line_with_the_time_left(tmp_path, capsys):
    display = Display()
    fake_run(tmp_path, fake_suite(3), show=display.show)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("]")[0] for line in lines] == ["[   1/3", "[   2/3", "[   3/3"]
    assert "done       location l1 far 0.2 seed 2  location_error 0.67  0.5 s" in lines[0]
    assert lines[0].endswith("s left")
    assert lines[2].endswith("  0 s left")


def test_a_mistake_does_not_move_an_earlier_run(tmp_path):
    (tmp_path / "earlier").mkdir()
    with pytest.raises(BenchError, match="executor"):
        run("smoke", out=tmp_path / "earlier", executor="slurm", fresh=True, only="task=sr,loss=l1")
    assert [path.name for path in tmp_path.iterdir()] == ["earlier"]
