"""How do the measurements of a suite compare with published figures, and why may they differ?

The published figures are in the suite file (`bench.plan.published.Published`) and in the manifest of the run.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.comparison import t_interval
from bench.analysis.labels import number, signed
from bench.analysis.summary import fold_of, seeds_interval
from bench.plan.published import Published
from bench.reports.tables.table import Table, TableCell
from bench.store.reader import Run
from bench.store.schema import READOUTS


def published_table(run: Run) -> Table | None:
    """Each published figure beside the measurement of this run; None if the suite has no published figures.

    Args:
        run: as read from disk, with full names.
    """
    entries = (run.manifest.get("suite") or {}).get("published") or []
    header = ["figure", "published", "ours", "difference", "why they may differ"]
    lines = [_line(position, entry, run) for position, entry in enumerate(entries)]
    return Table("published", "Published figures beside ours", header, lines) if lines else None


def _line(position: int, figure: Mapping[str, Any], run: Run) -> list[TableCell]:
    published, unit, differs = figure["value"], figure["unit"], TableCell(figure["differs"], figure["differs"])
    names = [
        TableCell(figure["what"], position, (figure["source"],)),
        TableCell(f"{published:g} {unit}", float(published)),
    ]
    values = measured(figure, run)
    if values.empty:
        return [*names, TableCell("–", "", ("no seed is done",)), TableCell("–", ""), differs]
    interval = t_interval(values["value"]) if figure.get("minus") else seeds_interval(values["value"], values["fold"])
    n = f"n = {len(values)}"
    mean, low, high = (number(value, 2) for value in interval)
    difference, *ends = (value - published for value in interval)
    ours = TableCell(f"{mean} {unit}", interval.mean, (f"{low} to {high}, {n}" if interval.defined else n,))
    spread = (" to ".join(map(signed, ends)),) if interval.defined else ()
    return [*names, ours, TableCell(f"{signed(difference)} {unit}", difference, spread), differs]


def measured(figure: Mapping[str, Any], run: Run) -> pd.DataFrame:
    """The measurement that corresponds to a published figure, by seed, with the seed's fold; a difference is paired."""
    values = _by_seed(figure["cells"], figure["metric"], run)
    if minus := figure.get("minus"):
        values["value"] -= _by_seed(minus, figure["metric"], run)["value"]
    return values.dropna()


def _by_seed(selection: Mapping[str, Any], metric: str, run: Run) -> pd.DataFrame:
    """A read-out (`value`) of the finished cells that `selection` matches, and their `fold`, by seed."""
    done = run.cells[(run.cells["role"] == "report") & (run.cells["status"] == "done")]
    selected = [
        Published.holds(selection, row | {"settings": json.loads(row["settings"])}) for row in done.to_dict("records")
    ]
    by_seed = done[selected].drop_duplicates("seed").set_index("seed")
    value = by_seed[metric].astype(float) if metric in READOUTS else np.nan
    return pd.DataFrame({"value": value, "fold": fold_of(by_seed["cell_id"], run.images)})
