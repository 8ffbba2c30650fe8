"""Which short names do user losses and folders have in figures and tables?

Files keep the full names (`mypackage.module:MyLoss`, `folder:/data/mine`). The report shows `MyLoss` and `mine`, or a
longer part of the name if that is needed to distinguish two of them. If a run of the restoration task corrupts its
input in several ways, each way is a problem with its own name.
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

FOLDERS = "::"  # between the training folder and the test folder
LONGEST = 32  # letters of a name in a legend
TIMED = ("task", "dataset", "loss", "head")  # the columns that identify a timed step


class Names(NamedTuple):
    """Full name -> short name, for losses and for data sets."""

    losses: dict[str, str]
    datasets: dict[str, str]

    @property
    def users(self) -> list[str]:
        """The short names of the user's losses."""
        return [short for full, short in self.losses.items() if is_users(full)]


def names_of(*runs: Run) -> Names:
    """The names of all losses and data sets of some runs, distinct over all runs."""
    losses = sorted({loss for run in runs for frame in (run.cells, run.timing) for loss in frame["loss"]})
    datasets = sorted({name for run in runs for frame in (run.cells, run.timing) for name in frame["dataset"]})
    return Names(
        _distinct({loss: _loss_candidates(loss) for loss in losses}, {*REGISTERED, *map(loss_name, REGISTERED)}),
        _distinct({dataset: _dataset_candidates(dataset) for dataset in datasets}, DATASETS),
    )


def _loss_candidates(loss: str) -> list[str]:
    """The possible names of a loss, shortest first."""
    if not is_reference(loss):
        return [loss]
    module, _, attribute = loss.rpartition(":")
    return [_shortened(attribute), _shortened(f"{module.rpartition('.')[2]}:{attribute}"), loss]


def _dataset_candidates(dataset: str) -> list[str]:
    """The possible names of a data set, shortest first: the last part of its path, the last two, and so on."""
    if not dataset.startswith(FOLDER):
        return [dataset]
    paths = [PurePath(path).parts for path in dataset.removeprefix(FOLDER).split(FOLDERS)]
    lengths = range(1, max(map(len, paths)) + 1)
    return [*(_shortened(" → ".join("/".join(path[-length:]) for path in paths)) for length in lengths), dataset]


def _shortened(name: str) -> str:
    """A name, shortened to fit a legend.

    >>> _shortened("a" * 40)
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…'
    """
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _distinct(candidates: dict[str, Sequence[str]], reserved: Iterable[str]) -> dict[str, str]:
    """For each name, its first candidate that is unique and not in `reserved`; else the name itself.

    >>> _distinct({"a:L": ["L", "a:L"], "b:L": ["L", "b:L"], "c:M": ["M", "c:M"], "l1": ["l1"]}, ["l1"])
    {'a:L': 'a:L', 'b:L': 'b:L', 'c:M': 'M', 'l1': 'l1'}
    """
    result = {name: name for name, short_names in candidates.items() if list(short_names) == [name]}
    used_names = {*reserved, *result.values()}
    for level in range(max(map(len, candidates.values()), default=0)):
        proposed = {name: short[min(level, len(short) - 1)] for name, short in candidates.items() if name not in result}
        proposals = list(proposed.values())
        accepted = {
            name: short
            for name, short in proposed.items()
            if short and proposals.count(short) == 1 and short not in used_names
        }
        result |= accepted
        used_names |= set(accepted.values())
    return {name: result.get(name, name) for name in candidates}


def with_short_names(run: Run, names: Names) -> Run:
    """The run with short names in its tables and in the steps and data of its manifest."""
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
    """The cells; if the input of restoration is corrupted in several ways, the name of the data set shows the way."""
    restored = cells["task"] == "restoration"
    spoiled = cells.loc[restored, "settings"].map(_input_condition)
    if spoiled.nunique() < 2:
        return cells
    names = cells.loc[restored, "dataset"] + ", input " + spoiled
    return cells.assign(dataset=cells["dataset"].where(~restored, names.reindex(cells.index)))


def _timed_problems(cells: pd.DataFrame, problems: pd.DataFrame) -> dict[tuple[str, ...], str]:
    """Which problem was timed, by `TIMED`: the first declared one, preferably a clean one."""
    reported = problems.assign(original=cells["dataset"])[
        (cells["task"] == "restoration") & (cells["role"] == "report")
    ]
    first = reported.sort_values("rate", key=lambda rates: rates != 0, kind="stable").drop_duplicates(
        ["original", "loss", "head"]
    )
    return {(row.task, row.original, row.loss, row.head): row.dataset for row in first.itertuples()}


def _input_condition(settings: str) -> str:
    """The corruption of the input in the settings of a cell.

    >>> _input_condition('{"input_outlier": "impulse", "input_rate": 0.7}'), _input_condition("{}")
    ('impulse 70 %', 'clean')
    """
    values = json.loads(settings)
    kind, rate = values.get("input_outlier"), values.get("input_rate")
    valid = isinstance(kind, str) and is_name(kind) and isinstance(rate, int | float) and 0 <= rate <= 1
    return condition_name(kind, rate) if valid else CLEAN
