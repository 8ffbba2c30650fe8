"""What differs between runs? A report on several run directories, such as CPU and GPU, or before and after a change.

The other runs are compared with the first. Cells are paired by what they trained (task, data set, loss, head,
condition, seed), each loss at its main setting. Every difference of a group of seeds has an interval, and all intervals
of a table hold together.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis import cost, labels, verdicts
from bench.analysis.comparison import NOT_TESTED
from bench.analysis.labels import SIGNS, arm_name, arms_of, condition_name, dataset_label, first_sentence, signed
from bench.analysis.recommend import ALIKE, BETTER, OPEN, WORSE
from bench.analysis.reported_rates import warnings_of_rates, with_rates
from bench.analysis.side_by_side import COLUMNS, SAME_WORK, SETTINGS, NamedRun, differences
from bench.analysis.staleness import warnings_of
from bench.analysis.summary import comparable, pick
from bench.reports.build import write_page
from bench.reports.contents import duration, facts
from bench.reports.figures import style
from bench.reports.figures.differences import differences_figure
from bench.reports.names import names_of as short_names
from bench.reports.names import with_short_names
from bench.reports.rendering import Picture
from bench.reports.tables.export import slug
from bench.reports.tables.results import estimate_cell, scope
from bench.reports.tables.table import Table, TableCell
from bench.store import StoreError
from bench.store.csv_format import csv_text
from bench.store.files import write_atomically
from bench.store.reader import load

FOLDER = Path("results") / "side-by-side"
STEP = ["task", "dataset", "loss", "head", "precision"]  # the columns that identify a timed step
MOST_ROWS = 60  # differences on the page; differences.csv has all of them


def write_side_by_side(paths: list[Path], out: Path | None = None) -> list[Path]:
    """Write report.html, report.md, differences.csv, tables, and a figure of several runs; returns the reports.

    Args:
        paths: two or more run directories; the others are compared with the first.
        out: the output folder; by default a folder under `results/side-by-side/` named after the runs.

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
        NamedRun(
            name, run := with_short_names(full_run, shown_as), comparable(run), with_rates(verdicts.judge(run), run)
        )
        for name, full_run in zip(names, loaded, strict=True)
    ]
    comparison_rows = differences(runs)
    write_atomically(out / "differences.csv", csv_text(COLUMNS, comparison_rows.to_dict("records")))
    title = "Side by side: " + ", ".join(names)
    return write_page(out, "side_by_side.j2", title, contents_of(runs, comparison_rows, paths, out))


def names_of(paths: list[Path]) -> list[str]:
    """Short names that distinguish run directories: as few last parts of the paths as possible.

    >>> names_of([Path("a/quick"), Path("b/quick")])
    ['a/quick', 'b/quick']
    >>> names_of([Path("results/cpu"), Path("results/gpu")])
    ['cpu', 'gpu']
    """
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path_parts[-length:]) for path_parts in parts]
        if len(set(names)) == len(names):
            return names
    raise StoreError(f"{paths[0]} is named twice; a run has nothing to be compared with itself")


@dataclass(frozen=True)
class Contents:
    """Everything that `side_by_side.j2` prints; the attributes are the names in the template."""

    sentences: list[str]
    warnings: list[str]
    pictures: dict[str, Picture]
    facts_table: Table
    differences_table: Table | None
    verdicts_table: Table | None
    times_table: Table | None
    command: str


def contents_of(runs: list[NamedRun], comparison_rows: pd.DataFrame, paths: list[Path], out: Path) -> Contents:
    """The contents of the page; this draws its figure."""
    sentences = [_summary_sentence(runs[0], other, pick(comparison_rows, run=other.name)) for other in runs[1:]]
    command = shlex.join(["python", "-m", "bench", "report", *map(str, paths), "--out", str(out)])
    file, pictures = out / "figures" / "differences.png", {}
    figure = differences_figure(runs, comparison_rows)
    if figure is not None:
        style.save(figure, file)
        title = "What differs between the runs"
        pictures["differences"] = Picture(1, "differences", title, " ".join(sentences), file, command)
    return Contents(
        sentences=sentences,
        warnings=[
            f"{named.name}: {warning}"
            for named in runs
            for warning in (*warnings_of(named.run), *warnings_of_rates(named.run))
        ],
        pictures=pictures,
        facts_table=facts_table(runs),
        differences_table=differences_table(runs[0].name, comparison_rows),
        verdicts_table=verdicts_table(runs),
        times_table=times_table(runs),
        command=command,
    )


def _summary_sentence(first: NamedRun, other: NamedRun, comparison_rows: pd.DataFrame) -> str:
    """How many conditions two runs share, and how many of them differ, in one sentence."""
    if comparison_rows.empty:
        return f"{other.name} and {first.name} share no finished condition, so nothing can be compared."
    counts = comparison_rows["word"].value_counts()
    names = {WORSE: WORSE, BETTER: BETTER, ALIKE: f"with {ALIKE}", OPEN: OPEN}
    counts_text = [f"{counts.get(word, 0)} {name}" for word, name in names.items()]
    cells = int(comparison_rows["n"].sum())
    differing = _differing_settings(first, other)
    return (
        f"{other.name} against {first.name}: of {len(comparison_rows)} shared conditions {', '.join(counts_text)};"
        f" {int(comparison_rows['identical'].sum())} of {cells} paired cells have the very same number."
        + (f" Their settings differ in {', '.join(differing)}." if differing else "")
    )


def _differing_settings(first: NamedRun, other: NamedRun) -> list[str]:
    columns = [*SAME_WORK, *SETTINGS]
    both = first.shown.cells[columns].merge(other.shown.cells[columns], on=SAME_WORK, suffixes=("_a", "_b"))
    return [column for column in SETTINGS if (both[f"{column}_a"].fillna("") != both[f"{column}_b"].fillna("")).any()]


def facts_table(runs: list[NamedRun]) -> Table:
    """The facts about each run: a column per run."""
    columns = []
    for named in runs:
        manifest, device = named.run.manifest, named.run.manifest.get("device") or {}
        git = manifest.get("git") or {}
        columns.append(
            facts(named.run)
            | {
                "Duration": duration(manifest),
                "Device type": str(device.get("type", "unknown")),
                "Precision": ", ".join(sorted(set(named.run.cells["precision"]))),
                "PyTorch": str((manifest.get("packages") or {}).get("torch", "unknown")),
                "Commit": (git.get("commit") or "unknown")[:12]
                + (" with uncommitted changes" if git.get("dirty") else ""),
                "Code": ", ".join(sorted(set(named.run.cells["code"]) - {""})) or "unknown",
            }
        )
    keys = list(dict.fromkeys(key for column in columns for key in column))
    lines = [
        [TableCell(key, position), *(TableCell(column.get(key, "–"), column.get(key, "")) for column in columns)]
        for position, key in enumerate(keys)
    ]
    return Table("runs", "The runs", ["what", *(named.name for named in runs)], lines)


def differences_table(first: str, comparison_rows: pd.DataFrame) -> Table | None:
    """The largest differences, in the unit of their metric."""
    lines = [
        [
            TableCell(arm_name(row.loss, row.head), arm_name(row.loss, row.head)),
            TableCell(
                condition_name(row.outlier, row.rate),
                condition_name(row.outlier, row.rate),
                (f"{labels.task_name(row.task)}, {dataset_label(row.dataset, row.scale)}",),
            ),
            TableCell(row.run, row.run, (row.metric,)),
            *(TableCell(f"{value:.4g}", float(value)) for value in (row.first, row.other)),
            TableCell(signed(row.effect, 3), float(row.effect), (_spread(row),)),
            TableCell(row.word, row.word),
        ]
        for row in comparison_rows.head(MOST_ROWS).itertuples()
    ]
    if not lines:
        return None
    more = len(comparison_rows) - len(lines)
    difference = "difference (dB, or log ratio; + is better)"
    header = ["loss and head", "condition", "run", first, "this run", difference, "so it is"]
    omitted = f" ({more} smaller ones are in differences.csv)" if more else ""
    caption = f"Differences by seed, largest in margins first; all intervals hold together at 95 %{omitted}"
    return Table("differences", caption, header, lines)


def _spread(row: Any) -> str:
    ends = "" if pd.isna(row.ci_low) else f"{signed(row.ci_low, 3)} to {signed(row.ci_high, 3)}, "
    return f"{ends}n = {row.n}"


def verdicts_table(runs: list[NamedRun]) -> Table | None:
    """The verdict of every run on each claim that any run tests."""
    lines = []
    for number, row in enumerate(runs[0].verdicts.itertuples()):
        matches = [pick(named.verdicts, claim=row.claim) for named in runs]
        rows = [next(match.itertuples()) if len(match) else None for match in matches]
        if all(verdict_row is None or verdict_row.verdict == NOT_TESTED for verdict_row in rows):
            continue
        verdicts = {verdict_row.verdict for verdict_row in rows if verdict_row is not None}
        entries = [_verdict_cell(verdict_row) for verdict_row in rows]
        changed = "same" if len(verdicts) == 1 and None not in rows else "differs"
        lines.append(
            [TableCell(first_sentence(row.statement), number, (row.claim,)), *entries, TableCell(changed, changed)]
        )
    header = ["statement tested", *(named.name for named in runs), "verdicts"]
    return Table("verdicts", "Verdicts on the article's claims, run by run", header, lines) if lines else None


def _verdict_cell(row: Any) -> TableCell:
    if row is None or row.verdict == NOT_TESTED:
        return TableCell("– NOT TESTED", "")
    estimate = estimate_cell(row)
    notes = (estimate.line, f"n = {row.n}", scope(row))
    return TableCell(f"{SIGNS[row.verdict]} {row.verdict}", row.verdict, tuple(filter(None, notes)))


def times_table(runs: list[NamedRun]) -> Table | None:
    """Median time of a training step in each run, and the speed relative to the first run in the same precision."""
    steps = pd.DataFrame(
        [
            {"run": named.name, "ms": arm.step_ms} | {key: getattr(arm, key) for key in STEP}
            for named in runs
            for arm in cost.arms(named.shown)
        ]
    )
    if steps.empty:
        return None
    lines = []
    for (task, dataset), dataset_steps in steps.groupby(["task", "dataset"]):
        mixed = dataset_steps["precision"].nunique() > 1
        for loss, head in arms_of(dataset_steps):
            for precision, arm_steps in pick(dataset_steps, loss=loss, head=head).groupby("precision"):
                ms = arm_steps.groupby("run")["ms"].median().reindex([named.name for named in runs])
                entries = [TableCell("–", "") if np.isnan(value) else _time_cell(value, ms.iloc[0]) for value in ms]
                name = arm_name(loss, head) + (f" ({precision})" if mixed else "")
                lines.append([TableCell(name, name), TableCell(f"{labels.task_name(task)}, {dataset}", task), *entries])
    header = ["loss and head", "task", *(f"{named.name} (ms)" for named in runs)]
    return Table("times", "Median time of a training step, alone on the device", header, lines)


def _time_cell(ms: float, first_ms: float) -> TableCell:
    notes = () if np.isnan(first_ms) else (f"{first_ms / ms:.2f} times the first's speed",)
    return TableCell(f"{ms:.3g}", float(ms), notes)
