"""What can be asked about runs? The verbs `run`, `report`, `status`, and `suites`; each imports what it needs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import api
from bench.cli.options import takes
from bench.plan.order import Order
from bench.running.interrupts import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from bench.store.reader import Run

EXIT_NOT_DONE = 20


@takes(Order)
def run(order: Order) -> None:
    """Run a suite, or what is left of it; write CSV, figures, and report."""
    from bench.api import launch
    from bench.running.display import Display
    from bench.running.runner import Interrupted

    arguments = sys.argv[1:]
    try:
        ended = launch.execute(order, arguments, Display())
    except (Interrupted, KeyboardInterrupt):
        typer.echo(launch.interruption_message(arguments), err=True, nl=False)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    warn(ended.run)
    for file in ended.files:
        typer.echo(str(file))
    if ended.counts["done"] != ended.selected:
        others = ", ".join(f"{number} {status}" for status, number in sorted(ended.counts.items()) if status != "done")
        typer.echo(
            f"{ended.counts['done']} of {ended.selected} cells done ({others}); each has its reason in "
            f"{ended.run.path / 'cells.csv'}",
            err=True,
        )
        if order.minutes and ended.counts["pending"]:
            typer.echo(
                f"stopped after {order.minutes:g} minutes. Go on with: {launch.resume_command(arguments)}", err=True
            )
        raise typer.Exit(EXIT_NOT_DONE)


def report(
    paths: Annotated[list[Path], typer.Argument(help="run directories, as results/quick", metavar="DIR")],
    figure: Annotated[
        list[str] | None, typer.Option(help="redraw this figure alone into DIR/figures; repeatable")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="where several runs are set side by side [default: results/side-by-side/...]")
    ] = None,
) -> None:
    """Rebuild figures, tables, and report of a run directory; several are set side by side, the first as yardstick."""
    for path in paths:
        warn(api.load(path))
    for file in api.report(*paths, figure=figure or (), out=out):
        typer.echo(str(file))


def warn(here: "Run") -> None:
    """What a reader of a run directory must be told, on standard error."""
    for warning in here.warnings:
        typer.echo(f"{here.path}: {warning}", err=True)


def status(path: Annotated[Path, typer.Argument(help="a run directory", metavar="DIR")]) -> None:
    """How far is a run, and is it stale?"""
    here = api.status(path)
    warn(here.run)
    typer.echo(
        f"{path}: {here.counts['done']} of {here.counts.total()} cells done; "
        + ", ".join(f"{number} {name}" for name, number in sorted(here.counts.items()))
    )
    if len(here.stale):
        typer.echo(
            f"stale: {len(here.stale)} rows of code {', '.join(sorted(set(here.stale['code'])))} (losses "
            f"{', '.join(sorted(set(here.stale['loss'])))}), the tree is at {here.code}; `run` does them again"
        )


def suites() -> None:
    """The suites that come with the project."""
    for suite in api.list_suites().itertuples():
        typer.echo(f"{suite.name:10} {suite.cells:5} cells   {suite.title}")
