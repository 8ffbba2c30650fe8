"""How does a comparison communicate with its sides? Each side is a process, forked from one server.

The imports of each side and every count and time that it reports are checked here. An invalid answer is `Broken`.
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
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import Broken
from bench.throughput import arm
from bench.throughput.gpu import Watch

ANSWER_S = 180.0  # a side that does not answer within this time has failed
ENVIRONMENT = {
    **{"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},  # one compute thread
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # huge pages for the heap, see `bench.throughput`
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # the check for a GPU must not initialise CUDA, which does not survive a fork
}


@dataclass(frozen=True)
class Side:
    """What is measured: the `ganlab` in folder `root`, or the reference workload if `root` is None.

    `digest` is the hash of its code when the comparison began; `plant` is a slowdown (share of the step time) to add.
    """

    name: str
    root: Path | None
    digest: str = ""
    plant: float = 0.0

    def __str__(self) -> str:
        return f"{self.root}/ganlab, sha256 {self.digest[:12]}"

    @classmethod
    def of_tree(cls, name: str, root: Path, plant: float = 0.0) -> "Side":
        """The code in folder `root`, with its present hash."""
        return cls(name, root.resolve(), arm.tree_hash(root), plant)


REFERENCE = Side("reference", None)


class ForkServer:
    """The process that forks the arms; a context manager that removes every process and file on exit."""

    def __enter__(self) -> "ForkServer":
        self.stack = ExitStack()
        self.bytecode = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-bytecode-"))
        self.errors = self.stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
        self.gpu: Watch | None = None
        self.orders, child_end = socket.socketpair()
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        with child_end:
            self.process = subprocess.Popen(
                [sys.executable, arm.__file__, str(child_end.fileno())],
                pass_fds=[child_end.fileno()],
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
            os.killpg(self.process.pid, 9)  # also kills its arms
        self.process.wait()
        self.stack.close()

    def last_stderr_line(self) -> str:
        """The last line that a process wrote on standard error, in brackets; empty if there is none."""
        self.errors.seek(0)
        lines = self.errors.read().split("\n")
        return next((f" ({line.strip()})" for line in reversed(lines) if line.strip()), "")


class Process:
    """One side in its process; use as a context manager."""

    def __init__(self, server: ForkServer, side: Side):
        self.server, self.side, self.cell = server, side, ""
        self.description: dict[str, Any] = {}  # the answer of `arm.Arm.describe`
        self.channel, child_end = socket.socketpair()
        with child_end:
            try:
                socket.send_fds(server.orders, [b"."], [child_end.fileno()])
            except OSError:
                raise Broken(f"no process can be started{server.last_stderr_line()}") from None
        self.received = b""

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.channel.close()

    def send(self, do: str, **request: Any) -> None:
        """Send a request without waiting for the answer."""
        with suppress(OSError):  # a dead process is noticed when its answer is missing
            self.channel.sendall(json.dumps({"do": do, **request}).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """The answer to the oldest open request; the GPU is sampled while waiting.

        Raises:
            Broken: this side failed, has died, or does not answer.
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
        """Send a request, and wait for the answer."""
        self.send(do, **request)
        return self.receive()

    def broken(self, reason: str) -> Broken:
        """The exception for a failure of this side."""
        return Broken(f"{self.side.name}: {reason}", self.cell)

    def steps(self, first: int, count: int) -> dict[str, Any]:
        """Run steps, and check the answer."""
        reply = self.ask("steps", first=first, count=count, plant=self.side.plant)
        if reply["steps"] != count:
            raise self.broken(f"did {reply['steps']} steps where {count} were asked for")
        reply["net_s"] = reply["wall_s"] - reply["queued_s"]  # the work of other processes does not belong to the step
        for name in ("wall_s", "net_s", *(("device_s",) if "device_s" in reply else ())):
            if not 0 < reply[name] < math.inf:
                raise self.broken(f"{count} steps took {name} = {reply[name]}")
        if not reply["finite"]:
            raise self.broken(f"its training is not finite at step {first + count - 1}")
        return reply


def start(server: ForkServer, sides: Sequence[Side], device: str, core: int | None, stack: ExitStack) -> list[Process]:
    """A fresh process for each side, its imports checked; `description` of each lists its tasks and losses."""
    processes = [stack.enter_context(Process(server, side)) for side in sides]
    for process in processes:
        root = str(process.side.root) if process.side.root else None
        process.send("start", root=root, device=device, core=core, cache=server.bytecode)
    for process in processes:
        process.description = verified(process, process.receive())
    return processes


def verified(process: Process, description: dict[str, Any]) -> dict[str, Any]:
    """A side's description of itself, if it imported only its own code.

    Raises:
        Broken: it imported other code, or its code has changed.
    """
    side = process.side
    if side.root is None:
        return description
    expected = side.root / "ganlab"
    if description["path"] != str(expected):
        raise process.broken(f"imported ganlab from {description['path']}, not from {expected}")
    if description["strays"]:
        raise process.broken(f"imported {description['strays'][0]} from outside {expected}")
    if description["hash"] != side.digest:
        raise process.broken(f"{expected} has changed since the comparison began")
    return description
