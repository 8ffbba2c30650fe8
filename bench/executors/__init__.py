"""Where do calls run? In worker processes on this machine, or on a Ray cluster, behind one interface.

A worker that dies loses only the call that it was running: another worker replaces it.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, Self

from bench.errors import UserError


class ExecutorError(UserError):
    """No call can run; the message is one line: what is wrong, where, and what to do."""


class WorkerDied(Exception):
    """The process that ran a call has died, and the result is lost.

    Attributes:
        lost_node: its whole machine was lost, so the call itself is not the cause.
    """

    def __init__(self, reason: str, lost_node: bool = False):
        super().__init__(reason, lost_node)  # both, so that it survives pickling
        self.reason = reason
        self.lost_node = lost_node

    def __str__(self) -> str:
        return self.reason


class Executor(Protocol):
    """Runs calls in workers; a context manager that ends every worker, and all they started, on leaving."""

    slots: int  # calls that may run at a time; known once the context is entered

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def submit(self, function: Callable[..., Any], *args: Any, timeout_s: float | None) -> Future:
        """Call `function(*args)` in a worker; function, arguments, and result are pickled.

        The time limit counts from the start of the call, not of its worker. The future's exception is `TimeoutError`
        when the call took longer, `MemoryError` when its worker exceeded its memory limit, `WorkerDied` when its
        process died otherwise, `ExecutorError` when no call can succeed, and else the one that the function raised.
        """

    def stop(self) -> None:
        """End every worker at once; running calls end as `WorkerDied`. May be called from any thread, and twice."""
