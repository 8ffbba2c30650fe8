"""Did training get slower? `compare`, `record`, and `calibrate` from Python."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.options import takes
from bench.errors import UsageError, one_exception
from bench.plan.options import validate
from bench.throughput.options import CalibrateOptions, CompareOptions, MeasureOptions, Names, RecordOptions

if TYPE_CHECKING:
    import torch

    from bench.throughput.compare import Comparison
    from bench.throughput.records import Baseline, Calibration

MINUTES = {"cpu": 7.0, "cuda": 2.5}  # for a comparison of every cell


@takes(CompareOptions)
def compare(options: CompareOptions) -> "Comparison":
    """Did training get slower since `base`? Both sides are timed in turns.

    >>> from bench import compare
    >>> compare("HEAD~1", task="sr", minutes=2).verdict  # doctest: +SKIP
    'SAME'

    Returns:
        `verdict` is SAME, FASTER, SLOWER, UNSURE, or BROKEN; `judgements` has each cell's verdict, ratio, and interval.

    Raises:
        BenchError: there is no such revision, tree, cell, or device.
    """
    from bench.throughput import compare as comparison
    from bench.training.device import resolve_device

    with one_exception():
        device = resolve_device(options.device)
        wanted, budget_s = chosen(options.task, options.loss), seconds(options, device)
        return comparison.compare(str(options.base), str(options.head), wanted, budget_s, str(device), options.tell)


@takes(RecordOptions)
def record(options: RecordOptions) -> "Baseline":
    """Measure the training steps of a tree, and write them to a file for `compare(file)` on this machine.

    >>> from bench import record
    >>> record("no/such/folder/before.json")
    Traceback (most recent call last):
    bench.errors.BenchError: cannot write to no/such/folder/before.json: there is no such folder

    Raises:
        BenchError: there is no such tree, cell, or device, or the file cannot be written; `NotMeasured` if a tree
            cannot be measured.
    """
    from bench.store.files import write_atomically
    from bench.throughput import compare as comparison
    from bench.throughput.revisions import source_tree
    from bench.training.device import resolve_device

    with one_exception():
        device, file = resolve_device(options.device), Path(options.file)
        budget_s = seconds(options, device)
        if file.is_dir() or not file.parent.is_dir():
            reason = "it is a folder" if file.is_dir() else "there is no such folder"
            raise UsageError(f"cannot write to {file}: {reason}")
        with source_tree(str(options.head), Path()) as (tree, _):
            baseline = comparison.record(tree, chosen(options.task, options.loss), budget_s, str(device), options.tell)
        write_atomically(file, baseline.model_dump_json(indent=1) + "\n")
        return baseline


@takes(CalibrateOptions)
def calibrate(options: CalibrateOptions) -> "Calibration":
    """How often does `compare` err on this machine? Compares a tree with itself and with planted slowdowns; resumable.

    Raises:
        BenchError: no such device, or malformed `runs`; `NotMeasured` if a comparison cannot be made.
    """
    from bench.throughput import calibrate as calibration
    from bench.throughput.revisions import source_tree
    from bench.training.device import resolve_device

    with one_exception():
        device, counts = resolve_device(options.device), calibration.parse_runs([*options.runs])
        wanted, minutes = chosen(options.task, options.loss), seconds(options, device) / 60
        with source_tree(".", Path()) as (tree, _):
            return calibration.calibrate(tree, wanted, minutes, counts, str(device), options.tell)


def chosen(tasks: Names, losses: Names) -> Callable[[str, str], bool]:
    """A function that says whether a cell is selected; no task means every task, no loss every loss."""
    tasks, losses = ({names} if isinstance(names, str) else {*names} for names in (tasks, losses))
    return lambda task, loss: (not tasks or task in tasks) and (not losses or loss in losses)


def seconds(options: MeasureOptions | CalibrateOptions, device: "torch.device") -> float:
    """The seconds to measure.

    Raises:
        UsageError: invalid options, such as too little time.
    """
    validate(options)
    return 60 * (options.minutes or MINUTES[device.type])
