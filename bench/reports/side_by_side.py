"""What differs between runs? Several run directories side by side: CPU and GPU, before and after a change.

The first run is the yardstick. Cells are paired by what they trained (task, data set, loss, head, condition, seed),
each loss at its main setting; every difference of a group of seeds has an interval, and all of a table hold together.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis import cost, labels, verdicts
from bench.analysis.comparison import NOT_TESTED
from bench.analysis.labels import SIGNS, arm_name, arms_of, condition_name, first_sentence, place_name, signed
from bench.analysis.recommend import ALIKE, BETTER, OPEN, WORSE
from bench.analysis.side_by_side import COLUMNS, SAME_WORK, SETTINGS, Named, differences
from bench.analysis.staleness import warnings_of
from bench.analysis.summary import pick
from bench.reports.build import comparable, write_page
from bench.reports.contents import duration, facts
from bench.reports.figures import style
from bench.reports.figures.differences import differences_figure
from bench.reports.names import names_of as short_names
from bench.reports.names import with_short_names
from bench.reports.rendering import Picture
from bench.reports.tables.export import slug
from bench.reports.tables.results import estimate_entry
from bench.reports.tables.table import Table, TableCell
from bench.store import StoreError
from bench.store.csv_format import csv_text
from bench.store.files import write_atomically
from bench.store.reader import load

FOLDER = Path("results") / "side-by-side"
STEP = ["task", "dataset", "loss", "head", "precision"]  # what one time is of
MOST_ROWS = 60  # of differences in the page; all are in differences.csv


def write_side_by_side(paths: list[Path], out: Path | None = None) -> list[Path]:
    """Write report.html, report.md, differences.csv, tables, and a figure of several runs; returns the reports.

    Args:
        paths: two or more run directories; the first is what the others are compared with.
        out: where to; by default a folder under `results/side-by-side/` named after the runs.

    Raises:
        StoreError: no readable run directory among `paths`, or `out` is one itself.
    """
    names = names_of(paths)
    out = out or FOLDER / slug(" ".join(names))
    if (out / "manifest.json").exists():
        raise StoreError(f"{out} is a run directory, whose own report would be lost; choose another --out")
    loaded = [load(path) for path in paths]
    shown_as = short_names(*loaded)
    runs = [
        Named(name, run := with_short_names(one, shown_as), comparable(run), verdicts.judge(run))
        for name, one in zip(names, loaded, strict=True)
    ]
    found = differences(runs)
    write_atomically(out / "differences.csv", csv_text(COLUMNS, found.to_dict("records")))
    title = "Side by side: " + ", ".join(names)
    return write_page(out, "side_by_side.j2", title, contents_of(runs, found, paths, out))


def names_of(paths: list[Path]) -> list[str]:
    """Short names that tell run directories apart: as many last parts of the path as that takes.

    >>> names_of([Path("a/quick"), Path("b/quick")])
    ['a/quick', 'b/quick']
    >>> names_of([Path("results/cpu"), Path("results/gpu")])
    ['cpu', 'gpu']
    """
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    raise StoreError(f"{paths[0]} is named twice; a run has nothing to be compared with itself")


@dataclass(frozen=True)
class Contents:
    """Everything that `side_by_side.j2` prints, by the names it has there."""

    sentences: list[str]
    warnings: list[str]
    pictures: dict[str, Picture]
    facts_table: Table
    differences_table: Table | None
    verdicts_table: Table | None
    times_table: Table | None
    command: str


def contents_of(runs: list[Named], found: pd.DataFrame, paths: list[Path], out: Path) -> Contents:
    """The contents of the page, its figure drawn."""
    sentences = [_in_a_sentence(runs[0], other, pick(found, run=other.name)) for other in runs[1:]]
    command = shlex.join(["python", "-m", "bench", "report", *map(str, paths), "--out", str(out)])
    file, pictures = out / "figures" / "differences.png", {}
    figure = differences_figure(runs, found)
    if figure is not None:
        style.save(figure, file)
        title = "What differs between the runs"
        pictures["differences"] = Picture(1, "differences", title, " ".join(sentences), file, command)
    return Contents(
        sentences=sentences,
        warnings=[f"{one.name}: {warning}" for one in runs for warning in warnings_of(one.run)],
        pictures=pictures,
        facts_table=facts_table(runs),
        differences_table=differences_table(runs[0].name, found),
        verdicts_table=verdicts_table(runs),
        times_table=times_table(runs),
        command=command,
    )


def _in_a_sentence(first: Named, other: Named, found: pd.DataFrame) -> str:
    """How much two runs share, and how much of it differs."""
    if found.empty:
        return f"{other.name} and {first.name} share no finished condition, so nothing can be compared."
    counts = found["word"].value_counts()
    names = {WORSE: WORSE, BETTER: BETTER, ALIKE: f"with {ALIKE}", OPEN: OPEN}
    said = [f"{counts.get(word, 0)} {name}" for word, name in names.items()]
    cells = int(found["n"].sum())
    differing = _differing_settings(first, other)
    return (
        f"{other.name} against {first.name}: of {len(found)} shared conditions {', '.join(said)};"
        f" {int(found['identical'].sum())} of {cells} paired cells have the very same number."
        + (f" Their settings differ in {', '.join(differing)}." if differing else "")
    )


def _differing_settings(first: Named, other: Named) -> list[str]:
    columns = [*SAME_WORK, *SETTINGS]
    both = first.shown.cells[columns].merge(other.shown.cells[columns], on=SAME_WORK, suffixes=("_a", "_b"))
    return [column for column in SETTINGS if (both[f"{column}_a"].fillna("") != both[f"{column}_b"].fillna("")).any()]


def facts_table(runs: list[Named]) -> Table:
    """What each run is: a column per run."""
    columns = []
    for one in runs:
        manifest, device = one.run.manifest, one.run.manifest.get("device") or {}
        git = manifest.get("git") or {}
        columns.append(
            facts(one.run)
            | {
                "Duration": duration(manifest),
                "Device type": str(device.get("type", "unknown")),
                "Precision": ", ".join(sorted(set(one.run.cells["precision"]))),
                "PyTorch": str((manifest.get("packages") or {}).get("torch", "unknown")),
                "Commit": (git.get("commit") or "unknown")[:12]
                + (" with uncommitted changes" if git.get("dirty") else ""),
                "Code": ", ".join(sorted(set(one.run.cells["code"]) - {""})) or "unknown",
            }
        )
    keys = list(dict.fromkeys(key for column in columns for key in column))
    lines = [
        [TableCell(key, place), *(TableCell(column.get(key, "–"), column.get(key, "")) for column in columns)]
        for place, key in enumerate(keys)
    ]
    return Table("runs", "The runs", ["what", *(one.name for one in runs)], lines)


def differences_table(first: str, found: pd.DataFrame) -> Table | None:
    """The largest differences, in the unit of their metric."""
    lines = [
        [
            TableCell(arm_name(row.loss, row.head), arm_name(row.loss, row.head)),
            TableCell(
                condition_name(row.outlier, row.rate),
                condition_name(row.outlier, row.rate),
                (f"{labels.task_name(row.task)}, {place_name(row.dataset, row.scale)}",),
            ),
            TableCell(row.run, row.run, (row.metric,)),
            *(TableCell(f"{value:.4g}", float(value)) for value in (row.first, row.other)),
            TableCell(signed(row.effect, 3), float(row.effect), (_spread(row),)),
            TableCell(row.word, row.word),
        ]
        for row in found.head(MOST_ROWS).itertuples()
    ]
    if not lines:
        return None
    more = len(found) - len(lines)
    difference = "difference (dB, or log ratio; + is better)"
    header = ["loss and head", "condition", "run", first, "this run", difference, "so it is"]
    rest = f" ({more} smaller ones are in differences.csv)" if more else ""
    caption = f"Differences by seed, largest in margins first; all intervals hold together at 95 %{rest}"
    return Table("differences", caption, header, lines)


def _spread(row: Any) -> str:
    ends = "" if pd.isna(row.ci_low) else f"{signed(row.ci_low, 3)} to {signed(row.ci_high, 3)}, "
    return f"{ends}n = {row.n}"


def verdicts_table(runs: list[Named]) -> Table | None:
    """Each claim that any run tests: its verdict in every run."""
    lines = []
    for number, row in enumerate(runs[0].verdicts.itertuples()):
        rows = [pick(one.verdicts, claim=row.claim) for one in runs]
        rows = [next(one.itertuples()) if len(one) else None for one in rows]
        if all(one is None or one.verdict == NOT_TESTED for one in rows):
            continue
        verdicts = {one.verdict for one in rows if one is not None}
        entries = [_verdict_entry(one) for one in rows]
        changed = "same" if len(verdicts) == 1 and None not in rows else "differs"
        lines.append(
            [TableCell(first_sentence(row.statement), number, (row.claim,)), *entries, TableCell(changed, changed)]
        )
    header = ["statement tested", *(one.name for one in runs), "verdicts"]
    return Table("verdicts", "Verdicts on the article's claims, run by run", header, lines) if lines else None


def _verdict_entry(row: Any) -> TableCell:
    if row is None or row.verdict == NOT_TESTED:
        return TableCell("– NOT TESTED", "")
    estimate = estimate_entry(row)
    return TableCell(f"{SIGNS[row.verdict]} {row.verdict}", row.verdict, (estimate.line, f"n = {row.n}"))


def times_table(runs: list[Named]) -> Table | None:
    """Median time of a training step in each run, and how many times as fast as the first's in the same precision."""
    steps = pd.DataFrame(
        [
            {"run": one.name, "ms": arm.step_ms} | {key: getattr(arm, key) for key in STEP}
            for one in runs
            for arm in cost.arms(one.shown)
        ]
    )
    if steps.empty:
        return None
    lines = []
    for (task, dataset), here in steps.groupby(["task", "dataset"]):
        mixed = here["precision"].nunique() > 1
        for loss, head in arms_of(here):
            for precision, own in pick(here, loss=loss, head=head).groupby("precision"):
                ms = own.groupby("run")["ms"].median().reindex([one.name for one in runs])
                entries = [TableCell("–", "") if np.isnan(value) else _time_entry(value, ms.iloc[0]) for value in ms]
                name = arm_name(loss, head) + (f" ({precision})" if mixed else "")
                lines.append([TableCell(name, name), TableCell(f"{labels.task_name(task)}, {dataset}", task), *entries])
    header = ["loss and head", "task", *(f"{one.name} (ms)" for one in runs)]
    return Table("times", "Median time of a training step, alone on the device", header, lines)


def _time_entry(ms: float, first_ms: float) -> TableCell:
    notes = () if np.isnan(first_ms) else (f"{first_ms / ms:.2f} times the first's speed",)
    return TableCell(f"{ms:.3g}", float(ms), notes)
