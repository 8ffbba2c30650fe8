"""Where do calls run? In worker processes on this machine, or on a Ray cluster; the runner cannot tell which.

A worker that dies takes the call it was running with it, and nothing else: another worker takes its place.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, Self

from bench.errors import UserError


class ExecutorError(UserError):
    """Nothing can run there at all; the message is one line: what, where, what to do."""


class WorkerDied(Exception):
    """The process that ran a call is gone; no word on what the call would have returned.

    Attributes:
        lost_node: it went with its whole machine, so that the call itself is beyond suspicion.
    """

    def __init__(self, reason: str, lost_node: bool = False):
        super().__init__(reason, lost_node)  # both, so that it survives pickling
        self.reason = reason
        self.lost_node = lost_node

    def __str__(self) -> str:
        return self.reason


class Executor(Protocol):
    """Runs calls in workers; a context manager, and leaving it ends every worker and whatever they started."""

    slots: int  # calls that may be under way at a time; known once the context is entered

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def submit(self, function: Callable[..., Any], *args: Any, timeout_s: float | None) -> Future:
        """Call `function(*args)` in a worker; function, arguments, and result are pickled.

        The time limit counts from the start of the call, not of its worker. The future's exception is `TimeoutError`
        when the call took longer, `MemoryError` when its worker outgrew its limit of memory, `WorkerDied` when its
        process died otherwise, `ExecutorError` when no call can succeed, and else the function's own.
        """

    def stop(self) -> None:
        """End every worker at once; calls under way end as `WorkerDied`. May be called from any thread, and twice."""
