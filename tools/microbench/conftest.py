"""How do the microbenchmarks run? On the GPU if there is one, otherwise on one thread of the CPU."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.training.device import resolve_device
from bench.training.numerics import configure


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device that is measured, with the numeric settings of training."""
    device = resolve_device("auto")
    configure(device)
    return device


@pytest.fixture
def timed(benchmark: Any, device: torch.device) -> Callable[[Callable[[], Any]], None]:
    """Measures a function; on a GPU until its work is complete, not only queued."""

    def measure(work: Callable[[], Any]) -> None:
        def finished() -> None:
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        benchmark.extra_info["device"] = str(device)
        benchmark.pedantic(finished, warmup_rounds=3, rounds=rounds_of(finished))

    return measure


def rounds_of(work: Callable[[], Any], seconds: float = 0.3, least: int = 5, most: int = 2000) -> int:
    """The number of rounds that take about `seconds`, estimated from the second call of `work`."""
    work()
    started = time.perf_counter()
    work()
    return max(least, min(most, round(seconds / max(time.perf_counter() - started, 1e-7))))
