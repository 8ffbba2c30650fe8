"""How does a run directory become a report, with figures, tables, and summary.csv?"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bench.analysis.reported_rates import with_rates
from bench.analysis.summary import comparable, summary_of
from bench.analysis.verdicts import judge
from bench.reports import UnknownFigure
from bench.reports.contents import alternatives, contents_of, every_table, path_argument
from bench.reports.figures import style
from bench.reports.figures.registry import FIGURES
from bench.reports.names import names_of, with_short_names
from bench.reports.rendering import Picture, render
from bench.reports.tables.export import write_tables
from bench.store.csv_format import csv_text
from bench.store.files import write_atomically
from bench.store.reader import Run, load
from ganlab.errors import no_such

RETIRED = ("claims",)  # figures of earlier versions; they are removed from run directories


def write_report(path: Path | str) -> list[Path]:
    """(Re)write summary.csv, claims.csv, tables, figures, report.html, and report.md of a run; returns the reports.

    Raises:
        StoreError: no readable run directory.
    """
    whole = load(path)
    names = names_of(whole)
    run = with_short_names(whole, names)
    shown, verdicts = comparable(run), with_rates(judge(run), run)
    for name, table in {"summary": summary_of(whole), "claims": verdicts}.items():
        write_atomically(run.path / f"{name}.csv", csv_text(table.columns, table.to_dict("records")))
    contents = contents_of(whole, run, shown, verdicts, names)
    contents = replace(contents, pictures=draw(run, shown, alternatives(contents)))
    return write_page(run.path, "report.j2", contents.title, contents)


def write_page(folder: Path, template: str, title: str, contents: object) -> list[Path]:
    """Write report.html, report.md, and every table of a page; returns the reports."""
    write_tables(folder / "tables", list(every_table(contents)))
    page = render(template, title, vars(contents))
    reports = {"report.html": page.html, "report.md": page.markdown}
    for name, text in reports.items():
        write_atomically(folder / name, text)
    return [folder / name for name in reports]


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


def draw(run: Run, shown: Run, texts: dict[str, str]) -> dict[str, Picture]:
    """Draw every figure that the run has rows for into `figures/`, and remove the other figures."""
    pictures: dict[str, Picture] = {}
    for name, figure_of in FIGURES.items():
        file = run.path / "figures" / f"{name}.png"
        figure = figure_of.draw(run if figure_of.of_all_cells else shown)
        if figure is None:
            file.unlink(missing_ok=True)
            continue
        style.save(figure, file)
        alt = f"{figure_of.title}. {texts.get(figure_of.topic) or figure_of.shows}".strip()
        command = f"python -m bench report {path_argument(run.path)} --figure {name}"
        pictures[name] = Picture(len(pictures) + 1, name, figure_of.title, alt, file, command)
    for name in RETIRED:
        (run.path / "figures" / f"{name}.png").unlink(missing_ok=True)
    return pictures
