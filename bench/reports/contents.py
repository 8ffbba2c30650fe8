"""What does the report of a single run contain? All contents are computed before a template prints them."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis import labels
from bench.analysis.precision import caveats
from bench.analysis.recommend import advise
from bench.analysis.reported_rates import warnings_of_rates
from bench.analysis.staleness import mixed_tasks, warnings_of
from bench.analysis.summary import MAIN_PSNR
from bench.analysis.tuning import asides, untuned
from bench.plan.reading import shipped
from bench.reports import user_losses
from bench.reports.chapters import Chapter, chapters, tally
from bench.reports.figures.registry import figure_names
from bench.reports.findings import Finding, findings, sentences
from bench.reports.names import FOLDERS, Names
from bench.reports.rendering import Picture
from bench.reports.tables import cell_status, cost, results
from bench.reports.tables.advice import advice_table
from bench.reports.tables.lengths import length_table
from bench.reports.tables.precision import precision_table
from bench.reports.tables.published import published_table
from bench.reports.tables.rates import rate_table
from bench.reports.tables.table import Table
from bench.store.reader import Run
from bench.store.validation import FOLDER

MAPPINGS = ("suite", "git", "packages", "device", "data", "classifiers")  # parts of the manifest, if it has them
EMPTY_MANIFEST = {**{key: {} for key in MAPPINGS}, "credits": [], "argv": [], "started": "", "finished": ""}
ADDITIONS = ("--loss", "--data", "--train", "--test", "--network", "--only", "--set")  # options that change a suite
SPOKEN_ROWS = 12  # table rows in the alternative text of a figure
COSTS = (cost.speed_table, cost.phase_table, cost.roofline_table, cost.calibration_table)
TOPICS_OF_A_TASK = ("robustness", "control", "clean")  # topics that each reconstruction task has
TOPICS = (*TOPICS_OF_A_TASK, "prediction", "gan", "d_loss", "dead", "location", "timing")


class Reconstruction(NamedTuple):
    """The contents of the report about a reconstruction task."""

    task: str
    name: str
    findings: list[Finding]
    figures: tuple[str, str]  # quality against outlier rate, and crops
    robustness_tables: list[Table]
    metric_tables: list[Table]


@dataclass(frozen=True)
class Contents:
    """Everything that `report.j2` prints; the attributes are the names in the template. An empty table is None."""

    # the run
    suite: dict[str, Any]
    manifest: dict[str, Any]
    facts: dict[str, str]
    counts: dict[str, int]  # cells by status
    total: int  # cells
    aside: int  # reported cells with varied settings, which figures and findings leave out
    tasks: set[str]
    warnings: list[str]
    mixed: set[str]  # tasks whose cells were trained by several versions of the code
    # its results
    sentences: list[str]
    yours: user_losses.UserLosses | None
    findings: dict[str, list[Finding]]  # by topic
    reconstructions: list[Reconstruction]
    chapters: list[Chapter]
    precision_caveats: list[str]
    tuning_asides: list[str]  # what one must know of the metrics that rates were tuned by
    untuned: tuple[str, tuple[str, ...]] | None  # results at untuned rates (a sentence), and commands that tune them
    # its tables
    advice_table: Table | None
    claims_table: Table | None
    gan_tables: list[Table]
    three_db_table: Table | None
    prediction_table: Table | None
    length_table: Table | None
    unit_table: Table | None
    location_table: Table | None
    cost_tables: list[Table]
    precision_table: Table | None
    rate_table: Table | None
    status_table: Table | None
    unfinished_table: Table | None
    code_table: Table | None
    published_table: Table | None
    # where it comes from
    commands: list[str]
    codes: list[str]
    suite_file: str
    started_as: str
    # drawn last
    pictures: dict[str, Picture] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The heading of the page."""
        return self.suite["title"] or self.suite["name"]


def contents_of(whole: Run, run: Run, shown: Run, verdicts: pd.DataFrame, names: Names) -> Contents:
    """The contents of a report, without its figures.

    `run` is the `whole` run with short names; `shown` has the cells that figures and findings use.
    """
    all_findings = findings(shown, run)
    user_section = user_losses.section(run, shown, names)
    manifest = EMPTY_MANIFEST | {key: value for key, value in run.manifest.items() if value is not None}
    suite = {"name": run.path.name, "title": "", "matrix": []} | manifest["suite"]
    return Contents(
        suite=suite,
        manifest=manifest | {"git": {"commit": None, "dirty": None} | manifest["git"]},
        facts=facts(run),
        counts=cell_status.status_counts(run),
        total=len(run.cells),
        aside=int((run.cells["role"] == "report").sum()) - len(shown.cells),
        tasks=set(run.cells["task"]),
        warnings=[*warnings_of(run), *warnings_of_rates(run)],
        mixed=mixed_tasks(run),
        sentences=[
            *(user_section.sentences if user_section else ()),
            *sentences(all_findings, tally(verdicts) if all_findings else ""),
        ],
        yours=user_section,
        findings={topic: [finding for finding in all_findings if finding.topic == topic] for topic in TOPICS},
        reconstructions=reconstructions(shown, all_findings),
        chapters=chapters(verdicts),
        precision_caveats=caveats(run, shown),
        tuning_asides=asides(run),
        untuned=untuned(run),
        advice_table=advice_table(advise(shown, run)),
        claims_table=results.claims_table(verdicts),
        gan_tables=results.gan_tables(shown),
        three_db_table=results.three_db_table(shown),
        prediction_table=results.prediction_table(run),
        length_table=length_table(run),
        unit_table=results.unit_table(run),
        location_table=results.location_table(shown),
        cost_tables=[table for table in (part(shown) for part in COSTS) if table],
        precision_table=precision_table(run),
        rate_table=rate_table(run),
        status_table=cell_status.cell_status_table(run),
        unfinished_table=cell_status.unfinished_table(run),
        code_table=cell_status.code_table(run),
        published_table=published_table(whole),
        commands=commands(run.path, suite["name"], manifest["argv"]),
        codes=sorted(set(run.cells["code"]) - {""}),
        suite_file=suite_file(suite["name"]),
        started_as=started_as(manifest["argv"]),
    )


def reconstructions(shown: Run, all_findings: list[Finding]) -> list[Reconstruction]:
    """The contents about each reconstruction task that the run has cells for."""
    return [
        Reconstruction(
            task,
            labels.task_name(task),
            [
                finding
                for topic in TOPICS_OF_A_TASK
                for finding in all_findings
                if (finding.topic, finding.task) == (topic, task)
            ],
            figure_names(task),
            results.robustness_tables(shown, task),
            results.metric_tables(shown, task),
        )
        for task in MAIN_PSNR
        if task in set(shown.cells["task"])
    ]


def commands(path: Path, suite: str, argv: list[str]) -> list[str]:
    """The commands that repeat the run, its report, or a figure."""
    if any(option in " ".join(argv) for option in ADDITIONS) or (argv and suite not in shipped()):
        training = [f"{started_as(argv)}    # everything, from nothing"]
    else:
        suite_option = "" if suite == "quick" else f" SUITE={suite}"
        training = [f"make bench{suite_option}    # everything, from nothing", f"python -m bench run {suite}"]
    report = f"python -m bench report {path_argument(path)}"
    return [
        *training,
        f"{report}    # figures, tables, and report from the files alone",
        f"{report} --figure NAME    # one figure",
    ]


def started_as(argv: list[str]) -> str:
    """The command that started a run. Manifests of some versions also have the name of the program.

    >>> started_as(["run", "quick"]), started_as(["/home/me/bench/__main__.py", "run", "quick"])
    ('python -m bench run quick', 'python -m bench run quick')
    """
    words = argv[argv.index("run") :] if "run" in argv else argv
    return shlex.join(["python", "-m", "bench", *map(_without_folders, words)])


def _without_folders(argument: str) -> str:
    """Keep only the last part of an absolute path: it has no meaning on other machines."""
    prefix, colon, rest = argument.partition(":")
    if (prefix + colon) == FOLDER:
        return prefix + colon + FOLDERS.join(map(_without_folders, rest.split(FOLDERS)))
    return Path(argument).name if argument.startswith("/") else argument


def suite_file(name: str) -> str:
    """The name of the suite and the file it comes from, as far as the name shows it."""
    return f"{name}, bench/suites/{name}.toml" if name in shipped() else f"{name}, a file of its own"


def facts(run: Run) -> dict[str, str]:
    """What was run, on which device, and for how long."""
    manifest = run.manifest
    device = manifest.get("device") or {}
    cores = device.get("cpu_count") or device.get("cores")
    threads = manifest.get("threads")
    done = run.cells[run.cells["status"] == "done"]
    reported = run.cells[run.cells["role"] == "report"]
    seeds = reported.groupby(["task", "dataset", "loss", "head", "outlier", "rate"])["seed"].nunique()
    texts = {
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
    return {key: text for key, text in texts.items() if text}


def duration(manifest: dict[str, Any]) -> str:
    """The wall time of a run in words.

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


def path_argument(path: Path) -> str:
    """The run directory for a command line: relative to the working directory if it is inside it."""
    path = path.resolve()
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def alternatives(contents: Contents) -> dict[str, str]:
    """The alternative texts of figures, by topic."""
    texts = {topic: topic_findings[0].text for topic, topic_findings in contents.findings.items() if topic_findings}
    texts |= {
        f"robustness-{reconstruction.task}": reconstruction.findings[0].text
        for reconstruction in contents.reconstructions
        if reconstruction.findings
    }
    texts |= {f"claim-{chapter.name}": chapter.text for chapter in contents.chapters if chapter.tested}
    for topic, table, columns in (
        ("three_db", contents.three_db_table, (0, 1, 3)),
        ("rates", contents.rate_table, (0, 2, 3, 4)),
    ):
        if table:
            lines = [", ".join(row[column].text for column in columns) for row in table.rows[:SPOKEN_ROWS]]
            texts[topic] = f"{'; '.join(lines)}."
    return texts


def every_table(page: object) -> Iterable[Table]:
    """All tables of a page."""
    for value in vars(page).values():
        for table in value if isinstance(value, list) else [value]:
            if isinstance(table, Table):
                yield table
            elif isinstance(table, Reconstruction):
                yield from (*table.robustness_tables, *table.metric_tables)
            elif isinstance(table, user_losses.UserLosses):
                yield from filter(None, (*table.tables, table.verdicts_table))
