"""What can be asked on the command line? Verbs, their options, and the exit codes of the contract."""

import functools
import os
import shlex
import signal
import sys
import tempfile
import tomllib
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from bench.display import Display
from bench.executors import Executor, ExecutorError
from bench.executors.agreement import Agreement
from bench.executors.local import LocalExecutor, share_of_memory_mib
from bench.executors.ray_cluster import RayExecutor
from bench.files import NO_ROOM, NOT_ALLOWED, remedy
from bench.interrupts import EXIT_INTERRUPTED, Interrupts
from bench.provenance import DeviceError, Used, code_fingerprint, resolve_device, used_data
from bench.reporting import UnknownFigure, redraw, write_report
from bench.run_directory import RunDirectory, set_aside
from bench.runner import Interrupted, run_matrix
from bench.side_by_side import write_side_by_side
from bench.store import Run, StoreError, load
from bench.suite import Cell, SuiteError, read_suite, shipped
from bench.throughput import Misuse, verbs
from bench.train import configure
from bench.validity import clipped
from ganlab import datasets
from ganlab.tasks.experiment import no_such

try:
    from typer.exceptions import TyperException
except ImportError:  # before typer carried its own click
    from click import ClickException as TyperException

LONGEST_MESSAGE = 5000  # letters; a path alone may have 4096
EXIT_USAGE, EXIT_NOT_DONE, EXIT_OURS = 2, 20, 70
USER_ERRORS = (SuiteError, StoreError, DeviceError, ExecutorError, UnknownFigure, datasets.DataMissing,
               datasets.UnknownDataset, Misuse)  # fmt: skip
EXECUTORS = ("local", "ray")
GPU_PACK = 8  # cells that a worker trains at a time on a GPU

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help="Which loss, and how do you know? --debug after any verb shows tracebacks.")  # fmt: skip


class UsageError(Exception):
    """A mistake on the command line; the message is one line."""


def parse_filter(text: str) -> dict[str, set[str]]:
    """`task=sr,loss=l1` as {"task": {"sr"}, "loss": {"l1"}}; several values of a key are joined by `|`."""
    wanted = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--only {pair!r}: expected key=value, as in --only 'task=sr,loss=l1'")
        if key not in Cell.model_fields:
            raise UsageError(f"--only: {no_such('key', key, Cell.model_fields)}")
        wanted[key] = set(value.split("|"))
    return wanted


def matches(cell: Cell, wanted: dict[str, set[str]]) -> bool:
    """Whether a cell has one of the wanted values for each key; numbers match however they are written."""

    def same(value: Any, text: str) -> bool:
        try:
            return float(text) == float(value)
        except (TypeError, ValueError):
            return text.lower() == str(value).lower()

    return all(any(same(getattr(cell, key), text) for text in values) for key, values in wanted.items())


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """`key=value` pairs, the value read as TOML (and as text where it is none)."""
    overrides = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair!r}: expected key=value, as in --set steps=100")
        try:
            overrides[key] = tomllib.loads(f"value = {value}")["value"]
        except (ValueError, RecursionError):
            overrides[key] = value
    return overrides


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
        int | None,
        typer.Option(min=1, help="memory a worker may hold, in MiB; its cell then ends as oom [default: a fair share]"),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="start over; an earlier run directory is set aside, not deleted")
    ] = False,
    only: Annotated[str, typer.Option(help="run only these cells: 'task=sr,loss=l1|l2'; the others stay pending")] = "",
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value for every block of the suite; repeatable")
    ] = None,
) -> None:
    """Run a suite, or what is left of it; write CSV, figures, and report."""
    resolved = resolve_device(device)
    plan = read_suite(suite, parse_overrides(override or []))
    wanted = parse_filter(only)
    count = sum(matches(cell, wanted) for cell in plan.cells)
    if not count:
        raise UsageError(f"--only {only!r} selects none of the {len(plan.cells)} cells of suite {plan.name}")
    if device == "auto" and sys.platform == "darwin":
        typer.echo("Apple GPUs are not used: running on the CPU")
    used = used_data(plan.cells)
    for one in used:
        datasets.load(*one)  # a missing data set is said before any work
    path = out or Path("results") / plan.name
    if fresh and path.exists():
        typer.echo(f"earlier run set aside: {set_aside(path)}")
    again = shlex.join(["python", "-m", "bench", *(word for word in sys.argv[1:] if word != "--fresh")])
    farewell = f"interrupted; finished cells are kept. Resume with: {again}\n"
    display, workplace = Display(), make_executor(executor, workers, resolved, memory_mib, used)
    pack = pack or (GPU_PACK if resolved.type == "cuda" and executor == "local" else 1)

    def leave() -> None:
        display.leave()
        os.write(sys.stderr.fileno(), farewell.encode())

    try:
        with Interrupts(leave) as interrupts, RunDirectory(path) as directory, workplace, display:
            each = f", {pack} cells each," if pack > 1 else ""
            display.note(f"{plan.name}: {count} cells on {resolved} with {workplace.slots} workers{each} -> {path}")
            selected = functools.partial(matches, wanted=wanted)
            counts = run_matrix(plan, directory, workplace, resolved, selected, display.show, interrupts, sys.argv[1:],
                                pack=pack, minutes=minutes)  # fmt: skip
        warn(load(path))
        for file in write_report(path):
            typer.echo(str(file))
    except (Interrupted, KeyboardInterrupt):
        typer.echo(farewell, err=True, nl=False)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if counts["done"] != count:
        others = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()) if status != "done")
        typer.echo(
            f"{counts['done']} of {count} cells done ({others}); each has its reason in {path / 'cells.csv'}", err=True
        )
        if minutes and counts["pending"]:
            typer.echo(f"stopped after {minutes:g} minutes. Go on with: {again}", err=True)
        raise typer.Exit(EXIT_NOT_DONE)


def make_executor(
    name: str, workers: int | None, device: torch.device, memory_mib: float | None, used: Collection[Used]
) -> Executor:
    """Where the cells of a run are trained; `used` are their data sets.

    Raises:
        UsageError: no such executor, or none that offers this device.
    """
    if name not in EXECUTORS:
        raise UsageError(f"--executor: {no_such('executor', name, EXECUTORS)}")
    setups = [(configure, (device,))]
    if name == "ray":
        if device.index:
            raise UsageError(f"--device {device}: Ray chooses the GPU of a worker; use --device cuda")
        return RayExecutor(workers, setups, memory_mib, device.type == "cuda", lambda: Agreement.here(used, device))
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # inherited by the workers, read when their torch is loaded
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = workers or (cores if device.type == "cpu" else min(4, cores))
    return LocalExecutor(workers, setups, memory_mib or share_of_memory_mib(workers))


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
    if len(paths) > 1 and figure:
        raise UsageError("--figure redraws a figure of one run directory; name one")
    if len(paths) == 1 and out:
        raise UsageError("--out is for several run directories; the report of one lies in it")
    for path in paths:
        warn(load(path))
    if len(paths) > 1:
        files = write_side_by_side(paths, out)
    else:
        files = redraw(paths[0], figure) if figure else write_report(paths[0])
    for file in files:
        typer.echo(str(file))


def warn(here: Run) -> None:
    """What a reader of a run directory must be told, on standard error."""
    for warning in here.warnings:
        typer.echo(f"{here.path}: {warning}", err=True)


@app.command()
def status(path: Annotated[Path, typer.Argument(help="a run directory", metavar="DIR")]) -> None:
    """How far is a run, and is it stale?"""
    here = load(path)
    warn(here)
    counts = here.cells["status"].value_counts()
    typer.echo(f"{path}: {counts.get('done', 0)} of {len(here.cells)} cells done; "
               + ", ".join(f"{number} {name}" for name, number in sorted(counts.items())))  # fmt: skip
    current = code_fingerprint(torch.device(here.manifest["device"]["type"]))
    stale = sorted(set(here.cells["code"]) - {current})
    if stale:
        typer.echo(f"stale: rows of code {', '.join(stale)}, the tree is at {current}; `run` does them again")


@app.command()
def suites() -> None:
    """The suites that come with the project."""
    for name in sorted(shipped()):
        suite = read_suite(name)
        typer.echo(f"{name:10} {len(suite.cells):5} cells   {suite.title}")


@app.command()
def data(
    action: Annotated[str, typer.Argument(help="list, fetch, or check")] = "list",
    name: Annotated[str, typer.Argument(help="the data set to fetch, or the folder:PATH to check")] = "",
) -> None:
    """The data sets: which are here, how to get the others, and what a folder of your own images is good for."""
    if action == "fetch":
        typer.echo(str(datasets.fetch(name)))
    elif action == "check":
        if not datasets.is_folder(name):
            raise UsageError(f"data check {name!r}: name a folder, as in `python -m bench data check folder:PATH`")
        for line in datasets.check_folder(name):
            typer.echo(line)
    elif action == "list":
        for known, entry in datasets.DATASETS.items():
            typer.echo(f"{known:14} {'here' if datasets.available(known) else 'missing':8} {entry.description}")
        typer.echo(f"{'folder:PATH':14} {'yours':8} your own images; try `data check folder:PATH`")
    else:
        raise UsageError(f"data: {no_such('action', action, ('list', 'fetch', 'check'))}")


for verb in (verbs.compare, verbs.record, verbs.calibrate):
    app.command()(verb)


def main() -> None:
    """Run a verb; every error a user can cause is one line on standard error."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"] or ["--help"]
    signal.signal(signal.SIGTERM, interrupt)
    try:
        sys.exit(app(arguments, prog_name="python -m bench", standalone_mode=False))
    except (*USER_ERRORS, UsageError) as error:
        if debug:
            raise
        fail(str(error.args[0] if error.args else error), EXIT_USAGE)
    except TyperException as error:
        fail(error.format_message(), EXIT_USAGE)
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.filename and error.errno in NO_ROOM | NOT_ALLOWED:
            fail(f"{error.filename}: {error.strerror}; {remedy(error)} and try again", EXIT_USAGE)
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
