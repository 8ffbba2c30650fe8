"""What does a reader get to see of a run? Report, figures, and summary.csv, from the run directory alone."""

import base64
import io
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from bench import style, tables
from bench.figures import FIGURES
from bench.findings import Finding, findings, headline
from bench.statistics import main_cells
from bench.store import Run, csv_text, load, write_atomically

EMBED_AS_PNG = 200_000  # bytes; larger figures show photographs, which a page carries as WebP, so it stays below 3 MB
MAPPINGS = ("suite", "git", "packages", "device", "data", "classifiers")  # of the manifest, where it has them
EMPTY_MANIFEST = {**{key: {} for key in MAPPINGS}, "credits": [], "argv": []}
TOPIC_OF_FIGURE = {  # whose finding a figure's text for people who cannot see it carries
    **{"robustness": "robustness", "sr_crops": "robustness", "gan_quality": "gan", "gan_samples": "gan"},
    **{"gan_losses": "gan", "convergence": "clean", "step_time": "timing"},
}


class Picture(NamedTuple):
    """A figure in the report."""

    name: str
    title: str
    alt: str
    file: Path


def write_report(path: Path | str) -> list[Path]:
    """(Re)write summary.csv, figures, report.html, and report.md of a run directory; returns the two reports.

    Raises:
        StoreError: no readable run directory.
    """
    run = load(path)
    summary = run.summary
    write_atomically(run.path / "summary.csv", csv_text(summary.columns, summary.to_dict("records")))
    shown = replace(run, cells=main_cells(run.cells))
    found = findings(shown)
    pictures = draw(shown, found)
    page = contents(run, shown, found, pictures)
    reports = {"report.html": _html(page), "report.md": _markdown(page)}
    for name, text in reports.items():
        write_atomically(run.path / name, text)
    return [run.path / name for name in reports]


def draw(run: Run, found: list[Finding]) -> dict[str, Picture]:
    """Draw every figure the run has rows for into `figures/`, and remove those it no longer has."""
    pictures = {}
    for name, (function, title) in FIGURES.items():
        file = run.path / "figures" / f"{name}.png"
        figure = function(run)
        if figure is None:
            file.unlink(missing_ok=True)
            continue
        style.save(figure, file)
        text = next((finding.text for finding in found if finding.topic == TOPIC_OF_FIGURE.get(name)), "")
        pictures[name] = Picture(name, title, f"{title}. {text}".strip(), file)
    return pictures


def contents(run: Run, shown: Run, found: list[Finding], pictures: dict[str, Picture]) -> dict[str, Any]:
    """Everything the templates print. `run` has all cells, `shown` those that figures and findings rest on."""
    manifest = EMPTY_MANIFEST | {key: value for key, value in run.manifest.items() if value is not None}
    counts = tables.status_counts(run)
    topics = ("robustness", "clean", "control", "gan", "timing")
    report_cells = int((run.cells["role"] == "report").sum())
    return {
        "suite": {"name": run.path.name, "title": ""} | manifest["suite"],
        "headline": headline(found),
        "findings": {topic: [finding for finding in found if finding.topic == topic] for topic in topics},
        "pictures": pictures,
        "counts": counts,
        "total": len(run.cells),
        "facts": _facts(run),
        "aside": report_cells - len(shown.cells),
        "tasks": sorted(set(run.cells["task"])),
        "codes": sorted(set(run.cells["code"]) - {""}),
        "robustness_tables": tables.robustness_tables(shown),
        "metric_tables": tables.metric_tables(shown),
        "gan_tables": tables.gan_tables(shown),
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
        "Losses": ", ".join(style.arm_name(*arm) for arm in style.arms_of(run.cells)),
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
    """A figure as a data URI: PNG as it is, or WebP where that would weigh too much."""
    data, kind = file.read_bytes(), "png"
    if len(data) > EMBED_AS_PNG:
        out = io.BytesIO()
        with Image.open(file) as picture:
            picture.convert("RGB").save(out, "WEBP", quality=85)
        data, kind = out.getvalue(), "webp"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
