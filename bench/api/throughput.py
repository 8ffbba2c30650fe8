"""Did training get slower? From Python: `compare`, `record`, `calibrate`."""

from collections.abc import Iterable
from pathlib import Path

import torch

from bench.errors import UsageError, one_exception
from bench.store.files import write_atomically
from bench.throughput import calibrate as calibration
from bench.throughput import compare as comparison
from bench.throughput.compare import Comparison, Tell
from bench.throughput.records import Baseline, Calibration
from bench.throughput.revisions import source_tree
from bench.training.device import resolve_device

MINUTES = {"cpu": 7.0, "cuda": 2.5}  # of a comparison of every cell
LEAST_MINUTES = 0.05
Names = str | Iterable[str]


def silent(text: str) -> None:
    """Say nothing of what is being done."""


def compare(
    base: str | Path,
    *,
    head: str | Path = ".",
    task: Names = (),
    loss: Names = (),
    minutes: float | None = None,
    device: str = "auto",
    tell: Tell = silent,
) -> Comparison:
    """Did training get slower since `base`? Steps of both sides are timed in turns until that is clear.

    >>> from bench import compare
    >>> compare("HEAD~1", task="sr", minutes=2).verdict  # doctest: +SKIP
    'SAME'

    Args:
        base: a git revision, or a file that `record` wrote.
        head: the code to measure: a folder, or a git revision.
        task, loss: measure these; none: all.
        minutes: time to take; None is 7, on a GPU 2.5.
        device: auto, cpu, cuda, or cuda:N.
        tell: takes what is being done, again and again; `print`, say.

    Returns:
        `verdict` is SAME, FASTER, SLOWER, UNSURE, or BROKEN; `judgements` has each cell's, with ratio and interval.

    Raises:
        BenchError: there is no such revision, tree, cell, or device.
    """
    with one_exception():
        place = resolve_device(device)
        return comparison.compare(str(base), str(head), chosen(task, loss), seconds(minutes, place), str(place), tell)


def record(
    file: str | Path,
    *,
    head: str | Path = ".",
    task: Names = (),
    loss: Names = (),
    minutes: float | None = None,
    device: str = "auto",
    tell: Tell = silent,
) -> Baseline:
    """Measure the training steps of a tree, and write them to a file for `compare(file)` on this machine.

    >>> from bench import record
    >>> record("no/such/folder/before.json")
    Traceback (most recent call last):
    bench.errors.BenchError: cannot write to no/such/folder/before.json: there is no such folder

    Args:
        file: where to (JSON).
        head, task, loss, minutes, device, tell: as of `compare`.

    Raises:
        BenchError: there is no such tree, cell, or device, or the file cannot be written; `NotMeasured` where a tree
            cannot be measured.
    """
    with one_exception():
        place, file = resolve_device(device), Path(file)
        budget_s = seconds(minutes, place)
        if file.is_dir() or not file.parent.is_dir():
            why = "it is a folder" if file.is_dir() else "there is no such folder"
            raise UsageError(f"cannot write to {file}: {why}")
        with source_tree(str(head), Path()) as (tree, _):
            found = comparison.record(tree, chosen(task, loss), budget_s, str(place), tell)
        write_atomically(file, found.model_dump_json(indent=1) + "\n")
        return found


def calibrate(
    runs: Iterable[str] = calibration.RUNS,
    *,
    task: Names = ("sr", "gan"),
    loss: Names = "l2",
    minutes: float = calibration.MINUTES,
    device: str = "auto",
    tell: Tell = silent,
) -> Calibration:
    """How often does `compare` err on this machine? Against itself, and with planted slowdowns; the same call goes on.

    Args:
        runs: PERCENT=COUNT: so many comparisons with PERCENT % planted.
        task, loss: compare these.
        minutes: of each comparison.
        device, tell: as of `compare`.

    Raises:
        BenchError: no such device, or odd `runs`; `NotMeasured` where a comparison could not be made.
    """
    with one_exception():
        place, counts = resolve_device(device), calibration.parse_runs([*runs])
        minutes = seconds(minutes, place) / 60
        with source_tree(".", Path()) as (tree, _):
            return calibration.calibrate(tree, chosen(task, loss), minutes, counts, str(place), tell)


def chosen(tasks: Names, losses: Names) -> comparison.Wanted:
    """Whether a cell is asked for; no task means every task, no loss every loss."""
    tasks, losses = ({names} if isinstance(names, str) else {*names} for names in (tasks, losses))
    return lambda task, loss: (not tasks or task in tasks) and (not losses or loss in losses)


def seconds(minutes: float | None, device: torch.device) -> float:
    """How long to measure.

    Raises:
        UsageError: no time at all.
    """
    if minutes is not None and not minutes >= LEAST_MINUTES:  # NaN included
        raise UsageError(f"--minutes {minutes}: at least {LEAST_MINUTES}")
    return 60 * (minutes or MINUTES[device.type])
