"""`make gpu-report`: slices resume, nothing is measured before its proof, and nothing unmeasured is reported."""

import json
from pathlib import Path

import pytest
import torch

from ganlab.datasets import DataMissing
from tools import gpu_report

CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_without_a_gpu_it_says_so_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["gpu_report", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        gpu_report.main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.err == "gpu-report: a CUDA GPU is needed, and PyTorch sees none here; nothing was measured\n"
    assert said.out == ""
    assert not (tmp_path / "out").exists()


JUNIT = '<testsuites><testsuite tests="{tests}" failures="{failures}" errors="0" skipped="{skipped}"/></testsuites>'
ARMS = [
    {
        "workload": "gan 28x28",
        "arm": "captured fp32",
        "ratio": 5.0,
        "ratio_low": 4.5,
        "ratio_high": 5.5,
        "peak_share": 0.1,
        "copy_share": 0.2,
    },
    {
        "workload": "gan 28x28",
        "arm": "64 cells fp32",
        "ratio": 16.0,
        "ratio_low": 14.0,
        "ratio_high": 18.0,
        "peak_share": 0.4,
        "copy_share": None,
    },
]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A pretended GPU machine: what was called there, by a clock that the calls move on; the suite takes two runs."""
    calls, clock, suite = [], [0.0], {"left_min": 11.0, "tests": 40, "failures": 0, "skipped": 0}

    def call(module, *arguments, expected=(0,)):
        options = dict(zip(arguments[::2], arguments[1::2], strict=False))
        calls.append(module)
        if module == "pytest":
            clock[0] += 60
            file = next(word.partition("=")[2] for word in arguments if word.startswith("--junitxml"))
            Path(file).write_text(JUNIT.format(**suite))
        elif module == "tools.peers":
            clock[0] += 60 * 6
            (Path(options["--out"])).mkdir()
            (Path(options["--out"]) / "peers.json").write_text(json.dumps({"arms": ARMS, "notes": ["a note"]}))
        else:
            minutes = float(arguments[arguments.index("--minutes") + 1])
            clock[0] += 60 * (minutes + 1)
            suite["left_min"] -= minutes
            gpu_report.RUN.mkdir(parents=True, exist_ok=True)
            finished = "now" if suite["left_min"] <= 0 else None
            manifest = {"finished": finished, "wall_s": 660.0, "cells": 2415}
            (gpu_report.RUN / "manifest.json").write_text(json.dumps(manifest))
            (gpu_report.RUN / "figures").mkdir(exist_ok=True)
            (gpu_report.RUN / "figures" / "a.png").touch()
            (gpu_report.RUN / "journal.jsonl").touch()

    monkeypatch.setattr(gpu_report, "call", call)
    monkeypatch.setattr(gpu_report, "RUN", tmp_path / "full")
    monkeypatch.setattr(gpu_report.time, "monotonic", lambda: clock[0])

    def slice_of(minutes: float = 9.0) -> bool:
        calls.clear()
        out = tmp_path / "gpu"
        out.mkdir(exist_ok=True)
        return gpu_report.make(gpu_report.Report(out, CPU, clock[0] + 60 * minutes))

    return slice_of, calls, suite, tmp_path / "gpu"


def test_slices_continue_until_everything_is_done(machine):
    a_slice, calls, _, out = machine
    assert not a_slice()
    assert calls == ["pytest", "tools.peers"]  # two minutes are left: too few to start the suite
    text = (out / "gpu.md").read_text()
    assert "40 of 40 tests passed" in text
    assert "| one GAN cell, 28x28, fp32 | 4 | 5.0 (4.5 to 5.5): reached | 10 % | 20 % |" in text
    assert "| 64 GAN cells, 28x28, fp32 | 15 | 16.0 (14.0 to 18.0): not reached | 40 % | – |" in text
    assert "| 64 super-resolution cells, bf16 | 6 | not measured | – | – |" in text
    assert "Suite `full`: not measured as a whole yet." in text
    assert not a_slice()
    assert calls == ["bench"]
    assert not (out / "manifest.json").exists()
    assert a_slice()
    assert calls == ["bench"]
    assert "2415 cells in 11.0 minutes (aim: 15)" in (out / "gpu.md").read_text()
    assert {file.name for file in out.iterdir()} == {"gpu.json", "gpu.md", "peers", "manifest.json", "figures"}
    assert a_slice()
    assert calls == []


@pytest.mark.parametrize("trouble", ["failures", "skipped"])
def test_nothing_is_measured_before_the_proof(machine, trouble):
    a_slice, calls, suite, out = machine
    suite[trouble] = 1
    for _ in range(2):
        with pytest.raises(gpu_report.Failed, match="39 of 40 tests passed"):
            a_slice()
        assert calls == ["pytest"]
    assert "39 of 40" in (out / "gpu.md").read_text()
    suite[trouble] = 0
    a_slice()
    assert calls == ["pytest", "tools.peers"]


def test_changed_code_is_proven_and_measured_again(machine, monkeypatch):
    a_slice, calls, _, out = machine
    while not a_slice():
        pass
    monkeypatch.setattr(gpu_report, "code_fingerprint", lambda device: "0" * 12)
    for file in (out / "peers").iterdir():
        file.unlink()
    (out / "peers").rmdir()
    a_slice()
    assert calls == ["pytest", "tools.peers"]


def test_missing_data_are_reported_before_any_measurement(monkeypatch, capsys, tmp_path):
    def missing(*_):
        raise DataMissing("fashion-mnist is not here")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_report, "load", missing)
    monkeypatch.setattr("sys.argv", ["gpu_report", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        gpu_report.main()
    assert (ended.value.code, capsys.readouterr().err) == (2, "gpu-report: fashion-mnist is not here\n")
    assert not (tmp_path / "out").exists()


def test_every_aim_is_an_arm_of_the_peers():
    from tools.peers.arms import ARMS as arms
    from tools.peers.workloads import workloads

    assert {aim.arm for aim in gpu_report.AIMS} <= {arm.name for arm in arms}
    assert {aim.workload for aim in gpu_report.AIMS} <= set(workloads())
