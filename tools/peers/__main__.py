"""What does `python -m tools.peers` do? It measures, prints tables, and writes files."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.status import Status

from bench.training.device import DeviceError, resolve_device
from ganlab.classifiers import frozen_classifier
from ganlab.datasets import DataMissing, load
from ganlab.errors import no_such
from tools.peers import PeersError, results
from tools.peers.interleave import LEAST_ROUNDS, arms_for, measure, rest_cores, summarise
from tools.peers.workloads import workloads

try:
    from typer.exceptions import TyperException
except ImportError:  # before typer carried its own click
    from click import ClickException as TyperException  # type: ignore[assignment]  # the same class by its older name

MINUTES = 15.0
GPU_PROCESSES = 4  # most processes that share a GPU
RESTLESS = 0.05  # cores that resting processes keep busy; more is reported
EXIT_USAGE, EXIT_INTERRUPTED = 2, 130
LETTERS = 130

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def show(status: Status, name: str, text: str) -> None:
    """Show the current activity for a workload."""
    status.update(f"{name}: {text}")


@app.command()
def peers(
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:N; auto takes CUDA where there is one")] = "cpu",
    minutes: Annotated[float, typer.Option(min=0.05, help="time to take, of all workloads together")] = MINUTES,
    only: Annotated[list[str] | None, typer.Option(help="this workload alone, as 'sr edsr'; repeatable")] = None,
    out: Annotated[Path, typer.Option(help="the folder for peers.csv, rounds.csv, peers.json")] = Path("results/peers"),
) -> None:
    """How fast is the harness, compared with the loop a user would otherwise write and with the machine's peak?"""
    used_device = resolve_device(device)
    results.prepare_folder(out)
    processes = cores() if used_device.type == "cpu" else min(GPU_PROCESSES, cores())
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, LETTERS)  # a wrapped line is better than a truncated table
    experiments = workloads()
    for name in only or ():
        if name not in experiments:
            raise PeersError(no_such("workload", name, experiments))
    experiments = {name: experiment for name, experiment in experiments.items() if not only or name in only}
    record = results.started_record(used_device, processes, experiments)
    summaries, rounds = [], []
    with Console(stderr=True).status("starting") as status:
        for name, experiment in experiments.items():
            if experiment.task == "gan":
                status.update(f"{name}: the frozen classifier, trained once and cached")
                frozen_classifier(load(experiment.dataset))  # one for all processes
            measured = measure(
                experiment, used_device, processes, 60 * minutes / len(experiments), say=partial(show, status, name)
            )
            summary = summarise(measured, arms_for(used_device))
            console.print(results.table(name, summary))
            record["notes"] += [f"{name}: {note}" for note in measured.notes]
            if (restless := rest_cores(measured)) > RESTLESS:
                record["notes"].append(f"{name}: resting processes kept {restless:.2f} cores busy on average")
            if (fewest := summary["rounds"].min()) < LEAST_ROUNDS:
                record["notes"].append(
                    f"{name}: others computed on this machine in all but {fewest} rounds, too few "
                    "for a number; measure again when it is quieter"
                )
            summaries.append(summary.assign(workload=name))
            rounds.append(pd.DataFrame(measured.rounds).assign(workload=name))
            results.write(
                out, record, *(pd.concat(frames).set_index("workload").reset_index() for frames in (summaries, rounds))
            )
    for note in record["notes"]:
        console.print(note, markup=False)
    console.print(f"{out}/peers.csv, rounds.csv, peers.json", markup=False)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Run; errors that a user can cause are one line on standard error."""
    try:
        app(sys.argv[1:], prog_name="python -m tools.peers", standalone_mode=False)
    except (PeersError, DeviceError, DataMissing) as error:
        fail(str(error), EXIT_USAGE)
    except TyperException as error:
        fail(error.format_message(), EXIT_USAGE)
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted; workloads that were finished are kept", EXIT_INTERRUPTED)


def fail(message: str, code: int) -> None:
    """End with one line on standard error."""
    print(f"peers: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
