"""Which verbs measure throughput? `compare`, `record`, and `calibrate`."""

import typer
from rich.console import Console

from bench.api import throughput
from bench.cli.options import takes
from bench.errors import EXIT_BROKEN
from bench.throughput.options import CalibrateOptions, CompareOptions, RecordOptions

EXIT_OF_VERDICT = {"SAME": 0, "FASTER": 0, "SLOWER": 10, "UNSURE": 11, "BROKEN": EXIT_BROKEN}
TABLE_WIDTH = 110  # characters


@takes(CompareOptions)
def compare(options: CompareOptions) -> None:
    """Did training get slower since BASE? Exit code 0: no; 10: SLOWER; 11: UNSURE; 12: BROKEN."""
    from bench.throughput import words
    from bench.throughput.calibrate import known_calibration
    from bench.throughput.records import Machine
    from bench.training.device import resolve_device

    with Console(stderr=True).status("starting") as status:
        comparison = throughput.compare(**vars(options) | {"tell": status.update})
    calibration = known_calibration(Machine.current(str(resolve_device(options.device))))
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, TABLE_WIDTH)  # a cut-off interval is worse than a wrapped line
    console.print(words.cell_table(comparison, calibration))
    for line in words.lines(comparison, calibration):
        console.print(line, markup=False)
    raise typer.Exit(EXIT_OF_VERDICT[comparison.verdict])


@takes(RecordOptions)
def record(options: RecordOptions) -> None:
    """Measure the training steps of a tree, for `compare --base FILE` on this machine."""
    with Console(stderr=True).status("starting") as status:
        baseline = throughput.record(**vars(options) | {"tell": status.update})
    for name, cell in baseline.cells.items():
        typer.echo(f"{name:20} {cell.step_ms:8.3f} ms per step, {len(cell.log_ratio)} rounds")
    typer.echo(f"{options.file}: `python -m bench compare --base {options.file}` compares with it, on this machine")


@takes(CalibrateOptions)
def calibrate(options: CalibrateOptions) -> None:
    """How often does the check err on this machine? Against itself, and with planted slowdowns; resumable."""
    from bench.throughput import words
    from bench.throughput.calibrate import calibration_file

    calibration = throughput.calibrate(**vars(options) | {"tell": typer.echo})
    for line in words.calibration_lines(calibration):
        typer.echo(line)
    typer.echo(f"kept in {calibration_file(calibration.machine)}; `compare` shows it beside its verdicts")
