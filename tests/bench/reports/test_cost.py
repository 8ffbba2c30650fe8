"""Numbers on speed in the report: tables from a run directory, the measured peak, and the work of a step."""

from dataclasses import replace

import pytest
import torch

from bench.analysis.cost import TIMED, cost_sentences
from bench.plan.cell import Cell
from bench.plan.reading import read_suite
from bench.reports.figures.step_time import step_time
from bench.reports.tables import cost
from bench.store.reader import load
from bench.throughput.cells import SETTINGS, experiment
from bench.training.timing import matmul_peaks, roofline
from tests.support.synthetic import write_run
from tools.microbench import overhead

CALIBRATION = {
    "minutes": 0.5,
    "cells": ["sr l2"],
    "until": "2026-01-01",
    "trials": {"0.0": {"SAME": 40}, "0.05": {"SLOWER": 15, "UNSURE": 5}},
    "simulated": {"0.0": {"SAME": 990, "UNSURE": 10}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load(write_run(tmp_path_factory.mktemp("run"), seeds=2, samples=False))


def column(table, name):
    """Entries of a column by the row's name."""
    place = table.header.index(name)
    return {(row[0].text, row[1].text.partition(",")[0]): row[place] for row in table.rows}


def timed(run, **factor):
    """The run with the step time of some losses multiplied, and with no noise between rounds."""
    steps = run.timing[run.timing["phase"] == "step"].copy()
    steps["ms"] = steps["loss"].map(lambda loss: 8.0 * factor.get(loss, 1.0)) * (1 + 0.01 * steps["round"])
    return replace(run, timing=steps)


def test_ratio_to_bce_is_paired_by_round(run):
    """Rounds drift by 1 % each, all losses alike: the ratio shows nothing of it."""
    entries = column(cost.speed_table(timed(run, l1=1.25)), "step time over BCE's")
    assert entries["L1 sigmoid", "Super-resolution"].text == "1.250"
    assert entries["L1 sigmoid", "Super-resolution"].notes == ("1.250 to 1.250, n = 5",)
    assert entries["L2 sigmoid", "Super-resolution"].text == "1.000"
    assert entries["BCE sigmoid", "Super-resolution"].text == "–"


def test_one_round_gives_a_ratio_without_an_interval(run):
    timing = timed(run, l1=1.25).timing
    once = replace(run, timing=timing[timing["round"] == 0])
    ratio = column(cost.speed_table(once), "step time over BCE's")["L1 sigmoid", "Super-resolution"]
    assert (ratio.text, ratio.notes) == ("1.250", ("n = 1",))
    texts = [text.get_text() for axes in step_time(once).axes for text in axes.texts]
    assert "  10.0 ms, 1.25 × BCE" in texts
    assert cost_sentences(once) == []


def test_images_per_second(run):
    """A step takes 8, 8.08 ... 8.32 ms, so 8.16 at the median; cells that train 8 images per step: 980 a second."""
    cells = run.cells.assign(steps=100.0, train_s=2.0, images_per_s=400.0)
    entries = column(cost.speed_table(replace(timed(run), cells=cells)), "images per second")
    assert entries["BCE sigmoid", "Super-resolution"] == ("980", pytest.approx(8e3 / 8.16), ("8 per step",))


def test_sentences_follow_the_interval(run):
    sentences = [line for line in cost_sentences(timed(run, l1=1.25, l2=0.99)) if "Super-resolution" in line]
    assert any("L1 sigmoid takes 25 % more time than BCE" in line for line in sentences)
    assert any("L2 sigmoid costs what BCE costs, within 5 %" in line for line in sentences)


def in_precisions(run, **precision):
    """The run whose manifest says in which precision the steps of each loss of super-resolution were timed."""
    where = run.timing.loc[run.timing["task"] == "sr", TIMED].drop_duplicates().to_dict("records")
    steps = [step | {"precision": precision.get(step["loss"], "fp32"), "gflop": 0.1} for step in where]
    return replace(run, manifest=run.manifest | {"roofline": {"steps": steps}})


def test_steps_are_compared_only_within_one_precision(run):
    """L1 takes half as long, in bfloat16, which says nothing about the loss: no ratio, and the name says why."""
    table = cost.speed_table(in_precisions(timed(run, l1=0.5, l2=0.9), l1="bf16"))
    ratios = column(table, "step time over BCE's")
    assert ratios["L1 sigmoid (bf16)", "Super-resolution"].text == "–"
    assert ratios["L2 sigmoid (fp32)", "Super-resolution"].text == "0.900"
    assert table.caption.endswith("ratios are of steps in one precision")
    said = cost_sentences(in_precisions(timed(run, l1=0.5), l1="bf16"))
    assert not [line for line in said if line.startswith("Super-resolution") and "L1" in line]
    everywhere = cost.speed_table(in_precisions(timed(run, l1=0.5), bce="bf16", l1="bf16", l2="bf16"))
    assert column(everywhere, "step time over BCE's")["L1 sigmoid", "Super-resolution"].text == "0.500"


def test_phases_are_shares_of_the_step(run):
    rows = run.timing[(run.timing["task"] == "gan") & (run.timing["loss"] == "bce")].groupby("phase")["ms"].median()
    both = rows["g_forward"] + rows["d_forward"]
    entry = column(cost.phase_table(run), "forward (ms)")["BCE sigmoid", "GAN"]
    assert entry.order == pytest.approx(both)
    assert entry.notes[0] == f"{100 * both / rows['step']:.0f} %"
    assert entry.notes[1].startswith("G ")


def test_roofline_compares_work_with_the_peak(run):
    """0.04 Gflop in 8.16 ms are 4.9 Gflop/s, 9.8 % of 50."""
    place = run.timing[run.timing["task"] == "sr"].iloc[0]
    step = {"task": "sr", "dataset": place["dataset"], "loss": "bce", "head": "sigmoid", "precision": "fp32"}
    here = timed(run)
    here = replace(
        here,
        manifest=here.manifest
        | {"roofline": {"matmul_gflop_per_s": {"fp32": 50.0}, "steps": [step | {"gflop": 0.04}]}},
    )
    table = cost.roofline_table(here)
    assert [entry.text for entry in table.rows[0][2:]] == ["40", "4.9", "9.8 %"]
    assert len(table.rows) == 1
    assert "fp32 50" in table.caption


def test_calibration(run):
    here = replace(run, manifest=run.manifest | {"calibration": CALIBRATION})
    unchanged, planted = cost.calibration_table(here).rows
    assert unchanged[0].text == "unchanged code"
    assert unchanged[1] == ("0 of 40", 0.0, ("0.0 to 8.8 %", "simulated 0.0 % of 1000"))
    assert planted[0].text == "5 % slower"
    assert planted[1].text == "15 of 20"


def test_a_run_without_them_has_no_such_tables(run):
    bare = replace(run, manifest={}, timing=run.timing.iloc[:0])
    for table in (cost.speed_table, cost.phase_table, cost.roofline_table, cost.calibration_table):
        assert table(bare) is None
    assert cost_sentences(bare) == []


def test_work_of_a_step(monkeypatch):
    """The location GAN's D, 100 -> 20 -> 1 on 2n samples, by hand: forward 2 flop per weight and sample, backward twice
    that but for the first layer's inputs, of which only G's step has gradients."""
    cell = (
        read_suite("smoke")
        .cells[0]
        .model_copy(
            update={
                "task": "location",
                "dataset": "gaussian",
                "batch_size": 10,
                "settings": {"d_steps": 1},
                "optimizer": "sgd",
                "scale": None,
                "value_range": None,
                "loss": "l2",
                "head": "sigmoid",
                "lr": 0.02,
            }
        )
    )
    monkeypatch.setattr("bench.training.timing.MATMUL_SIDE", {"cpu": 64})
    found = roofline([cell], torch.device("cpu"))
    first, second = 2 * 100 * 20, 2 * 20 * 1
    d_step = 20 * (2 * first + 3 * second)  # no gradient to the samples
    g_step = 10 * (2 * first + 2 * second)  # none to D's weights, but one to the samples
    assert found["steps"][0]["gflop"] * 1e9 == d_step + g_step
    assert list(found["matmul_gflop_per_s"]) == ["fp32"]  # nothing was trained in another
    assert found["matmul_gflop_per_s"]["fp32"] > 0


def test_a_type_the_device_cannot_multiply_is_left_out(monkeypatch):
    monkeypatch.setattr("bench.training.timing.MATMUL_SIDE", {"cpu": 8})
    monkeypatch.setattr("bench.training.timing.MATMUL_TYPES", {"fp32": torch.float32, "odd": torch.uint16})
    assert list(matmul_peaks(["fp32", "odd"], torch.device("cpu"))) == ["fp32"]


def test_overhead_compares_run_with_a_bare_loop(monkeypatch, capsys):
    monkeypatch.setattr(overhead, "SETTINGS", {"location": SETTINGS["location"]})
    monkeypatch.setattr(overhead, "PAIRS", 2)
    monkeypatch.setattr(overhead, "STEPS", 5)
    speeds = {"bare": iter((100.0, 100.0, 50.0)), "run": iter((98.0, 49.0))}
    monkeypatch.setattr(overhead, "bare_images_per_s", lambda cell, device: next(speeds["bare"]))
    monkeypatch.setattr(overhead, "run_images_per_s", lambda cell, device: next(speeds["run"]))
    overhead.main()
    assert "location   0.980  (0.980 to 0.980)" in capsys.readouterr().out


def test_both_loops_run():
    cell = Cell(**experiment("location", "l2") | {"steps": 5})
    for speed in (overhead.bare_images_per_s, overhead.run_images_per_s):
        assert speed(cell, torch.device("cpu")) > 0


def test_a_step_with_gradient_penalties_can_be_counted():
    sizes = {"dataset": "gaussian", "head": "raw", "batch_size": 8, "steps": 6, "evaluations": 1}
    task = {"task": "location", "lr": 0.01, "seed": 0, "outlier": "far", "rate": 0.2}
    cells = [Cell(**task, **sizes, loss=loss) for loss in ("hinge", "relativistic")]
    hinge, relativistic = (step["gflop"] for step in roofline(cells, torch.device("cpu"))["steps"])
    assert relativistic > 1.5 * hinge  # the gradient in the samples, and the one through it
