"""Worker processes on this machine.

Every slot has a worker of its own: a fresh interpreter in a process group of its own, at the end of a pipe of its own.
Whatever happens to one, even a kill in the middle of an answer, the others share nothing with it. A thread per slot
hands its worker one call at a time and waits for the answer, its death, or the end of its time.
"""

import multiprocessing
import os
import pickle
import resource
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing import connection
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any, Self

from bench.executors import WorkerDied

OUTGREW_MEMORY = 97  # the exit code of a worker that ends itself; no shell or interpreter uses it
WATCH_EVERY_S = 0.1  # a worker that grows by 1 GiB per second is stopped 100 MiB too late
LOOK_EVERY_S = 1.0  # what a dead worker started may hold its pipe open, so its end has to be looked for
RETIRE_SHARE = 0.5  # of the memory limit: who still holds so much after a call makes room for a fresh worker
REAP_S = 10.0  # a process inside a driver may not end even when killed: nobody waits longer for it

Setup = tuple[Callable[..., None], Sequence[Any]]

_changing = threading.Lock()  # workers come and go one at a time: starting a process reaps those that died


class LocalExecutor:
    """`slots` workers on this machine; see `Executor`.

    Args:
        slots: workers, and so calls under way at a time.
        setups: functions and their arguments, called in this order first in every worker.
        memory_mib: memory a worker may hold for itself; None is no limit.
    """

    def __init__(self, slots: int, setups: Sequence[Setup], memory_mib: float | None = None):
        self.slots = slots
        self._setups, self._memory_mib = setups, memory_mib
        self._calls: SimpleQueue = SimpleQueue()
        self._workers: set[_Worker] = set()
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
        self._calls.put((future, function, args, timeout_s))
        return future

    def stop(self) -> None:
        """End every worker and whatever it started."""
        with _changing:
            self._stopped = True
            for worker in self._workers:
                worker.kill()
        for _ in self._threads:
            self._calls.put(None)

    def _serve(self) -> None:
        """The thread of a slot: call after call, each in the slot's worker, which is replaced when it is gone."""
        worker = None
        while (call := self._calls.get()) is not None:
            future, function, args, timeout_s = call
            future.set_running_or_notify_cancel()
            result = error = None
            try:
                if worker is None or not worker.is_alive():  # one that died idle is no fault of this call
                    worker = self._replace(worker)
                result = worker.call(function, args, timeout_s)
            except Exception as raised:
                error = raised
            if worker and not worker.fit:
                self._bury(worker)
                worker = None
            future.set_exception(error) if error else future.set_result(result)
        self._bury(worker)

    def _replace(self, worker: "_Worker | None") -> "_Worker":
        self._bury(worker)
        with _changing:
            if self._stopped:
                raise WorkerDied("the executor was stopped")
            try:
                worker = _Worker(self._memory_mib)
            except OSError as error:
                raise WorkerDied(f"no worker process could be started: {error.strerror}") from None
            self._workers.add(worker)
        for function, args in self._setups:
            worker.call(function, args, None)
        return worker

    def _bury(self, worker: "_Worker | None") -> None:
        with _changing:
            if worker in self._workers:
                self._workers.remove(worker)
                worker.kill()
                worker.pipe.close()


class _Worker:
    """A worker process as its slot sees it; `fit` says whether it can take another call."""

    def __init__(self, memory_mib: float | None):
        context = multiprocessing.get_context("spawn")
        self.memory_mib = memory_mib
        self.fit = True
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, memory_mib))
        self.process.start()
        theirs.close()

    def call(self, function: Callable[..., Any], args: Sequence[Any], timeout_s: float | None) -> Any:
        """The worker's answer to one call; raises what `Executor.submit` says."""
        try:
            self.pipe.send((function, args))
            answered = self._wait(timeout_s)
            if answered:
                result, error, self.fit = self.pipe.recv()
        except (EOFError, OSError):
            self.fit = False
            raise self._cause_of_death() from None
        if not answered:
            self.fit = False
            raise TimeoutError(f"longer than {timeout_s:g} s")
        if error:
            raise error
        return result

    def _wait(self, timeout_s: float | None) -> bool:
        """Until there is an answer, or the pipe has broken (True), or the time is over (False)."""
        deadline = float("inf") if timeout_s is None else monotonic() + timeout_s
        while not self.pipe.poll(0):
            patience_s = min(deadline - monotonic(), LOOK_EVERY_S)
            if patience_s <= 0:
                return False
            connection.wait([self.pipe, self.process.sentinel], patience_s)
            if not self.is_alive() and not self.pipe.poll(0):
                raise EOFError
        return True

    def _cause_of_death(self) -> Exception:
        with _changing:
            self.process.join(REAP_S)
        code = self.process.exitcode
        if code == OUTGREW_MEMORY:
            return MemoryError(f"its worker outgrew its {self.memory_mib:g} MiB of memory")
        if code is None:
            return WorkerDied("its worker process does not answer")
        if code >= 0:
            return WorkerDied(f"its worker process ended with exit code {code}")
        by_system = ", by a person or by a system short of memory" if -code == signal.SIGKILL else ""
        return WorkerDied(f"its worker process was killed by {signal.Signals(-code).name}{by_system}")

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        with _changing:
            return self.process.is_alive()

    def kill(self) -> None:
        """End the process and whatever it started."""
        with suppress(ProcessLookupError, PermissionError):  # not yet the leader of its group, or gone with all of it
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join(REAP_S)


def _work(pipe: connection.Connection, memory_mib: float | None) -> None:
    """The life of a worker: one call after another, until the runner closes the pipe or is gone."""
    os.setpgid(0, 0)  # so that it is ended with whatever it started, and Ctrl-C is the runner's business alone
    with suppress(OSError):  # Linux: a system out of memory shall take a worker, which is replaced, not the runner
        Path("/proc/self/oom_score_adj").write_text("500")
    threading.Thread(target=_watch, args=(memory_mib,), daemon=True).start()
    with suppress(EOFError):
        while True:
            function, args = pipe.recv()
            result = error = None
            try:
                result = function(*args)
            except Exception as raised:
                error = _portable(raised)
            fit = memory_mib is None or own_memory_mib() < RETIRE_SHARE * memory_mib
            try:
                pipe.send((result, error, fit))
            except (pickle.PicklingError, TypeError, AttributeError) as unsendable:
                pipe.send((None, TypeError(f"the result cannot be pickled: {unsendable}"), fit))


def _portable(error: Exception) -> Exception:
    """The exception itself where it survives pickling, else its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _watch(memory_mib: float | None) -> None:
    """Ends this process when it has outgrown its memory, and with all it started when the runner is gone."""
    runner = multiprocessing.parent_process()
    while runner.is_alive():
        if memory_mib is not None and own_memory_mib() > memory_mib:
            os._exit(OUTGREW_MEMORY)
        runner.join(WATCH_EVERY_S)
    os.killpg(0, signal.SIGKILL)


def own_memory_mib() -> float:
    """Resident memory of this process in MiB without what it shares with others; elsewhere than on Linux its peak.

    A limit on the address space would be exact, but CUDA reserves far more of it than it uses.
    """
    statm = Path("/proc/self/statm")
    if statm.exists():
        _, resident, shared, *_ = map(int, statm.read_text().split())
        return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
