"""Which verbs start and show runs? `run`, `report`, `status`, and `suites`; each imports what it needs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import api
from bench.cli.options import takes
from bench.plan.order import Order
from bench.running.interrupts import EXIT_INTERRUPTED

if TYPE_CHECKING:
    import pandas as pd

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
        result = launch.execute(order, arguments, Display())
    except (Interrupted, KeyboardInterrupt):
        typer.echo(launch.interruption_message(arguments), err=True, nl=False)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    warn(result.run)
    for file in result.files:
        typer.echo(str(file))
    if result.counts["done"] != result.counts.total():
        others = ", ".join(f"{number} {status}" for status, number in sorted(result.counts.items()) if status != "done")
        typer.echo(
            f"{result.counts['done']} of {result.counts.total()} cells done ({others}); each has its reason in "
            f"{result.run.path / 'cells.csv'}",
            err=True,
        )
        if order.minutes and result.counts["pending"]:
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
        Path | None, typer.Option(help="folder of the comparison of several runs [default: results/side-by-side/...]")
    ] = None,
) -> None:
    """Rebuild figures, tables, and report of a run directory; several are compared with the first."""
    from bench.analysis.reported_rates import warnings_of_rates

    for path in paths:
        warn(run := api.load(path))
        for warning in warnings_of_rates(run):
            typer.echo(f"{path}: {warning}", err=True)
    for file in api.report(*paths, figure=figure or (), out=out):
        typer.echo(str(file))


def warn(run_directory: "Run") -> None:
    """Show the warnings of a run directory on standard error."""
    for warning in run_directory.warnings:
        typer.echo(f"{run_directory.path}: {warning}", err=True)


def status(path: Annotated[Path, typer.Argument(help="a run directory", metavar="DIR")]) -> None:
    """How far is a run, and is it stale?"""
    state = api.status(path)
    warn(state.run)
    typer.echo(
        f"{path}: {state.counts['done']} of {state.counts.total()} cells done; "
        + ", ".join(f"{number} {name}" for name, number in sorted(state.counts.items()))
    )
    if len(state.stale):
        typer.echo(
            f"stale: {len(state.stale)} rows of code {', '.join(sorted(set(state.stale['code'])))} (losses "
            f"{', '.join(sorted(set(state.stale['loss'])))}), the tree is at {state.code}; `run` does them again"
        )
    _tell_undecided(state.undecided)


def _tell_undecided(undecided: "pd.DataFrame") -> None:
    """List the open questions, and what their next looks cost."""
    if undecided.empty:
        return
    typer.echo(f"undecided: {len(undecided)} questions; a question is judged again when its cells have more seeds")
    for row in undecided.itertuples():
        typer.echo(
            f"  {row.question}: {row.estimate:+.2f} {row.unit}, margin {row.margin:g}; next look at {row.next_look}"
            f" seeds, {row.minutes:.1f} min here"
        )


def suites() -> None:
    """The suites that come with the project."""
    for suite in api.list_suites().itertuples():
        typer.echo(f"{suite.name:10} {suite.cells:5} cells   {suite.title}")
