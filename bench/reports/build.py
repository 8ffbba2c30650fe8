"""What does a reader get to see of a run? Report, figures, tables, and summary.csv, from the run directory alone."""

import shlex
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis import labels
from bench.analysis.comparison import NOT_TESTED
from bench.analysis.precision import caveats
from bench.analysis.recommend import advise
from bench.analysis.staleness import mixed_tasks, warnings_of
from bench.analysis.summary import MAIN_PSNR, main_cells, summary_of
from bench.analysis.tuning import untuned
from bench.analysis.verdicts import judge
from bench.plan.reading import shipped
from bench.reports import UnknownFigure, user_losses
from bench.reports.chapters import chapters, tally
from bench.reports.figures import style
from bench.reports.figures.registry import FIGURES, figure_names
from bench.reports.findings import Finding, findings, sentences
from bench.reports.names import FOLDERS, Names, names_of, with_short_names
from bench.reports.rendering import html, markdown
from bench.reports.tables import cell_status, cost, results
from bench.reports.tables.export import write_tables
from bench.reports.tables.precision import precision_table
from bench.reports.tables.published import published_table
from bench.reports.tables.table import Table
from bench.store.csv_format import csv_text
from bench.store.files import write_atomically
from bench.store.reader import Run, load
from bench.store.validation import FOLDER
from ganlab.errors import no_such

MAPPINGS = ("suite", "git", "packages", "device", "data", "classifiers")  # of the manifest, where it has them
EMPTY_MANIFEST = {**{key: {} for key in MAPPINGS}, "credits": [], "argv": [], "started": "", "finished": ""}
RETIRED = ("claims",)  # figures of earlier versions, which would linger in a run directory
SPOKEN_ROWS = 12  # of a table, in the text for people who cannot see its figure
COSTS = (cost.speed_table, cost.phase_table, cost.roofline_table, cost.calibration_table)
TOPICS_OF_A_TASK = ("robustness", "control", "clean")  # what is found of each reconstruction
TOPICS = (*TOPICS_OF_A_TASK, "prediction", "gan", "d_loss", "dead", "location", "timing")


class Picture(NamedTuple):
    """A figure in the report."""

    number: int
    name: str
    title: str
    alt: str
    file: Path


class Reconstruction(NamedTuple):
    """What the report says of one reconstruction task."""

    task: str
    name: str
    findings: list[Finding]
    figures: tuple[str, str]  # quality against outlier rate, and crops
    robustness_tables: list[Table]
    metric_tables: list[Table]


def write_report(path: Path | str) -> list[Path]:
    """(Re)write summary.csv, claims.csv, tables, figures, report.html, and report.md of a run; returns the reports.

    Raises:
        StoreError: no readable run directory.
    """
    whole = load(path)
    names = names_of(whole)
    run = with_short_names(whole, names)
    verdicts = judge(run)
    for name, table in {"summary": summary_of(whole), "claims": verdicts}.items():
        write_atomically(run.path / f"{name}.csv", csv_text(table.columns, table.to_dict("records")))
    shown = comparable(run)
    page = contents(run, shown, verdicts, names) | {"published_table": published_table(whole)}
    page["pictures"] = draw(run, shown, alternatives(page))
    write_tables(run.path / "tables", list(every_table(page)))
    reports = {"report.html": html("report", page), "report.md": markdown("report", page)}
    for name, text in reports.items():
        write_atomically(run.path / name, text)
    return [run.path / name for name in reports]


def redraw(path: Path | str, names: Iterable[str]) -> list[Path]:
    """Redraw single figures of a run directory into its `figures/`; returns their files.

    Raises:
        StoreError: no readable run directory.
        UnknownFigure: no such figure, or this run has no rows for it.
    """
    for name in names:
        if name not in FIGURES:
            raise UnknownFigure(no_such("figure", name, FIGURES))
    run = load(path)
    run = with_short_names(run, names_of(run))
    shown, files = comparable(run), []
    for name in names:
        figure = FIGURES[name].draw(run if FIGURES[name].of_all_cells else shown)
        if figure is None:
            raise UnknownFigure(f"{run.path} has no rows for the figure {name!r} ({FIGURES[name].title})")
        files.append(run.path / "figures" / f"{name}.png")
        style.save(figure, files[-1])
    return files


def comparable(run: Run) -> Run:
    """The run as most figures and findings see it: each loss at its main setting, references aside."""
    cells = main_cells(run.cells)
    references = run.cells[run.cells["role"] == "reference"]
    return replace(run, cells=cells, timing=run.timing[run.timing["loss"].isin(cells["loss"])], references=references)


def alternatives(page: dict[str, Any]) -> dict[str, str]:
    """By topic the finding that a figure's text carries for people who cannot see it."""
    texts = {topic: found[0].text for topic, found in page["findings"].items() if found}
    texts |= {f"robustness-{one.task}": one.findings[0].text for one in page["reconstructions"] if one.findings}
    texts |= {f"claim-{chapter.name}": chapter.text for chapter in page["chapters"] if chapter.tested}
    for topic, table, columns in (
        ("three_db", page["three_db_table"], (0, 1, 3)),
        ("rates", page["rate_table"], (0, 2, 3, 4)),
    ):
        if table:
            lines = [", ".join(row[column].text for column in columns) for row in table.rows[:SPOKEN_ROWS]]
            texts[topic] = f"{'; '.join(lines)}."
    return texts


def draw(run: Run, shown: Run, texts: dict[str, str]) -> dict[str, Picture]:
    """Draw every figure the run has rows for into `figures/`, and remove those it no longer has."""
    pictures = {}
    for name, figure_of in FIGURES.items():
        file = run.path / "figures" / f"{name}.png"
        figure = figure_of.draw(run if figure_of.of_all_cells else shown)
        if figure is None:
            file.unlink(missing_ok=True)
            continue
        style.save(figure, file)
        alt = f"{figure_of.title}. {texts.get(figure_of.topic) or figure_of.shows}".strip()
        pictures[name] = Picture(len(pictures) + 1, name, figure_of.title, alt, file)
    for name in RETIRED:
        (run.path / "figures" / f"{name}.png").unlink(missing_ok=True)
    return pictures


def contents(run: Run, shown: Run, verdicts: pd.DataFrame, names: Names) -> dict[str, Any]:
    """Everything the templates print but the figures. `run` has all cells, `shown` those that findings rest on."""
    found = findings(shown, run)
    own = user_losses.section(run, shown, names)
    manifest = EMPTY_MANIFEST | {key: value for key, value in run.manifest.items() if value is not None}
    return {
        "suite": {"name": run.path.name, "title": "", "matrix": []} | manifest["suite"],
        "sentences": [*(own.sentences if own else ()), *sentences(found, tally(verdicts) if found else "")],
        "yours": own,
        "advice_table": results.advice_table(advise(shown)),
        "claims_table": results.claims_table(verdicts),
        "chapters": chapters(verdicts),
        "statements": len(verdicts),
        "untested": int((verdicts["verdict"] == NOT_TESTED).sum()),
        "findings": {topic: [finding for finding in found if finding.topic == topic] for topic in TOPICS},
        "counts": cell_status.status_counts(run),
        "total": len(run.cells),
        "warnings": warnings_of(run),
        "mixed": mixed_tasks(run),
        "facts": facts(run),
        "aside": int((run.cells["role"] == "report").sum()) - len(shown.cells),
        "tasks": sorted(set(run.cells["task"])),
        "codes": sorted(set(run.cells["code"]) - {""}),
        "reconstructions": reconstructions(shown, found),
        "gan_tables": results.gan_tables(shown),
        "three_db_table": results.three_db_table(shown),
        "prediction_table": results.prediction_table(run),
        "unit_table": results.unit_table(run),
        "location_table": results.location_table(shown),
        "cost_tables": [table for table in (part(shown) for part in COSTS) if table],
        "precision_table": precision_table(run),
        "precision_caveats": caveats(run, shown),
        "rate_table": results.rate_table(run),
        "untuned": untuned(run),
        "fate_table": cell_status.cell_status_table(run),
        "unfinished": cell_status.unfinished_table(run),
        "code_table": cell_status.code_table(run),
        "place": place(run.path),
        "shipped": manifest["suite"].get("name") in shipped(),
        "suite_file": suite_file(manifest["suite"].get("name", run.path.name)),
        "started_as": started_as(manifest["argv"]),
        "manifest": manifest | {"git": {"commit": None, "dirty": None} | manifest["git"]},
    }


def reconstructions(shown: Run, found: list[Finding]) -> list[Reconstruction]:
    """What there is to say of each reconstruction task that the run has cells of."""
    return [
        Reconstruction(
            task,
            labels.task_name(task),
            [one for topic in TOPICS_OF_A_TASK for one in found if (one.topic, one.task) == (topic, task)],
            figure_names(task),
            results.robustness_tables(shown, task),
            results.metric_tables(shown, task),
        )
        for task in MAIN_PSNR
        if task in set(shown.cells["task"])
    ]


def started_as(argv: list[str]) -> str:
    """The command that a run was started by; some versions wrote the program's name before its words.

    >>> started_as(["run", "quick"]), started_as(["/home/me/bench/__main__.py", "run", "quick"])
    ('python -m bench run quick', 'python -m bench run quick')
    """
    words = argv[argv.index("run") :] if "run" in argv else argv
    return shlex.join(["python", "-m", "bench", *map(_without_folders, words)])


def _without_folders(argument: str) -> str:
    """An absolute path of the machine that ran it says nothing elsewhere: its last part is kept."""
    prefix, colon, rest = argument.partition(":")
    if (prefix + colon) == FOLDER:
        return prefix + colon + FOLDERS.join(map(_without_folders, rest.split(FOLDERS)))
    return Path(argument).name if argument.startswith("/") else argument


def suite_file(name: str) -> str:
    """Where the suite stands that a run was made from, as far as its name tells."""
    return f"{name}, bench/suites/{name}.toml" if name in shipped() else f"{name}, a file of its own"


def every_table(page: dict[str, Any]) -> Iterable[Table]:
    """The tables of a page, wherever they stand."""
    for value in page.values():
        for table in value if isinstance(value, list) else [value]:
            if isinstance(table, Table):
                yield table
            elif isinstance(table, Reconstruction):
                yield from (*table.robustness_tables, *table.metric_tables)
            elif isinstance(table, user_losses.Yours):
                yield from filter(None, (*table.tables, table.verdicts_table))


def facts(run: Run) -> dict[str, str]:
    """What ran, on what, and for how long."""
    manifest = run.manifest
    device = manifest.get("device") or {}
    cores = device.get("cpu_count") or device.get("cores")
    threads = manifest.get("threads")
    done = run.cells[run.cells["status"] == "done"]
    reported = run.cells[run.cells["role"] == "report"]
    seeds = reported.groupby(["task", "dataset", "loss", "head", "outlier", "rate"])["seed"].nunique()
    found = {
        "Cells": f"{len(done)} of {len(run.cells)} done (a cell is one training: a task, a loss, a condition, a seed)",
        "Seeds": f"{seeds.min()} to {seeds.max()} per loss and condition" if len(seeds) else "",
        "Losses": ", ".join(
            labels.arm_name(*arm) for arm in labels.arms_of(run.cells[run.cells["role"] != "reference"])
        ),
        "Data": ", ".join(sorted(set(run.cells["dataset"]))),
        "Device": str(device.get("name", "unknown")) + (f", {cores} cores" if cores else ""),
        "Threads": ", ".join(f"{key.replace('_', ' ')}: {n}" for key, n in threads.items())
        if isinstance(threads, dict)
        else str(threads or ""),
        "Duration": duration(manifest),
        "Training in all": f"{done['train_s'].sum() / 60:.1f} minutes over all cells" if len(done) else "",
        "Started": str(manifest.get("started") or ""),
    }
    return {key: text for key, text in found.items() if text}


def duration(manifest: dict[str, Any]) -> str:
    """Wall time of a run in words.

    >>> duration({"wall_s": 510.0, "finished": "2025-01-02T03:12:35+00:00"})
    '8 min 30 s'
    """
    seconds, finished = manifest.get("wall_s"), manifest.get("finished")
    if seconds is None and finished and manifest.get("started"):
        seconds = (datetime.fromisoformat(finished) - datetime.fromisoformat(manifest["started"])).total_seconds()
    if seconds is None:
        return "not finished"
    hours, minutes = divmod(round(seconds) // 60, 60)
    text = f"{hours} h {minutes} min" if hours else f"{minutes} min {round(seconds) % 60} s"
    return text if finished else f"{text} so far, not finished"


def place(path: Path) -> str:
    """The run directory as a command line names it: relative to where we are, if it lies below."""
    path = path.resolve()
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))
