"""What are a user's own losses and folders called in figures and tables? Short names where references would not fit.

Files keep the full names (`mypackage.module:MyLoss`, `folder:/data/mine`); people read `MyLoss` and `mine`, or as much
more of the name as it takes to tell two apart. A restoration task whose input is spoiled in several ways is several
problems, so each has its own name.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import NamedTuple

import pandas as pd

from bench.analysis.labels import REGISTERED, condition_name, loss_name
from bench.loss_check.what_they_seek import is_users
from bench.store.reader import Run
from bench.store.validation import FOLDER, is_name
from ganlab.datasets import DATASETS
from ganlab.outliers import CLEAN
from ganlab.plugins import is_reference

FOLDERS = "::"  # between a folder to train on and one to test on
LONGEST = 32  # letters of a name in a legend
TIMED = ("task", "dataset", "loss", "head")  # what a step is timed of


class Names(NamedTuple):
    """Full name -> the one people read, of losses and of data sets."""

    losses: dict[str, str]
    datasets: dict[str, str]

    @property
    def users(self) -> list[str]:
        """The user's own losses, as people read them."""
        return [short for full, short in self.losses.items() if is_users(full)]


def names_of(*runs: Run) -> Names:
    """The names of every loss and data set of some runs, distinct over all of them."""
    losses = sorted({loss for run in runs for frame in (run.cells, run.timing) for loss in frame["loss"]})
    datasets = sorted({name for run in runs for frame in (run.cells, run.timing) for name in frame["dataset"]})
    return Names(
        _distinct({loss: _of_loss(loss) for loss in losses}, {*REGISTERED, *map(loss_name, REGISTERED)}),
        _distinct({dataset: _of_dataset(dataset) for dataset in datasets}, DATASETS),
    )


def _of_loss(loss: str) -> list[str]:
    """The names a loss may go by, the shortest first."""
    if not is_reference(loss):
        return [loss]
    module, _, attribute = loss.rpartition(":")
    return [_clipped(attribute), _clipped(f"{module.rpartition('.')[2]}:{attribute}"), loss]


def _of_dataset(dataset: str) -> list[str]:
    """The names a data set may go by, the shortest first: as many last parts of its path as it takes."""
    if not dataset.startswith(FOLDER):
        return [dataset]
    paths = [PurePath(path).parts for path in dataset.removeprefix(FOLDER).split(FOLDERS)]
    lengths = range(1, max(map(len, paths)) + 1)
    return [*(_clipped(" → ".join("/".join(path[-length:]) for path in paths)) for length in lengths), dataset]


def _clipped(name: str) -> str:
    """A name that fits a legend.

    >>> _clipped("a" * 40)
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…'
    """
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _distinct(candidates: dict[str, Sequence[str]], reserved: Iterable[str]) -> dict[str, str]:
    """Of each name the first candidate that no other name takes, and none of `reserved`; else the name itself.

    >>> _distinct({"a:L": ["L", "a:L"], "b:L": ["L", "b:L"], "c:M": ["M", "c:M"], "l1": ["l1"]}, ["l1"])
    {'a:L': 'a:L', 'b:L': 'b:L', 'c:M': 'M', 'l1': 'l1'}
    """
    found = {name: name for name, ways in candidates.items() if list(ways) == [name]}
    taken = {*reserved, *found.values()}
    for level in range(max(map(len, candidates.values()), default=0)):
        ways = {name: ways[min(level, len(ways) - 1)] for name, ways in candidates.items() if name not in found}
        wanted = list(ways.values())
        fine = {name: way for name, way in ways.items() if way and wanted.count(way) == 1 and way not in taken}
        found |= fine
        taken |= set(fine.values())
    return {name: found.get(name, name) for name in candidates}


def with_short_names(run: Run, names: Names) -> Run:
    """The run with the names people read, in its tables and in what its manifest says of steps and data."""
    cells = run.cells.assign(loss=run.cells["loss"].map(names.losses), dataset=run.cells["dataset"].map(names.datasets))
    problems = _problems(cells)
    timed = _timed_problems(cells, problems)
    timing = run.timing.assign(
        loss=run.timing["loss"].map(names.losses), dataset=run.timing["dataset"].map(names.datasets)
    )
    keys = zip(*(timing[column] for column in TIMED), strict=True)
    datasets = [timed.get(key, key[1]) for key in keys]
    timing["dataset"] = pd.Series(datasets, timing.index, timing["dataset"].dtype)
    manifest = dict(run.manifest)
    if roofline := manifest.get("roofline"):
        steps = [
            step
            | {
                "loss": names.losses.get(step["loss"], step["loss"]),
                "dataset": names.datasets.get(step["dataset"], step["dataset"]),
            }
            for step in roofline.get("steps", [])
        ]
        for step in steps:
            step["dataset"] = timed.get(tuple(step[key] for key in TIMED), step["dataset"])
        manifest["roofline"] = roofline | {"steps": steps}
    if data := manifest.get("data"):
        manifest["data"] = {names.datasets.get(name, name): digest for name, digest in data.items()}
    return replace(run, cells=problems, timing=timing, manifest=manifest)


def _problems(cells: pd.DataFrame) -> pd.DataFrame:
    """Restoration whose input is spoiled in several ways: the data set's name says how."""
    restored = cells["task"] == "restoration"
    spoiled = cells.loc[restored, "settings"].map(_input_condition)
    if spoiled.nunique() < 2:
        return cells
    names = cells.loc[restored, "dataset"] + ", input " + spoiled
    return cells.assign(dataset=cells["dataset"].where(~restored, names.reindex(cells.index)))


def _timed_problems(cells: pd.DataFrame, problems: pd.DataFrame) -> dict[tuple[str, ...], str]:
    """Which problem was timed, by `TIMED`: of several the first declared, clean where there is one."""
    of = problems.assign(of=cells["dataset"])[(cells["task"] == "restoration") & (cells["role"] == "report")]
    first = of.sort_values("rate", key=lambda rates: rates != 0, kind="stable").drop_duplicates(["of", "loss", "head"])
    return {(row.task, row.of, row.loss, row.head): row.dataset for row in first.itertuples()}


def _input_condition(settings: str) -> str:
    """How the settings of a cell spoil its input.

    >>> _input_condition('{"input_outlier": "impulse", "input_rate": 0.7}'), _input_condition("{}")
    ('impulse 70 %', 'clean')
    """
    found = json.loads(settings)
    kind, rate = found.get("input_outlier"), found.get("input_rate")
    known = isinstance(kind, str) and is_name(kind) and isinstance(rate, int | float) and 0 <= rate <= 1
    return condition_name(kind, rate) if known else CLEAN
