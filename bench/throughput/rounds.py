"""How is one round measured? A fresh pair of processes computes in turns and gives one number for each cell.

The pair is the replicate. Chunks of steps alternate between the two in ABBA order, so that drift and other load affect
both alike. The number is the median of the log ratios of the chunk pairs. Both sides run the same steps.
"""

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.errors import Broken
from bench.throughput.gpu import Watch, watch
from bench.throughput.processes import ForkServer, Process, Side, start

CHUNK_S = 0.1  # shortest chunk on the faster side
PAIRS = 4  # chunk pairs of a cell in a round: AB BA AB BA
WARM_UP_S = 0.05  # warm-up chunks double until they reach this
STABLE = 0.1  # and until two in a row agree within this share on both sides
WARM_UPS = 6  # largest number of warm-up chunks
REPEATS = 3  # most repetitions of a chunk pair that ran at a low GPU clock

Cells = Mapping[str, dict[str, Any]]  # name -> the fields of an Experiment


@dataclass
class Round:
    """The result of a round, by cell: the log ratio of the second side's step time to the first's, the milliseconds per
    step and the peak GPU memory (MiB) of both sides, and the counts of `same_work`. `notes` are on the GPU's state."""

    log_ratio: dict[str, float]
    step_ms: dict[str, tuple[float, float]]
    peak_memory_mib: dict[str, tuple[float, float]]
    work: dict[str, dict[str, int]]
    notes: list[str]


def cores() -> list[int | None]:
    """The cores this process may use; [None] on a system that cannot bind a process to a core."""
    return [*sorted(os.sched_getaffinity(0))] if hasattr(os, "sched_getaffinity") else [None]


def measure(server: ForkServer, sides: tuple[Side, Side], cells: Cells, device: str, index: int) -> Round:
    """One round of the cells. The first side changes with each round, the core with every second round.

    Raises:
        Broken: a side failed, the sides did different work, or a time is invalid.
    """
    result = Round({}, {}, {}, {}, [])
    usable = cores()
    with ExitStack() as stack:
        order = sides if index % 2 == 0 else sides[::-1]
        core = usable[index // 2 % len(usable)] if device == "cpu" else None
        turns = start(server, order, device, core, stack)
        pair = turns if index % 2 == 0 else turns[::-1]
        gpu = server.gpu = server.gpu or watch(pair[0].description.get("gpu"))
        for name, cell in cells.items():
            for process in pair:
                process.cell = name
            work = {process.side.name: process.ask("build", cell=cell) for process in turns}
            result.work[name] = same_work(pair, [work[side.name] for side in sides])
            first, counts = warm_up(turns)
            chunks = []
            for _ in range(PAIRS):
                chunks.append(chunk_pair(turns, first, counts, gpu))
                first += max(counts.values())
                turns = turns[::-1]
            step_s = [[chunk[side.name]["net_s"] / chunk[side.name]["steps"] for chunk in chunks] for side in sides]
            result.log_ratio[name] = median(math.log(after / before) for before, after in zip(*step_s, strict=True))
            result.step_ms[name] = (1e3 * median(step_s[0]), 1e3 * median(step_s[1]))
            if device != "cpu":
                base, head = (chunks[-1][side.name]["peak_memory_mib"] for side in sides)
                result.peak_memory_mib[name] = base, head
        if gpu:
            gpu.count_foreign(len(pair))
            result.notes = gpu.notes()
    return result


def same_work(pair: Sequence[Process], counts: Sequence[dict[str, int]]) -> dict[str, int]:
    """The counts of parameters and images, equal on both sides. The reference workload is not compared.

    Raises:
        Broken: the counts differ.
    """
    if pair[1].side.root is None:
        return counts[0]
    if pair[0].side.root is None:
        return counts[1]
    for count in counts[0]:
        if counts[0][count] != counts[1][count]:
            sides = ", ".join(f"{process.side.name} {work[count]}" for process, work in zip(pair, counts, strict=True))
            raise Broken(f"the sides do different work: {count} of {sides}", pair[0].cell)
    return counts[0]


def warm_up(turns: Sequence[Process]) -> tuple[int, dict[str, int]]:
    """Run both sides until their times are stable; returns the next step and the steps per chunk of each side.

    Two trees run the same count, which takes `CHUNK_S` on the faster side. With the reference, each has its own.
    """
    first, count, before = 1, 4, [math.inf, math.inf]  # step 0 of a GAN is checked, which is slower
    for _ in range(WARM_UPS):
        seconds = [process.steps(first, count)["net_s"] / count for process in turns]
        first += count
        stable = all(abs(new - old) < STABLE * old for new, old in zip(seconds, before, strict=True))
        if stable and count * min(seconds) >= WARM_UP_S:
            break
        if count * min(seconds) < WARM_UP_S:
            count *= 2
        before = seconds
    names = [process.side.name for process in turns]
    if any(process.side.root is None for process in turns):
        return first, {name: math.ceil(CHUNK_S / step_s) for name, step_s in zip(names, seconds, strict=True)}
    return first, dict.fromkeys(names, math.ceil(CHUNK_S / min(seconds)))


def chunk_pair(turns: Sequence[Process], first: int, counts: dict[str, int], gpu: Watch | None) -> dict[str, Any]:
    """The replies to a chunk on each side, in the order of `turns`; repeated if the GPU's clock was low."""
    for _ in range(1 + REPEATS):
        if gpu:
            gpu.forget()
        replies = {process.side.name: process.steps(first, counts[process.side.name]) for process in turns}
        if not (gpu and gpu.ran_low()):
            break
    return replies
