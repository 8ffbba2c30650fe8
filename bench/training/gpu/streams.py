"""How does a thread that trains cells on a GPU wait for none of them? By turns, on streams, with helpers beside it."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import torch

HELPERS = 2  # threads for each cell on a GPU: one draws ahead, one judges


def until(future: Future) -> Generator[Future, None, Any]:
    """Turns in vain until the future is done; returns its result, or raises what it raised."""
    while not future.done():
        yield future
    return future.result()


def on_stream(device: torch.device, turns: Iterator[Future | None]) -> Iterator[Future | None]:
    """The turns, on a GPU each on a stream of their own, where they wait for no other cell."""
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
        stream.synchronize()  # before anything of it is given back


def current_stream(device: torch.device) -> "torch.cuda.Stream | None":
    """The stream that work of this thread is queued on; None where there are none."""
    return torch.cuda.current_stream(device) if device.type == "cuda" else None


class SynchronousExecutor(Executor):
    """Where there is no GPU to keep busy meanwhile: calls are done when they are submitted."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """The call's result, or what it raised, as a future."""
        future: Future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def helpers_for(device: torch.device, cells: int = 1) -> Executor:
    """Who works for so many cells beside the thread that trains them."""
    return ThreadPoolExecutor(HELPERS * cells) if device.type == "cuda" else SynchronousExecutor()
