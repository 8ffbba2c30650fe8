"""The residual block: its fused form has the values and gradients of the plain one, and is used where it is faster."""

from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.training.device import fast_precision
from ganlab import residual
from ganlab.networks import build_super_resolver
from ganlab.residual import AVAILABLE, Fused, ResidualBlock
from ganlab.tasks import TASKS, Experiment

BFLOAT16 = residual.FUSES_BFLOAT16
in_bfloat16 = pytest.mark.skipif(not BFLOAT16, reason="this processor has no fused convolutions of bfloat16")
pytestmark = pytest.mark.skipif(not AVAILABLE, reason="this build of PyTorch has no fused convolutions")


def plain(block, features):
    return features + block.body(features)


def fused(block, features):
    return Fused.apply(features, *block.body.parameters())


def under_autocast(way):
    def halved(block, features):
        with torch.autocast("cpu", torch.bfloat16):
            return way(block, features.bfloat16()).float()

    return halved


def outcome(way, block, features, weight) -> list[Tensor]:
    """Values and gradients by features, weights, and biases, of a sum weighted unevenly."""
    block.zero_grad()
    features = features.clone().requires_grad_()
    values = way(block, features)
    (values * weight).sum().backward()
    return [values.detach(), features.grad, *(parameter.grad.clone() for parameter in block.parameters())]


@pytest.fixture
def case():
    """A block, maps whose sides and channels are no multiples of anything, and the weights of a sum."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        block = ResidualBlock(24)
        return block, torch.randn(5, 24, 13, 17), torch.randn(5, 24, 13, 17)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_fused_is_the_plain_block_and_its_gradients(case, layout):
    block, features, weight = case
    block, features = block.to(memory_format=layout), features.to(memory_format=layout)
    torch.testing.assert_close(outcome(fused, block, features, weight), outcome(plain, block, features, weight))


@in_bfloat16
def test_fused_in_bfloat16_is_as_near_to_single_precision_as_the_plain_block(case):
    exact = outcome(plain, *case)
    errors = {
        way: [
            float((one - other).norm() / one.norm())
            for one, other in zip(exact, outcome(under_autocast(way), *case), strict=True)
        ]
        for way in (plain, fused)
    }
    assert all(0 < error < 0.1 for error in errors[plain])  # bfloat16 keeps 8 bits, and ReLUs near 0 open otherwise
    assert all(one < 1.02 * other for one, other in zip(errors[fused], errors[plain], strict=True))


@pytest.mark.parametrize(("precision", "tolerance"), [pytest.param("bf16", 0.02, marks=in_bfloat16), ("fp32", 1e-4)])
def test_fused_in_training_learns_the_same(precision, tolerance, monkeypatch):
    def losses() -> Tensor:
        task = TASKS["sr"](
            Experiment(
                task="sr",
                dataset="photographs",
                loss="l1",
                head="raw",
                lr=1e-3,
                steps=20,
                evaluations=1,
                batch_size=4,
                seed=0,
                scale=2,
                value_range=1,
                precision=precision,
                settings={"channels": 8, "blocks": 2, "patch": 12},
            ),
            torch.device("cpu"),
        )
        return torch.stack([task.step(step).clone() for step in range(20)])

    before = losses()
    backward = Mock(wraps=residual.gradients)
    monkeypatch.setattr(residual, "gradients", backward)
    monkeypatch.setattr(residual, "LARGE", 0)
    after = losses()
    assert backward.call_count == 20 * 2 * 2  # steps, blocks, convolutions
    torch.testing.assert_close(after, before, rtol=tolerance, atol=tolerance / 200)


@pytest.mark.parametrize(
    ("dtype", "side", "fuses", "taken"),
    [
        (torch.bfloat16, 64, True, BFLOAT16),
        (torch.bfloat16, 16, True, False),
        (torch.bfloat16, 64, False, False),
        (torch.float32, 64, True, True),
        (torch.float32, 16, True, False),
        (torch.float64, 64, True, False),
    ],
)
def test_fused_only_where_it_is_faster_and_enabled(dtype, side, fuses, taken):
    block = ResidualBlock(32).to(dtype)
    block.fuses = fuses
    values = block(torch.zeros(8, 32, side, side, dtype=dtype))
    assert (type(values.grad_fn).__name__ == "FusedBackward") is taken


@pytest.mark.skipif(fast_precision(torch.device("cpu")) == "fp32", reason="a processor without bfloat16")
def test_bfloat16_is_fused_where_the_processor_is_fast_in_it():
    assert torch.bfloat16 in residual.TYPES


def test_bfloat16_is_not_fused_on_other_processors(monkeypatch):
    monkeypatch.setattr(residual, "TYPES", (torch.float32,))
    values = ResidualBlock(32).bfloat16()(torch.zeros(8, 32, 64, 64, dtype=torch.bfloat16))
    assert type(values.grad_fn).__name__ != "FusedBackward"


def test_fused_counts_the_same_work(monkeypatch):
    def work(least: int) -> int:
        monkeypatch.setattr(residual, "LARGE", least)
        network = build_super_resolver(8, 2, 2, "raw", seed=0)
        with FlopCounterMode(display=False) as counter:
            network(torch.rand(2, 3, 6, 5)).sum().backward()
        return counter.get_total_flops()

    assert work(least=0) == work(least=2**40) > 0


def test_fused_without_gradients(case):
    block, features, _ = case
    with torch.no_grad():
        torch.testing.assert_close(fused(block, features), plain(block, features))
