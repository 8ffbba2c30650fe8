"""Invalid tables: each rule rejects its violations, and names the row as a spreadsheet counts it."""

import pandas as pd
import pytest

from bench.store.schema import COLUMNS, TEXT_COLUMNS
from bench.store.table_checks import check_run, check_table
from bench.store.validation import Invalid

CELLS = {
    **{"cell_id": ["a", "b"], "role": ["report"] * 2, "task": ["sr"] * 2, "dataset": ["photographs"] * 2},
    **{"loss": ["l1"] * 2, "head": ["raw"] * 2, "outlier": ["clean"] * 2, "schedule": ["constant"] * 2},
    **{"optimizer": ["adam"] * 2, "precision": ["fp32"] * 2, "status": ["done", "oom"], "settings": ["{}"] * 2},
    **{"rate": [0.0, 1.0], "lr": [1e-3, 1e-3], "seed": [0, 1], "batch_size": [8, 8]},
}
CURVES = {"cell_id": ["a", "a"], "step": [10, 20], "metric": ["ssim", "ssim"], "value": [-1.0, 1.0]}
IMAGES = {"cell_id": ["a"], "image": ["camera"]}
STEP = {"task": ["sr"] * 2, "dataset": ["photographs"] * 2, "loss": ["l1"] * 2, "head": ["raw"] * 2}
TIMING = STEP | {"device": ["cpu"] * 2, "phase": ["step", "forward"], "round": [0, 0], "ms": [2.0, 1.0]}


def frame(name: str, columns: dict) -> pd.DataFrame:
    """A table with these columns, and the others empty."""
    rows = len(columns["cell_id" if "cell_id" in columns else "task"])
    empty = {c: [""] * rows if c in TEXT_COLUMNS else [float("nan")] * rows for c in COLUMNS[name]}
    return pd.DataFrame(empty | columns)


def run(**changes: dict) -> dict[str, pd.DataFrame]:
    tables = {"cells": CELLS, "images": IMAGES, "curves": CURVES, "timing": TIMING}
    return {name: frame(name, table | changes.get(name, {})) for name, table in tables.items()}


def test_valid_tables_are_accepted():
    tables = run()
    for name, table in tables.items():
        check_table(name, table)
    check_run({"samples": {"a": {"kind": "sr"}}}, tables)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rate": [0.0, 1.5]}, "row 3: rate is 1.5, not a number from 0 to 1"),
        ({"rate": [-0.5, 0.0]}, "row 2: rate is -0.5, not a number from 0 to 1"),
        ({"seed": [0, 0.5]}, "row 3: seed is 0.5, not a whole number from 0 to 9.0072e\\+15"),
        ({"lr": [1e-3, float("nan")]}, "row 3: lr is nan"),
        ({"loss": ["l1", ""]}, "row 3: loss is '', not 1 to 200 printable characters"),
        ({"status": ["done", "well"]}, "row 3: status is 'well', not one of done, diverged"),
        ({"cell_id": ["a", "../b"]}, "'../b' is no cell_id"),
        ({"cell_id": ["a", "a"]}, "row 3 repeats 'a'"),
    ],
)
def test_invalid_cells_are_rejected(change, says):
    with pytest.raises(Invalid, match=says):
        check_table("cells", frame("cells", CELLS | change))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cells": {"ssim": [0.5, 0.5]}}, "cells.csv: row 3 has read-outs, but its cell is not done"),
        ({"images": {"cell_id": ["b"]}}, "images.csv: row 2 is of cell b, which is not done"),
        ({"curves": {"cell_id": ["a", "c"]}}, "curves.csv: row 3 is of cell c, which is not in cells.csv"),
        ({"curves": {"value": [-1.5, 1.0]}}, "curves.csv: ssim leaves -1 to 1"),
        ({"curves": {"value": [1.0, 1.5]}}, "curves.csv: ssim leaves -1 to 1"),
        ({"timing": {"round": [0, 1]}}, "timing.csv: row 3 is a phase of a step that was not timed whole"),
        ({"cells": {"settings": ["{}", "[]"]}}, "cells.csv: settings are '\\[\\]', not a JSON object"),
    ],
)
def test_tables_that_contradict_each_other(changes, says):
    with pytest.raises(Invalid, match=says):
        check_run({}, run(**changes))


def test_a_picture_is_of_its_cells_task():
    with pytest.raises(Invalid, match="a has a picture of gan"):
        check_run({"samples": {"a": {"kind": "gan"}}}, run())
