"""Losses: values and gradients computed by hand, minimisers by numeric search, stability at extreme logits."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from ganlab.losses import HEADS, LOSSES, find_loss, predict
from ganlab.metrics import entropy


def grad(name: str, logit: float, target: float, head: str = "sigmoid") -> float:
    s = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
    LOSSES[name](s, torch.tensor([target], dtype=torch.float64), head).sum().backward()
    return float(s.grad)


@pytest.mark.parametrize(
    ("name", "target", "value"),
    [
        ("bce", 0.2, math.log(2)),  # softplus(0) - 0
        ("l1", 0.2, 0.3),
        ("l2", 0.2, 0.09),
        ("huber", 0.2, 0.25),  # beyond d = 0.1: 0.3 - d / 2
        ("huber", 0.45, 0.0125),  # within: 0.05^2 / (2 d)
        ("charbonnier", 0.5, 0.001),  # at the tip: epsilon
        ("charbonnier", 0.498, math.sqrt(5) / 1000),  # sqrt(0.002^2 + 0.001^2)
        ("barron-0", 0.2, 0.1 * math.log(5.5)),  # c ln(1 + 3^2 / 2)
        ("pinball-0.75", 0.9, 0.3),  # too low by 0.4: 3/4 of it
        ("pinball-0.75", 0.1, 0.1),  # too high by 0.4: 1/4 of it
    ],
)
def test_value_at_p_one_half(name, target, value):
    loss = find_loss(name)(torch.zeros(1, dtype=torch.float64), torch.tensor([target], dtype=torch.float64))
    assert float(loss) == pytest.approx(value)


@pytest.mark.parametrize(("name", "gradient"), [("bce", -0.9975), ("l2", -0.00492), ("l1", -0.00247)])
def test_generator_gradient_where_the_discriminator_rejects(name, gradient):
    # science.md section 2: s = -6, t = 1. p = 0.002473: bce p - 1, l1 -p(1-p), l2 2(p - 1)p(1 - p)
    assert grad(name, -6.0, 1.0) == pytest.approx(gradient, rel=2e-3)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("head", HEADS)
def test_gradcheck(name, head):
    if head not in LOSSES[name].heads:
        pytest.skip(f"{name} is not defined on the {head} head")
    logit = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    target = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: LOSSES[name](s, target, head), logit)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("logit", [-1e4, -100.0, 0.0, 100.0, 1e4])
@pytest.mark.parametrize("target", [0.0, 0.5, 1.0])
def test_finite_at_extreme_logits(name, logit, target):
    s = torch.tensor([logit], requires_grad=True)
    loss = LOSSES[name](s, torch.tensor([target]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert s.grad.isfinite().all()


def test_bce_does_not_cancel_far_out():
    # s = 40, t = 1: softplus(40) - 40 = ln(1 + e^-40) = 4.248e-18; the naive float32 difference is 0
    assert float(LOSSES["bce"](torch.tensor([40.0]), torch.ones(1))) == pytest.approx(math.exp(-40), rel=1e-5)


@pytest.mark.parametrize("name", [*LOSSES, "barron-2", "barron-1", "pinball-0.7"])
def test_population_minimiser(name):
    """Each loss seeks what it says: the mean, the median, or neither of the two."""
    targets = torch.tensor([0.0, 0.1, 0.2, 0.25, 1.0], dtype=torch.float64)  # skewed: mean 0.31, median 0.2
    loss = find_loss(name)

    def risk(p: float) -> float:
        return float(loss(torch.full_like(targets, math.log(p / (1 - p))), targets).mean())

    found = minimize_scalar(risk, bounds=(1e-6, 1 - 1e-6), method="bounded", options={"xatol": 1e-9}).x
    seeks = [what for what, place in (("mean", 0.31), ("median", 0.2)) if found == pytest.approx(place, abs=1e-4)]
    assert seeks == [loss.minimiser] * (loss.minimiser is not None)
    # Huber's lies where clipped errors cancel: 1 + (p - 0.1) / d + (p - 0.2) / d + (p - 0.25) / d - 1 = 0
    others = {"huber": 0.55 / 3, "pinball-0.7": 0.25}
    assert found == pytest.approx(others.get(name, found), abs=1e-4)


@pytest.mark.parametrize("name", ["pinball-0", "pinball-1", "pinball-x", "pinball-", "l7"])
def test_unknown_losses(name):
    with pytest.raises(KeyError):
        find_loss(name)


def test_bce_floor_is_the_entropy():
    target = torch.tensor([0.0, 1e-6, 0.25, 0.5, 1.0], dtype=torch.float64)
    at_optimum = LOSSES["bce"](torch.logit(target.clamp(1e-12, 1 - 1e-12)), target)
    np.testing.assert_allclose(at_optimum, entropy(target), atol=1e-9)
    assert float(entropy(torch.tensor(0.5))) == pytest.approx(math.log(2))


def test_equilibrium_d_loss_is_the_loss_of_a_discriminator_at_one_half():
    half = torch.zeros(1)
    for name in ("bce", "l2", "l1"):
        d_loss = (LOSSES[name](half, torch.ones(1)) + LOSSES[name](half, torch.zeros(1))) / 2
        assert float(d_loss) == pytest.approx(LOSSES[name].equilibrium_d_loss)


def test_l1_calls_any_constant_discriminator_one_half():
    for logit in (-9.0, -1.0, 0.3, 7.0):
        s = torch.full((1,), logit)
        assert float(LOSSES["l1"](s, torch.ones(1)) + LOSSES["l1"](s, torch.zeros(1))) / 2 == pytest.approx(0.5)


def test_unit_scales_the_loss():
    logit, target = torch.tensor([0.3]), torch.tensor([0.8])
    assert float(LOSSES["l1"](logit, target, "raw", 255)) == pytest.approx(255 * 0.5)
    assert float(LOSSES["l2"](logit, target, "raw", 255)) == pytest.approx(255**2 * 0.25)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="differ in shape"):
        LOSSES["l1"](torch.zeros(2, 1), torch.zeros(2))  # would broadcast to 2 x 2
    with pytest.raises(ValueError, match="not defined on the raw head"):
        LOSSES["bce"](torch.zeros(1), torch.zeros(1), "raw")
    with pytest.raises(ValueError, match="no unit other than 1"):
        LOSSES["bce"](torch.zeros(1), torch.zeros(1), "sigmoid", 255)
    assert LOSSES["bce"].reason_against("sr", "raw") == "bce is not defined on the raw head; it takes sigmoid"
    assert LOSSES["bce"].reason_against("sr", "sigmoid") is LOSSES["l1"].reason_against("sr", "raw") is None


def test_heads():
    s = torch.tensor([-2.0, 0.0, 5.0])
    assert torch.equal(predict(s, "raw"), s)
    torch.testing.assert_close(predict(s, "sigmoid"), 1 / (1 + torch.exp(-s)))
