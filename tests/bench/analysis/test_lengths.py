"""Losses beside each other at several lengths and widths, on runs with a known answer."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from bench.analysis.lengths import lengths
from bench.analysis.summary import pick
from bench.reports.tables.lengths import length_table
from bench.store.reader import Run
from bench.store.schema import COLUMNS
from tests.bench.analysis.test_claims import SR, Builder


def run_of(levels: dict[tuple[str, int, int], float], seeds: int = 12) -> Run:
    """A run with these mean PSNRs by loss, steps, and channels; short trainings are still learning."""
    builder = Builder()
    for (loss, steps, channels), level in levels.items():
        settings = json.dumps({"channels": channels, "evaluations": 2, "steps": steps})
        for seed in range(seeds):
            where = SR | {"loss": loss, "settings": settings, "steps": float(steps), "seeds": [seed]}
            builder.add(level + 0.01 * (seed % 3), noise=0.0, **where)
    run = builder.run()
    run.cells["psnr_y_db"] = run.cells["cell_id"].map(run.images.groupby("cell_id")["psnr_y_db"].mean())
    rise = {"cell_id": run.cells["cell_id"], "metric": "val_psnr_y_db"}
    curves = [
        pd.DataFrame(
            rise | {"step": run.cells["steps"] * share, "value": 30 + (share == 1) * (run.cells["steps"] < 500)}
        )
        for share in (0.8, 1.0)
    ]
    return replace(run, curves=pd.concat(curves), timing=pd.DataFrame(columns=COLUMNS["timing"]))


def test_a_gap_that_turns_with_length_stands_at_each_length():
    levels = {("l1", 100, 16): 30.0, ("l2", 100, 16): 29.0, ("l1", 900, 16): 32.0, ("l2", 900, 16): 33.0}
    run = run_of(levels)
    table = lengths(run)
    gaps = table.dropna(subset="comparison").set_index("planned_steps")
    assert {steps: row["comparison"].interval.mean for steps, row in gaps.iterrows()} == pytest.approx(
        {100: -1.0, 900: 1.0}
    )
    assert [gaps.loc[steps, "comparison"].decision for steps in (100, 900)] == ["REFUTED", "SUPPORTED"]
    assert gaps.loc[100, "population"] == "images like these"
    assert pick(table, loss="l1", planned_steps=900)["mean"].tolist() == pytest.approx([33.01], abs=1)
    assert pick(table, planned_steps=100)["learning"].map(lambda found: found.learning).tolist() == [12, 12]
    assert pick(table, planned_steps=900)["learning"].map(lambda found: found.learning).tolist() == [0, 0]
    shown = length_table(run)
    assert [row[0].text for row in shown.rows] == ["100 steps"] * 2 + ["900 steps"] * 2
    assert shown.rows[1][4].text == "−1.00"
    assert shown.rows[1][4].notes[-1] == "WORSE, for images like these"
    assert "all 2 comparisons hold together" in shown.caption


def test_widths_are_kept_apart_and_named():
    levels = {(loss, steps, channels): 30.0 for loss in ("l1", "l2") for steps in (100, 900) for channels in (16, 32)}
    shown = length_table(run_of(levels, seeds=3))
    assert len(shown.rows) == 8
    assert {row[0].notes[-1] for row in shown.rows} == {"channels 16", "channels 32"}


@pytest.mark.parametrize(
    "levels",
    [
        {("l1", 100, 16): 30.0, ("l2", 100, 16): 29.0},  # one length
        {("l1", 100, 16): 30.0, ("l2", 100, 16): 29.0, ("l1", 900, 16): 31.0},  # the other has one loss
        {("l1", 100, 16): 30.0, ("l1", 900, 16): 31.0},
    ],
)
def test_without_two_losses_at_two_lengths_there_is_nothing_to_compare(levels):
    assert lengths(run_of(levels, seeds=3)).empty
    assert length_table(run_of(levels, seeds=3)) is None
