"""Are the tables of a run directory valid? They may be untrusted.

Tables are checked once, when they are read. Statistics, figures, and report can then rely on them: every number is
finite and in the range of its quantity, every name is short and printable, every row belongs to a cell.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.store.schema import READOUTS
from bench.store.validation import (
    BOUNDS,
    CELL_ID,
    KEYS,
    REQUIRED,
    STEP,
    Bounds,
    Invalid,
    expected_name,
    name_fits,
    shown,
)


def check_table(name: str, table: pd.DataFrame) -> None:
    """Check the rows of one table: valid names, numbers in range, no empty or repeated key.

    Raises:
        Invalid: names the first invalid row.
    """
    _check_numbers(table.select_dtypes("number"), REQUIRED[name])
    for column in table.columns.difference((*table.select_dtypes("number"), "cell_id", "reason", "settings")):
        _check_names(column, table[column], column in REQUIRED[name])
    for cell_id in table["cell_id"].unique() if "cell_id" in table else ():
        if not CELL_ID.fullmatch(cell_id):
            raise Invalid(f"{shown(cell_id)} is no cell_id")
    repeated = table.duplicated(KEYS[name])
    if repeated.any():
        key = ", ".join(shown(value) for value in table.loc[repeated.idxmax(), KEYS[name]])
        raise Invalid(f"row {repeated.idxmax() + 2} repeats {key}")


def _check_numbers(table: pd.DataFrame, required: Sequence[str]) -> None:
    values = table.to_numpy(float)
    low, high, whole = map(np.array, zip(*(BOUNDS.get(column, Bounds()) for column in table), strict=True))
    valid = (values >= low) & (values <= high) & (~whole | (np.trunc(values) == values))
    valid |= np.isnan(values) & ~table.columns.isin(required)
    if not valid.all():
        row, column = np.argwhere(~valid)[0]
        kind = "a whole number" if whole[column] else "a number"
        raise Invalid(
            f"row {row + 2}: {table.columns[column]} is {values[row, column]:g}, "
            f"not {kind} from {low[column]:g} to {high[column]:g}"
        )


def _check_names(column: str, values: pd.Series, required: bool) -> None:
    for value in values.unique():
        if not (name_fits(column, value) or (value == "" and not required)):
            row = (values == value).idxmax() + 2
            raise Invalid(f"row {row}: {column} is {shown(value)}, not {expected_name(column)}")


def check_run(manifest: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> None:
    """Check that manifest and tables, each valid on its own, belong to one run.

    Raises:
        Invalid: names the first contradiction.
    """
    cells = tables["cells"]
    done = cells["status"] == "done"
    premature = cells.loc[~done, list(READOUTS)].notna().any(axis=1)
    if premature.any():
        raise Invalid(f"cells.csv: row {premature.idxmax() + 2} has read-outs, but its cell is not done")
    for settings in cells["settings"].unique():
        _check_settings(settings)
    for name, cell_ids in (("images", cells.loc[done, "cell_id"]), ("curves", cells["cell_id"])):
        foreign = ~tables[name]["cell_id"].isin(cell_ids)
        if foreign.any():
            row, cell_id = foreign.idxmax(), tables[name].loc[foreign.idxmax(), "cell_id"]
            state = "is not done" if (cells["cell_id"] == cell_id).any() else "is not in cells.csv"
            raise Invalid(f"{name}.csv: row {row + 2} is of cell {cell_id}, which {state}")
    for metric, points in tables["curves"].groupby("metric")["value"]:
        low, high, _ = BOUNDS.get(metric, Bounds())
        if not points.between(low, high).all():
            raise Invalid(f"curves.csv: {metric} leaves {low:g} to {high:g}")
    timing, step = tables["timing"], [key for key in KEYS["timing"] if key != "phase"]
    whole = (timing["phase"] == STEP).groupby([timing[key] for key in step]).transform("any")
    if not whole.all():
        raise Invalid(f"timing.csv: row {whole.idxmin() + 2} is a phase of a step that was not timed whole")
    tasks = dict(zip(cells["cell_id"], cells["task"], strict=True))
    for cell_id, layout in (manifest.get("samples") or {}).items():
        if tasks.get(cell_id) != layout["kind"]:
            raise Invalid(f"manifest.json: {cell_id} has a picture of {layout['kind']}, but is no cell of that task")


def _check_settings(text: str) -> None:
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise Invalid(f"cells.csv: settings are {shown(text)}, not a JSON object")
