"""Is the GPU path correct, how fast is it against the loop a user would write, and what does suite `full` measure?

`make gpu-report`, or `python -m tools.gpu_report`: on a machine with a CUDA GPU it tests captured steps and packs
against plain steps, measures the ratios of `python -m tools.peers`, runs suite `full`, and writes everything to
`results/reference-gpu/`. It works in slices: each call ends within its time, with exit code 20 if work is left, and the
next call continues. The report names what has not been measured.
"""

import json
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer

from bench.plan.cell import used_data
from bench.plan.reading import read_suite
from bench.store.files import write_atomically
from bench.training.code import code_fingerprint
from bench.training.device import device_description, resolve_device
from ganlab.datasets import DataMissing, load
from ganlab.fingerprint import code_digest, imported_files

try:
    from typer.exceptions import TyperException
except ImportError:  # before typer carried its own click
    from click import ClickException as TyperException  # type: ignore[assignment]  # the same class by its older name

EXIT_FAILED, EXIT_USAGE, EXIT_NOT_DONE, EXIT_INTERRUPTED = 1, 2, 20, 130
ROOT = Path(__file__).parents[1]
RUN = Path("results/full")  # the run directory of the suite; the published files are copied from it
PUBLISHED = (
    "manifest.json",
    "cells.csv",
    "images.csv",
    "curves.csv",
    "timing.csv",
    "summary.csv",
    "claims.csv",
    "report.html",
    "report.md",
    "figures",
    "tables",
)
PROOF_MIN, PEERS_MIN, PEERS_START_MIN = 2.0, 5.0, 1.5  # minutes: the tests; the measurement; before it, a classifier
REPORT_MIN = 1.5  # figures and report of the suite, at the end of each slice
LEAST_RUN_MIN = 1.0
SUITE_MINUTES = 15.0  # of GPU time, at most


class Aim(NamedTuple):
    """A ratio to the user's loop that the GPU should reach: an arm of a workload of `python -m tools.peers`.

    Many cells train on streams (`bench.training.gpu`); cells stacked into batched kernels (`tools.peers.stacked`) have
    the same aims.
    """

    description: str
    workload: str
    arm: str
    least: float


AIMS = tuple(
    Aim(f"{description}, {precision}", workload, f"{arm} {precision}", least)
    for description, workload, arm, least in (
        ("one GAN cell, 28x28", "gan 28x28", "captured", 4.0),
        ("64 GAN cells, 28x28", "gan 28x28", "64 cells", 15.0),
        ("one super-resolution cell", "sr 16 channels", "captured", 3.0),
        ("64 super-resolution cells", "sr 16 channels", "64 cells", 6.0),
        ("64 GAN cells, stacked instead", "gan 28x28", "64 stacked", 15.0),
        ("64 super-resolution cells, stacked instead", "sr 16 channels", "64 stacked", 6.0),
    )
    for precision in ("fp32", "bf16")
)


class NoGpu(Exception):
    """There is nothing to report on; the message is one line."""


class Failed(Exception):
    """A part of the report failed; the message is one line."""


class Report:
    """The contents of the folder so far, and the work of one slice."""

    def __init__(self, out: Path, device: torch.device, until: float):
        self.out, self.device, self.until = out, device, until
        self.code = code_of_the_report(device)
        self.file = out / "gpu.json"
        self.measured: dict[str, dict[str, Any]] = json.loads(self.file.read_text()) if self.file.exists() else {}

    def minutes_left(self) -> float:
        """Minutes of this slice."""
        return (self.until - time.monotonic()) / 60

    def is_current(self, part: str) -> bool:
        """Whether a part has been measured with the current code."""
        return self.measured.get(part, {}).get("code") == self.code

    def keep(self, part: str, **results: Any) -> None:
        """Store the results of a part."""
        self.measured[part] = {"code": self.code} | results
        self.measured["device"] = device_description(self.device)
        write_atomically(self.file, json.dumps(self.measured, indent=1) + "\n")
        write_atomically(self.out / "gpu.md", self.text())

    def prove(self) -> None:
        """Run every test that needs a GPU: they compare graphs, packs, and devices.

        Raises:
            Failed: a test failed or was skipped, so nothing is proven.
        """
        record = self.out / "tests.xml"
        record.unlink(missing_ok=True)
        call(
            "pytest",
            str(ROOT / "tests"),
            "-m",
            "gpu",
            "-q",
            "-o",
            "addopts=",
            "--rootdir",
            str(ROOT),
            f"--junitxml={record}",
            expected=(0, 1),
        )
        tests, passed = proof_counts(record)
        record.unlink()
        proven = 0 < tests == passed
        self.keep("proof", tests=tests, passed=passed, **({} if proven else {"code": ""}))
        if not proven:
            raise Failed(
                f"{passed} of {tests} tests passed on the GPU, and what is not proven is not measured; "
                "what they say stands above"
            )

    def measure(self) -> None:
        """The user's loop, the captured step, and many cells, in turn."""
        only = (text for workload in dict.fromkeys(aim.workload for aim in AIMS) for text in ("--only", workload))
        call(
            "tools.peers",
            "--device",
            str(self.device),
            "--minutes",
            f"{PEERS_MIN:g}",
            *only,
            "--out",
            str(self.out / "peers"),
        )
        record = json.loads((self.out / "peers" / "peers.json").read_text())
        self.keep("peers", arms=record["arms"], notes=record["notes"])

    def run(self) -> None:
        """Run the suite for the rest of the slice; when it is complete, copy the published files."""
        minutes = f"{self.minutes_left() - REPORT_MIN:.2f}"
        call(
            "bench",
            "run",
            "full",
            "--device",
            str(self.device),
            "--minutes",
            minutes,
            "--out",
            str(RUN),
            expected=(0, EXIT_NOT_DONE),
        )
        manifest = json.loads((RUN / "manifest.json").read_text())
        if not manifest["finished"]:
            return
        for name in PUBLISHED:
            source, target = RUN / name, self.out / name
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            elif source.exists():
                shutil.copy2(source, target)
        self.keep("suite", minutes=manifest["wall_s"] / 60, cells=manifest["cells"])

    def text(self) -> str:
        """The text of gpu.md: what has been measured, and what has not."""
        lines = ["# The GPU path, measured", "", f"On {self.measured['device']['name']}, by `make gpu-report`.", ""]
        proof = self.measured.get("proof")
        lines.append(
            f"{proof['passed']} of {proof['tests']} tests passed that set captured steps and packs beside plain ones."
            if proof
            else "Not yet proven: the tests that set captured steps and packs beside plain ones have not run."
        )
        lines += [
            "",
            "| beside the loop a user would write, in the same run | aim | ratio (95 % interval) | "
            "share of the matrix-product peak | of a copy's bandwidth |",
            "|---|---|---|---|---|",
        ]
        arms = {(row["workload"], row["arm"]): row for row in self.measured.get("peers", {}).get("arms", ())}
        for aim in AIMS:
            row = arms.get((aim.workload, aim.arm)) or {}
            ratio = "not measured"
            if row.get("ratio"):
                met = "reached" if row["ratio_low"] >= aim.least else "not reached"
                ratio = f"{row['ratio']:.1f} ({row['ratio_low']:.1f} to {row['ratio_high']:.1f}): {met}"
            shares = (percent(row.get(name)) for name in ("peak_share", "copy_share"))
            lines.append(f"| {aim.description} | {aim.least:g} | {ratio} | {' | '.join(shares)} |")
        suite = self.measured.get("suite")
        lines += [
            "",
            f"Suite `full`: {suite['cells']} cells in {suite['minutes']:.1f} minutes (aim: {SUITE_MINUTES:g})."
            if suite
            else "Suite `full`: not measured as a whole yet.",
        ]
        return "\n".join([*lines, *self.measured.get("peers", {}).get("notes", ())]) + "\n"


def code_of_the_report(device: torch.device) -> str:
    """Twelve hex digits over the code that determines the report's numbers: cells, packs, and the measurement."""
    measuring = imported_files(
        ("tools.gpu_report", "tools.peers.__main__", "bench.training.timing"), ("tools", "bench.training")
    )
    return code_digest(measuring, code_fingerprint(device.type))[:12]


def percent(share: float | None) -> str:
    """A share as text; a dash for None."""
    return "–" if share is None else f"{100 * share:.0f} %"


def proof_counts(record: Path) -> tuple[int, int]:
    """The number of tests in a JUnit file, and the number that passed.

    Raises:
        Failed: pytest wrote no such file.
    """
    try:
        suites = list(ElementTree.parse(record).getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError):
        raise Failed("the tests could not be run; is pytest installed? pip install 'ganlab[test]'") from None
    tests, *others = (
        sum(int(suite.get(kind, 0)) for suite in suites) for kind in ("tests", "failures", "errors", "skipped")
    )
    return tests, tests - sum(others)


def call(module: str, *arguments: str, expected: Sequence[int] = (0,)) -> None:
    """Run a module as a command.

    Raises:
        Failed: its exit code is not expected.
    """
    code = subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
    if code not in expected:
        raise Failed(f"python -m {module} ended with exit code {code}; what it says stands above")


def make(report: Report) -> bool:
    """Do what the time allows; returns whether everything is done."""
    parts: tuple[tuple[str, Callable[[], None], float], ...] = (
        ("proof", report.prove, PROOF_MIN),
        ("peers", report.measure, PEERS_MIN + PEERS_START_MIN),
        ("suite", report.run, REPORT_MIN + LEAST_RUN_MIN),
    )
    for part, work, needs_min in parts:
        if report.is_current(part):
            continue
        if report.minutes_left() < needs_min:
            return False
        work()
    return all(report.is_current(part) for part, _, _ in parts)


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def gpu_report(
    minutes: Annotated[float, typer.Option(min=8, help="time for this slice; the same command goes on")] = 9.0,
    out: Annotated[Path, typer.Option(help="the folder of the report")] = Path("results/reference-gpu"),
) -> None:
    """Prove, measure, and run everything on the GPU, slice by slice."""
    until = time.monotonic() + 60 * minutes
    if not torch.cuda.is_available():
        raise NoGpu("a CUDA GPU is needed, and PyTorch sees none here; nothing was measured")
    for used in used_data(read_suite(RUN.name).cells):
        load(*used)  # missing data are reported before GPU time is spent
    out.mkdir(parents=True, exist_ok=True)
    if not make(Report(out, resolve_device("auto"), until)):
        raise typer.Exit(EXIT_NOT_DONE)
    print(f"{out}/gpu.md, {out}/report.html")


def main() -> None:
    """Run; errors that a user can cause are one line on standard error."""
    try:
        code = app(sys.argv[1:], prog_name="python -m tools.gpu_report", standalone_mode=False)
    except Failed as error:
        fail(str(error), EXIT_FAILED)
    except (NoGpu, DataMissing) as error:
        fail(str(error), EXIT_USAGE)
    except TyperException as error:
        fail(error.format_message(), EXIT_USAGE)
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted; the same command goes on", EXIT_INTERRUPTED)
    if code == EXIT_NOT_DONE:
        fail("something is left: the same command goes on with it", EXIT_NOT_DONE)
    sys.exit(code)


def fail(message: str, code: int) -> None:
    """End with one line on standard error."""
    print(f"gpu-report: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
