"""Which records are kept on disk? A baseline for `compare --base FILE`, and the calibration of a machine."""

import hashlib
import os
import platform
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, FiniteFloat, ValidationError
from scipy import stats

from bench.errors import Broken
from bench.throughput.judge import Rule, Verdict
from bench.training.device import device_description
from ganlab.records import FrozenRecord

VERSION = 1
SHOWN_LEVEL = 0.95  # confidence level of the intervals of rates


class Machine(FrozenRecord):
    """What must be equal for two records to be compared: hardware, system, and packages."""

    node: str
    device: str
    system: str
    cores: int
    memory_gib: int
    python: str
    torch: str

    @classmethod
    def current(cls, device: str) -> "Machine":
        """This machine with a device (`cpu`, `cuda:0`)."""
        described = device_description(torch.device(device))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return cls(
            node=platform.node(),
            device=described["name"],
            system=described["system"],
            cores=described["cpu_count"],
            memory_gib=round(memory / 2**30),
            python=described["python"],
            torch=str(torch.__version__),
        )

    @property
    def digest(self) -> str:
        """Twelve hex digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def difference(self, other: "Machine") -> str:
        """How `other` differs, as a text; empty if it does not."""
        fields, others = self.model_dump(), other.model_dump()
        return ", ".join(f"{key} {fields[key]} against {others[key]}" for key in fields if fields[key] != others[key])


class RecordedCell(FrozenRecord):
    """A cell of a baseline: its log ratio to the reference workload in each round, step time, and counts of work."""

    log_ratio: Annotated[tuple[FiniteFloat, ...], Field(min_length=2)]
    step_ms: Annotated[FiniteFloat, Field(gt=0)]
    work: dict[str, int]


class Baseline(FrozenRecord):
    """What `record` writes: a tree's step times as ratios to a fixed workload that took turns with it."""

    version: int = Field(default=VERSION, ge=VERSION, le=VERSION)
    machine: Machine
    code: str
    recorded: str
    load: FiniteFloat
    cells: Annotated[dict[str, RecordedCell], Field(min_length=1)]


def read_baseline(path: Path, machine: Machine) -> Baseline:
    """The baseline in a file.

    Raises:
        Broken: the file holds no valid baseline, or the baseline of another machine.
    """
    try:
        baseline = Baseline.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Broken(f"{path} is no usable baseline: {where + ': ' if where else ''}{first['msg']}") from None
    except OSError as error:
        raise Broken(f"{path} cannot be read: {error.strerror}") from None
    if different := baseline.machine.difference(machine):
        raise Broken(f"{path} was recorded on another machine: {different}")
    return baseline


class Trial(FrozenRecord):
    """One comparison of a calibration: the planted slowdown (share of the step time), the verdicts, and every round.

    `rounds` holds the log ratio of each cell in a round, less the planted slowdown; `seconds` is the total time.
    """

    planted: FiniteFloat
    verdict: Verdict
    cells: dict[str, Verdict]
    rounds: list[dict[str, FiniteFloat]]
    seconds: FiniteFloat
    at: str
    load: FiniteFloat


class Rate(FrozenRecord):
    """How often something happened, with the exact 95 % interval (Clopper and Pearson, Biometrika 1934).

    >>> Rate.of(0, 40)  # 0 of 40: the upper end is 1 - 0.025^(1/40)
    Rate(count=0, trials=40, low=0.0, high=0.0881)
    """

    count: int
    trials: int
    low: float
    high: float

    @classmethod
    def of(cls, count: int, trials: int) -> "Rate":
        """The rate of `count` in at least one trial."""
        interval = stats.binomtest(count, trials).proportion_ci(SHOWN_LEVEL, "exact")
        return cls(count=count, trials=trials, low=round(float(interval.low), 4), high=round(float(interval.high), 4))

    def __str__(self) -> str:
        return f"{self.count} of {self.trials} ({100 * self.low:.1f} to {100 * self.high:.1f} %)"


class Calibration(FrozenRecord):
    """How often the check erred on one machine, with one method."""

    version: int = Field(default=VERSION, ge=VERSION, le=VERSION)
    machine: Machine
    method: str
    minutes: float
    rule: Rule
    cells: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()
    simulated: dict[str, dict[Verdict, int]] = {}

    def summary(self) -> dict[str, Any]:
        """The summary in a run's manifest: counts of each verdict by planted slowdown."""
        shares = dict.fromkeys(trial.planted for trial in self.trials)
        verdicts = {str(share): Counter(trial.verdict for trial in self.planted(share)) for share in shares}
        return {
            "machine": self.machine.model_dump(),
            "method": self.method,
            "minutes": self.minutes,
            "cells": list(self.cells),
            "until": max((trial.at for trial in self.trials), default=None),
            "trials": verdicts,
            "simulated": self.simulated,
        }

    def planted(self, share: float) -> list[Trial]:
        """The trials with this planted slowdown."""
        return [trial for trial in self.trials if trial.planted == share]

    def rate(self, share: float, *verdicts: Verdict) -> Rate | None:
        """How often trials with this planted slowdown gave one of these verdicts; None without such a trial."""
        trials = self.planted(share)
        return Rate.of(sum(trial.verdict in verdicts for trial in trials), len(trials)) if trials else None
