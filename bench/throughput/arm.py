"""What does one side compute? This driver runs in its own process and imports only the `ganlab` of that side.

It is run by path (`python arm.py FD`), the same file for both sides. At module level it imports only the standard
library. The first process is a server: it imports torch and other packages once, trains
nothing, and forks an arm for each socket that it receives over socket FD. An arm imports `ganlab` after the fork, from
the root in its first request, and answers each request with one line of JSON. Standard output is not part of the
protocol: a side may print to it.
"""

import gc
import hashlib
import importlib
import json
import os
import random
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

PRELOADED = (
    *("torch", "torch._dynamo", "numpy", "scipy.stats", "sklearn.datasets", "sklearn.linear_model"),
    *("skimage.data", "PIL.Image", "pydantic", "pooch"),
)  # packages that `ganlab` imports (an optimizer imports torch._dynamo); a missing package is skipped
GAPS, GAP_BYTES = 32, 1 << 16  # blocks of random size, allocated first: every heap gets another layout


def tree_hash(root: Path) -> str:
    """SHA-256 (hex) over paths and contents of the Python files in `root`/ganlab."""
    digest = hashlib.sha256()
    for file in sorted((root / "ganlab").rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def queued_s() -> float:
    """Seconds that this thread was ready to run but waited for its core, as Linux counts them; 0 on other systems.

    Time in which other threads of this process computed does not count as waiting.
    """
    try:
        with open("/proc/thread-self/schedstat", encoding="ascii") as file:
            waited_s = int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
    return waited_s - (time.process_time() - time.thread_time())


class Reference:
    """A fixed workload, similar to the tasks, against which a recorded tree is measured. Never change it: old records
    would be compared with the new workload."""

    images_per_step = 8

    def __init__(self, torch: Any, device: Any):
        self.torch, layer = torch, torch.nn.Conv2d
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = torch.nn.Sequential(
                layer(3, 16, 3, padding=1),
                torch.nn.ReLU(),
                layer(16, 16, 3, padding=1),
                torch.nn.ReLU(),
                layer(16, 12, 3, padding=1),
            ).to(device)
            self.images = torch.rand(8, 3, 16, 16).to(device)
        self.optimizer = torch.optim.SGD(self.network.parameters(), 1e-3)

    def step(self, index: int) -> Any:
        """Forward, squared error, backward, and a step of SGD."""
        loss = self.network(self.images).sigmoid().square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()[None]


class Arm:
    """One side in one round: its packages and the task that is measured."""

    def __init__(self, root: str | None, device: str, core: int | None, cache: str):
        import torch

        if core is not None:
            os.sched_setaffinity(0, {core})
        torch.set_num_threads(1)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # as a suite trains
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        self.torch, self.device, self.root = torch, torch.device(device), root
        self.task: Any = None
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if root:
            sys.dont_write_bytecode, sys.pycache_prefix = False, cache  # nothing is written into the trees
            sys.path.insert(0, root)
            self.tasks = importlib.import_module("ganlab.tasks")
            self.losses = importlib.import_module("ganlab.losses").LOSSES

    def describe(self) -> dict[str, Any]:
        """The imported package, its path and hash, and its tasks and losses."""
        gpu = {}
        if self.device.type == "cuda":
            gpu = {"gpu": str(self.torch.cuda.get_device_properties(self.device).uuid)}
        if not self.root:
            return gpu
        modules = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "ganlab"}
        files = {name: Path(str(module.__file__)).resolve() for name, module in modules.items()}
        package = files["ganlab"].parent
        strays = [name for name, file in files.items() if not file.is_relative_to(package)]
        return gpu | {
            "path": str(package),
            "hash": tree_hash(package.parent),
            "strays": strays,
            "tasks": sorted(self.tasks.TASKS),
            "losses": sorted(self.losses),
        }

    def build(self, cell: dict[str, Any]) -> dict[str, Any]:
        """Make the task of a cell; returns the counts that must be equal on both sides."""
        if self.root:
            self.task = self.tasks.TASKS[cell["task"]](self.tasks.Experiment(**cell), self.device)
        else:
            self.task = Reference(self.torch, self.device)
        parts = [part for part in vars(self.task).values() if isinstance(part, self.torch.nn.Module)]
        if self.device.type == "cuda":
            self.torch.cuda.reset_peak_memory_stats(self.device)
        return {
            "parameters": sum(weight.numel() for part in parts for weight in part.parameters()),
            "images_per_step": self.task.images_per_step,
        }

    def steps(self, first: int, count: int, plant: float) -> dict[str, Any]:
        """Run `count` steps from step `first` on; returns the seconds of wall time, the seconds of it spent
        queueing for the core, and on a GPU the seconds between CUDA events.

        `plant` lengthens each step by that share of its time, for `calibrate`; on a GPU planted steps do not overlap.
        """
        cuda = self.torch.cuda if self.device.type == "cuda" else None
        clock, step = time.perf_counter, self.task.step
        logged: Any = None
        work_clock = clock if cuda else time.thread_time  # only the time of this thread is lengthened
        gc.collect()
        gc.disable()  # a collection in one side's chunk says nothing about its code
        if cuda:
            begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
            cuda.synchronize(self.device)
            begin.record()
        started = clock()
        queued_before_s = queued_s()  # read after `started`, so the queued time is never more than the wall time
        for index in range(first, first + count):
            if not plant:
                logged = step(index)
                continue
            step_started = work_clock()
            logged = step(index)
            if cuda:
                cuda.synchronize(self.device)
            until = step_started + (1 + plant) * (work_clock() - step_started)
            while work_clock() < until:
                pass
        if cuda:
            end.record()
            cuda.synchronize(self.device)
        waited_s = max(0.0, queued_s() - queued_before_s)
        wall_s = clock() - started
        gc.enable()
        reply = {
            "steps": count,
            "images": count * self.task.images_per_step,
            "wall_s": wall_s,
            "queued_s": 0.0 if cuda else waited_s,
            "finite": bool(logged.isfinite().all()),
        }
        if cuda:
            memory_mib = cuda.max_memory_allocated(self.device) / 2**20
            reply |= {"device_s": begin.elapsed_time(end) / 1e3, "peak_memory_mib": memory_mib}
        return reply


def serve(channel: socket.socket) -> None:
    """Answer requests until the other end is closed. The first request makes the arm and returns its description."""
    draw = random.SystemRandom()
    gaps = [bytearray(draw.randrange(GAP_BYTES)) for _ in range(GAPS)]  # noqa: F841 - held, not used
    arm: Any = None
    with channel.makefile("rw", encoding="utf-8") as lines:
        for line in lines:
            request = json.loads(line)
            verb = request.pop("do")
            try:
                if verb == "start":
                    arm = Arm(**request)
                    reply = arm.describe()
                else:
                    reply = getattr(arm, verb)(**request)
            except Exception as error:
                reply = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
            lines.write(json.dumps(reply) + "\n")
            lines.flush()


def server(orders: socket.socket) -> None:
    """Fork an arm for each socket that is received, until the other end is closed."""
    for name in PRELOADED:
        with suppress(ImportError):
            importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the arms
    gc.freeze()  # the collector leaves these objects alone, so their pages stay shared
    while descriptors := socket.recv_fds(orders, 1, 1)[1]:
        with socket.socket(fileno=descriptors[0]) as channel:
            if os.fork() == 0:
                orders.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                serve(channel)
                os._exit(0)


if __name__ == "__main__":
    server(socket.socket(fileno=int(sys.argv[1])))
