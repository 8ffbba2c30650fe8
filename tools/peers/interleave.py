"""How do arms share a machine that is not quiet? They take turns in short stretches; rounds are then summarised."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from bench.analysis.comparison import Interval, geometric_interval
from bench.training.device import fast_precision
from ganlab.tasks import Experiment
from tools.peers import PeersError
from tools.peers.arms import ARMS, PER_CORE, REFERENCE, Arm
from tools.peers.workers import QUIET, Neighbours, Worker, ask_all

STRETCH_S = 0.25  # each arm computes this long, twice per round
PATIENCE_S = 2.0  # the longest wait for a quiet machine before and between tries of a stretch
LEAST_ROUNDS = 3  # even after the time is up: an interval needs them
EQUAL = ("parameters", "images_per_step")  # equal in every process of every arm that trains


@dataclass
class Measured:
    """One workload: the `work` of a step by arm (see `trainer.work`), a row of `rounds` for each round and arm, and
    `notes` on arms that computed differently or could not be set up."""

    work: dict[str, dict[str, float]] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ready(self, arms: Sequence[Arm]) -> list[Arm]:
        """The arms that could be set up."""
        return [arm for arm in arms if arm.name in self.work]


def arms_for(device: torch.device) -> list[Arm]:
    """The arms of a device, the reference first; bf16 arms only where bf16 is the faster precision."""
    precisions = {"fp32", fast_precision(device)}
    return [arm for arm in ARMS if device.type in arm.devices and arm.precision in precisions]


def order(arms: Sequence[Arm], round_index: int) -> list[Arm]:
    """Every arm twice, forwards and then backwards, from an arm that moves on by one each round.

    >>> "".join(order("ABC", 1))
    'BCAACB'
    """
    turn = round_index % len(arms)
    forwards = [*arms[turn:], *arms[:turn]]
    return forwards + forwards[::-1]


def measure(
    experiment: Experiment,
    device: torch.device,
    processes: int,
    seconds: float,
    say: Callable[[str], None] = lambda text: None,
) -> Measured:
    """Rounds of one workload for about `seconds`, but no fewer than `LEAST_ROUNDS`.

    Args:
        processes: the number of processes of an arm on every core.
        seconds: for everything, including the start of the processes.
        say: called with a short text on the current activity.

    Raises:
        PeersError: the arms do different work, the usual loop cannot be set up, or a process failed in a round.
    """
    arms, measured, until = arms_for(device), Measured(), time.monotonic() + seconds
    with ExitStack() as stack:
        needed = {arm.name: processes if arm.on_every_core(device) else 1 for arm in arms}
        pools: dict[str, list[Worker]] = {arm.home: [] for arm in arms}
        for arm in arms:
            pool = pools[arm.home]
            pool += [stack.enter_context(Worker(str(device), arm.home)) for _ in range(len(pool), needed[arm.name])]
        workers = {arm.name: pools[arm.home][: needed[arm.name]] for arm in arms}
        for arm in arms:
            say(f"building {arm.name}")
            try:
                answers = ask_all(workers[arm.name], "build", arm.name, experiment)
                ask_all(workers[arm.name], "run", arm.name, STRETCH_S)  # warm-up
                noted = ask_all(workers[arm.name], "note", arm.name)
            except PeersError as error:  # such as out of memory
                if arm.name == REFERENCE or any(worker.process.poll() is not None for worker in workers[arm.name]):
                    raise
                measured.notes.append(f"not measured: {error}")
                if all(other.build != arm.build for other in measured.ready(arms)):
                    ask_all(workers[arm.name], "drop", arm.name)
                continue
            measured.work[arm.name] = same_work(arm, answers, measured.work.get(REFERENCE, answers[0]))
            measured.notes += [f"{arm.name}: {note}" for note in dict.fromkeys(noted) if note]
        arms = measured.ready(arms)
        neighbours = Neighbours(worker.process.pid for pool in pools.values() for worker in pool)
        index, lasts = 0, 0.0
        while index < LEAST_ROUNDS or time.monotonic() + lasts < until:
            say(f"round {index + 1}")
            started = time.monotonic()
            measured.rounds += play(order(arms, index), workers, neighbours, index, until)
            lasts = time.monotonic() - started
            index += 1
    return measured


def same_work(arm: Arm, answers: list[dict[str, float]], reference: dict[str, float]) -> dict[str, float]:
    """The work of a step of an arm, and its number of processes; all processes and the reference must do equal work."""
    for answer in answers:
        for count in EQUAL if arm.kind == "training" else ():
            if answer[count] != reference[count]:
                raise PeersError(
                    f"{arm.name}: {count} {answer[count]} where {REFERENCE} has {reference[count]}: "
                    "the arms do different work"
                )
    return answers[0] | {"processes": len(answers)}


def play(
    turns: Sequence[Arm], workers: dict[str, list[Worker]], neighbours: Neighbours, index: int, until: float
) -> Iterator[dict[str, Any]]:
    """One round; a row for each arm: steps per second of all its processes together, over both of its stretches.

    A stretch waits until the machine is quiet, and is repeated if others computed meanwhile, until `until` (monotonic
    clock) or `PATIENCE_S` is reached.
    """
    stretches_by_arm: dict[str, list[dict[str, float]]] = {}
    for arm in turns:
        tries: list[dict[str, float]] = []
        give_up = min(until, time.monotonic() + PATIENCE_S)
        while not tries or (tries[-1]["others_cores"] > QUIET and time.monotonic() < give_up):
            neighbours.wait_for_quiet(give_up)
            stretch = partial(ask_all, workers[arm.name], "run", arm.name, STRETCH_S)
            processes, others_cores = neighbours.during(stretch)
            tries.append(
                {
                    "steps_per_s": sum(process["steps"] / process["seconds"] for process in processes),
                    "steps": sum(process["steps"] for process in processes),
                    "cpu_s": sum(process["cpu_s"] for process in processes),
                    "rest_cpu_s": sum(process["rest_cpu_s"] for process in processes),
                    "others_cores": others_cores,
                }
            )
        quietest = min(tries, key=lambda attempt: attempt["others_cores"])
        stretches_by_arm.setdefault(arm.name, []).append(
            quietest | {"rest_cpu_s": sum(each["rest_cpu_s"] for each in tries)}
        )
    for name, stretches in stretches_by_arm.items():
        yield {
            "round": index,
            "arm": name,
            "steps_per_s": float(np.mean([each["steps_per_s"] for each in stretches])),
            "steps_per_cpu_s": sum(each["steps"] for each in stretches) / sum(each["cpu_s"] for each in stretches),
            "others_cores": max(each["others_cores"] for each in stretches),
            "rest_cpu_s": sum(each["rest_cpu_s"] for each in stretches),
        }


def summarise(measured: Measured, arms: Sequence[Arm]) -> pd.DataFrame:
    """A row for each arm: geometric means over rounds, the ratio to the usual loop with its interval, shares of peaks.

    Rounds in which others disturbed the arm or its reference are excluded; `rounds` is the number that remains for the
    ratio. With fewer than `LEAST_ROUNDS` there is no number. `peak_share` is the floating-point work done over that of
    matrix products of the same precision on as many cores in the same round; `copy_share` is the bytes that operators
    touch over those that a copy moves. It may exceed 1: data in a cache cost no memory bandwidth. `cpu_ratio` is the
    ratio of images per processor second to those of the usual loop on one thread, over all rounds: preempted processes
    use no processor time, so it is also valid on a busy machine. Values that do not apply are NaN.
    """
    rounds = pd.DataFrame(measured.rounds)
    rates = rounds.pivot(index="round", columns="arm", values="steps_per_s")
    per_cpu_s = rounds.pivot(index="round", columns="arm", values="steps_per_cpu_s")
    rates = rates.where(rounds.pivot(index="round", columns="arm", values="others_cores") <= QUIET)

    def over_rounds(values: pd.Series) -> Interval:
        return geometric_interval(values.dropna() if values.count() >= LEAST_ROUNDS else [])

    arms = measured.ready(arms)
    peaks = {arm.precision: arm.name for arm in arms if arm.kind == "flop"}
    copy = next((arm.name for arm in arms if arm.kind == "bytes"), None)

    def share(name: str, peak: str | None, unit: str) -> float:
        if peak is None:
            return np.nan
        work, peak_work = measured.work[name], measured.work[peak]
        cores, all_cores = (each["processes"] * each["threads"] for each in (work, peak_work))
        used = min(1.0, cores / all_cores)  # one GPU counts as one core, and is always used whole
        return over_rounds(rates[name] * work[unit] / (used * peak_work[unit] * rates[peak])).mean

    rows = []
    for arm in arms:
        work, training = measured.work[arm.name], arm.kind == "training"
        images = work["images_per_step"] / measured.work[REFERENCE]["images_per_step"] if training else np.nan
        ratios = images * rates[arm.name] / rates[REFERENCE]
        ratio, steps_per_s = over_rounds(ratios), over_rounds(rates[arm.name]).mean
        cpu_ratio = over_rounds(images * per_cpu_s[arm.name] / per_cpu_s.get(PER_CORE, np.nan))
        rows.append(
            {
                "arm": arm.name,
                "precision": arm.precision,
                "processes": work["processes"],
                "threads": work["threads"],
                "rounds": int((ratios if training else rates[arm.name]).count()),
                "images_per_s": steps_per_s * work["images_per_step"] if training else np.nan,
                "ratio": ratio.mean,
                "ratio_low": ratio.low,
                "ratio_high": ratio.high,
                "cpu_ratio": cpu_ratio.mean,
                "cpu_ratio_low": cpu_ratio.low,
                "cpu_ratio_high": cpu_ratio.high,
                "gflop_per_step": work["gflop_per_step"],
                "gbyte_per_step": work["gbyte_per_step"],
                "gflop_per_s": steps_per_s * work["gflop_per_step"],
                "gbyte_per_s": steps_per_s * work["gbyte_per_step"],
                "peak_share": share(arm.name, peaks.get(arm.precision), "gflop_per_step") if training else np.nan,
                "copy_share": share(arm.name, copy, "gbyte_per_step") if training else np.nan,
                "parameters": work["parameters"],
                "images_per_step": work["images_per_step"],
            }
        )
    return pd.DataFrame(rows)


def rest_cores(measured: Measured) -> float:
    """The average number of cores that resting processes kept busy: 0 if they were idle."""
    rounds = pd.DataFrame(measured.rounds)
    return float(rounds["rest_cpu_s"].sum() / (2 * STRETCH_S * len(rounds)))
