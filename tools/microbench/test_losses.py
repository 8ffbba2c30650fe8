"""What does a loss cost by itself? Forward, and forward with backward, from 1e3 to 1e7 elements, for each loss."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ganlab.losses import LOSSES

Timed = Callable[[Callable[[], Any]], None]  # the fixture of conftest.py
SIZES = [10**exponent for exponent in range(3, 8)]


def operands(size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that require gradients, and targets in [0, 1], with `size` elements each."""
    draw = torch.Generator().manual_seed(0)
    logit = torch.randn(size, generator=draw).to(device).requires_grad_()
    return logit, torch.rand(size, generator=draw).to(device)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", SIZES, ids="{:.0e}".format)
def test_forward(benchmark: Any, timed: Timed, device: torch.device, size: int, loss: str) -> None:
    benchmark.group = f"forward, {size:.0e} elements"
    logit, target = operands(size, device)
    timed(lambda: LOSSES[loss](logit, target).mean())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", SIZES, ids="{:.0e}".format)
def test_forward_and_backward(benchmark: Any, timed: Timed, device: torch.device, size: int, loss: str) -> None:
    benchmark.group = f"forward and backward, {size:.0e} elements"
    logit, target = operands(size, device)

    def work() -> None:
        logit.grad = None
        LOSSES[loss](logit, target).mean().backward()

    timed(work)
