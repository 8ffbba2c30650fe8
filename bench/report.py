"""What does a reader get to see of a run? Report, figures, and summary.csv, from the run directory alone."""

import base64
import io
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from bench import claims, style, tables
from bench.chapters import chapters
from bench.figures import FIGURES
from bench.findings import Finding, findings, headline, in_short
from bench.statistics import main_cells
from bench.store import Run, csv_text, load, write_atomically
from bench.verdicts import NOT_TESTED

DRAWN_AT_MOST = 200_000  # bytes of PNG; larger figures show photographs
MAPPINGS = ("suite", "git", "packages", "device", "data", "classifiers")  # of the manifest, where it has them
EMPTY_MANIFEST = {**{key: {} for key in MAPPINGS}, "credits": [], "argv": []}
TOPICS = ("robustness", "clean", "control", "prediction", "gan", "dead", "location", "timing")


class Picture(NamedTuple):
    """A figure in the report."""

    name: str
    title: str
    alt: str
    file: Path


def write_report(path: Path | str) -> list[Path]:
    """(Re)write summary.csv, claims.csv, figures, report.html, and report.md of a run directory; returns the reports.

    Raises:
        StoreError: no readable run directory.
    """
    run = load(path)
    verdicts = claims.judge(run)
    for name, table in {"summary": run.summary, "claims": verdicts}.items():
        write_atomically(run.path / f"{name}.csv", csv_text(table.columns, table.to_dict("records")))
    shown = comparable(run)
    found = findings(shown)
    pictures = draw(run, shown, found)
    page = contents(run, shown, found, verdicts, pictures)
    reports = {"report.html": _html(page), "report.md": _markdown(page)}
    for name, text in reports.items():
        write_atomically(run.path / name, text)
    return [run.path / name for name in reports]


def comparable(run: Run) -> Run:
    """The run as most figures and findings see it: each loss at its main setting, references aside."""
    cells = main_cells(run.cells)
    references = run.cells[run.cells["role"] == "reference"]
    return replace(run, cells=cells, timing=run.timing[run.timing["loss"].isin(cells["loss"])], references=references)


def draw(run: Run, shown: Run, found: list[Finding]) -> dict[str, Picture]:
    """Draw every figure the run has rows for into `figures/`, and remove those it no longer has."""
    pictures = {}
    for name, figure_of in FIGURES.items():
        file = run.path / "figures" / f"{name}.png"
        figure = figure_of.draw(run if figure_of.of_all_cells else shown)
        if figure is None:
            file.unlink(missing_ok=True)
            continue
        style.save(figure, file)
        text = next((finding.text for finding in found if finding.topic == figure_of.topic), "")
        pictures[name] = Picture(name, figure_of.title, f"{figure_of.title}. {text or figure_of.shows}".strip(), file)
    return pictures


def contents(
    run: Run, shown: Run, found: list[Finding], verdicts: pd.DataFrame, pictures: dict[str, Picture]
) -> dict[str, Any]:
    """Everything the templates print. `run` has all cells, `shown` those that figures and findings rest on."""
    manifest = EMPTY_MANIFEST | {key: value for key, value in run.manifest.items() if value is not None}
    counts = tables.status_counts(run)
    report_cells = int((run.cells["role"] == "report").sum())
    return {
        "suite": {"name": run.path.name, "title": ""} | manifest["suite"],
        "headline": headline(found),
        "in_short": in_short(found),
        "claims_table": tables.claims_table(verdicts),
        "chapters": chapters(verdicts),
        "statements": len(verdicts),
        "untested": int((verdicts["verdict"] == NOT_TESTED).sum()),
        "findings": {topic: [finding for finding in found if finding.topic == topic] for topic in TOPICS},
        "pictures": pictures,
        "counts": counts,
        "total": len(run.cells),
        "warnings": run.warnings,
        "facts": _facts(run),
        "aside": report_cells - len(shown.cells),
        "tasks": sorted(set(run.cells["task"])),
        "codes": sorted(set(run.cells["code"]) - {""}),
        "robustness_tables": tables.robustness_tables(shown),
        "metric_tables": tables.metric_tables(shown),
        "gan_tables": tables.gan_tables(shown),
        "three_db_table": tables.three_db_table(shown),
        "prediction_table": tables.prediction_table(shown),
        "unit_table": tables.unit_table(run),
        "location_table": tables.location_table(shown),
        "rate_table": tables.rate_table(run),
        "unfinished": tables.unfinished_table(run),
        "place": _place(run.path),
        "manifest": manifest | {"git": {"commit": None, "dirty": None} | manifest["git"]},
    }


def _facts(run: Run) -> dict[str, str]:
    """What ran, on what, and for how long."""
    manifest = run.manifest
    device = manifest.get("device") or {}
    cores = device.get("cpu_count") or device.get("cores")
    threads = manifest.get("threads")
    done = run.cells[run.cells["status"] == "done"]
    facts = {
        "Cells": f"{len(done)} of {len(run.cells)} done",
        "Seeds": f"up to {run.cells.groupby('task')['seed'].nunique().max()} per condition" if len(run.cells) else "",
        "Losses": ", ".join(style.arm_name(*arm) for arm in style.arms_of(run.cells[run.cells["role"] != "reference"])),
        "Data": ", ".join(sorted(set(run.cells["dataset"]))),
        "Device": str(device.get("name", "unknown")) + (f", {cores} cores" if cores else ""),
        "Threads": ", ".join(f"{key.replace('_', ' ')}: {n}" for key, n in threads.items())
        if isinstance(threads, dict)
        else str(threads or ""),
        "Duration": duration(manifest),
        "Training in all": f"{done['train_s'].sum() / 60:.1f} minutes over all cells" if len(done) else "",
        "Started": str(manifest.get("started") or ""),
    }
    return {key: text for key, text in facts.items() if text}


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


def _place(path: Path) -> str:
    """The run directory as a command line names it: relative to where we are, if it lies below."""
    path = path.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _html(page: dict[str, Any]) -> str:
    environment = _environment(autoescape=True)
    environment.filters["embedded"] = embedded
    return environment.get_template("report.html.j2").render(page)


def _markdown(page: dict[str, Any]) -> str:
    environment = _environment(autoescape=False)
    environment.filters["md"] = escape_markdown
    return re.sub(r"\n{3,}", "\n\n", environment.get_template("report.md.j2").render(page)).strip() + "\n"


def _environment(autoescape: bool) -> Environment:
    loader = PackageLoader("bench", "templates")
    return Environment(
        loader=loader, autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def escape_markdown(text: object) -> str:
    """Text that Markdown prints as it is, on one line: no markup, no HTML, no table separators.

    >>> escape_markdown("<b> a|b [x](y)")
    '&lt;b&gt; a\\\\|b \\\\[x\\\\](y)'
    """
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", line)


def embedded(file: Path) -> str:
    """A figure as a data URI: WebP, without loss unless it shows photographs and would weigh too much."""
    photographs = file.stat().st_size > DRAWN_AT_MOST
    out = io.BytesIO()
    with Image.open(file) as picture:
        picture.convert("RGB").save(out, "WEBP", lossless=not photographs, quality=80, method=2)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
