"""How does what a suite measured compare with what papers report? Published figures, ours, and why they may differ.

The figures stand in the suite file (`bench.plan.published.Published`) and come with the run, in its manifest.
"""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.analysis.comparison import t_interval
from bench.analysis.labels import number, signed
from bench.plan.published import Published
from bench.reports.tables.table import Table, TableCell
from bench.store.reader import Run
from bench.store.schema import READOUTS


def published_table(run: Run) -> Table | None:
    """Each published figure beside what this run measured of it; None where the suite names none.

    Args:
        run: as read, with the names that its files have.
    """
    entries = (run.manifest.get("suite") or {}).get("published") or []
    header = ["figure", "published", "ours", "difference", "why they may differ"]
    lines = [_line(place, entry, run) for place, entry in enumerate(entries)]
    return Table("published", "Published figures beside ours", header, lines) if lines else None


def _line(place: int, figure: Mapping[str, Any], run: Run) -> list[TableCell]:
    published, unit, differs = figure["value"], figure["unit"], TableCell(figure["differs"], figure["differs"])
    names = [
        TableCell(figure["what"], place, (figure["source"],)),
        TableCell(f"{published:g} {unit}", float(published)),
    ]
    values = measured(figure, run)
    if values.empty:
        return [*names, TableCell("–", "", ("no seed is done",)), TableCell("–", ""), differs]
    found, n = t_interval(values), f"n = {len(values)}"
    mean, low, high = (number(value, 2) for value in found)
    off, *ends = (value - published for value in found)
    ours = TableCell(f"{mean} {unit}", found.mean, (f"{low} to {high}, {n}" if found.defined else n,))
    spread = (" to ".join(map(signed, ends)),) if found.defined else ()
    return [*names, ours, TableCell(f"{signed(off)} {unit}", off, spread), differs]


def measured(figure: Mapping[str, Any], run: Run) -> pd.Series:
    """What the run measured of a figure, by seed; a difference is paired."""
    values = _by_seed(figure["cells"], figure["metric"], run.cells)
    minus = figure.get("minus")
    return (values if minus is None else values - _by_seed(minus, figure["metric"], run.cells)).dropna()


def _by_seed(which: Mapping[str, Any], metric: str, cells: pd.DataFrame) -> pd.Series:
    """A read-out of the finished cells that `which` singles out, by seed."""
    done = cells[(cells["role"] == "report") & (cells["status"] == "done")]
    held = [Published.holds(which, row | {"settings": json.loads(row["settings"])}) for row in done.to_dict("records")]
    found = done[held].drop_duplicates("seed").set_index("seed")
    return found[metric].astype(float) if metric in READOUTS else pd.Series(dtype=float)
