"""Do flattened parameters get the same weights as separate ones?"""

import copy

import pytest
import torch
from torch import nn

from ganlab.optimizers import build_optimizer, flattened, trainable

BETAS = (0.9, 0.999)


def network() -> nn.Module:
    """Layers with biases, batch normalisation, and weights in channels-last memory."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 4 * 4, 2)
    )
    return layers.to(memory_format=torch.channels_last)


def train(layers: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> None:
    """A few steps towards zero; gradients do not pile up."""
    for step in range(steps):
        images = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        layers(images).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "one_by_one"),
    [
        ("adam", lambda parameters: torch.optim.Adam(parameters, 0.01, betas=BETAS, fused=True)),
        ("sgd", lambda parameters: torch.optim.SGD(parameters, 0.01, fused=True)),
    ],
)
def test_flat_updates_equal_separate_updates(name, one_by_one):
    ours, plain = network(), network()
    train(ours, build_optimizer(name, ours, 0.01, BETAS))
    train(plain, one_by_one(plain.parameters()))
    for own, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-8)
        assert own.stride() == other.stride()
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-5, atol=1e-7)


def test_one_tensor_holds_all():
    layers = network()
    before = copy.deepcopy(layers.state_dict())
    whole = flattened(trainable(layers))
    assert all(torch.equal(value, before[name]) for name, value in layers.state_dict().items())
    with torch.no_grad():
        whole.zero_()
    assert not any(parameter.any() for parameter in layers.parameters())
    assert all(parameter.data_ptr() % 64 == whole.data_ptr() % 64 for parameter in layers.parameters())


def test_state_comes_back():
    """Weights and moments that were written down go on as if nothing had been."""
    first, second = network(), network()
    optimizers = [build_optimizer("adam", layers, 0.01, BETAS) for layers in (first, second)]
    train(first, optimizers[0])
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    for layers, optimizer in zip((first, second), optimizers, strict=True):
        train(layers, optimizer, steps=3)
    for own, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(own, other)


def test_frozen_parameters_stay():
    layers = network()
    layers[0].requires_grad_(False)
    before = layers[0].weight.clone()
    train(layers, build_optimizer("sgd", layers, 0.1, BETAS))
    assert torch.equal(layers[0].weight, before)
    assert layers[0].weight.grad is None


@pytest.mark.parametrize(("name", "moves"), [("adam", True), ("sgd", False)])
def test_without_a_gradient_a_parameter_is_moved_by_its_momentum_alone(name, moves):
    used, idle = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    optimizer = build_optimizer(name, nn.ParameterList([used, idle]), 0.1, BETAS)
    (used + idle).sum().backward()
    optimizer.step()
    before = idle.detach().clone()
    optimizer.zero_grad()
    used.sum().backward()
    optimizer.step()
    assert bool((idle < before).all()) is moves
    assert torch.equal(idle, before) is not moves


@pytest.mark.parametrize("odd", ["type", "gaps", "shared"])
def test_parameters_that_cannot_be_flattened_stay(odd):
    whole = torch.zeros(4, 6)
    parts = {
        "type": [torch.zeros(3), torch.zeros(3, dtype=torch.float64)],
        "gaps": [torch.zeros(3), torch.zeros(4, 6)[:, ::2]],
        "shared": [whole[:2], whole[2:]],
    }[odd]
    parameters = [nn.Parameter(part) for part in parts]
    assert flattened(parameters) is None
    optimizer = build_optimizer("sgd", nn.ParameterList(parameters), 0.5, BETAS)
    sum(parameter.sum() for parameter in parameters).backward()
    optimizer.step()
    assert all((parameter == -0.5).all() for parameter in parameters)
