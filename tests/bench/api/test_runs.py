"""Are whole runs in separate processes correct on disk: from a wheel, resumed, killed, diverging?"""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from bench.store.reader import load
from bench.store.schema import COLUMNS, MEASURED_COLUMNS
from bench.training.numerics import configure
from ganlab.tasks import TASKS
from tests.bench.running.test_runner_executor import is_running, wait_for
from tests.support.fake_runs import CPU, InProcess

ROOT = Path(__file__).parents[3]
ALONE = ("--workers", "1")  # where nothing is gained by a second, which takes seconds to start
QUICK = """
title = "no images to load"
timing = {{ rounds = 0, chunk_ms = 10 }}
[[matrix]]
task = "location"
dataset = "gaussian"
loss = ["bce", "l2"]
optimizer = "sgd"
outliers = {{ far = [0.1, 0.2] }}
lr = {lr}
steps = {steps}
evaluations = 1
batch_size = 500
seeds = 1
"""
SMALL = """
title = "small"
timing = {{ rounds = {rounds}, chunk_ms = 10 }}
[[matrix]]
task = "sr"
dataset = "photographs"
loss = ["l1", "l2"]
head = "raw"
outliers = {{ clean = 0, salt = 0.2 }}
lr = {lr}
steps = {steps}
evaluations = 2
batch_size = 4
seeds = {seeds}
settings = {{ channels = 8, blocks = 1, patch = 8 }}
{more}"""
DIGITS = """
[[matrix]]
task = "gan"
dataset = "digits"
loss = ["bce", "l1"]
outliers = { noise = 0.2, flip = 0.2 }
lr = 2e-4
steps = 60
evaluations = 2
batch_size = 16
seeds = 1
settings = { width = 8, latent = 8, evaluation_images = 100 }
"""


def small(folder: Path, **changes) -> Path:
    file = folder / "small.toml"
    file.write_text(SMALL.format(**({"rounds": 0, "lr": "1e-3", "steps": 10, "seeds": 1, "more": ""} | changes)))
    return file


def quick(folder: Path, steps: int, lr: str = "0.02") -> Path:
    """Four cells whose worker starts in half the time of others: it needs no images."""
    file = folder / "quick.toml"
    file.write_text(QUICK.format(steps=steps, lr=lr))
    return file


def environment(path: Path = ROOT) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}


# `python -m bench`, but for the figures of its report, which take as long as the rest of a small run
WITHOUT_FIGURES = ("-c", "from bench.cli.main import main; from bench.reports import build; build.FIGURES = {}; main()")


def bench(
    *arguments: object, cwd: Path, path: Path = ROOT, module: tuple[str, ...] = ("-m", "bench")
) -> subprocess.CompletedProcess:
    command = [sys.executable, *module, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment(path), capture_output=True, text=True, check=False)


def rows(file: Path, drop: tuple[str, ...] = MEASURED_COLUMNS) -> list[dict[str, str]]:
    with open(file, newline="") as table:
        return [{key: value for key, value in row.items() if key not in drop} for row in csv.DictReader(table)]


def science(run: Path) -> dict[str, list[dict[str, str]]]:
    """Every row of a run but for the measured columns."""
    return {name: rows(run / f"{name}.csv") for name in ("cells", "images", "curves", "summary")}


def workers_of(pid: int) -> list[int]:
    """The worker processes of the runner `pid`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            command = (stat.parent / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if int(fields[1]) == pid and b"bench.executors.local" in command:
            found.append(int(stat.parent.name))
    return found


def finished_cells(run: Path) -> int:
    journal = run / "journal.jsonl"
    return journal.read_text().count('"kind":"cell"') if journal.exists() else 0


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The distribution built as a wheel and unpacked in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-deps", "--quiet"]
    subprocess.run(
        [*pip, "wheel", *options, "--no-build-isolation", "-w", folder, ROOT], check=True, capture_output=True
    )
    subprocess.run([*pip, "install", *options, "--target", folder / "site", *folder.glob("*.whl")], check=True)
    return folder / "site"


@pytest.fixture(scope="session")
def smoke(wheel, tmp_path_factory) -> Path:
    """The smoke suite, run from the wheel in an empty folder outside the checkout."""
    folder = tmp_path_factory.mktemp("elsewhere")
    done = bench("run", "smoke", cwd=folder, path=wheel)
    assert done.returncode == 0, done.stderr
    assert "29/29" in done.stdout
    return folder / "results" / "smoke"


def test_one_row_per_cell_and_every_column_that_applies_is_filled(smoke):
    cells = rows(smoke / "cells.csv", drop=())
    assert len(cells) == 29 == json.loads((smoke / "manifest.json").read_text())["cells"]
    readouts = {column for task in TASKS.values() for column in task.columns}
    for cell in cells:
        assert list(cell) == list(COLUMNS["cells"])
        assert cell["status"] == "done"
        expected_empty = {"reason", "first_seeds", "most_seeds"} | readouts - set(TASKS[cell["task"]].columns)
        expected_empty |= {"scale", "value_range"} if cell["task"] == "gan" else set()
        expected_empty |= {"outlier_share"} if cell["outlier"] == "flip" else set()
        assert {column for column, value in cell.items() if value == ""} == expected_empty


def test_no_nan_or_inf_anywhere(smoke):
    for name in COLUMNS:
        for row in rows(smoke / f"{name}.csv", drop=()):
            assert not {"nan", "inf", "-inf", "none"} & {value.lower() for value in row.values()}


def test_other_tables_and_pictures(smoke):
    run = load(smoke)
    assert set(run.images["cell_id"]) == set(run.cells.loc[run.cells["task"] == "sr", "cell_id"])
    assert run.curves.groupby(["cell_id", "metric"]).size().max() <= 25
    assert set(run.curves["cell_id"]) == set(run.cells["cell_id"])
    assert set(run.timing["round"]) == {0, 1}
    assert set(run.timing.loc[run.timing["task"] == "gan", "phase"]) == {
        *("data", "g_forward", "g_loss", "g_backward", "g_optimizer"),
        *("d_forward", "d_loss", "d_backward", "d_optimizer", "step"),
    }
    steps = run.timing.pivot_table(index=["task", "loss", "head", "round"], columns="phase", values="ms")
    assert (steps["step"] >= 0.99 * steps.drop(columns="step").sum(axis=1)).all()
    for cell_id, layout in run.manifest["samples"].items():
        picture = run.sample(cell_id)
        assert picture.shape[0] % layout["tile"] == picture.shape[1] % layout["tile"] == 0
    assert run.manifest["git"] == {"commit": None, "dirty": None}  # installed from a wheel, outside any checkout
    assert run.manifest["finished"]
    assert (smoke / "report.html").stat().st_size < 3e6
    for figure in (smoke / "figures").glob("*.png"):
        assert Image.open(figure).size[0] > 300


def test_run_again_does_nothing_and_report_needs_the_directory_alone(smoke, wheel):
    before = science(smoke)
    again = bench("run", "smoke", cwd=smoke.parents[1], path=wheel, module=WITHOUT_FIGURES)
    assert again.returncode == 0
    assert "29 of 29 cells are on disk" in again.stdout
    assert "done " not in again.stdout
    assert science(smoke) == before


@pytest.fixture
def no_workers(monkeypatch):
    """Runs of `bench_main` train in threads of this process, which has imported everything, and draw no figures."""
    configure(CPU)
    monkeypatch.setattr("bench.api.launch.make_executor", lambda *arguments: InProcess(1))
    monkeypatch.setattr("bench.reports.build.FIGURES", {})


def test_two_processes_agree_and_a_killed_run_resumes_to_the_same_rows(tmp_path, bench_main, no_workers):
    suite = small(tmp_path, steps=100, seeds=2, more=DIGITS)
    code, _, err = bench_main("run", suite, "--out", "a", *ALONE)
    assert code == 0, err

    command = [sys.executable, "-m", "bench", "run", str(suite), "--out", "b", *ALONE]
    runner = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL)
    wait_for(lambda: finished_cells(tmp_path / "b") >= 2)
    workers = workers_of(runner.pid)
    runner.kill()
    runner.wait()
    if sys.platform == "linux":
        assert workers
        wait_for(lambda: not any(map(is_running, workers)))  # no orphan outlives the runner
    kept = finished_cells(tmp_path / "b")
    assert kept < 12, "the run was over before it was killed"

    code, out, err = bench_main("run", suite, "--out", "b", *ALONE)
    assert code == 0, err
    assert f"{kept} of 12 cells are on disk" in out
    assert science(tmp_path / "a") == science(tmp_path / "b")


def test_a_diverging_cell_is_a_row_with_its_reason_and_the_others_go_on(tmp_path, bench_main, no_workers):
    code, _, err = bench_main("run", quick(tmp_path, 10, "[0.02, 1e30]"), "--out", "r", *ALONE)
    assert code == 20
    assert "4 of 8 cells done (4 diverged)" in err
    cells = rows(tmp_path / "r" / "cells.csv")
    assert {cell["status"] for cell in cells if cell["lr"] == "0.02"} == {"done"}
    for cell in (cell for cell in cells if cell["lr"] != "0.02"):
        assert cell["status"] == "diverged"
        assert cell["reason"].startswith("first non-finite loss at step ")
        assert cell["location_error"] == ""
    assert (tmp_path / "r" / "report.html").exists()
    code, out, _ = bench_main("run", tmp_path / "quick.toml", "--out", "r", *ALONE)  # a result: not tried again
    assert code == 20
    assert "8 of 8 cells are on disk" in out


@pytest.mark.skipif(sys.platform != "linux", reason="finds workers through /proc")
def test_a_dead_worker_costs_its_cell_one_attempt_and_is_replaced(tmp_path):
    suite = quick(tmp_path, steps=150)
    command = [sys.executable, *WITHOUT_FIGURES, "run", str(suite), "--out", "r", "--workers", "1"]
    runner = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL)
    wait_for(lambda: finished_cells(tmp_path / "r") >= 1)
    os.kill(wait_for(lambda: workers_of(runner.pid))[0], signal.SIGKILL)
    assert runner.wait(timeout=600) == 0
    attempts = [cell["attempts"] for cell in rows(tmp_path / "r" / "cells.csv", drop=())]
    assert sorted(attempts) == ["1", "1", "1", "2"]


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_resume(tmp_path):
    suite = quick(tmp_path, steps=150)
    command = [sys.executable, "-m", "bench", "run", str(suite), "--out", "r", "--workers", "1"]
    runner = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore Ctrl-C
    )
    wait_for(lambda: finished_cells(tmp_path / "r") >= 1)
    runner.send_signal(signal.SIGINT)
    _, err = runner.communicate(timeout=300)
    assert runner.returncode == 130
    assert f"Resume with: python -m bench run {suite} --out r" in err
    statuses = [cell["status"] for cell in rows(tmp_path / "r" / "cells.csv")]
    assert len(statuses) == 4
    assert set(statuses) == {"done", "interrupted"}


def test_only_runs_a_part_and_the_rest_stays_pending(tmp_path, bench_main, no_workers):
    suite = quick(tmp_path, steps=10)
    code, _, err = bench_main("run", suite, "--out", "r", "--only", "loss=l2,rate=0.1", *ALONE)
    assert code == 0, err
    statuses = [cell["status"] for cell in rows(tmp_path / "r" / "cells.csv")]
    assert sorted(statuses) == ["done", "pending", "pending", "pending"]
    assert "1 of 4 cells done" in bench_main("status", "r")[1]

    cells = tmp_path / "r" / "cells.csv"
    cells.write_text(cells.read_text()[:500])  # truncated by somebody
    code, _, err = bench_main("report", "r")
    assert (code, err.count("\n")) == (2, 1)
    code, out, err = bench_main("run", suite, "--out", "r", *ALONE)  # written again from the journal, and the rest run
    assert code == 0, err
    assert "1 of 4 cells are on disk" in out
    assert {cell["status"] for cell in rows(cells)} == {"done"}
