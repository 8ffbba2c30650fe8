"""Objectives of scores: values by hand, equilibria by search, steps against literal ones, short trainings."""

import math

import numpy as np
import pytest
import torch
from scipy.special import entr
from torch import Tensor, nn, relu
from torch.nn.functional import softplus

from bench.loss_check.objectives import least_d_loss
from bench.training.train import train
from ganlab.equilibria import D_LOSS, Densities, equilibrium_d_loss, jensen_shannon, total_variation
from ganlab.losses import PARTICULAR, find_loss
from ganlab.tasks import Gan, Location
from ganlab.tasks.gan import is_dead
from tests.bench.training.gpu.test_capture import never_waits, plain, replayed
from tests.support.small_data import CPU, cell, use_small_data

SCORES = ("hinge", "wasserstein", "relativistic")
NO_NORM = {"width": 8, "latent": 8, "evaluation_images": 100, "discriminator_norm": "none"}


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    use_small_data(monkeypatch)


def losses_of(name: str, real: list[float], fake: list[float]) -> tuple[float, float]:
    """g_loss and d_loss of a real and a generated batch of scores."""
    objective, scores = find_loss(name).adversarial("raw"), torch.tensor([real, fake])
    return float(objective.g_loss(scores[1], scores[0])), float(objective.d_loss(scores)[0])


@pytest.mark.parametrize(
    ("name", "g_loss", "d_loss"),
    [
        ("hinge", -0.5, (0.0 + 0.5 + 0.5 + 2.5) / 4),  # margins 1 - 2, 1 - 0.5; 1 - 0.5, 1 + 1.5
        ("wasserstein", -0.5, (-2.0 - 0.5 - 0.5 + 1.5) / 4),
        # pairs 2 above -0.5 and 0.5 above 1.5: ln(1 + e^-2.5), ln(1 + e^1); G has them the other way
        (
            "relativistic",
            (math.log1p(math.exp(2.5)) + math.log1p(math.exp(-1))) / 2,
            (math.log1p(math.exp(-2.5)) + math.log1p(math.exp(1))) / 2,
        ),
    ],
)
def test_values_by_hand(name, g_loss, d_loss):
    assert losses_of(name, [2.0, 0.5], [-0.5, 1.5]) == pytest.approx((g_loss, d_loss))


@pytest.mark.parametrize("name", SCORES)
def test_equilibrium_at_equal_distributions(name):
    same = np.array([0.1, 0.2, 0.3, 0.4])
    found = least_d_loss(find_loss(name).adversarial("raw"), same, same)
    assert found == pytest.approx(find_loss(name).equilibrium_d_loss, abs=1e-6)
    if name in D_LOSS:
        assert equilibrium_d_loss(name, Densities(same, same)) == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("name", ["hinge", "relativistic"])
def test_no_scores_do_better(name):
    rng = np.random.default_rng(0)
    for _ in range(3):
        p, q = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
        found = least_d_loss(find_loss(name).adversarial("raw"), p, q)
        expected = equilibrium_d_loss(name, Densities(p, q))
        assert expected - 1e-9 <= found <= expected + 2e-3  # the search rounds hinge's kinks badly
    p, q = np.array([0.75, 0.25]), np.array([0.25, 0.75])
    assert equilibrium_d_loss("hinge", Densities(p, q)) == pytest.approx(1 - total_variation(Densities(p, q))) == 0.5
    # pairs: p x q = (3, 9, 1, 3) / 16 and its mirror image (3, 1, 9, 3) / 16
    one, two = np.array([3, 9, 1, 3]) / 16, np.array([3, 1, 9, 3]) / 16
    js = entr((one + two) / 2).sum() - (entr(one).sum() + entr(two).sum()) / 2
    assert equilibrium_d_loss("relativistic", Densities(p, q)) == pytest.approx(math.log(2) - js)
    with pytest.raises(ValueError, match="no labels to flip"):
        equilibrium_d_loss("relativistic", Densities(p, q), 0.2)


def test_on_a_grid_of_densities():
    x = np.arange(-8, 9, 1e-3)
    normal = [np.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi) for mean in (0, 1)]
    pair = Densities(*normal, 1e-3)
    difference = Densities(*(np.exp(-((x - mean) ** 2) / 4) / math.sqrt(4 * math.pi) for mean in (-1, 1)), 1e-3)
    # of Gaussian pairs only the difference of the two tells their order, N(-+1, 2)
    expected = math.log(2) - jensen_shannon(difference)
    assert equilibrium_d_loss("relativistic", pair) == pytest.approx(expected, abs=1e-6)


def test_the_penalty_is_the_squared_norm_of_the_gradient():
    objective = find_loss("relativistic").adversarial("raw", gamma=3.0)
    weight = torch.tensor([1.0, -2.0, 2.0], requires_grad=True)
    samples = torch.randn(5, 3, requires_grad=True)
    penalty = objective.penalty(samples @ weight, samples)
    assert float(penalty.detach()) == pytest.approx(3 / 2 * 9)
    (slope,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(slope, 3 * weight)  # d/dw of 3/2 |w|^2


def gan(loss: str, **changes) -> Gan:
    return Gan(cell("gan", loss=loss, head="raw", **changes), CPU)


def literal_g_loss(loss: str, on_real: Tensor, on_fake: Tensor) -> Tensor:
    return softplus(on_real.detach() - on_fake).mean() if loss == "relativistic" else -on_fake.mean()


def literal_d_losses(
    loss: str, discriminator: nn.Module, *samples: Tensor
) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """d_loss, its halves, and what D's step minimises, as the papers write them, of real and generated samples."""
    batches = [batch.detach().clone().requires_grad_() for batch in samples]
    on_real, on_fake = scores = [discriminator(batch) for batch in batches]
    if loss == "relativistic":
        penalised = d_loss = softplus(on_fake - on_real).mean()
        for output, batch in zip(scores, batches, strict=True):
            (slope,) = torch.autograd.grad(output.sum(), batch, create_graph=True)
            penalised = penalised + 0.1 / 2 * slope.square().flatten(1).sum(dim=1).mean()
        return d_loss, (), penalised
    pair = (relu(1 - on_real), relu(1 + on_fake)) if loss == "hinge" else (-on_real, on_fake)
    halves = pair[0].mean(), pair[1].mean()
    return sum(halves) / 2, halves, sum(halves) / 2


def descend(optimizer: torch.optim.Optimizer, minimised: Tensor) -> None:
    optimizer.zero_grad()
    minimised.backward()
    optimizer.step()


def clip_as_the_paper_does(loss: str, discriminator: nn.Module) -> None:
    if loss == "wasserstein":
        for weight in discriminator.parameters():
            weight.data.clamp_(-0.01, 0.01)


@pytest.mark.parametrize("loss", SCORES)
@pytest.mark.parametrize("settings", [None, NO_NORM])
def test_a_gan_step_against_a_literal_one(loss, settings):
    # plain SGD: hinge's gradient in D's last bias is rounding, of which Adam's first step would see the sign alone
    changes = {"optimizer": "sgd", "lr": 0.05} | ({"settings": settings} if settings else {})
    task, twin = gan(loss, **changes), gan(loss, **changes)
    g_opt, d_opt = (torch.optim.SGD(network.parameters(), 0.05) for network in (twin.generator, twin.discriminator))
    for step in range(3):
        logged = dict(zip(task.logged, task.step(step).tolist(), strict=True))
        chosen, z, _, _ = twin.draw(step)
        real, generated = 2 * twin.real[chosen] - 1, twin.generator(z)  # the networks work on [-1, 1]
        g_loss = literal_g_loss(loss, twin.discriminator(real), twin.discriminator(generated))
        descend(g_opt, g_loss)
        scores = [twin.discriminator(batch.detach()) for batch in (real, generated)]
        d_loss, halves, penalised = literal_d_losses(loss, twin.discriminator, real, generated)
        descend(d_opt, penalised)
        clip_as_the_paper_does(loss, twin.discriminator)
        names = ("real_loss", "fake_loss")[: len(halves)]
        assert [logged[name] for name in names] == pytest.approx([half.item() for half in halves], abs=1e-5)
        assert (logged["g_loss"], logged["d_loss"]) == pytest.approx((g_loss.item(), d_loss.item()), rel=1e-4, abs=1e-5)
        for name, output in zip(("real", "fake"), scores, strict=True):
            assert logged[f"mean_d_{name}"] == pytest.approx(output.mean().item(), rel=1e-3, abs=1e-5)
            assert logged[f"spread_{name}"] == pytest.approx(np.std(output.tolist(), ddof=1), rel=1e-3)
    assert task.procedure_ok
    for ours, theirs in ((task.generator, twin.generator), (task.discriminator, twin.discriminator)):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("loss", SCORES)
def test_a_location_step_against_a_literal_one(loss):
    plan = cell("location", loss=loss, head="raw", lr=0.01)
    task, twin = Location(plan, CPU), Location(plan, CPU)
    g_opt = torch.optim.SGD(twin.generator.parameters(), 0.01)
    d_opt = torch.optim.SGD(twin.discriminator.parameters(), 0.2)
    for step in range(3):
        logged = task.step(step)
        rows, latents, _ = twin.draw(step)
        for real, z in zip(twin.real[rows], latents, strict=False):
            d_loss, _, penalised = literal_d_losses(loss, twin.discriminator, real, twin.generator(z))
            descend(d_opt, penalised)
            clip_as_the_paper_does(loss, twin.discriminator)
        on_real, on_fake = (twin.discriminator(batch) for batch in (twin.real[rows[-1]], twin.generator(latents[-1])))
        g_loss = literal_g_loss(loss, on_real, on_fake)
        descend(g_opt, g_loss)
        torch.testing.assert_close(logged, torch.stack([g_loss, d_loss]).detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(task.generator.theta_hat, twin.generator.theta_hat, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", SCORES)
def test_location_readouts_are_those_of_fresh_samples(loss):
    task = Location(cell("location", loss=loss, head="raw", lr=0.01), CPU)
    point = task.evaluate(1, {})
    real, latents = task.fresh
    scores = on_real, on_fake = [task.discriminator(x).detach() for x in (real, latents + task.generator.theta_hat)]
    d_loss, halves, _ = literal_d_losses(loss, task.discriminator, real, latents + task.generator.theta_hat)
    expected = {"g_loss": literal_g_loss(loss, on_real, on_fake), "d_loss": d_loss.detach()}
    expected |= {name: half.detach() for name, half in zip(("real_loss", "fake_loss"), halves, strict=False)}
    for name, output in zip(("real", "fake"), scores, strict=True):
        expected |= {f"mean_d_{name}": output.mean(), f"spread_{name}": output.std()}
    assert {name: point[name] for name in expected} == pytest.approx(
        {k: float(v) for k, v in expected.items()}, rel=1e-4
    )


@pytest.mark.parametrize("build", [Gan, Location])
def test_discriminators_judge_in_single_precision(build):
    logged = build(cell(build.name, precision="bf16"), CPU).step(0)
    assert logged.dtype == torch.float32
    assert (logged != logged.bfloat16()).all()  # means that bfloat16 cannot hold


@pytest.mark.parametrize("task", ["gan", "location"])
@pytest.mark.parametrize("loss", SCORES)
def test_short_trainings_have_the_columns_of_the_objective(task, loss):
    outcome = train(cell(task, loss=loss, head="raw"), CPU)
    assert outcome.status == "done", outcome.reason
    empty = {name for name, value in outcome.values.items() if value is None}
    assert empty == ({"real_loss", "fake_loss"} if loss == "relativistic" else set())
    if loss != "relativistic":
        halves = (outcome.values["real_loss"] + outcome.values["fake_loss"]) / 2
        assert outcome.values["d_loss"] == pytest.approx(halves, abs=1e-6)
    assert outcome.values.get("procedure_ok", 1) == 1


@pytest.mark.parametrize("loss", SCORES)
def test_steps_in_blocks_equal_plain_steps_and_do_not_synchronise(monkeypatch, loss):
    for plan in (cell("gan", loss=loss, head="raw"), cell("location", loss=loss, head="raw", lr=1e-3)):
        (_, log), (_, expected) = replayed(plan, 6), plain(plan, 6)
        assert torch.equal(log, expected)
        never_waits(monkeypatch, plan)


def test_clipping_and_flips():
    task = gan("wasserstein", settings=NO_NORM | {"clip": 0.003}, outlier="flip", rate=0.3)
    task.step(0)
    weights = torch.cat([weight.detach().flatten() for weight in task.discriminator.parameters()])
    assert float(weights.abs().max()) == pytest.approx(0.003)
    always = gan("hinge", outlier="flip", rate=1.0), gan("hinge")
    flipped, plain_log = (dict(zip(task.logged, task.step(0).tolist(), strict=True)) for task in always)
    # before D has moved scores are the same: a flipped real sample costs 1 + s in place of 1 - s
    assert flipped["real_loss"] == pytest.approx(1 + plain_log["mean_d_real"], abs=1e-6)
    assert plain_log["real_loss"] == pytest.approx(1 - plain_log["mean_d_real"], abs=1e-6)


@pytest.mark.parametrize("name", SCORES)
def test_objectives_that_do_not_apply_are_rejected(name):
    loss = PARTICULAR[name]
    assert (
        loss.reason_against("sr", "raw") == f"{name} is an objective of two opponents: it applies to gan and location"
    )
    assert (
        loss.reason_against("gan", "sigmoid")
        == f"{name} judges scores, which a sigmoid would bound: it applies to the raw head"
    )
    assert loss.reason_against("gan", "raw") is loss.reason_against("location", "raw") is None
    assert (loss.reason_against("gan", "raw", "flip") is None) == (name != "relativistic")
    with pytest.raises(ValueError, match="no elementwise loss"):
        loss(torch.zeros(2), torch.zeros(2), "raw")
    with pytest.raises(ValueError, match="two opponents"):
        cell("sr", loss=name, head="raw")


@pytest.mark.parametrize(
    ("gap", "spread", "probe", "dead"),
    [
        (0.0, 0.0, 0.95, True),  # a constant score while a fresh probe tells them apart
        (0.0, 0.0, 0.5, False),  # nobody can tell: equilibrium
        (0.001, 0.002, 0.95, False),  # clipped scores are tiny, and tell real from generated by half a deviation
        (0.08, 1.0, 0.95, True),  # a gap of less than a tenth of the larger spread is chance
        (5.0, 1.0, 0.95, False),  # sure and right: no slope of a sigmoid that could vanish
    ],
)
def test_a_dead_discriminator_that_scores(gap, spread, probe, dead):
    recent = {"mean_d_real": gap - 3, "mean_d_fake": -3.0, "spread_real": spread, "spread_fake": spread / 2}
    assert is_dead(recent, lambda: probe) is dead
