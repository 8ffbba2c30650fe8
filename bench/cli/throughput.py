"""What can be asked about throughput on the command line? The verbs `compare`, `record`, `calibrate`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.api import throughput
from bench.errors import EXIT_BROKEN
from bench.throughput import calibrate as calibration
from bench.throughput import words
from bench.throughput.records import Machine
from bench.training.device import resolve_device

EXIT_OF_VERDICT = {"SAME": 0, "FASTER": 0, "SLOWER": 10, "UNSURE": 11, "BROKEN": EXIT_BROKEN}
TABLE_LETTERS = 110

Head = Annotated[str, typer.Option(help="the code to measure: a folder, or a git revision")]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="measure this task; repeatable [default: every task]")]
Losses = Annotated[list[str] | None, typer.Option("--loss", help="under this loss; repeatable [default: every loss]")]
Minutes = Annotated[float | None, typer.Option(min=0.05, help="time to take [default: 7; on a GPU 2.5]")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:N; auto takes CUDA where there is one")]


def compare(
    base: Annotated[str, typer.Option(help="a git revision, or a file that `record` wrote")],
    head: Head = ".",
    task: Tasks = None,
    loss: Losses = None,
    minutes: Minutes = None,
    device: Device = "auto",
) -> None:
    """Did training get slower since BASE? Exit code 0: no; 10: SLOWER; 11: UNSURE; 12: BROKEN."""
    with Console(stderr=True).status("starting") as status:
        found = throughput.compare(
            base, head=head, task=task or (), loss=loss or (), minutes=minutes, device=device, tell=status.update
        )
    known = calibration.known_calibration(Machine.current(str(resolve_device(device))))
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, TABLE_LETTERS)  # a cut-off interval is worse than a wrapped line
    console.print(words.cell_table(found, known))
    for line in words.lines(found, known):
        console.print(line, markup=False)
    raise typer.Exit(EXIT_OF_VERDICT[found.verdict])


def record(
    file: Annotated[Path, typer.Argument(help="where to write the record (JSON)")],
    head: Head = ".",
    task: Tasks = None,
    loss: Losses = None,
    minutes: Minutes = None,
    device: Device = "auto",
) -> None:
    """Measure the training steps of a tree, for `compare --base FILE` on this machine."""
    with Console(stderr=True).status("starting") as status:
        found = throughput.record(
            file, head=head, task=task or (), loss=loss or (), minutes=minutes, device=device, tell=status.update
        )
    for name, cell in found.cells.items():
        typer.echo(f"{name:20} {cell.step_ms:8.3f} ms per step, {len(cell.log_ratio)} rounds")
    typer.echo(f"{file}: `python -m bench compare --base {file}` compares with it, on this machine")


def calibrate(
    runs: Annotated[
        list[str] | None,
        typer.Option(
            help=f"PERCENT=COUNT comparisons with PERCENT % planted; repeatable [default: {' '.join(calibration.RUNS)}]"
        ),
    ] = None,
    task: Tasks = None,
    loss: Losses = None,
    minutes: Annotated[float, typer.Option(min=0.05, help="of each comparison")] = calibration.MINUTES,
    device: Device = "auto",
) -> None:
    """How often does the check err on this machine? Against itself, and with planted slowdowns; resumable."""
    found = throughput.calibrate(
        runs or calibration.RUNS,
        task=task or ("sr", "gan"),
        loss=loss or "l2",
        minutes=minutes,
        device=device,
        tell=typer.echo,
    )
    for line in words.calibration_lines(found):
        typer.echo(line)
    typer.echo(f"kept in {calibration.calibration_file(found.machine)}; `compare` shows it beside its verdicts")
