"""What does bfloat16 cost? Paired by seed, one verdict per condition, non-inferiority with the stated margin."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bench.analysis.comparison import t_interval
from bench.analysis.precision import COST, NO_COST, UNDECIDED, caveats, comparisons, trained_in
from bench.reports.tables.precision import precision_table

SR = {
    "task": "sr",
    "dataset": "photographs",
    "scale": 2.0,
    "loss": "l1",
    "head": "raw",
    "outlier": "clean",
    "rate": 0.0,
    "schedule": "cosine",
    "optimizer": "adam",
    "lr": 3e-3,
    "value_range": 1.0,
    "batch_size": 8,
    "redraw": 0.0,
    "role": "report",
    "settings": "{}",
    "status": "done",
}
GAN = SR | {"task": "gan", "dataset": "fashion-mnist", "scale": np.nan, "value_range": np.nan}


def run_of(*sides: tuple[dict, str, list[float]]) -> SimpleNamespace:
    """A run whose cells are given as (settings, precision, quality of seed 0, 1, ...)."""
    rows = [
        settings | {"precision": precision, "seed": seed, "psnr_y_db": value, "frechet": value}
        for settings, precision, values in sides
        for seed, value in enumerate(values)
    ]
    return SimpleNamespace(path=Path("run"), cells=pd.DataFrame(rows))


BEFORE = [34.0, 34.5, 34.2, 34.8] * 3  # that nothing is lost takes ten seeds


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([0.01, -0.02, 0.00, 0.01], NO_COST),
        ([0.50, 0.52, 0.51, 0.49], NO_COST),  # a gain is no cost
        ([-0.50, -0.52, -0.51, -0.49], COST),
        ([-0.09, -0.08, -0.12, -0.10], UNDECIDED),
        ([0.40, -0.40, 0.30, -0.30], UNDECIDED),  # too noisy to exclude 0.1 dB
    ],
)
def test_a_cost_beyond_the_margin_must_be_excluded(gains, verdict):
    after = [a + b for a, b in zip(BEFORE, gains * 3, strict=True)]
    row = comparisons(run_of((SR, "fp32", BEFORE), (SR, "bf16", after))).iloc[0]
    assert row["verdict"] == verdict
    mean, low, high = t_interval(gains * 3)  # one comparison: the 95 % interval, widened by 1.5
    assert row["gain"] == pytest.approx(mean)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((mean + 1.5 * (low - mean), mean + 1.5 * (high - mean)))
    assert row["n"] == 12


def test_smaller_distances_are_better():
    fp32, worse = [10.0, 11.0, 12.0], [20.0, 22.2, 23.9]
    assert comparisons(run_of((GAN, "fp32", fp32), (GAN, "bf16", worse))).iloc[0]["verdict"] == COST
    better = comparisons(run_of((GAN, "fp32", worse), (GAN, "bf16", fp32))).iloc[0]
    assert better["verdict"] == NO_COST
    assert better["gain"] == pytest.approx(np.log(2), abs=0.02)


def test_seeds_are_paired_and_intervals_hold_together():
    alone = comparisons(run_of((SR, "fp32", BEFORE), (SR, "bf16", [34.0, 34.6, 34.1]))).iloc[0]
    assert alone["n"] == 3  # seed 3 has no partner
    salt = SR | {"outlier": "salt", "rate": 0.2}
    both = comparisons(
        run_of(
            (SR, "fp32", BEFORE), (SR, "bf16", [34.0, 34.6, 34.1]), (salt, "fp32", BEFORE), (salt, "bf16", BEFORE[::-1])
        )
    )
    assert len(both) == 2
    wider = both[both["outlier"] == "clean"].iloc[0]
    assert wider["ci_high"] - wider["ci_low"] > alone["ci_high"] - alone["ci_low"]


def test_nothing_to_compare_gives_no_table():
    assert precision_table(run_of((SR, "fp32", BEFORE))) is None
    assert precision_table(run_of((SR, "fp32", BEFORE), (SR | {"lr": 1e-3}, "bf16", BEFORE))) is None


def test_the_table_has_a_summary_line():
    gan = [round(18 * 1.02**k, 4) for k in range(4)]
    table = precision_table(
        run_of(
            (SR, "fp32", BEFORE),
            (SR, "bf16", BEFORE),
            (GAN, "fp32", gan),
            (GAN, "bf16", [1.1 * value for value in gan]),
        )
    )
    lines = [" | ".join(entry.line for entry in row) for row in table.rows]
    assert any("L1 raw" in line and line.endswith("no cost") for line in lines)
    assert any("−0.095 log ratio" in line and "+10.0 % in the distance" in line for line in lines)


def test_losses_trained_in_several_precisions_are_named():
    bce, huber = SR | {"loss": "bce", "head": "sigmoid"}, SR | {"loss": "huber"}
    shown = run_of((bce, "fp32", BEFORE), (SR, "bf16", BEFORE), (huber, "bf16", BEFORE), (GAN, "bf16", BEFORE))
    run = run_of(
        (bce, "fp32", BEFORE),
        (SR, "bf16", BEFORE),
        (SR, "fp32", BEFORE),
        (huber, "bf16", BEFORE),
        (GAN, "bf16", BEFORE),
    )
    sr = shown.cells[shown.cells["task"] == "sr"]
    assert trained_in(sr) == "fp32 for BCE sigmoid, bf16 for the others"
    assert trained_in(sr[sr["precision"] == "bf16"]) == ""
    assert caveats(run, shown) == [
        "Super-resolution, photographs, ×2: trained in fp32 for BCE sigmoid, bf16 for the others. Trained in both by"
        " the same seeds, bfloat16 costs less than 0.1 dB: L1 raw (clean). For huber raw this run has no such pairs."
    ]
    assert caveats(shown, shown)[0].endswith("For L1 raw and huber raw this run has no such pairs.")


def test_the_margin_of_a_distance_is_worded_as_in_claims():
    fp32, worse = [10.0, 11.0, 12.0], [20.0, 22.2, 23.9]
    bce = GAN | {"loss": "bce", "head": "sigmoid"}
    shown = run_of((bce, "fp32", fp32), (GAN, "bf16", worse))
    (said,) = caveats(run_of((bce, "fp32", fp32), (GAN, "fp32", fp32), (GAN, "bf16", worse)), shown)
    assert said.endswith("by the same seeds, bfloat16 costs more than a log ratio of 0.25: L1 raw (clean).")
