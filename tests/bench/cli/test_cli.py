"""Is every mistake on the command line one line on standard error with the documented exit code?"""

from collections import Counter
from types import SimpleNamespace

import pytest

from bench.api import launch
from bench.plan import order
from bench.plan.reading import read_suite
from ganlab import datasets


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "quik"), "unknown suite 'quik'; did you mean 'quick'?"),
        (("run", "nowhere.toml"), "no suite file nowhere.toml; shipped suites:"),
        (("runn",), "No such command 'runn'"),
        (("run", "smoke", "--devise", "cpu"), "No such option: --devise"),
        (("run", "smoke", "--device", "gpu"), "unknown device 'gpu'; there are auto, cpu, cuda, and cuda:N"),
        (("run", "smoke", "--device", "cuda:99"), "device 'cuda:99' asked for, but PyTorch sees"),
        (("run", "smoke", "--workers", "0"), "--workers"),
        (("run", "smoke", "--set", "loss=l7"), "unknown loss 'l7'"),
        (("run", "smoke", "--set", "dataset=cifar"), "unknown data set 'cifar'"),
        (("run", "smoke", "--set", "steps"), "expected key=value, as in --set steps=100"),
        (("run", "smoke", "--only", "los=l1"), "--only: unknown key 'los'; did you mean 'loss'?"),
        (("run", "smoke", "--only", "loss=l7"), "selects none of the 29 cells"),
        (("report", "nowhere"), "nowhere is not a run directory"),
        (("report",), "Missing argument 'DIR'"),
        (("status", "nowhere"), "nowhere is not a run directory"),
        (("data", "fetsh"), "unknown action 'fetsh'; did you mean 'fetch'?"),
        (("data", "fetch", "cifar"), "cifar"),
    ],
)
def test_mistakes(bench_main, arguments, says):
    code, out, err = bench_main(*arguments)
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err


def test_a_folder_that_cannot_be_written(bench_main, tmp_path):
    (tmp_path / "file").write_text("precious")
    code, _, err = bench_main("run", "smoke", "--out", str(tmp_path / "file"))
    assert code == 2
    assert "cannot write to" in err
    assert (tmp_path / "file").read_text() == "precious"


def test_foreign_files_are_not_overwritten(bench_main, tmp_path):
    run = tmp_path / "results" / "smoke"
    run.mkdir(parents=True)
    (run / "cells.csv").write_text("mine\n")
    code, _, err = bench_main("run", "smoke")
    assert code == 2
    assert "nothing was overwritten" in err
    assert (run / "cells.csv").read_text() == "mine\n"


def test_missing_data_are_reported_before_any_work(bench_main, tmp_path, monkeypatch):
    def missing(name, kind=None):
        raise datasets.DataMissing(f"{name} is not here; fetch it")

    monkeypatch.setattr(datasets, "load", missing)
    code, _, err = bench_main("run", "smoke")
    assert (code, err) == (2, err)
    assert "is not here; fetch it" in err
    assert not (tmp_path / "results").exists()


def test_internal_errors_write_a_traceback_file(bench_main, monkeypatch):
    def bug(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(launch, "read_suite", bug)
    code, _, err = bench_main("run", "smoke")
    assert code == 70
    file = err.split("the traceback is in ")[1].split(",")[0]
    with open(file) as traceback:
        assert "ZeroDivisionError: a bug" in traceback.read()


def test_lists(bench_main):
    code, out, _ = bench_main("suites")
    assert code == 0
    assert all(name in out for name in ("smoke", "quick"))
    code, out, _ = bench_main("data")
    assert code == 0
    assert "photographs    here" in out


@pytest.mark.parametrize("verb", ["run", "report", "status", "suites", "data"])
def test_help_says_what_each_option_takes(bench_main, verb):
    code, out, _ = bench_main(verb, "--help")
    assert code == 0
    assert "Usage: python -m bench" in out


def test_a_run_that_stopped_for_time_says_how_to_resume(bench_main, monkeypatch, tmp_path):
    counts = Counter(done=3, pending=2)
    ended = launch.RunResult(SimpleNamespace(path=tmp_path / "r", warnings=()), counts, [tmp_path / "r" / "report.md"])
    monkeypatch.setattr(launch, "execute", lambda *_: ended)
    code, out, err = bench_main("run", "smoke", "--minutes", "2", "--fresh", "--out", "my run")
    assert (code, out) == (20, f"{tmp_path / 'r' / 'report.md'}\n")
    assert err.splitlines() == [
        f"3 of 5 cells done (2 pending); each has its reason in {tmp_path / 'r' / 'cells.csv'}",
        "stopped after 2 minutes. Go on with: python -m bench run smoke --minutes 2 --out 'my run'",
    ]


def test_filters():
    cells = read_suite("smoke").cells
    wanted = order.parse_filter("task=sr,loss=l1|l2,rate=0.20")
    chosen = [cell for cell in cells if order.matches(cell, wanted)]
    assert len(chosen) == 2 * 2 * 2  # losses x heads x seeds at salt 0.2
    assert {cell.loss for cell in chosen} == {"l1", "l2"}


def test_overrides_are_toml():
    assert order.parse_overrides(["steps=5", "loss=['l1']", "head=raw", "lr=1e-3"]) == {
        "steps": 5,
        "loss": ["l1"],
        "head": "raw",
        "lr": 1e-3,
    }
