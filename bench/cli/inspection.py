"""Which verbs inspect losses and data? `loss` and `data`; each imports what it needs."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from bench import api
from bench.errors import UsageError
from ganlab.errors import no_such

if TYPE_CHECKING:
    import pandas as pd

    from bench.loss_check.examine import LossCheck

EXIT_UNUSABLE = 20


def data(
    action: Annotated[str, typer.Argument(help="list, fetch, or check")] = "list",
    name: Annotated[str, typer.Argument(help="the data set to fetch, or the folder:PATH to check")] = "",
) -> None:
    """The data sets: which are here, how to get the others, and what a folder of your own images is good for."""
    if action == "fetch":
        typer.echo(str(api.fetch_data(name)))
    elif action == "check":
        check = api.check_data(name)
        for line in check.lines():
            typer.echo(line)
        if not check.fits:
            raise UsageError(f"{name} fits no task: {next(iter(check.refused.values()))}")
    elif action == "list":
        for row in api.list_data().itertuples():
            typer.echo(f"{row.name:14} {'here' if row.here else 'missing':8} {row.description}")
        typer.echo(f"{'folder:PATH':14} {'yours':8} your own images; try `data check folder:PATH`")
    else:
        raise UsageError(f"data: {no_such('action', action, ('list', 'fetch', 'check'))}")


def loss(
    action: Annotated[str, typer.Argument(help="list, or check")] = "list",
    name: Annotated[str, typer.Argument(help="a loss by name, or your own as mymodule:MyLoss")] = "",
) -> None:
    """The losses: which there are, and what can be known of one before any training. 20: a check fails."""
    if action == "list":
        for row in api.list_losses().itertuples():
            typer.echo(f"{row.name:16} {row.summary}")
        return
    if action != "check":
        raise UsageError(f"loss: {no_such('action', action, ('list', 'check'))}")
    check, console = api.check_loss(name), Console()
    console.print(findings_table(check))
    if len(check.outliers):
        console.print(outlier_table(check.outliers))
        console.print(f"Expect {check.expectation}.", markup=False)
    verdict = f"{name} fails: {', '.join(check.failed)}" if check.failed else f"{name} can be trained with"
    console.print(verdict, markup=False, highlight=False)
    if check.failed:
        raise typer.Exit(EXIT_UNUSABLE)


def findings_table(check: "LossCheck") -> Table:
    """The findings, which may contain text from user code."""
    table = Table("", "asked", "answer", title=Text(check.loss), title_justify="left", show_edge=False)
    words = {True: "passes", False: "FAILS", None: ""}
    for finding in check.findings:
        table.add_row(words[finding.passed], finding.asked, Text(finding.answer))
    return table


def outlier_table(outliers: "pd.DataFrame") -> Table:
    """The best predictions for a pixel under outliers, see `LossCheck`."""
    from bench.loss_check.examine import PIXEL

    losses = (Column(Text(name)) for name in outliers.columns[2:])
    table = Table(
        "outliers",
        "share",
        *losses,
        show_edge=False,
        title_justify="left",
        title=f"what becomes of a pixel of {PIXEL:g} if outliers corrupt the targets",
    )
    for kind, rate, *values in outliers.itertuples(index=False):
        table.add_row(kind, f"{rate:.0%}", *(f"{value:.3f}" for value in values))
    return table
