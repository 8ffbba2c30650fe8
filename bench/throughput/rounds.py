"""How is one number measured? A round: a fresh pair of processes, both alive, computing in turn.

The pair is the replicate. Chunks of steps alternate between the two in ABBA order, so that drift and neighbours hit
both alike; the median of the log ratios of the chunk pairs is all that a round says of a cell. Both sides are asked
for the same steps; imports, counts, and times are checked at each answer, and the first odd one is BROKEN.
"""

import json
import math
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.errors import Broken
from bench.throughput import arm
from bench.throughput.gpu import Watch, watch

CHUNK_S = 0.1  # a chunk lasts at least so long on the faster side
PAIRS = 4  # chunk pairs of a cell in a round: AB BA AB BA
WARM_UP_S = 0.05  # warm-up chunks double until they are so long,
STABLE = 0.1  # and two in a row agree within this share on both sides;
WARM_UPS = 6  # but no more than these
REPEATS = 3  # of a chunk pair that ran at a low clock
ANSWER_S = 180.0  # a side that is silent for so long has failed
ENVIRONMENT = {
    **{"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},  # one compute thread
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # huge pages for the heap, see `bench.throughput`
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # "is there a GPU?" wakes no CUDA, which would not survive the fork
}

Cells = Mapping[str, dict[str, Any]]  # name -> the fields of an Experiment


@dataclass(frozen=True)
class Side:
    """What is measured: the `ganlab` in folder `root`, or the reference workload where that is None.

    `digest` is the hash its code had at first; `plant` a slowdown (share of the step time) that the driver adds.
    """

    name: str
    root: Path | None
    digest: str = ""
    plant: float = 0.0

    def __str__(self) -> str:
        return f"{self.root}/ganlab, sha256 {self.digest[:12]}"

    @classmethod
    def of_tree(cls, name: str, root: Path, plant: float = 0.0) -> "Side":
        """The code in folder `root` as it is now."""
        return cls(name, root.resolve(), arm.tree_hash(root), plant)


REFERENCE = Side("reference", None)


class ForkServer:
    """The process that forks the arms; a context manager that leaves no process and no file behind."""

    def __enter__(self) -> "ForkServer":
        self.stack = ExitStack()
        self.bytecode = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-bytecode-"))
        self.errors = self.stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
        self.gpu: Watch | None = None
        self.orders, theirs = socket.socketpair()
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, arm.__file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self.errors,
                stderr=self.errors,
                env=inherited | ENVIRONMENT,
                start_new_session=True,
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.orders.close()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)  # with whatever its arms hang in
        self.process.wait()
        self.stack.close()

    def last_stderr_line(self) -> str:
        """The last line that a process wrote on standard error, in brackets; empty where there is none."""
        self.errors.seek(0)
        lines = self.errors.read().split("\n")
        return next((f" ({line.strip()})" for line in reversed(lines) if line.strip()), "")


class Process:
    """One side in its process; use as a context manager."""

    def __init__(self, server: ForkServer, side: Side):
        self.server, self.side, self.cell = server, side, ""
        self.worker_setup: dict[str, Any] = {}
        self.channel, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(server.orders, [b"."], [theirs.fileno()])
            except OSError:
                raise Broken(f"no process can be started{server.last_stderr_line()}") from None
        self.received = b""

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.channel.close()

    def send(self, do: str, **request: Any) -> None:
        """Ask, and do not wait."""
        with suppress(OSError):  # a process that has died is noticed when its answer is missing
            self.channel.sendall(json.dumps({"do": do, **request}).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """The answer to the oldest request that has none; meanwhile the GPU is watched.

        Raises:
            Broken: this side could not do it, has died, or is silent.
        """
        deadline = time.monotonic() + ANSWER_S
        while b"\n" not in self.received:
            if time.monotonic() > deadline:
                raise self.broken(f"no answer for {ANSWER_S:.0f} s")
            gpu = self.server.gpu
            if not select.select([self.channel], [], [], gpu.every_s if gpu else ANSWER_S)[0]:
                if gpu:
                    gpu.sample()
                continue
            part = self.channel.recv(1 << 16)
            if not part:
                raise self.broken(f"its process died{self.server.last_stderr_line()}")
            self.received += part
        line, _, self.received = self.received.partition(b"\n")
        reply = json.loads(line)
        if "error" in reply:
            raise self.broken(reply["error"])
        return reply

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Ask, and wait for the answer."""
        self.send(do, **request)
        return self.receive()

    def broken(self, reason: str) -> Broken:
        """The exception that says this of this side."""
        return Broken(f"{self.side.name}: {reason}", self.cell)

    def steps(self, first: int, count: int) -> dict[str, Any]:
        """Run steps, and check the answer."""
        reply = self.ask("steps", first=first, count=count, plant=self.side.plant)
        if reply["steps"] != count:
            raise self.broken(f"did {reply['steps']} steps where {count} were asked for")
        reply["net_s"] = reply["wall_s"] - reply["queued_s"]  # other people's work is no part of the step
        for name in ("wall_s", "net_s", *(("device_s",) if "device_s" in reply else ())):
            if not 0 < reply[name] < math.inf:
                raise self.broken(f"{count} steps took {name} = {reply[name]}")
        if not reply["finite"]:
            raise self.broken(f"its training is not finite at step {first + count - 1}")
        return reply


@dataclass
class Round:
    """What a round found, per cell: the log ratio of the second side's step time to the first's, milliseconds per step
    and peak GPU memory in MiB of both; besides, the notes of the GPU's watch."""

    log_ratio: dict[str, float]
    step_ms: dict[str, tuple[float, float]]
    peak_memory_mib: dict[str, tuple[float, float]]
    work: dict[str, dict[str, int]]
    notes: list[str]


def start(server: ForkServer, sides: Sequence[Side], device: str, core: int | None, stack: ExitStack) -> list[Process]:
    """A fresh process for each side, its imports checked; `worker_setup` of each says what it offers."""
    processes = [stack.enter_context(Process(server, side)) for side in sides]
    for process in processes:
        root = str(process.side.root) if process.side.root else None
        process.send("start", root=root, device=device, core=core, cache=server.bytecode)
    for process in processes:
        process.worker_setup = verified(process, process.receive())
    return processes


def verified(process: Process, worker_setup: dict[str, Any]) -> dict[str, Any]:
    """What a side says of itself: one that imported its own code and nobody else's."""
    side = process.side
    if side.root is None:
        return worker_setup
    expected = side.root / "ganlab"
    if worker_setup["path"] != str(expected):
        raise process.broken(f"imported ganlab from {worker_setup['path']}, not from {expected}")
    if worker_setup["strays"]:
        raise process.broken(f"imported {worker_setup['strays'][0]} from outside {expected}")
    if worker_setup["hash"] != side.digest:
        raise process.broken(f"{expected} has changed since the comparison began")
    return worker_setup


def cores() -> list[int | None]:
    """The cores this process may use; [None] where processes cannot be tied to one."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [None]


def measure(server: ForkServer, sides: tuple[Side, Side], cells: Cells, device: str, index: int) -> Round:
    """One round of the cells. Odd and even rounds differ in which side comes first in everything, and in the core.

    Raises:
        Broken: a side failed, did other work than the other, or took no time.
    """
    found = Round({}, {}, {}, {}, [])
    mine = cores()
    with ExitStack() as stack:
        order = sides if index % 2 == 0 else sides[::-1]
        core = mine[index // 2 % len(mine)] if device == "cpu" else None
        turns = start(server, order, device, core, stack)
        pair = turns if index % 2 == 0 else turns[::-1]
        gpu = server.gpu = server.gpu or watch(pair[0].worker_setup.get("gpu"))
        for name, cell in cells.items():
            for process in pair:
                process.cell = name
            work = {process.side.name: process.ask("build", cell=cell) for process in turns}
            found.work[name] = same_work(pair, [work[side.name] for side in sides])
            first, counts = warm_up(turns)
            chunks = []
            for _ in range(PAIRS):
                chunks.append(chunk_pair(turns, first, counts, gpu))
                first += max(counts.values())
                turns = turns[::-1]
            step_s = [[chunk[side.name]["net_s"] / chunk[side.name]["steps"] for chunk in chunks] for side in sides]
            found.log_ratio[name] = median(math.log(after / before) for before, after in zip(*step_s, strict=True))
            found.step_ms[name] = (1e3 * median(step_s[0]), 1e3 * median(step_s[1]))
            if device != "cpu":
                base, head = (chunks[-1][side.name]["peak_memory_mib"] for side in sides)
                found.peak_memory_mib[name] = base, head
        if gpu:
            gpu.count_foreign(len(pair))
            found.notes = gpu.notes()
    return found


def same_work(pair: Sequence[Process], counts: Sequence[dict[str, int]]) -> dict[str, int]:
    """The work counts that both sides have; where one side is the reference, the other's."""
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
    """Run both sides until they are stable; the next step, and how many steps of each side make a chunk.

    Two trees do the same steps, as many as last `CHUNK_S` on the faster side; the reference does as many as it likes.
    """
    first, count, before = 1, 4, [math.inf, math.inf]  # step 0 of a GAN is a watched one, slower than the others
    for _ in range(WARM_UPS):
        seconds = [process.steps(first, count)["net_s"] / count for process in turns]
        first += count
        stable = all(abs(now - then) < STABLE * then for now, then in zip(seconds, before, strict=True))
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
    """A chunk of each side, in the order of `turns`; again where the GPU's clock was low meanwhile."""
    for _ in range(1 + REPEATS):
        if gpu:
            gpu.forget()
        replies = {process.side.name: process.steps(first, counts[process.side.name]) for process in turns}
        if not (gpu and gpu.ran_low()):
            break
    return replies
