"""How is a run started, resumed, read, and reported from Python, and how far is it?"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.options import takes
from bench.errors import UsageError, one_exception
from bench.plan.order import Order
from ganlab.lazy import lazily

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from bench.analysis import open_questions, staleness
    from bench.api import launch
    from bench.plan import reading
    from bench.reports import build, side_by_side
    from bench.running import display, runner
    from bench.store import reader
    from bench.training import code
else:
    lazily(globals(), pd="pandas", torch="torch", staleness="bench.analysis.staleness", launch="bench.api.launch")
    lazily(globals(), build="bench.reports.build", side_by_side="bench.reports.side_by_side")
    lazily(globals(), display="bench.running.display", runner="bench.running.runner", reader="bench.store.reader")
    lazily(globals(), reading="bench.plan.reading", code="bench.training.code")
    lazily(globals(), open_questions="bench.analysis.open_questions")


@takes(Order)
def run(order: Order) -> "reader.Run":
    """Run a suite or the rest of it, write CSV, figures, and report, and return the run directory.

    Failed cells are rows with their `status` and `reason`. `loss` and `network` may be functions or classes from a file
    that worker processes can import; a Path as `data` is a folder of images; `override` maps keys to values; with
    `quiet` no progress is shown.

    >>> import contextlib, tempfile
    >>> from bench import load, report, run, status
    >>> loss = "def quartic(prediction, target):\\n    return (prediction - target) ** 4"
    >>> suite = '''
    ... title = "L1 and a user's loss, a cell of each"
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
    ...     first = run("tiny.toml", loss="my_losses:quartic", workers=1, quiet=True)
    ...     again = load("results/tiny")  # at any later time
    ...     progress = status("results/tiny")
    ...     files = report("results/tiny", figure="sr_crops")
    >>> first.cells[["loss", "status"]].values.tolist()
    [['l1', 'done'], ['my_losses:quartic', 'done']]
    >>> again.cells.equals(first.cells), len(files)
    (True, 1)
    >>> progress.counts["done"], len(progress.stale)
    (2, 0)

    Raises:
        BenchError: the call, the suite, the user's code, or the machine is at fault.
        KeyboardInterrupt: after Ctrl-C; finished cells are kept, and the same call resumes the run.
    """
    with one_exception():
        threads = torch.get_num_threads()
        try:
            return launch.execute(order, order.arguments(), display.Silence() if order.quiet else display.Display()).run
        except runner.Interrupted:
            raise KeyboardInterrupt("finished cells are kept; the same call resumes the run") from None
        finally:
            torch.set_num_threads(threads)


def load(path: str | Path) -> "reader.Run":
    """Read a run directory: its manifest, and each CSV file as a data frame (`cells`, `images`, `curves`, `timing`).

    Raises:
        BenchError: it is missing or invalid.
    """
    with one_exception():
        return reader.load(Path(path))


def report(*paths: str | Path, figure: str | Iterable[str] = (), out: str | Path | None = None) -> list[Path]:
    """Rebuild figures, tables, and report of a run directory; several are compared with the first.

    Args:
        paths: run directories.
        figure: redraw only these figures.
        out: the folder of the comparison of several runs.

    Returns:
        The written files.

    Raises:
        BenchError: there is no such run directory or figure, or the files cannot be written.
    """
    folders, figures = [Path(path) for path in paths], [figure] if isinstance(figure, str) else list(figure)
    with one_exception():
        if not folders:
            raise UsageError("report: name a run directory")
        if len(folders) > 1 and figures:
            raise UsageError("--figure redraws a figure of one run directory; name one")
        if len(folders) == 1 and out:
            raise UsageError("--out is for several run directories; the report of one lies in it")
        if len(folders) > 1:
            return side_by_side.write_side_by_side(folders, Path(out) if out else None)
        return build.redraw(folders[0], figures) if figures else build.write_report(folders[0])


@dataclass(frozen=True)
class Status:
    """The progress of a run.

    Attributes:
        run: the run directory, as `load` returns it.
        counts: how many cells have each status.
        stale: the rows of `run.cells` that other code has trained; the next run trains them again.
        code: the fingerprint of this tree, as in the column `code`.
        undecided: the open questions: `question`, `estimate`, `unit`, `margin`, `next_look` (the number of seeds at
            which it is judged next), and `minutes`, the cost of that look on this run's workers.
    """

    run: "reader.Run"
    counts: Counter[str]
    stale: "pd.DataFrame"
    code: str
    undecided: "pd.DataFrame"


def status(path: str | Path) -> Status:
    """How far is a run, and are its results stale?

    Raises:
        BenchError: as in `load`.
    """
    with one_exception():
        result = reader.load(Path(path))
        stale = result.cells[staleness.stale_cells(result) & (result.cells["status"] != "pending")]
        device_type = (result.manifest.get("device") or {}).get("type") or "cpu"
        fingerprint = code.code_fingerprint(device_type)
        return Status(result, Counter(result.cells["status"]), stale, fingerprint, _undecided(result))


def _undecided(result: "reader.Run") -> "pd.DataFrame":
    """The open questions; none, and nothing slow is imported, where all seeds are fixed."""
    if result.cells["most_seeds"].isna().all():
        return pd.DataFrame()
    return open_questions.undecided(result)


def list_suites() -> "pd.DataFrame":
    """The suites that come with the project: `name`, number of `cells`, `title`.

    >>> from bench import list_suites
    >>> "quick" in set(list_suites()["name"])
    True
    """
    with one_exception():
        suites = [reading.read_suite(name) for name in sorted(reading.shipped())]
        return pd.DataFrame([{"name": suite.name, "cells": len(suite.cells), "title": suite.title} for suite in suites])
