"""How do calls run in worker processes on this machine?

Each slot has one worker: a fresh interpreter in its own process group, with its own pipe. Workers share nothing, so a
failure of one, even a kill in the middle of an answer, does not affect the others. A thread per slot sends its worker
one call at a time and waits for the answer, the worker's death, or the time limit.
"""

import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, sleep
from typing import Any, NamedTuple, Self

from bench.executors import WorkerDied

OVER_MEMORY = 97  # exit code of a worker that exceeded its memory limit; no shell or interpreter uses it
WATCH_EVERY_S = 0.1  # a worker that grows by 1 GiB per second is stopped 100 MiB above its limit
POLL_EVERY_S = 1.0  # a dead worker's child can keep its pipe open, so the process itself must be polled
RETIRE_SHARE = 0.5  # a worker that holds this share of its memory limit after a call is replaced
MEMORY_SHARE = 0.9  # share of the machine's memory for all workers together
LEAST_MIB = 2048.0  # smallest limit of a worker, for any number of workers; most use far less
KILLED_S = 10.0  # longest wait for a killed process; it may hang inside a device driver

HEAP = {  # tunables of glibc's allocator
    "hugetlb": 1,  # huge pages: steps take 2 to 7 % less time
    # Blocks below 32 MiB come from a heap that keeps freed memory: to request it again from the system takes 5 % of
    # a large network's step. A worker that holds much memory after a call is replaced.
    **{"mmap_threshold": 2**25, "trim_threshold": 2**34},
}
ENVIRONMENT = {  # defaults of every worker's environment variables
    **{"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},  # one compute thread, also in libraries beside torch
    "GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={value}" for name, value in HEAP.items()),
}

Setup = tuple[Callable[..., None], Sequence[Any]]


class LocalExecutor:
    """`slots` workers on this machine; see `Executor`.

    Args:
        slots: number of workers, so of calls that run at the same time.
        setups: functions and their arguments, called in this order at the start of every worker.
        memory_mib: limit of a worker's private memory; None means no limit.
    """

    def __init__(self, slots: int, setups: Sequence[Setup] = (), memory_mib: float | None = None):
        self.slots = slots
        self._setups, self._memory_mib = setups, memory_mib
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._workers: set[_Worker] = set()
        self._changing = threading.Lock()  # guards `_workers` and `_stopped`
        self._stopped = False
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(slots)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        for thread in self._threads:
            thread.join()

    def submit(self, function: Callable[..., Any], *args: Any, timeout_s: float | None) -> Future:
        """Call `function(*args)` in the next free worker; see `Executor.submit`."""
        future: Future = Future()
        self._calls.put(_Call(future, function, args, timeout_s))
        return future

    def stop(self) -> None:
        """End every worker and all processes that it started."""
        with self._changing:
            self._stopped = True
            for worker in self._workers:
                worker.kill()
        for _ in self._threads:
            self._calls.put(None)

    def _serve(self) -> None:
        """The thread of a slot: runs one call after the other in the slot's worker and replaces a dead worker."""
        worker: _Worker | None = None
        while (call := self._calls.get()) is not None:
            call.future.set_running_or_notify_cancel()
            result = error = None
            try:
                if worker and not worker.is_alive():  # it died while idle: this call is not the cause
                    self._discard(worker)
                    worker = None
                if worker is None:
                    worker = self._start()
                    for setup, setup_args in self._setups:
                        worker.call(setup, setup_args, None)
                result = worker.call(call.function, call.args, call.timeout_s)
            except Exception as raised:
                error = raised
            if worker and not worker.reusable:
                self._discard(worker)
                worker = None
            call.future.set_exception(error) if error else call.future.set_result(result)
        if worker:
            self._discard(worker)

    def _start(self) -> "_Worker":
        with self._changing:
            if self._stopped:
                raise WorkerDied("the executor was stopped")
            try:
                worker = _Worker(self._memory_mib)
            except OSError as error:
                raise WorkerDied(f"no worker process could be started: {error.strerror}") from None
            self._workers.add(worker)
        return worker

    def _discard(self, worker: "_Worker") -> None:
        with self._changing:
            self._workers.remove(worker)
        worker.kill()
        worker.wait()
        worker.pipe.close()


class _Call(NamedTuple):
    """A call that waits for a slot."""

    future: Future
    function: Callable[..., Any]
    args: Sequence[Any]
    timeout_s: float | None


class _Worker:
    """The slot's side of a worker process; `reusable` says whether it can take another call."""

    def __init__(self, memory_mib: float | None):
        self.memory_mib = memory_mib
        self.reusable = True
        self.pipe, child_end = multiprocessing.Pipe()
        main = f"worker_main({child_end.fileno()}, {os.getpid()}, {memory_mib!r})"
        code = f"import sys; sys.path[:] = {sys.path!r}; from bench.executors.local import worker_main; {main}"
        with child_end:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                pass_fds=[child_end.fileno()],
                process_group=0,
                env=ENVIRONMENT | os.environ,
            )

    def call(self, function: Callable[..., Any], args: Sequence[Any], timeout_s: float | None) -> Any:
        """The worker's answer to one call; raises the exceptions of `Executor.submit`."""
        message = pickle.dumps((function, args))
        try:
            self.pipe.send_bytes(message)
            answer = self.pipe.recv_bytes() if self._wait(timeout_s) else None
        except (EOFError, OSError):
            self.reusable = False
            raise self._cause_of_death() from None
        if answer is None:
            self.reusable = False
            raise TimeoutError(f"longer than {timeout_s:g} s")
        result, error, self.reusable = pickle.loads(answer)
        if error:
            raise error
        return result

    def _wait(self, timeout_s: float | None) -> bool:
        """Wait for an answer or a broken pipe (True) or the time limit (False)."""
        deadline = float("inf") if timeout_s is None else monotonic() + timeout_s
        while not self.pipe.poll(max(0, min(deadline - monotonic(), POLL_EVERY_S))):
            if monotonic() >= deadline:
                return False
            if not self.is_alive() and not self.pipe.poll():
                raise EOFError
        return True

    def _cause_of_death(self) -> Exception:
        self.wait()
        code = self.process.returncode
        if code == OVER_MEMORY:
            return MemoryError(f"its worker exceeded its limit of {self.memory_mib:g} MiB of memory")
        if code is None:
            return WorkerDied("its worker process does not answer")
        if code >= 0:
            return WorkerDied(f"its worker process ended with exit code {code}")
        killer = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
        killed_by = ", by a user or by a system short of memory" if -code == signal.SIGKILL else ""
        return WorkerDied(f"its worker process was killed by {killer}{killed_by}")

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End the process and its child processes."""
        with suppress(ProcessLookupError, PermissionError):  # they have ended already
            os.killpg(self.process.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Wait until the process has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(KILLED_S)


def worker_main(descriptor: int, runner: int, memory_mib: float | None) -> None:
    """The main function of a worker: run one call after another until the runner closes the pipe or ends.

    Args:
        descriptor: file descriptor of the pipe to the runner.
        runner: process id of the runner.
        memory_mib: limit of the worker's private memory.
    """
    with suppress(OSError):  # Linux: a system short of memory should kill a worker, which is replaced, not the runner
        Path("/proc/self/oom_score_adj").write_text("500")
    threading.Thread(target=_watch, args=(runner, memory_mib), daemon=True).start()
    pipe = Connection(descriptor)
    with suppress(EOFError, OSError):
        while True:
            message, result, error = pipe.recv_bytes(), None, None
            try:
                function, args = pickle.loads(message)
                result = function(*args)
            except Exception as raised:
                error = raised
            reusable = memory_mib is None or own_memory_mib() < RETIRE_SHARE * memory_mib
            pipe.send_bytes(_packed(result, error, reusable))


def _packed(result: Any, error: Exception | None, reusable: bool) -> bytes:
    """An answer as bytes; a result or exception that cannot be pickled is replaced by a message."""
    try:
        packed = pickle.dumps((result, error, reusable))
        pickle.loads(packed)
    except Exception as pickling_error:
        message = f"{type(error).__name__}: {error}" if error else f"its result cannot be pickled: {pickling_error}"
        return pickle.dumps((None, RuntimeError(message), reusable))
    return packed


def _watch(runner: int, memory_mib: float | None) -> None:
    """End this process if it exceeds its memory limit, and its whole group if the runner has ended."""
    while os.getppid() == runner:
        if memory_mib is not None and own_memory_mib() > memory_mib:
            os._exit(OVER_MEMORY)
        sleep(WATCH_EVERY_S)
    os.killpg(0, signal.SIGKILL)


def own_memory_mib() -> float:
    """Resident private memory of this process in MiB; on systems other than Linux its peak resident memory.

    A limit on the address space would be exact, but CUDA reserves far more address space than it uses.
    """
    statm = Path("/proc/self/statm")
    if statm.exists():
        _, resident, shared, *_ = map(int, statm.read_text().split())
        return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def share_of_memory_mib(workers: int) -> float:
    """The memory limit in MiB of each worker, so that a memory leak ends only the leaking worker."""
    total = MEMORY_SHARE * machine_memory_mib()
    return max(total / workers, min(LEAST_MIB, total))


def machine_memory_mib(control_groups: Path = Path("/sys/fs/cgroup")) -> float:
    """Memory in MiB of this machine, or of the container of this process if that is less."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    groups = Path("/proc/self/cgroup")
    paths = [line.split(":", 2)[2] for line in groups.read_text().splitlines()] if groups.exists() else []
    for path in {"/", *paths}:
        for version in (control_groups, control_groups / "memory"):  # control groups version 2, then 1
            for folder in (version / path.strip("/"), *(version / path.strip("/")).parents):
                for name in ("memory.max", "memory.limit_in_bytes"):
                    with suppress(OSError, ValueError):  # no such file, or "max"
                        limits.append(int((folder / name).read_text()))
    return min(limits) / 2**20
