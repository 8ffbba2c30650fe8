"""How do calls run on the machines of a Ray cluster? This is the side of the runner.

Ray runs in a separate process, the driver (`ray_driver.py`), connected by a pipe: Ray takes over signals, writes to the
terminal, and ends its process if the head node is lost. The runner must survive this. When the runner ends, the pipe
breaks, and the driver ends with every worker on every machine.
"""

import itertools
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing import Pipe
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from bench.executors import ExecutorError, WorkerDied
from bench.executors.local import Setup

if TYPE_CHECKING:
    from bench.executors.agreement import Agreement

DRIVER = (
    "import sys; sys.path[:] = {path!r}; from bench.executors.ray_driver import driver_main; driver_main({descriptor})"
)
SHUTDOWN_S = 15.0  # time for the driver to end its workers; Ray also ends them after it has lost the driver
LOST = (
    "the Ray cluster is lost: its head node ended, or Ray on this machine; finished cells are kept, "
    "start it again with `ray start` and run the same command"
)


class RayExecutor:
    """Slots on the cluster at `RAY_ADDRESS` or on the cluster of this machine; see `Executor`.

    Args:
        slots: calls that run at the same time; None means as many as the cluster can hold.
        setups: functions and their arguments, called in this order at the start of every worker.
        memory_mib: limit of a worker's private memory; None means an equal share of its machine's memory.
        on_gpu: whether each slot also holds a share of a GPU: a quarter, or the share that `slots` allows.
        agreement: makes the `Agreement` that every worker must join; called at the first call.
        files: further code that is sent to every machine, see `travelling_files`.

    Raises:
        ExecutorError: on entry, if there is no usable cluster. A future has it as its exception if a worker differs
            from the runner or the cluster is lost.
    """

    def __init__(
        self,
        slots: int | None,
        setups: Sequence[Setup] = (),
        memory_mib: float | None = None,
        on_gpu: bool = False,
        agreement: "Callable[[], Agreement] | None" = None,
        files: Mapping[str, str] = MappingProxyType({}),
    ):
        self.slots = slots or 0
        self._order = (slots, on_gpu, memory_mib, dict(files))
        self._setups, self._agreement, self._setup_sent = setups, agreement, False
        self._waiting: dict[int, Future] = {}
        self._numbers = itertools.count()
        self._changing = threading.Lock()  # guards `_waiting`, `_stopped`, and `_lost`
        self._stopped = self._lost = False
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._pipe, child_end = Pipe()
        with child_end:
            code = DRIVER.format(path=sys.path, descriptor=child_end.fileno())
            silent = subprocess.DEVNULL
            self._driver = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=silent,
                stdout=silent,
                stderr=silent,
                pass_fds=[child_end.fileno()],
                process_group=0,
            )
        try:
            self._pipe.send(self._order)
            answer = self._pipe.recv()
        except (EOFError, OSError):
            answer = ExecutorError(LOST)
        if isinstance(answer, Exception):
            self._shut_down()
            raise answer
        self.slots = answer
        self._reader.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        self._shut_down()
        self._reader.join()
        self._pipe.close()

    def _shut_down(self) -> None:
        try:
            self._driver.wait(SHUTDOWN_S)
        except subprocess.TimeoutExpired:
            self._driver.kill()
            self._driver.wait()

    def submit(self, function: Callable[..., Any], *args: Any, timeout_s: float | None) -> Future:
        """Call `function(*args)` in the next free slot; see `Executor.submit`."""
        message = pickle.dumps((function, args))
        future: Future = Future()
        future.set_running_or_notify_cancel()
        with self._changing:
            if self._stopped or self._lost:
                future.set_exception(self._end_error())
                return future
            number = next(self._numbers)
            self._waiting[number] = future
            with suppress(OSError):  # the driver has just ended: `_read` ends every waiting call
                if not self._setup_sent:
                    self._setup_sent = True
                    self._pipe.send(self._worker_setup())
                self._pipe.send((number, message, timeout_s))
        return future

    def _worker_setup(self) -> bytes:
        """The setup of every worker, pickled; driver and slots do not unpack it, so they need no torch."""
        join = [(self._agreement().join, ())] if self._agreement else []
        return pickle.dumps([*join, *self._setups])

    def stop(self) -> None:
        """End every worker on every machine."""
        with self._changing:
            if not self._stopped:
                self._stopped = True
                with suppress(OSError):
                    self._pipe.send(None)

    def _read(self) -> None:
        """The thread that sets the result of each future, until the driver has ended."""
        with suppress(EOFError, OSError):
            while True:
                number, packed, error = self._pipe.recv()
                with self._changing:
                    future = self._waiting.pop(number)
                if error:
                    future.set_exception(error)
                else:
                    future.set_result(pickle.loads(packed))
        with self._changing:
            self._lost = True
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for future in waiting:
            future.set_exception(self._end_error())

    def _end_error(self) -> Exception:
        return WorkerDied("the executor was stopped") if self._stopped else ExecutorError(LOST)
