"""Where do calls run? In worker processes on this machine or on a Ray cluster, with the same interface.

A worker that dies loses only its current call. Another worker replaces it.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, Self

from bench.errors import UserError


class ExecutorError(UserError):
    """No call can run; the message is one line that says what is wrong, where, and what to do."""


class WorkerDied(Exception):
    """The process that ran a call has died, and the result is lost.

    Attributes:
        lost_node: its whole machine was lost, so the call itself is not the cause.
    """

    def __init__(self, reason: str, lost_node: bool = False):
        super().__init__(reason, lost_node)  # both arguments, so that it can be pickled
        self.reason = reason
        self.lost_node = lost_node

    def __str__(self) -> str:
        return self.reason


class Executor(Protocol):
    """Runs calls in workers; a context manager that ends every worker and its child processes on exit."""

    slots: int  # calls that can run at the same time; set when the context is entered

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def submit(self, function: Callable[..., Any], *args: Any, timeout_s: float | None) -> Future:
        """Call `function(*args)` in a worker; function, arguments, and result are pickled.

        The time limit counts from the start of the call, not of its worker. The future's exception is `TimeoutError` if
        the call took longer, `MemoryError` if its worker exceeded its memory limit, `WorkerDied` if its process died in
        another way, `ExecutorError` if no call can succeed, and otherwise the exception of the function.
        """

    def stop(self) -> None:
        """End every worker at once; running calls fail with `WorkerDied`. Any thread may call it, also repeatedly."""
