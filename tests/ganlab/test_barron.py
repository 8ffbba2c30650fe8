"""Barron's family: its named members, its limits, and the partition function against integration and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import kv

from bench.training.train import train
from ganlab import barron
from ganlab.adaptive_barron import AdaptiveBarron
from ganlab.barron import log_partition
from ganlab.losses import LOSSES, find_loss
from ganlab.optimizers import build_optimizer
from tests.bench.training.gpu.test_capture import never_waits, plain, replayed
from tests.bench.training.test_checkpoints import break_off, contents
from tests.support.small_data import CPU, cell, science, use_small_data

ERRORS = torch.tensor([0.0, 1e-4, 0.05, 0.1, 0.3, 1.0], dtype=torch.float64)


def at(alpha: float, errors: torch.Tensor = ERRORS) -> torch.Tensor:
    return find_loss(f"barron-{alpha:g}").of_prediction(errors, torch.zeros_like(errors))


def test_named_members():
    x = ERRORS / 0.1
    known = {
        2: x**2 / 2,
        1: (x**2 + 1).sqrt() - 1,
        0: torch.log(x**2 / 2 + 1),  # L2, pseudo-Huber, Cauchy
        -2: 2 * x**2 / (x**2 + 4),
        -math.inf: 1 - torch.exp(-(x**2) / 2),  # Geman-McClure, Welsch
    }
    for alpha, expected in known.items():
        torch.testing.assert_close(at(alpha), 0.1 * expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("alpha", "limit"), [(2 - 1e-9, 2), (1e-9, 0), (-1e-9, 0), (-1e9, -math.inf)])
def test_the_limits_are_approached(alpha, limit):
    found = find_loss(f"barron-{alpha!r}").of_prediction(ERRORS, torch.zeros_like(ERRORS))
    torch.testing.assert_close(found, at(limit), rtol=1e-6, atol=1e-12)


def test_the_smaller_alpha_the_less_an_outlier_pulls():
    far = torch.tensor([0.8], dtype=torch.float64, requires_grad=True)
    pulls = [float(torch.autograd.grad(at(alpha, far).sum(), far)[0]) for alpha in (2, 1, 0, -2, -math.inf)]
    assert pulls == sorted(pulls, reverse=True)
    assert pulls[1] == pytest.approx(8 / math.sqrt(65))  # pseudo-Huber: x / sqrt(x^2 + 1) at x = 8, as L1 below 1
    assert pulls[-1] < 1e-10


def test_names():
    assert find_loss("barron-2").minimiser == "mean"
    assert LOSSES["barron-0"].minimiser is None
    for name in ("barron-3", "barron-x", "barron-", "barron-nan", "barron-inf"):
        with pytest.raises(KeyError):
            find_loss(name)


def test_partition_function_against_integration_and_closed_forms():
    """Barron (2019): Z(0) = pi sqrt 2, Z(1) = 2 e K_1(1), Z(2) = sqrt(2 pi)."""
    assert float(log_partition(1.0)) == pytest.approx(math.log(2 * math.e * kv(1, 1)), abs=1e-10)
    assert float(log_partition(1e-6)) == pytest.approx(math.log(math.pi * math.sqrt(2)), abs=1e-4)
    assert float(log_partition(2 - 1e-6)) == pytest.approx(math.log(math.sqrt(2 * math.pi)), abs=1e-4)
    for alpha in (0.3, 0.9, 1.5, 1.999):

        def density(x: float, alpha: float = alpha) -> float:
            b = 2 - alpha
            return math.exp(-b / alpha * ((x * x / b + 1) ** (alpha / 2) - 1))

        integral = 2 * sum(quad(density, *ends, limit=200)[0] for ends in ((0, 1), (1, 30), (30, 1e4), (1e4, np.inf)))
        assert float(log_partition(alpha)) == pytest.approx(math.log(integral), abs=1e-6)


def test_the_table_is_the_integral_and_so_is_its_slope():
    module = AdaptiveBarron()
    for logit in (-100.0, -8.0, -1.7, 0.0, 0.4, 3.3, 8.0, 100.0):
        with torch.no_grad():
            module.alpha_logit.fill_(logit)
        alpha = module.alpha.item()
        value = module.log_partition()
        assert value.item() == pytest.approx(float(log_partition(alpha)), abs=2e-6)
        slope = torch.autograd.grad(value, module.alpha_logit)[0].item()
        h = 1e-5
        in_alpha = float(log_partition(alpha + h) - log_partition(alpha - h)) / (2 * h)
        along = barron.HIGHEST - barron.LOWEST
        expected = (
            in_alpha * along * torch.sigmoid(torch.tensor(logit)).item() * torch.sigmoid(-torch.tensor(logit)).item()
        )
        assert slope == pytest.approx(expected, rel=2e-2, abs=2e-6)


def test_initial_values_and_bounds_of_learned_parameters():
    module = AdaptiveBarron()
    # alpha = 1 and c = 0.1, at an error of 3 c: sqrt(3^2 + 1) - 1 + ln 0.1 + ln(2 e K_1(1))
    start = module(torch.tensor(0.5), torch.tensor(0.8)).item()
    assert start == pytest.approx(math.sqrt(10) - 1 + math.log(0.1) + math.log(2 * math.e * kv(1, 1)), abs=1e-3)
    for logit, alpha, log_scale, scale in ((-100.0, 0.001, -100.0, 1e-5), (100.0, 1.999, math.log(0.5), 0.50001)):
        module.alpha_logit.data.fill_(logit)
        module.log_scale.data.fill_(log_scale)
        assert (module.alpha.item(), module.scale.item()) == pytest.approx((alpha, scale), rel=1e-5)


def fitted(errors: torch.Tensor) -> AdaptiveBarron:
    module = AdaptiveBarron()
    optimizer = torch.optim.Adam(module.parameters(), 0.05)
    for _ in range(400):
        optimizer.zero_grad()
        module(errors, torch.zeros_like(errors)).mean().backward()
        optimizer.step()
    return module


def test_it_learns_how_heavy_the_tails_are():
    """Gaussian errors call for alpha = 2 and c = their deviation; Cauchy's for alpha = 0 and c = width / sqrt 2."""
    draw = torch.Generator().manual_seed(0)
    normal = fitted(0.05 * torch.randn(4000, generator=draw))
    assert normal.alpha.item() > 1.7
    assert normal.scale.item() == pytest.approx(0.05, rel=0.2)
    errors = 0.05 * torch.randn(4000, generator=draw)
    entropy = 0.5 + math.log(0.05 * math.sqrt(2 * math.pi))  # of the density itself: no other has less
    assert normal(errors, torch.zeros_like(errors)).mean().item() == pytest.approx(entropy, abs=0.03)
    cauchy = fitted(0.05 * torch.tan(math.pi * (torch.rand(4000, generator=draw) - 0.5)))
    assert cauchy.alpha.item() < 0.2
    assert cauchy.scale.item() == pytest.approx(0.05 / math.sqrt(2), rel=0.15)


def test_each_training_has_parameters_of_its_own():
    adaptive = find_loss("barron-adaptive")
    one, two = adaptive.fresh(), adaptive.fresh()
    assert adaptive.module is None
    with torch.no_grad():
        one.module.alpha_logit.fill_(3.0)
    logit, target = torch.tensor([0.2]), torch.tensor([0.7])
    changed, kept, at_the_start = (loss(logit, target, "raw").item() for loss in (one, two, adaptive))
    assert kept == at_the_start != changed
    network = torch.nn.Linear(1, 1)
    optimizer = build_optimizer("adam", network, 0.1, (0.9, 0.999), also=one.module)
    one(network(torch.ones(1, 1)), torch.zeros(1, 1), "raw").mean().backward()
    optimizer.step()
    assert one.module.alpha_logit.item() != 3.0
    assert adaptive.reason_against("sr", "raw") is None
    for task in ("gan", "location"):
        assert adaptive.reason_against(task, "sigmoid").startswith("barron-adaptive learns parameters of its own")


def test_a_resumed_training_keeps_the_learned_parameters_of_the_loss(tmp_path, monkeypatch):
    use_small_data(monkeypatch)
    plan = cell("sr", loss="barron-adaptive")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    break_off(plan, folder, monkeypatch)
    kept = contents(folder, plan)
    assert kept["loss_module.alpha_logit"].item() != 0
    resumed, unbroken = (train(plan, CPU, *where) for where in ((folder,), ()))
    assert resumed.note == ""
    assert science(resumed) == science(unbroken)


def test_a_step_with_parameters_of_the_loss_can_be_captured(monkeypatch):
    use_small_data(monkeypatch)
    plan = cell("sr", loss="barron-adaptive")
    (task, log), (twin, expected) = replayed(plan, 6), plain(plan, 6)
    assert torch.equal(log, expected)
    assert torch.equal(task.loss_module.log_scale, twin.loss_module.log_scale)
    never_waits(monkeypatch, plan)
