"""What can be asked on the command line? Verbs, their options, and the exit codes of the contract."""

import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from bench import api, launch
from bench.display import Display
from bench.errors import USER_ERRORS, BenchError, NotMeasured, UsageError, is_users, one_line
from bench.files import write_atomically
from bench.interrupts import EXIT_INTERRUPTED
from bench.loss_check import PIXEL, LossCheck
from bench.order import Order, parse_overrides
from bench.runner import Interrupted
from bench.store import Run
from bench.throughput import verbs
from bench.validity import clipped
from ganlab.datasets.folders import label
from ganlab.errors import no_such

try:
    from typer.exceptions import TyperException
except ImportError:  # before typer carried its own click
    from click import ClickException as TyperException

LONGEST_MESSAGE = 5000  # letters; a path alone may have 4096
EXIT_USAGE, EXIT_NOT_DONE, EXIT_UNUSABLE, EXIT_OURS = 2, 20, 20, 70

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Which loss, and how do you know? --debug after any verb shows tracebacks.",
)


@app.command()
def run(
    suite: Annotated[str, typer.Argument(help="a shipped suite, or a path to a suite file (.toml)")] = "quick",
    out: Annotated[Path | None, typer.Option(help="run directory [default: results/<suite>]")] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, or cuda:N; auto takes CUDA where there is one")
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="worker processes [default: one per core; 4 on a GPU; on ray what the cluster has]"),
    ] = None,
    pack: Annotated[
        int | None, typer.Option(min=1, help="cells that a worker trains at a time [default: 1; 8 on a local GPU]")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.05, help="stop after so long, reports aside; the same command goes on [default: no limit]"),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="local: processes on this machine; ray: an existing Ray cluster (RAY_ADDRESS)")
    ] = "local",
    memory_mib: Annotated[
        float | None,
        typer.Option(min=1, help="memory a worker may hold, in MiB; its cell then ends as oom [default: a fair share]"),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="start over; an earlier run directory is set aside, not deleted")
    ] = False,
    only: Annotated[str, typer.Option(help="run only these cells: 'task=sr,loss=l1|l2'; the others stay pending")] = "",
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value for every block of the suite; repeatable")
    ] = None,
    loss: Annotated[
        list[str] | None,
        typer.Option(
            help="a loss that joins every block where it applies: a name, or your own as mymodule:MyLoss; repeatable"
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="the data set of every block that can read it: a name, or yours as folder:PATH")
    ] = None,
    train: Annotated[str | None, typer.Option(help="a folder of photographs to train on; goes with --test")] = None,
    test: Annotated[str | None, typer.Option(help="a folder of photographs to test on; goes with --train")] = None,
    network: Annotated[
        str | None, typer.Option(help="your own networks, as mymodule:build; see ganlab/networks.py for what they map")
    ] = None,
) -> None:
    """Run a suite, or what is left of it; write CSV, figures, and report."""
    order = Order(
        suite=suite,
        out=out,
        device=device,
        workers=workers,
        pack=pack,
        minutes=minutes,
        executor=executor,
        memory_mib=memory_mib,
        fresh=fresh,
        only=only,
        override=parse_overrides(override or []),
        loss=tuple(loss or ()),
        data=data,
        train=train,
        test=test,
        network=network,
    )
    arguments = sys.argv[1:]
    try:
        ended = launch.carry_out(order, arguments, Display())
    except (Interrupted, KeyboardInterrupt):
        typer.echo(launch.farewell(arguments), err=True, nl=False)
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
        if minutes and ended.counts["pending"]:
            typer.echo(f"stopped after {minutes:g} minutes. Go on with: {launch.again(arguments)}", err=True)
        raise typer.Exit(EXIT_NOT_DONE)


@app.command()
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


def warn(here: Run) -> None:
    """What a reader of a run directory must be told, on standard error."""
    for warning in here.warnings:
        typer.echo(f"{here.path}: {warning}", err=True)


@app.command()
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


@app.command()
def suites() -> None:
    """The suites that come with the project."""
    for suite in api.list_suites().itertuples():
        typer.echo(f"{suite.name:10} {suite.cells:5} cells   {suite.title}")


@app.command()
def data(
    action: Annotated[str, typer.Argument(help="list, fetch, or check")] = "list",
    name: Annotated[str, typer.Argument(help="the data set to fetch, or the folder:PATH to check")] = "",
) -> None:
    """The data sets: which are here, how to get the others, and what a folder of your own images is good for."""
    if action == "fetch":
        typer.echo(str(api.fetch_data(name)))
    elif action == "check":
        found = api.check_data(name)
        for line in found.lines():
            typer.echo(line)
        if not found.fits:
            raise UsageError(f"{name} is good for nothing: {next(iter(found.refused.values()))}")
    elif action == "list":
        for known in api.list_data().itertuples():
            typer.echo(f"{known.name:14} {'here' if known.here else 'missing':8} {known.description}")
        typer.echo(f"{'folder:PATH':14} {'yours':8} your own images; try `data check folder:PATH`")
    else:
        raise UsageError(f"data: {no_such('action', action, ('list', 'fetch', 'check'))}")


@app.command()
def loss(
    action: Annotated[str, typer.Argument(help="list, or check")] = "list",
    name: Annotated[str, typer.Argument(help="a loss by name, or your own as mymodule:MyLoss")] = "",
) -> None:
    """The losses: which there are, and what can be known of one before any training. 20: a check fails."""
    if action == "list":
        for known in api.list_losses().itertuples():
            typer.echo(f"{known.name:16} {known.summary}")
        return
    if action != "check":
        raise UsageError(f"loss: {no_such('action', action, ('list', 'check'))}")
    found, console = api.check_loss(name), Console()
    console.print(findings_table(found))
    if len(found.outliers):
        console.print(outlier_table(found.outliers))
        console.print(f"Expect {found.expectation}.", markup=False)
    verdict = f"{name} fails: {', '.join(found.failed)}" if found.failed else f"{name} can be trained with"
    console.print(verdict, markup=False, highlight=False)
    if found.failed:
        raise typer.Exit(EXIT_UNUSABLE)


def findings_table(found: LossCheck) -> Table:
    """What was asked of a loss, and the answers; these may hold the words of a user's own code."""
    table = Table("", "asked", "answer", title=Text(found.loss), title_justify="left", show_edge=False)
    words = {True: "passes", False: "FAILS", None: ""}
    for finding in found.findings:
        table.add_row(words[finding.passed], finding.asked, Text(finding.answer))
    return table


def outlier_table(outliers: pd.DataFrame) -> Table:
    """What becomes of a pixel, see `LossCheck`."""
    losses = (Column(Text(name)) for name in outliers.columns[2:])
    table = Table(
        "outliers",
        "share",
        *losses,
        show_edge=False,
        title_justify="left",
        title=f"what becomes of a pixel of {PIXEL:g} if targets are struck by",
    )
    for kind, rate, *values in outliers.itertuples(index=False):
        table.add_row(kind, f"{rate:.0%}", *(f"{value:.3f}" for value in values))
    return table


@app.command("sr-eval")
def sr_eval(
    test: Annotated[Path, typer.Option(help="a folder of images, measured whole", metavar="PATH")],
    scale: Annotated[
        int | None, typer.Option(min=2, max=4, help="factor of super-resolution [default: the cell's, or 2]")
    ] = None,
    cell: Annotated[
        str, typer.Option(help="a trained cell beside bicubic, as results/quick/CELL_ID", metavar="RUN/CELL_ID")
    ] = "",
    network: Annotated[
        str | None, typer.Option(help="your own network that the cell was trained with, as mymodule:build")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="write the table there as CSV, too")] = None,
) -> None:
    """PSNR and SSIM of bicubic upscaling, and of a trained cell, on each image of a folder, as papers state them."""
    if out and out.is_dir():
        raise UsageError(f"--out {out}: that is a folder; name a file, as {out / 'table.csv'}")
    table = api.evaluate_sr(test, cell=cell, network=network, scale=scale)
    for file, reason in table.skipped.items():
        typer.echo(f"skipped: {label(file)}: {reason}", err=True)
    for line in table.lines():
        typer.echo(line)
    if out:
        try:
            write_atomically(out, table.csv())
        except OSError as error:
            raise UsageError(f"--out {one_line(error)}") from None
        typer.echo(str(out))


for verb in (verbs.compare, verbs.record, verbs.calibrate):
    app.command()(verb)


def main() -> None:
    """Run a verb; every error a user can cause is one line on standard error."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"] or ["--help"]
    signal.signal(signal.SIGTERM, interrupt)
    try:
        sys.exit(app(arguments, prog_name="python -m bench", standalone_mode=False))
    except (*USER_ERRORS, BenchError) as error:
        if debug:
            raise
        fail(one_line(error), verbs.EXIT_BROKEN if isinstance(error, NotMeasured) else EXIT_USAGE)
    except TyperException as error:
        fail(error.format_message(), EXIT_USAGE)
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        if is_users(error):
            fail(one_line(error), EXIT_USAGE)
        with tempfile.NamedTemporaryFile("w", prefix="bench-error-", suffix=".txt", delete=False) as file:
            file.write(traceback.format_exc())
        fail(f"an error of ours, not yours; the traceback is in {file.name}, please report it", EXIT_OURS)


def interrupt(*_: object) -> None:
    """A polite kill is a Ctrl-C, also for a process in the background, which ignores the latter."""
    raise KeyboardInterrupt


def fail(message: str, code: int) -> None:
    """End with one line on standard error, of nothing that a terminal would act on: names may be a stranger's."""
    print(f"bench: {clipped(' '.join(message.split()), LONGEST_MESSAGE)}", file=sys.stderr)
    sys.exit(code)
