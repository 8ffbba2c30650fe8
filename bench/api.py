"""How is a suite run, from the command line and from Python? One path for both, with the same words for what is wrong.

In Python, `from bench import run, load, report` is all: see `run`.
"""

import functools
import os
import shlex
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from bench import store
from bench.additions import Additions, extended, refuse_shared_names, try_out
from bench.display import Display, Silence
from bench.executors import Executor, ExecutorError
from bench.executors.agreement import Agreement, same_data
from bench.executors.local import LocalExecutor, share_of_memory_mib
from bench.executors.ray_cluster import RayExecutor
from bench.executors.user_code import fingerprints, load_user_code, travelling_files
from bench.files import NO_ROOM, NOT_ALLOWED, remedy
from bench.interrupts import Interrupts
from bench.provenance import DeviceError, Used, resolve_device, used_data
from bench.reporting import UnknownFigure, redraw, write_report
from bench.run_directory import RunDirectory, set_aside
from bench.runner import Interrupted, run_matrix
from bench.side_by_side import write_side_by_side
from bench.store import Run, StoreError
from bench.suite import Cell, Suite, SuiteError, read_suite
from bench.train import configure
from ganlab import datasets
from ganlab.datasets.folders import PREFIX, SEPARATOR, folders_of
from ganlab.plugins import PluginError, load_plugin
from ganlab.tasks import TASKS
from ganlab.tasks.experiment import no_such

EXECUTORS = ("local", "ray")
GPU_PACK = 8  # cells that a worker trains at a time on a GPU


class UsageError(Exception):
    """A mistake in what was asked for; the message is one line."""


class BenchError(Exception):
    """What `run`, `load`, and `report` raise for everything a user can do about; the message is one line."""


USER_ERRORS = (UsageError, SuiteError, StoreError, DeviceError, ExecutorError, UnknownFigure, PluginError,
               datasets.DataMissing, datasets.UnknownDataset)  # fmt: skip


# For Python


def run(
    suite: str | Path = "quick",
    *,
    out: str | Path | None = None,
    loss: str | Callable[..., Any] | Iterable[str | Callable[..., Any]] = (),
    data: str | Path | None = None,
    train: str | Path | None = None,
    test: str | Path | None = None,
    network: str | Callable[..., Any] | None = None,
    only: str = "",
    override: Mapping[str, Any] | None = None,
    device: str = "auto",
    workers: int | None = None,
    pack: int | None = None,
    minutes: float | None = None,
    executor: str = "local",
    memory_mib: float | None = None,
    fresh: bool = False,
    quiet: bool = False,
) -> Run:
    """Run a suite, or what is left of it, write CSV, figures, and report, and read the run directory.

    It is the verb `run` of the command line, whose options say more: `python -m bench run --help`. Cells that came to
    nothing are rows with their `status` and `reason`.

    >>> import contextlib, tempfile
    >>> from bench import load, report, run
    >>> loss = "def quartic(prediction, target):\\n    return (prediction - target) ** 4"
    >>> suite = '''
    ... title = "L1 and a loss of one's own, a cell of each"
    ... timing = { rounds = 0 }
    ... [[matrix]]
    ... task = "sr"
    ... dataset = "photographs"
    ... loss = "l1"
    ... head = "raw"
    ... lr = 3e-3
    ... steps = 2
    ... evaluations = 1
    ... batch_size = 2
    ... seeds = 1
    ... settings = { channels = 4, blocks = 0, patch = 8 }
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    ...     written = Path("tiny.toml").write_text(suite), Path("my_losses.py").write_text(loss)
    ...     here = run("tiny.toml", loss="my_losses:quartic", workers=1, quiet=True)
    ...     again = load("results/tiny")  # at any later time
    ...     files = report("results/tiny", figure="sr_crops")
    >>> here.cells[["loss", "status"]].values.tolist()
    [['l1', 'done'], ['my_losses:quartic', 'done']]
    >>> again.cells.equals(here.cells), len(files)
    (True, 1)

    Args:
        suite: a shipped suite, or a path to a suite file.
        out: the run directory; None is `results/<suite>`.
        loss: joins the losses of each block where it applies: names, references `package.module:MyLoss`, or functions
            and classes themselves, which must lie in a file that worker processes can import.
        data: the data set of every block instead of its own: a name, `folder:PATH`, or a Path.
        train, test: folders of photographs to train on and to test on, instead of `data`.
        network: `build(role, **sizes)`, or a reference to it; see `ganlab.networks.custom`.
        only: run only these cells: `task=sr,loss=l1|l2`.
        override: keys of every block and their values.
        device: auto, cpu, cuda, or cuda:N.
        workers: worker processes; None is one per core, 4 on a GPU.
        pack: cells that a worker trains at a time; None is 1, on a GPU 8.
        minutes: stop after so long; the same call goes on.
        executor: local, or ray.
        memory_mib: memory a worker may hold, in MiB.
        fresh: start over; an earlier run directory is set aside.
        quiet: show nothing.

    Raises:
        BenchError: whatever is wrong with the call, the suite, the user's code, or the machine.
        KeyboardInterrupt: after Ctrl-C; finished cells are kept, and the same call goes on.
    """
    with one_exception():
        losses = [loss] if isinstance(loss, str) or callable(loss) else list(loss)
        order = Order(
            suite=str(suite), out=Path(out) if out else None, device=device, workers=workers, pack=pack,
            minutes=minutes, executor=executor, memory_mib=memory_mib, fresh=fresh, only=only,
            override=dict(override or {}), loss=tuple(map(reference_to, losses)),
            data=f"folder:{data}" if isinstance(data, Path) else data, train=train and str(train),
            test=test and str(test), network=network and reference_to(network),
        )  # fmt: skip
        threads = torch.get_num_threads()
        try:
            return carry_out(order, order.arguments(), Silence() if quiet else Display()).run
        except Interrupted:
            raise KeyboardInterrupt("finished cells are kept; the same call goes on") from None
        finally:
            torch.set_num_threads(threads)


def load(path: str | Path) -> Run:
    """A run directory: its manifest, and each CSV file as a data frame (`cells`, `images`, `curves`, `timing`).

    Raises:
        BenchError: there is none, or it holds what no run has written.
    """
    with one_exception():
        return store.load(Path(path))


def report(*paths: str | Path, figure: str | Iterable[str] = (), out: str | Path | None = None) -> list[Path]:
    """Rebuild figures, tables, and report of a run directory; several are set side by side, the first as yardstick.

    Args:
        paths: run directories.
        figure: redraw these figures alone.
        out: where several runs are set side by side.

    Returns:
        The files that were written.

    Raises:
        BenchError: there is no such run directory or figure, or the files cannot be written.
    """
    with one_exception():
        return rebuild([Path(path) for path in paths], [figure] if isinstance(figure, str) else list(figure),
                       Path(out) if out else None)  # fmt: skip


@contextmanager
def one_exception() -> Iterator[None]:
    """Inside, whatever a user can do about becomes a `BenchError`."""
    try:
        yield
    except USER_ERRORS as error:
        raise BenchError(one_line(error)) from error
    except OSError as error:
        if not error.filename or error.errno not in NO_ROOM | NOT_ALLOWED:
            raise
        raise BenchError(one_line(error)) from error


def one_line(error: BaseException) -> str:
    """What is wrong, in one line."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}; {remedy(error)} and try again"
    return " ".join(str(error.args[0] if error.args else error).split())


def reference_to(user_code: str | Callable[..., Any]) -> str:
    """The reference to a function or class of the user's, or the name that was given instead.

    Raises:
        UsageError: a worker process could not import it.
    """
    if isinstance(user_code, str):
        return user_code
    module, name = getattr(user_code, "__module__", None), getattr(user_code, "__qualname__", None)
    if not module or not name:
        raise UsageError(f"{user_code!r} is neither a function nor a class: pass what makes it, or a reference "
                         "package.module:MyLoss")  # fmt: skip
    if module == "__main__" or "<" in name:
        where = "inside a function" if "<" in name else "in a notebook or in the script that runs"
        raise UsageError(f"{name} is defined {where}, where worker processes cannot import it: put it into a file of "
                         "its own, my_losses.py say, and pass my_losses.MyLoss or 'my_losses:MyLoss'")  # fmt: skip
    if load_plugin(f"{module}:{name}") is not user_code:
        raise UsageError(f"{module}:{name} is not what was passed: it was defined anew since; import it again")
    return f"{module}:{name}"


# For Python and the command line


@dataclass(frozen=True)
class Order:
    """What is to be run; see `run`."""

    suite: str = "quick"
    out: Path | None = None
    device: str = "auto"
    workers: int | None = None
    pack: int | None = None
    minutes: float | None = None
    executor: str = "local"
    memory_mib: float | None = None
    fresh: bool = False
    only: str = ""
    override: Mapping[str, Any] | None = None
    loss: tuple[str, ...] = ()
    data: str | None = None
    train: str | None = None
    test: str | None = None
    network: str | None = None

    def arguments(self) -> list[str]:
        """The same on the command line, after `python -m bench`."""
        words = ["run", self.suite]
        for field in fields(self)[1:]:
            value, option = getattr(self, field.name), f"--{field.name.replace('_', '-')}"
            if value is True:
                words.append(option)
            elif field.name == "override":
                words += [word for key, own in (value or {}).items() for word in ("--set", f"{key}={_as_toml(own)}")]
            elif field.name == "loss":
                words += [word for name in value for word in (option, name)]
            elif value != field.default:
                words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
        return words

    def additions(self) -> Additions:
        """What the user adds to the suite.

        Raises:
            UsageError: it contradicts itself.
        """
        if self.data and (self.train or self.test):
            raise UsageError("--data splits one folder, --train and --test name two: give the one or the others")
        if bool(self.train) != bool(self.test):
            raise UsageError("--train and --test go together; --data folder:PATH splits one folder")
        dataset = f"folder:{self.train}::{self.test}" if self.train else self.data
        return Additions(tuple(dict.fromkeys(self.loss)), dataset, self.network)


@dataclass(frozen=True)
class Ended:
    """What a run has come to.

    Attributes:
        selected: how many cells were to be run.
        counts: how many of these have each status.
        files: the report's.
    """

    run: Run
    selected: int
    counts: Counter[str]
    files: list[Path]


def carry_out(order: Order, arguments: list[str], display: Display | Silence) -> Ended:
    """Run what was asked for, and write the report.

    Args:
        arguments: the command line that does the same, for the manifest and for whoever interrupts it.

    Raises:
        USER_ERRORS: whatever is wrong, before any work where that can be known.
        Interrupted: after Ctrl-C.
    """
    device = resolve_device(order.device)
    forget_folders()
    plan, notes = extended(read_suite(order.suite, order.override), order.additions())
    wanted = parse_filter(order.only)
    selected = functools.partial(matches, wanted=wanted)
    count = sum(map(selected, plan.cells))
    if not count:
        raise UsageError(f"--only {order.only!r} selects none of the {len(plan.cells)} cells of suite {plan.name}")
    if order.device == "auto" and sys.platform == "darwin":
        display.note("Apple GPUs are not used: running on the CPU")
    for note in notes:
        display.note(note)
    used = used_data(plan.cells)
    for one in used:
        refuse_shared_names(one[0], datasets.load(*one))  # and a missing data set is said before any work
    try_out(plan, selected, display.note)
    path = order.out or Path("results") / plan.name
    if order.fresh and path.exists():
        display.note(f"earlier run set aside: {set_aside(path)}")
    workplace = make_executor(order.executor, order.workers, device, order.memory_mib, used, references_of(plan))
    pack = order.pack or (GPU_PACK if device.type == "cuda" and order.executor == "local" else 1)

    def leave() -> None:
        display.leave()
        os.write(sys.stderr.fileno(), farewell(arguments).encode())

    with Interrupts(leave) as interrupts, RunDirectory(path) as directory, workplace, display:
        each = f", {pack} cells each," if pack > 1 else ""
        display.note(f"{plan.name}: {count} cells on {device} with {workplace.slots} workers{each} -> {path}")
        for note in no_longer_declared(path, plan):
            display.note(note)
        counts = run_matrix(plan, directory, workplace, device, selected, display.show, interrupts, arguments,
                            pack=pack, minutes=order.minutes)  # fmt: skip
    return Ended(store.load(path), count, counts, write_report(path))


def forget_folders() -> None:
    """Have a folder of images read anew, which may have changed since an earlier run of this process read it."""
    kept = [datasets.registry.read_folder, datasets.fingerprint]
    kept += [own for task in TASKS.values() for own in vars(sys.modules[task.__module__]).values()]
    for function in kept:
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def no_longer_declared(path: Path, plan: Suite) -> Iterator[str]:
    """A line on each kind of results in a run directory that the tables lose, for they show what a suite declares."""
    try:
        cells = store.read_table(path, "cells")
    except StoreError:  # there is none yet, or the journal, which knows better, is about to replace it
        return
    done = cells[cells["status"] == "done"]
    for column, how in (("loss", "name all of them, each with --loss"), ("dataset", "name the data set again")):
        gone = sorted(set(done[column]) - {getattr(cell, column) for cell in plan.cells})
        if gone:
            yield (f"the tables of {path} lose the results of {', '.join(gone)}, which this command does not ask for: "
                   f"{how}, or choose another --out; the journal keeps them")  # fmt: skip


def again(arguments: list[str]) -> str:
    """The command line that goes on where a run has stopped."""
    return shlex.join(["python", "-m", "bench", *(word for word in arguments if word != "--fresh")])


def farewell(arguments: list[str]) -> str:
    """What is said to whoever has interrupted a run."""
    return f"interrupted; finished cells are kept. Resume with: {again(arguments)}\n"


def references_of(plan: Suite) -> list[str]:
    """The user code that a suite rests on."""
    return sorted({reference for cell in plan.cells for reference in cell.references})


def make_executor(
    name: str,
    workers: int | None,
    device: torch.device,
    memory_mib: float | None,
    used: Collection[Used],
    references: Collection[str] = (),
) -> Executor:
    """Where the cells of a run are trained; `used` are their data sets, `references` the user's code.

    Raises:
        UsageError: no such executor, or none that offers this device.
        PluginError: the user's code cannot be imported.
    """
    if name not in EXECUTORS:
        raise UsageError(f"--executor: {no_such('executor', name, EXECUTORS)}")
    setups = [(configure, (device,))]
    if references:
        setups.append((load_user_code, (fingerprints(references),)))
    folders = [one for one in used if datasets.is_folder(one[0])]
    if name == "ray":
        refuse_relative(folder for folder, _ in folders)
        if device.index:
            raise UsageError(f"--device {device}: Ray chooses the GPU of a worker; use --device cuda")
        return RayExecutor(workers, setups, memory_mib, device.type == "cuda", lambda: Agreement.here(used, device),
                           travelling_files(references))  # fmt: skip
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if folders:
        setups.append((same_data, ({one: datasets.fingerprint(datasets.load(*one)) for one in folders},)))
    workers = workers or (cores if device.type == "cpu" else min(4, cores))
    return LocalExecutor(workers, setups, memory_mib or share_of_memory_mib(workers))


def refuse_relative(names: Iterable[str]) -> None:
    """Workers on a cluster run in folders of their own, from which a relative path leads elsewhere.

    Raises:
        UsageError: one of these data sets is named by such a path.
    """
    for name in names:
        paths = folders_of(name)
        if not all(path.is_absolute() for path in paths):
            absolute = SEPARATOR.join(str(path.absolute()) for path in paths)
            raise UsageError(f"--executor ray: {name} is found from this folder alone, and workers run in others; name "
                             f"it {PREFIX}{absolute}")  # fmt: skip


def rebuild(paths: list[Path], figures: list[str], out: Path | None) -> list[Path]:
    """See `report`.

    Raises:
        USER_ERRORS: whatever is wrong.
    """
    if not paths:
        raise UsageError("report: name a run directory")
    if len(paths) > 1 and figures:
        raise UsageError("--figure redraws a figure of one run directory; name one")
    if len(paths) == 1 and out:
        raise UsageError("--out is for several run directories; the report of one lies in it")
    if len(paths) > 1:
        return write_side_by_side(paths, out)
    return redraw(paths[0], figures) if figures else write_report(paths[0])


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


def _as_toml(value: Any) -> str:
    """A value as `parse_overrides` reads it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{key}" = {_as_toml(own)}' for key, own in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_as_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else f'"{value}"'
