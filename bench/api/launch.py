"""How is an order executed? Check everything first, then train, then write the report."""

import functools
import os
import shlex
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.analysis.next_cells import next_cells
from bench.analysis.reported_rates import warnings_of_rates
from bench.errors import UsageError
from bench.executors import Executor
from bench.executors.agreement import Agreement, same_data
from bench.executors.local import LocalExecutor, Setup, share_of_memory_mib
from bench.executors.ray_cluster import RayExecutor
from bench.executors.user_code import fingerprints, load_user_code, travelling_files
from bench.loss_check.what_they_seek import what_they_seek
from bench.plan.additions import extended, try_out
from bench.plan.cell import Used, used_data
from bench.plan.options import validate
from bench.plan.order import Order, matches, parse_filter
from bench.plan.reading import read_suite
from bench.plan.suite import Suite
from bench.plan.tuning import notes_on_tuning
from bench.reports.build import write_report
from bench.running.display import Display, Silence
from bench.running.interrupts import Interrupts
from bench.running.runner import run_matrix
from bench.store import StoreError
from bench.store.reader import Run, load, read_table
from bench.store.writer import RunDirectory, set_aside
from bench.throughput.calibrate import known_calibration
from bench.throughput.records import Machine
from bench.training.device import fast_precision, resolve_device
from bench.training.numerics import configure
from ganlab import datasets
from ganlab.datasets.folders import PREFIX, SEPARATOR, folders_of
from ganlab.errors import no_such
from ganlab.tasks import TASKS

EXECUTORS = ("local", "ray")
IDENTITY = ("task", "dataset", "loss", "head", "outlier", "rate", "schedule", "optimizer", "lr", "steps", "seed")
GPU_PACK = 8  # cells that a worker trains together on a GPU


@dataclass(frozen=True)
class RunResult:
    """The outcome of a run.

    Attributes:
        counts: how many of the selected cells have each status.
        files: the files of the report.
    """

    run: Run
    counts: Counter[str]
    files: list[Path]


def execute(order: Order, arguments: list[str], display: Display | Silence) -> RunResult:
    """Run the order and write the report.

    Args:
        arguments: the equivalent command line, for the manifest and for the message after Ctrl-C.

    Raises:
        UserError: anything a user can correct, before any work if possible (`bench.errors`).
        Interrupted: after Ctrl-C.
    """
    validate(order)
    device = resolve_device(order.device)
    forget_folders()
    fast = fast_precision(device)
    plan, notes = extended(read_suite(str(order.suite), dict(order.override or {}), fast), order.additions())
    wanted = parse_filter(order.only)
    selected = functools.partial(matches, wanted=wanted)
    count = sum(map(selected, plan.cells))
    if not any(map(selected, plan.possible_cells)):
        raise UsageError(f"--only {order.only!r} selects none of the {len(plan.cells)} cells of suite {plan.name}")
    if order.device == "auto" and sys.platform == "darwin":
        display.note("Apple GPUs are not used: running on the CPU")
    for note in notes:
        display.note(note)
    if fast == "fp32" and (slow := sum(selected(cell) and cell.precision == "bf16" for cell in plan.cells)):
        display.note(
            f"{device} is not known to multiply bfloat16 fast: {slow} cells in bf16 may take many times as "
            "long as with --set precision=fp32"
        )
    used = used_data(plan.cells)
    for name, kind in used:
        datasets.load(name, kind)  # a missing data set is an error before any work
    for note in notes_on_tuning(plan):
        display.note(note)
    try_out(plan, selected, display.note)
    path = Path(order.out or Path("results") / plan.name)
    executor = make_executor(order.executor, order.workers, device, order.memory_mib, used, references_of(plan))
    pack = order.pack or (GPU_PACK if device.type == "cuda" and order.executor == "local" else 1)
    if order.fresh and path.exists():  # last, after every check
        display.note(f"earlier run set aside: {set_aside(path)}")

    def leave() -> None:
        display.leave()
        os.write(sys.stderr.fileno(), interruption_message(arguments).encode())

    with Interrupts(leave) as interrupts, RunDirectory(path) as directory, executor, display:
        pack_note = f", {pack} cells each," if pack > 1 else ""
        display.note(f"{plan.name}: {count} cells on {device} with {executor.slots} workers{pack_note} -> {path}")
        for note in no_longer_declared(path, plan):
            display.note(note)
        counts = run_matrix(
            plan,
            directory,
            executor,
            device,
            selected,
            display.show,
            interrupts,
            arguments,
            pack=pack,
            minutes=order.minutes,
            context=manifest_context(plan, device),
            still_needed=functools.partial(next_cells, suite=plan),
        )
    run = load(path)
    for warning in warnings_of_rates(run):
        display.note(warning)
    return RunResult(run, counts, write_report(path))


def manifest_context(plan: Suite, device: torch.device) -> dict[str, Any]:
    """Further entries of the manifest: the statistics that the user's losses seek, and this machine's calibration."""
    calibration = known_calibration(Machine.current(str(device)))
    statistics = what_they_seek(cell.loss for cell in plan.cells)
    return {"losses": statistics, "calibration": calibration.summary() if calibration else {}}


def forget_folders() -> None:
    """Clear the caches of image folders: they may have changed since an earlier run in this process."""
    cached = [datasets.registry.read_folder, datasets.fingerprint]
    cached += [value for task in TASKS.values() for value in vars(sys.modules[task.__module__]).values()]
    for function in cached:
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def no_longer_declared(path: Path, plan: Suite) -> Iterator[str]:
    """A line for each kind of results that the tables of a run directory lose, as they show only declared cells."""
    try:
        cells = read_table(path, "cells")
    except StoreError:  # it is missing, or it is invalid and will be written again from the journal
        return
    done = cells[cells["status"] == "done"]
    for column, how in (("loss", "name all of them, each with --loss"), ("dataset", "name the data set again")):
        missing = sorted(set(done[column]) - {getattr(cell, column) for cell in plan.cells})
        if missing:
            yield (
                f"the tables of {path} lose the results of {', '.join(missing)}, which this command does not ask for: "
                f"{how}, or choose another --out; the journal keeps them"
            )
    precisions = defaultdict(set)
    for cell in plan.possible_cells:
        precisions[tuple(getattr(cell, key) for key in IDENTITY)].add(cell.precision)
    rows = done[[*IDENTITY, "precision"]].itertuples(index=False)
    left_out = Counter(
        precision for *key, precision in rows if precision not in precisions.get(tuple(key), {precision})
    )
    for precision, count in sorted(left_out.items()):
        yield (
            f"the tables of {path} lose {count} results in {precision}, since this command trains those cells in "
            "another precision: run it on the kind of device that it began on, or with its --set precision=..., or "
            "choose another --out; the journal keeps them"
        )


def resume_command(arguments: list[str]) -> str:
    """The command line that continues a run."""
    return shlex.join(["python", "-m", "bench", *(word for word in arguments if word != "--fresh")])


def interruption_message(arguments: list[str]) -> str:
    """The message after Ctrl-C."""
    return f"interrupted; finished cells are kept. Resume with: {resume_command(arguments)}\n"


def references_of(plan: Suite) -> list[str]:
    """References to the user code that a suite depends on."""
    return sorted({reference for cell in plan.cells for reference in cell.references})


def make_executor(
    name: str,
    workers: int | None,
    device: torch.device,
    memory_mib: float | None,
    used: Collection[Used],
    references: Collection[str] = (),
) -> Executor:
    """The executor that trains the cells of a run; `used` are their data sets, `references` the user's code.

    Raises:
        UsageError: no such executor, or it cannot use this device.
        PluginError: the user's code cannot be imported.
    """
    if name not in EXECUTORS:
        raise UsageError(f"--executor: {no_such('executor', name, EXECUTORS)}")
    setups: list[Setup] = [(configure, (device,))]
    if references:
        setups.append((load_user_code, (fingerprints(references),)))
    folders = [(folder, kind) for folder, kind in used if datasets.is_folder(folder)]
    if name == "ray":
        refuse_relative(folder for folder, _ in folders)
        if device.index:
            raise UsageError(f"--device {device}: Ray chooses the GPU of a worker; use --device cuda")
        return RayExecutor(
            workers,
            setups,
            memory_mib,
            device.type == "cuda",
            lambda: Agreement.of_this_process(used, device),
            travelling_files(references),
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if folders:
        setups.append((same_data, ({pair: datasets.fingerprint(datasets.load(*pair)) for pair in folders},)))
    workers = workers or (cores if device.type == "cpu" else min(4, cores))
    return LocalExecutor(workers, setups, memory_mib or share_of_memory_mib(workers))


def refuse_relative(names: Iterable[str]) -> None:
    """Refuse relative paths: workers on a cluster run in other folders.

    Raises:
        UsageError: a data set has a relative path.
    """
    for name in names:
        paths = folders_of(name)
        if not all(path.is_absolute() for path in paths):
            absolute = SEPARATOR.join(str(path.absolute()) for path in paths)
            raise UsageError(
                f"--executor ray: {name} is found from this folder alone, and workers run in others; name "
                f"it {PREFIX}{absolute}"
            )
