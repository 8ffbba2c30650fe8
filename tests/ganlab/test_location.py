"""The location GAN: its procedure, its data, and a short run that finds the mean where the median does not."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm

from ganlab import datasets
from ganlab.datasets import GaussianSamples
from ganlab.losses import LOSSES
from ganlab.seeds import generator
from ganlab.tasks import TASKS, Experiment, Location
from ganlab.tasks import location as module

CPU = torch.device("cpu")
SMALL = GaussianSamples(dimension=10, count=6000)
BASE = {
    "task": "location",
    "dataset": "gaussian",
    "loss": "bce",
    "outlier": "far",
    "rate": 0.2,
    "optimizer": "sgd",
    "lr": 0.02,
    "seed": 0,
    "batch_size": 500,
    "steps": 300,
    "evaluations": 1,
}


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    monkeypatch.setattr(module, "load", lambda name, kind: SMALL)


def location(**changes) -> Location:
    return Location(Experiment(**(BASE | changes)), CPU)


def trained(**changes) -> Location:
    task = location(**changes)
    for index in range(task.experiment.steps):
        task.step(index)
    return task


def parameters(network: torch.nn.Module) -> list[torch.Tensor]:
    return [value.detach().clone() for value in network.parameters()]


def gradients(network: torch.nn.Module) -> list[torch.Tensor]:
    return [value.grad.clone() for value in network.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_each_step_changes_only_its_own_network(loss):
    task, seen = location(loss=loss), {}
    task.step(0)  # so that the second step starts with gradients left from the first

    def recorder(phase):  # the last of the discriminator's five steps is the one that stays
        pair = task.generator, task.discriminator
        seen[phase] = [function(network) for function in (parameters, gradients) for network in pair]

    task.step(1, recorder)
    (g0, d0, g0_grad, _), (g1, d1, g1_grad, d1_grad) = seen["data"], seen["d_optimizer"]
    g2, d2, _, d2_grad = seen["g_optimizer"]
    assert same(g0, g1)
    assert same(g0_grad, g1_grad)
    assert not same(d0, d1)
    assert not same(g1, g2)
    assert same(d1, d2)
    assert same(d1_grad, d2_grad)


@pytest.mark.parametrize("loss", LOSSES)
def test_step_is_the_demos(loss):
    """A literal transcription: the sum of D's two losses at rate 0.2, ours their half at 0.4; G at 0.02."""
    task, twin = location(loss=loss), location(loss=loss)
    d_opt = torch.optim.SGD(twin.discriminator.parameters(), 0.2)
    g_opt = torch.optim.SGD(twin.generator.parameters(), 0.02)

    def adv(samples, label):
        logit = twin.discriminator(samples)
        return LOSSES[loss](logit, torch.full_like(logit, label)).mean()

    for index in range(3):
        task.step(index)
        rows, z, _ = twin.draw(index)
        real = twin.real[rows]
        for k in range(5):
            d_opt.zero_grad()
            (adv(real[k], 1.0) + adv(twin.generator(z[k]).detach(), 0.0)).backward()
            d_opt.step()
        g_opt.zero_grad()
        adv(twin.generator(z[5]), 1.0).backward()
        g_opt.step()
    for ours, theirs in ((task.generator, twin.generator), (task.discriminator, twin.discriminator)):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_learning_rates_keep_their_ratio():
    task = location(settings={"d_lr_ratio": 10.0})
    for lr in (0.02, 0.01):  # at the start, and as a schedule sets it
        task.set_learning_rate(lr)
        assert task.g_optimizer.param_groups[0]["lr"] == lr
        assert task.d_optimizer.param_groups[0]["lr"] == pytest.approx(10 * lr)
    assert location().d_optimizer.param_groups[0]["lr"] == pytest.approx(0.4)


def test_an_epoch_shows_every_sample_once():
    task = location()  # 6,000 samples in 12 batches: the second epoch begins in the middle of step 2
    epochs = [torch.cat([task.rows(12 * epoch + k) for k in range(12)]) for epoch in range(2)]
    assert all(torch.equal(epoch.sort().values, torch.arange(6000)) for epoch in epochs)
    assert not torch.equal(*epochs)
    assert torch.equal(task.rows(3), epochs[0][1500:2000])  # also when asked for again, later
    rows, latents, _ = task.draw(2)
    real = task.real[rows]
    assert real.shape == (5, 500, 10)
    assert latents.shape == (6, 500, 10)
    assert torch.equal(real[2], task.real[epochs[1][:500]])


def test_losses_of_a_seed_share_everything_but_the_loss():
    one, two, other = location(loss="bce"), location(loss="l1"), location(loss="bce", seed=1)
    assert torch.equal(one.real, two.real)
    assert same(parameters(one.discriminator), parameters(two.discriminator))
    assert all(torch.equal(a, b) for a, b in zip(one.draw(7), two.draw(7), strict=True))
    assert not torch.equal(one.real, other.real)
    assert not torch.equal(one.draw(7)[1], other.draw(7)[1])


def test_equal_runs_are_equal():
    one, two = trained(steps=5), trained(steps=5)
    one.evaluate(5, {})  # looking changes nothing
    assert same(parameters(one.discriminator), parameters(two.discriminator))
    assert torch.equal(one.estimate(), two.estimate())


def expected_yardsticks(rate: float, shift: float, p: int, n: int) -> dict[str, float]:
    """Root mean square errors on n samples in p dimensions, of which exactly `rate` n are outliers at `shift`."""
    median = brentq(lambda m: (1 - rate) * norm.cdf(m) + rate * norm.cdf(m - shift) - 0.5, 0, shift)
    density = (1 - rate) * norm.pdf(median) + rate * norm.pdf(median - shift)
    below, outliers_below = norm.cdf(median), norm.cdf(median - shift)
    spread = (1 - rate) * below * (1 - below) + rate * outliers_below * (1 - outliers_below)
    return {
        "mean_error": float(np.sqrt(p * ((rate * shift) ** 2 + 1 / n))),
        "median_error": float(np.sqrt(p * (median**2 + spread / (n * density**2)))),
        "oracle_error": float(np.sqrt(p / ((1 - rate) * n))),
    }


@pytest.mark.parametrize(("kind", "shift"), [("far", 5.0), ("near", 0.5)])
def test_yardsticks(kind, shift):
    task = location(outlier=kind)
    assert torch.equal(task.generator.theta_hat, task.real.median(dim=0).values)  # where theta_hat starts
    assert torch.equal(task.generator(torch.zeros(1, 10))[0], task.generator.theta_hat)
    good = (task.real == task.data.draw(generator(0, "data"))).all(dim=1)
    assert int(good.sum()) == 4800
    outliers = task.real[~good].double()
    assert float(outliers.mean()) == pytest.approx(shift, abs=4 / np.sqrt(outliers.numel()))
    assert task.yardsticks["oracle_error"] == pytest.approx(float(task.real[good].mean(dim=0).norm()))
    expected = expected_yardsticks(0.2, shift, SMALL.dimension, SMALL.count)
    # around them errors spread by about sqrt(1 / n): 0.013; the oracle's alone is no larger than that
    assert task.yardsticks == pytest.approx(expected, abs=0.04)


def test_clean_samples_are_unchanged():
    task = location(outlier="clean", rate=0.0)
    assert task.yardsticks["mean_error"] == pytest.approx(task.yardsticks["oracle_error"])


@pytest.mark.parametrize(
    ("loss", "d_loss", "g_loss"),
    [
        ("bce", 0.6183, 0.811),
        ("l2", 0.2222, 1.8**-2),  # science.md section 4; D says 0.8 / 1.8 among good samples
    ],
)
def test_a_short_run_finds_the_mean(loss, d_loss, g_loss):
    """300 steps in 10 dimensions, G's rate five times the demo's: from the median's 1.01 to a tenth of it."""
    task = trained(loss=loss, lr=0.1, settings={"d_lr_ratio": 4.0})
    point = task.evaluate(300, {})
    assert task.yardsticks["median_error"] > 0.95
    assert point["location_error"] < 0.1
    assert point["d_loss"] == pytest.approx(d_loss, abs=0.01)
    assert point["d_loss"] == (point["real_loss"] + point["fake_loss"]) / 2
    assert point["g_loss"] == pytest.approx(g_loss, rel=0.1)
    assert point["dead_discriminator"] == 0


def test_the_error_is_the_distance_of_the_averaged_estimate_from_the_truth():
    task = location()
    task.total[:2] = torch.tensor([6.0, 8.0])  # of two steps: the average is (3, 4, 0, ...), and the truth 0
    task.averaged.fill_(2)
    assert task.evaluate(1, {})["location_error"] == pytest.approx(5)


def test_readouts_of_a_constant_discriminator_by_hand():
    task = location()
    with torch.no_grad():
        for value in task.discriminator.parameters():
            value.zero_()
        task.discriminator[2].bias.fill_(float(np.log(3)))  # D says 3/4
    point = task.evaluate(1, {})
    known = {"mean_d_real": 0.75, "mean_d_fake": 0.75, "slope_real": 0.1875, "slope_fake": 0.1875}
    known |= {"g_loss": -np.log(0.75), "real_loss": -np.log(0.75), "fake_loss": -np.log(0.25)}
    known |= {"d_loss": -(np.log(0.75) + np.log(0.25)) / 2}
    assert {name: point[name] for name in known} == pytest.approx(known)


def test_readouts_rest_on_samples_that_training_never_sees():
    task = location()
    task.step(0)
    point = task.evaluate(1, {})
    real, latents = task.fresh
    assert not torch.isin(real, task.real).all(dim=1).any()
    corrupted, corrupted_in_training = (
        samples.mean(dim=1) > 2.5 for samples in (real, task.real)
    )  # far: 5 in 10 dimensions
    assert int(corrupted.sum()) == 1200
    assert not torch.equal(corrupted, corrupted_in_training)
    with torch.no_grad():
        on_real, on_fake = (task.discriminator(x).sigmoid() for x in (real, latents + task.generator.theta_hat))
    outputs = {"mean_d_real": on_real.mean(), "mean_d_fake": on_fake.mean()}
    slopes = {"slope_real": on_real.mul(1 - on_real).mean(), "slope_fake": on_fake.mul(1 - on_fake).mean()}
    losses = {
        "real_loss": -on_real.log().mean(),
        "fake_loss": -(1 - on_fake).log().mean(),
        "g_loss": -on_fake.log().mean(),
    }
    expected = {name: float(value) for name, value in (outputs | slopes | losses).items()}
    assert {name: point[name] for name in expected} == pytest.approx(expected, rel=1e-4)


def test_theta_hat_is_averaged_over_the_last_steps():
    task, path = location(steps=12, settings={"average_last": 0.25}), []
    for index in range(12):
        task.step(index)
        path.append(task.generator.theta_hat.detach().clone())
        expected = path[-1] if index < 9 else torch.stack(path[9:]).mean(dim=0)
        torch.testing.assert_close(task.estimate(), expected)


@pytest.mark.parametrize(
    ("bias", "theta_hat", "dead"),
    [
        (40.0, 0.0, 1),
        (-40.0, 0.0, 1),  # D = 1 or D = 0 on everything: saturated
        (0.0, 2.0, 1),  # D = 1/2 while a fresh probe tells real from generated
        (0.0, 0.0, 1),  # D = 1/2 although the outliers among the real samples could be told
        (0.0, 0.0, 0),  # D = 1/2, and there are none
    ],
)
def test_dead_discriminator(bias, theta_hat, dead):
    task = location(**({} if dead else {"outlier": "clean", "rate": 0.0}))
    with torch.no_grad():
        task.generator.theta_hat.fill_(theta_hat)
        for value in task.discriminator.parameters():
            value.zero_()
        task.discriminator[2].bias.fill_(bias)
    assert task.evaluate(1, {})["dead_discriminator"] == dead


def test_readouts_are_complete():
    for condition in (
        {},
        {"outlier": "near"},
        {"outlier": "clean", "rate": 0.0},
        {"loss": "l2", "head": "raw", "lr": 1e-4},
    ):
        task = trained(steps=2, **condition)
        assert task.step(2).shape == (len(task.logged),)
        point = task.evaluate(2, {})
        readouts = task.conclude()
        assert tuple(readouts.values) == task.columns
        assert all(np.isfinite(list(readouts.values.values())))
        assert readouts.values["location_error"] == point["location_error"]
        assert (readouts.images, readouts.picture) == ([], None)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="batch_size = 7000 is more than the 6000 samples there are"):
        location(batch_size=7000)


def test_registered():
    data = datasets.load("gaussian")
    assert TASKS["location"] is Location
    assert isinstance(data, Location.data_kind)
    assert (data.dimension, data.count, datasets.available("gaussian")) == (100, 50_000, True)
    assert datasets.fingerprint(data) == datasets.fingerprint(GaussianSamples())
    assert datasets.fingerprint(data) != datasets.fingerprint(SMALL)
    assert data.draw(generator(0, "x")).shape == (50_000, 100)


def test_cuda_agrees_with_cpu(cuda):
    here, there = location(), Location(Experiment(**BASE), cuda)
    for index in range(3):
        torch.testing.assert_close(there.step(index).cpu(), here.step(index), rtol=2e-3, atol=2e-4)


def test_the_discriminator_starts_with_xavier_weights_where_asked():
    sizes = {"hidden": 400}
    default, xavier = (location(settings=sizes | {"d_init": init}).discriminator for init in ("default", "xavier"))
    # 10 inputs: PyTorch's weights are U(-1, 1) / sqrt(10); Xavier's are N(0, 2 / (10 + 400)), without biases
    assert float(default[0].weight.detach().std()) == pytest.approx(1 / 30**0.5, rel=0.05)
    assert float(xavier[0].weight.detach().std()) == pytest.approx((2 / 410) ** 0.5, rel=0.05)
    assert xavier[0].bias.abs().max() == xavier[2].bias.abs().max() == 0
    again = location(settings=sizes | {"d_init": "xavier"}).discriminator
    assert torch.equal(again[0].weight, xavier[0].weight)  # of the seed alone
