"""`compare`, `record`, and `calibrate` on the command line: revisions, files, messages, and every exit code."""

import contextlib
import functools
import itertools
import json
import math
import random
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import bench.cli.main
import ganlab
from bench import api
from bench.errors import BenchError, Broken
from bench.throughput import calibrate as calibration
from bench.throughput import compare as comparison
from bench.throughput import processes, revisions, rounds
from bench.throughput.arm import tree_hash
from bench.throughput.cells import choose
from bench.throughput.compare import Comparison
from bench.throughput.judge import Judgement, Rule
from bench.throughput.processes import Side
from bench.throughput.records import Calibration, Machine, Rate, Trial
from tests.support.fake_tree import write_tree

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
WORK = {"parameters": 10, "images_per_step": 8}


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def line_of(cell, out):
    """The row of a cell in the printed table."""
    return next(line for line in out.splitlines() if line.startswith(cell))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with a tree in two commits, the current folder."""
    monkeypatch.setenv("GANLAB_CACHE", str(tmp_path / "cache"))
    folder = write_tree(tmp_path / "work")
    git(folder, "init", "--quiet")
    for step in ("sum(range(1000))", "sum(range(1001))"):
        write_tree(folder, step=step)
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", step)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def bench_main(monkeypatch, capfd):
    """bench_main("compare", ...) -> (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        with pytest.raises(SystemExit) as stop:
            bench.cli.main.main()
        return (stop.value.code or 0, *capfd.readouterr())

    return call


@pytest.fixture
def rehearsed(monkeypatch):
    """rehearsed(0.1): no process is started; every round finds this log ratio, a second after the last."""

    def rehearse(log_ratio=0.0, noise=0.001, work=WORK, losses=("l2",), error=None):
        offer, turn, ticks = {"tasks": ["sr"], "losses": list(losses)}, itertools.count(), itertools.count()

        def measure(server, sides, cells, device, index):
            if error:
                raise error
            logs = {name: log_ratio + noise * (-1) ** next(turn) for name in cells}
            return rounds.Round(logs, dict.fromkeys(cells, (5.0, 5.0)), {}, dict.fromkeys(cells, work), [])

        monkeypatch.setattr(comparison, "ForkServer", contextlib.nullcontext)
        monkeypatch.setattr(comparison, "survey", lambda server, sides, device, wanted: choose(offer, offer, wanted))
        monkeypatch.setattr(rounds, "measure", measure)
        for name in ("run", "record"):
            function = getattr(comparison, name)
            monkeypatch.setattr(comparison, name, functools.partial(function, clock=lambda: float(next(ticks))))

    return rehearse


@pytest.mark.parametrize(
    ("log_ratio", "noise", "code", "verdict"),
    [(0.0, 0.001, 0, "SAME"), (-0.1, 0.001, 0, "FASTER"), (0.1, 0.001, 10, "SLOWER"), (0.0, 0.2, 11, "UNSURE")],
)
def test_exit_codes(bench_main, rehearsed, repository, log_ratio, noise, code, verdict):
    rehearsed(log_ratio, noise)
    found, out, _ = bench_main("compare", "--base", "HEAD~1", "--minutes", "1")
    assert found == code
    assert f"\n{verdict}: " in out
    assert "this machine is not calibrated" in out
    assert f"head this tree: {repository}/ganlab, sha256 {tree_hash(repository)[:12]}\n" in out
    assert f"base HEAD~1 ({git(repository, 'rev-parse', 'HEAD~1')[:12]}): /" in out


def test_from_python(rehearsed, repository):
    rehearsed(0.1)
    told = []
    found = api.compare("HEAD~1", task="sr", loss=["l2"], minutes=1, tell=told.append)
    assert (found.verdict, [one.cell for one in found.judgements]) == ("SLOWER", ["sr l2"])
    assert told[0].startswith("round 1, ")
    kept = api.record(repository / "before.json", minutes=1)
    assert list(kept.cells) == ["sr l2"]
    assert api.compare(repository / "before.json", minutes=1).verdict == "SAME"
    rehearsed(error=Broken("head: its process died", "sr l2"))
    with pytest.raises(BenchError, match=r"^BROKEN: sr l2: head: its process died$"):
        api.record(repository / "before.json")


def test_broken_exits_with_12(bench_main, rehearsed, repository):
    rehearsed(error=Broken("head: its process died", "sr l2"))
    code, out, _ = bench_main("compare", "--base", "HEAD")
    assert code == 12
    assert "sr l2: head: its process died" in out
    assert "BROKEN: nothing was compared" in out


def test_internal_errors_exit_with_70(bench_main, rehearsed, repository):
    rehearsed(error=ZeroDivisionError())
    code, _, err = bench_main("compare", "--base", "HEAD")
    assert code == 70
    assert err.count("\n") == 1


def test_ctrl_c_leaves_no_worktree(bench_main, rehearsed, repository, monkeypatch):
    seen = []

    def interrupted(*_, **__):
        seen.extend(git(repository, "worktree", "list").splitlines())
        raise KeyboardInterrupt

    rehearsed()
    monkeypatch.setattr(rounds, "measure", interrupted)
    assert bench_main("compare", "--base", "HEAD")[0] == 130
    assert len(seen) == 2
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert not Path(seen[1].split()[0]).exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("compare",), "Missing option '--base'"),
        (("compare", "--base", "nope"), "no revision and no file 'nope'"),
        (("compare", "--base", "--all"), "no revision and no file '--all'"),
        (("compare", "--base", "ganlab"), "base 'ganlab' is a folder"),
        (("compare", "--base", "HEAD", "--head", "nope"), "no revision and no file 'nope'"),
        (("compare", "--base", "HEAD", "--head", "ganlab"), "holds no ganlab to measure"),
        (("compare", "--base", "HEAD", "--loss", "l7"), "no such cell on both sides; there are sr l2"),
        (("compare", "--base", "HEAD", "--device", "gpu"), "unknown device 'gpu'"),
        (("compare", "--base", "HEAD", "--minutes", "0"), "--minutes"),
        (("record", "no/such/folder/file"), "there is no such folder"),
        (("record", "ganlab"), "it is a folder"),
        (("calibrate", "--runs", "5"), "expected PERCENT=COUNT"),
    ],
)
def test_mistakes(bench_main, rehearsed, repository, arguments, says, monkeypatch):
    real = comparison.survey
    rehearsed()
    if "--loss" in arguments:
        offer = {"tasks": ["sr"], "losses": ["l2"]}
        process = SimpleNamespace(side=Side("head", repository), description=offer)
        monkeypatch.setattr(processes, "start", lambda *_: [process, process])
        monkeypatch.setattr(comparison, "survey", real)
    code, out, err = bench_main(*arguments)
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err


def test_outside_git(bench_main, rehearsed, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(write_tree(tmp_path / "plain"))
    rehearsed()
    code, _, err = bench_main("compare", "--base", "HEAD")
    assert code == 2
    assert "is in no git repository" in err


def test_different_dependencies_are_reported(bench_main, rehearsed, repository):
    (repository / "pyproject.toml").write_text('[project]\ndependencies = ["torch>=3"]\n')
    rehearsed()
    _, out, _ = bench_main("compare", "--base", "HEAD")
    assert "pyproject.toml differs between base and head" in out
    assert "ganlab is the same on both sides" in out


def test_a_revision_as_head(repository):
    with revisions.source_tree("HEAD~1", repository) as (tree, label):
        assert "range(1000)" in (tree / "ganlab" / "tasks.py").read_text()
        assert label.startswith("HEAD~1 (")
    assert not tree.exists()


@pytest.fixture
def baseline(bench_main, rehearsed, repository):
    """A file that `record` wrote."""
    rehearsed(0.5, losses=("l1", "l2"))
    code, out, _ = bench_main("record", "base.json", "--minutes", "0.2")
    assert code == 0
    assert "sr l2                   5.000 ms per step" in out
    return repository / "base.json"


@pytest.mark.parametrize(("log_ratio", "code"), [(0.5, 0), (0.6, 10), (0.4, 0)])
def test_compare_with_a_record(bench_main, rehearsed, baseline, log_ratio, code):
    rehearsed(log_ratio, losses=("l1", "l2"))
    assert bench_main("compare", "--base", str(baseline), "--minutes", "1")[0] == code


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda record: record.update(cells={}), "cells: Dictionary should have at least 1 item"),
        (lambda record: record["cells"]["sr l2"].update(log_ratio=[]), "log_ratio: Tuple should have at least 2 items"),
        (lambda record: record["cells"]["sr l2"].update(log_ratio=[0.1, float("nan")]), "should be a finite number"),
        (lambda record: record["cells"]["sr l2"].update(log_ratio=[0.1, float("inf")]), "should be a finite number"),
        (lambda record: record["cells"]["sr l2"].update(step_ms=0.0), "step_ms: Input should be greater than 0"),
        (lambda record: record["cells"]["sr l2"].pop("step_ms"), "step_ms: Field required"),
        (lambda record: record["cells"]["sr l2"]["work"].update(parameters=9), "other work than recorded"),
        (lambda record: record["cells"].update({"sr l9": record["cells"]["sr l2"]}), "sr l9: head lacks it"),
        (lambda record: record["machine"].update(cores=999), "was recorded on another machine: cores 999 against"),
        (lambda record: record.update(version=2), "version"),
    ],
)
def test_records_fail_closed(bench_main, rehearsed, baseline, change, says):
    record = json.loads(baseline.read_text())
    change(record)
    baseline.write_text(json.dumps(record))
    rehearsed(0.5, losses=("l1", "l2"))
    code, out, _ = bench_main("compare", "--base", str(baseline))
    assert code == 12
    assert says in out


def test_an_invalid_record_is_broken(bench_main, rehearsed, baseline):
    rehearsed()
    for text in ("", "{", "[]", "null"):
        baseline.write_text(text)
        code, out, _ = bench_main("compare", "--base", str(baseline))
        assert code == 12
        assert "is no usable baseline" in out


def test_a_new_loss_is_new(bench_main, rehearsed, baseline):
    rehearsed(0.5, losses=("l1", "l2", "l3"))
    code, out, _ = bench_main("compare", "--base", str(baseline), "--minutes", "1")
    assert code == 0
    assert line_of("sr l3", out).split()[2] == "NEW"


def trial(planted, verdict):
    return Trial(
        planted=planted,
        verdict=verdict,
        cells={"sr l2": verdict},
        seconds=20.0,
        at="2026-01-01",
        load=0.1,
        rounds=[{"sr l2": 0.005 * (-1) ** i} for i in range(10)],
    )


@pytest.fixture
def calibrated(repository, monkeypatch):
    """`calibrate` whose comparisons take no time: SLOWER from 5 % on."""
    calls = []

    def run(sides, wanted, seconds, device, rule, labels):
        calls.append(sides[1].plant)
        verdict = "SLOWER" if sides[1].plant >= 0.05 else "SAME"
        assert sides[0].root != sides[1].root
        assert sides[0].digest == sides[1].digest
        ratios = [{cell: 0.01 * (-1) ** i + sides[1].plant for cell in ("sr l2", "gan l2")} for i in range(8)]
        return Comparison(
            base="a",
            head="b",
            rule=rule,
            judgements=(Judgement(cell="sr l2", verdict=verdict),),
            rounds=tuple(ratios),
            seconds=16.0,
            load=0.0,
        )

    monkeypatch.setattr(calibration, "run", run)
    monkeypatch.setattr(calibration, "SIMULATED", 20)
    return calls


def test_calibrate_resumes(bench_main, calibrated):
    code, out, _ = bench_main("calibrate", "--runs", "0=2", "--runs", "10=1")
    assert code == 0
    assert sorted(calibrated) == [0, 0, 0.1]
    assert "unchanged code was called SLOWER or FASTER in 0 of 2 (0.0 to 84.2 %)" in out
    assert "a planted 10 % was detected in 1 of 1 (2.5 to 100.0 %)" in out
    bench_main("calibrate", "--runs", "0=3", "--runs", "10=1")
    assert sorted(calibrated) == [0, 0, 0, 0.1]  # one was lacking
    bench_main("calibrate", "--runs", "0=1", "--minutes", "3")
    assert len(calibrated) == 5  # other minutes: afresh


def test_verdicts_show_the_calibration(bench_main, calibrated, rehearsed):
    bench_main("calibrate", "--runs", "0=40", "--runs", "5=20")
    rehearsed(0.1)
    _, out, _ = bench_main("compare", "--base", "HEAD", "--minutes", "1")
    assert line_of("sr l2", out).endswith("0 of 40 (0.0 to 8.8 %)")
    rehearsed(0.0)
    _, out, _ = bench_main("compare", "--base", "HEAD", "--minutes", "1")
    assert line_of("sr l2", out).endswith("0 of 20 (0.0 to 16.8 %)")
    assert "simulated on its noise: 0 of 20" in out


def test_a_broken_trial_ends_calibration(bench_main, repository, monkeypatch):
    broken = Comparison(
        base="a",
        head="b",
        rule=Rule(),
        load=0.0,
        judgements=(Judgement(cell="sr l2", verdict="BROKEN", reason="base: no"),),
    )
    monkeypatch.setattr(calibration, "run", lambda *_: broken)
    code, _, err = bench_main("calibrate")
    assert (code, err) == (12, "bench: BROKEN: base: no\n")


def test_simulation_removes_and_adds_the_planted_slowdown():
    here = Calibration(
        machine=Machine.current("cpu"),
        method="m",
        minutes=1.0,
        rule=Rule(),
        cells=("sr l2",),
        trials=(trial(0.0, "SAME"), trial(0.05, "SLOWER")),
    )
    assert calibration.simulate(here, [0.0, 0.1], runs=20) == {"0.0": {"SAME": 20}, "0.1": {"SLOWER": 20}}
    summary = here.summary()
    assert summary["trials"] == {"0.0": {"SAME": 1}, "0.05": {"SLOWER": 1}}
    assert json.loads(json.dumps(summary))["cells"] == ["sr l2"]


def test_rates_are_clopper_and_pearsons():
    rate = Rate.of(1, 20)  # both ends by hand: sum over k >= 1 (k <= 1) of the binomial is 0.025
    assert 1 - (1 - rate.low) ** 20 == pytest.approx(0.025, abs=1e-3)
    assert (1 - rate.high) ** 20 + 20 * rate.high * (1 - rate.high) ** 19 == pytest.approx(0.025, abs=1e-3)


def test_a_comment_keeps_a_calibration_and_a_constant_invalidates_it(tmp_path):
    files = [Path(shutil.copy(file, tmp_path)) for file in calibration.METHOD]
    assert calibration.method(files) == calibration.method()
    rule = tmp_path / "judge.py"
    text = rule.read_text()
    rule.write_text("# a comment\n" + text.replace('"""Student\'s t, upper tail."""', '"""The upper tail."""'))
    assert calibration.method(files) == calibration.method()
    changed = text.replace("LOOK_GROWTH = 1.3", "LOOK_GROWTH = 1.4")
    assert changed != text
    rule.write_text(changed)
    assert calibration.method(files) != calibration.method()


def test_blocks_of_four_complete_rounds_are_drawn(monkeypatch):
    """Five rounds hold two blocks of four, three rounds none, and a round that lacks the cell is left out. A round took
    (10 + 6) s / (6 + 3) rounds."""
    drawn = []

    def spy(known, blocks, round_s, planted, draw):
        drawn.append(([[one["sr l2"] for one in block] for block in blocks], round_s))
        return "SAME"

    monkeypatch.setattr(calibration, "simulated_verdict", spy)
    logs = [{"sr l2": float(i)} for i in range(5)]
    fields = {"planted": 0.0, "verdict": "SAME", "cells": {}, "at": "", "load": 0.0}
    long, short = ((10.0, [*logs, {"gan l2": 9.0}]), (6.0, logs[:3]))
    trials = tuple(Trial(seconds=seconds, rounds=some, **fields) for seconds, some in (long, short))
    machine = Machine.current("cpu")
    known = Calibration(machine=machine, method="m", minutes=1.0, rule=Rule(), cells=("sr l2",), trials=trials)
    assert calibration.simulate(known, [0.0], runs=1) == {"0.0": {"SAME": 1}}
    assert drawn == [([[0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]], pytest.approx(16 / 9))]


def test_a_simulated_round_takes_as_long_as_a_real_one(monkeypatch):
    def judged(cells, measure, seconds, clock, rule):
        assert seconds == 90  # 1.5 minutes
        assert measure(["sr l2"]) == {"sr l2": pytest.approx(0.25 + math.log(1.1))}
        measure(["sr l2"])
        assert clock() == 6  # two rounds of 3 s
        return [Judgement(cell="sr l2", verdict="FASTER")]

    monkeypatch.setattr(calibration.judge, "judge", judged)
    known = Calibration(machine=Machine.current("cpu"), method="m", minutes=1.5, rule=Rule(), cells=("sr l2",))
    blocks = [[{"sr l2": 0.25}] * 4]
    assert calibration.simulated_verdict(known, blocks, 3.0, 0.1, random.Random(0)) == "FASTER"


def test_trials_are_mixed():
    machine, trials = Machine.current("cpu"), (trial(0.0, "SAME"),)
    known = Calibration(machine=machine, method="m", minutes=1.0, rule=Rule(), trials=trials)
    assert calibration.missing_trials(known, {0.0: 4, 0.1: 2}) == [0.1, 0.0, 0.0, 0.1, 0.0]
    assert calibration.missing_trials(known.model_copy(update={"trials": ()}), {0.0: 1, 0.1: 2}) == [0.1, 0.0, 0.1]


@pytest.mark.parametrize(
    ("strict", "compare_exits", "make_fails"),
    [("", 0, False), ("", 10, True), ("", 11, False), ("1", 11, True), ("", 12, True)],
)
def test_make_check(tmp_path, strict, compare_exits, make_fails):
    """The recipe with an interpreter that only exits: `make` must not swallow what it says."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexit {compare_exits}\n")
    python.chmod(0o755)
    makefile = Path(__file__).parents[3] / "Makefile"
    settings = ["BASE=HEAD", "VENV=", f"PYTHON={python}", f"STRICT={strict}"]
    done = subprocess.run(["make", "-f", makefile, "check", *settings], capture_output=True, text=True)
    assert bool(done.returncode) is make_fails
    assert ("UNSURE is let pass" in done.stderr) is (compare_exits == 11 and not strict)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_compare_end_to_end(bench_main, repository, monkeypatch, device):
    """Real code in a real repository: six short rounds, no verdict expected but that both sides are comparable."""
    monkeypatch.setattr(rounds, "CHUNK_S", 0.01)
    monkeypatch.setattr(rounds, "WARM_UP_S", 0.01)
    shutil.rmtree(repository / "ganlab")
    shutil.copytree(Path(ganlab.__file__).parent, repository / "ganlab", ignore=shutil.ignore_patterns("__pycache__"))
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "real")
    only = ("--task", "location", "--loss", "l2", "--minutes", "0.05")
    code, out, err = bench_main("compare", "--base", "HEAD", *only, "--device", device)
    assert code in (0, 10, 11), out + err
    assert line_of("location l2", out)
    assert "ganlab is the same on both sides" in out
    assert len(git(repository, "worktree", "list").splitlines()) == 1
