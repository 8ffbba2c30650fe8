"""How does one thread train several cells on a GPU without waiting? With turns, streams, and helper threads."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import torch

HELPERS = 2  # threads for each cell on a GPU: one draws ahead, one evaluates


def until(future: Future) -> Generator[Future, None, Any]:
    """Give up turns until the future is done; returns its result or raises its exception."""
    while not future.done():
        yield future
    return future.result()


def on_stream(device: torch.device, turns: Iterator[Future | None]) -> Iterator[Future | None]:
    """The turns, on a GPU on a separate stream, so that they wait for no other cell."""
    if device.type != "cuda":
        yield from turns
        return
    stream = torch.cuda.Stream(device)
    try:
        while True:
            with torch.cuda.stream(stream):
                try:
                    waited_for = next(turns)
                except StopIteration:
                    return
            yield waited_for
    finally:
        stream.synchronize()  # before its memory is released


def current_stream(device: torch.device) -> "torch.cuda.Stream | None":
    """The stream on which this thread queues work; None without a GPU."""
    return torch.cuda.current_stream(device) if device.type == "cuda" else None


class SynchronousExecutor(Executor):
    """Runs each call in `submit`: without a GPU there is no work to overlap."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """The result or the exception of the call as a future."""
        future: Future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def helpers_for(device: torch.device, cells: int = 1) -> Executor:
    """The helper threads for this number of cells."""
    return ThreadPoolExecutor(HELPERS * cells) if device.type == "cuda" else SynchronousExecutor()
