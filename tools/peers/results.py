"""What is written and shown? `peers.csv`, `rounds.csv`, and `peers.json` in one folder; a table for each workload."""

import datetime
import json
import math
import os
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.table import Table

from bench.running.provenance import git_state, package_versions
from bench.throughput.records import Machine
from bench.training.device import fast_precision
from ganlab.tasks import Experiment
from tools.peers import PeersError
from tools.peers.arms import REFERENCE
from tools.peers.interleave import STRETCH_S
from tools.peers.workloads import STAND_IN

SCHEMA_VERSION = 1


def prepare_folder(path: Path) -> None:
    """Make the folder that results go to.

    Raises:
        PeersError: it cannot be created or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PeersError(f"--out {path}: {error.strerror}; name a folder that can be written") from None
    if not os.access(path, os.W_OK):
        raise PeersError(f"--out {path} cannot be written; name another folder")


def started_record(device: torch.device, processes: int, experiments: dict[str, Experiment]) -> dict[str, Any]:
    """The content of `peers.json` before any measurement: schema, machine, versions, code, and workloads."""
    return {
        "schema_version": SCHEMA_VERSION,
        "started": now(),
        "machine": Machine.current(str(device)).model_dump(exclude={"node"}),
        "device": str(device),
        "packages": package_versions(),
        "git": git_state(),
        "load_average": load_average(),
        "processes": processes,
        "stretch_s": STRETCH_S,
        "reference": REFERENCE,
        "notes": notes(device, experiments),
        "workloads": {name: experiment.model_dump() for name, experiment in experiments.items()},
    }


def notes(device: torch.device, experiments: dict[str, Experiment]) -> list[str]:
    """Notes for the reader on the data and on what is missing."""
    texts = []
    if any(experiment.dataset == STAND_IN for experiment in experiments.values()):
        texts.append(
            "Fashion-MNIST is not installed: its place is taken by the 8x8 digits, enlarged to 28x28 pixels "
            "(fewer images, the same shape); `python -m bench data fetch fashion-mnist` gets it"
        )
    if fast_precision(device) == "fp32":
        texts.append(f"{device} is not known to multiply bfloat16 fast: nothing was measured in bf16")
    return texts


def write(path: Path, record: dict[str, Any], summary: pd.DataFrame, rounds: pd.DataFrame) -> None:
    """Write the three files; `record` comes from `started_record` and is completed here. Empty means not applicable."""
    for name, frame in (("peers", summary), ("rounds", rounds)):
        frame.to_csv(path / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
    rows = [
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for row in summary.to_dict("records")
    ]
    complete = record | {"finished": now(), "load_average_at_end": load_average(), "arms": rows}
    (path / "peers.json").write_text(json.dumps(complete, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def load_average() -> float:
    """The load average of the last minute: it shows the work of other processes."""
    return round(os.getloadavg()[0], 2)


def table(name: str, summary: pd.DataFrame) -> Table:
    """The arms of one workload for people. Processes are given with the threads of each, as in `2 x 1`."""
    shown = Table(title=f"{name}: images per second, their ratio to the usual loop, and per processor second")
    shown.add_column("arm")
    headers = ("processes", "images/s", "ratio (95 %)", "rounds", "per CPU-s (95 %)", "Gflop/s", "of peak", "of a copy")
    for header in headers:
        shown.add_column(header, justify="right")
    for _, row in summary.iterrows():
        shown.add_row(
            row["arm"],
            f"{row['processes']:.0f} x {row['threads']:.0f}",
            number(row["images_per_s"], ".0f"),
            with_interval(row, "ratio"),
            f"{row['rounds']:.0f}",
            with_interval(row, "cpu_ratio"),
            number(row["gflop_per_s"], ".0f"),
            number(100 * row["peak_share"], ".0f", " %"),
            number(100 * row["copy_share"], ".0f", " %"),
        )
    return shown


def with_interval(row: pd.Series, name: str) -> str:
    """A ratio and its interval as text; empty for NaN. A ratio that is 1 by definition has no interval."""
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    return f"{value:.2f} ({low:.2f} to {high:.2f})" if high > low else number(value, ".2f")


def number(value: float, form: str, unit: str = "") -> str:
    """A number as text; empty for NaN."""
    return "" if math.isnan(value) else f"{value:{form}}{unit}"
