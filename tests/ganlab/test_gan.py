"""The GAN: dead discriminators, read-outs, and the detection of a broken procedure."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ganlab import metrics
from ganlab.datasets import load
from ganlab.tasks import Gan
from ganlab.tasks.gan import is_dead, probe_accuracy

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("means", "slopes", "probe", "dead"),
    [
        ((0.5, 0.5), (0.25, 0.25), 0.5, False),  # equilibrium: nobody can tell them apart
        ((0.5, 0.5), (0.25, 0.25), 0.95, True),  # D gave up while a fresh probe still separates
        ((1.0, 1.0), (0.001, 0.001), 0.5, True),  # saturated: D = 1 everywhere
        ((0.0, 0.0), (0.0, 0.0), 0.5, True),  # the twin trap: D = 0 everywhere
        ((1.0, 0.0), (0.0, 0.0), 0.99, False),  # saturated but right: D wins
        ((0.0, 1.0), (0.0, 0.0), 0.99, False),  # saturated and wrong: D has an opinion
        ((0.995, 1.0), (0.004, 0.03), 0.5, False),  # not saturated on both batches
        ((0.995, 1.0), (0.03, 0.004), 0.5, False),
        ((0.505, 0.5), (0.25, 0.25), 0.8, True),  # thresholds of science.md section 3: a gap of 0.01, ...
        ((0.53, 0.5), (0.25, 0.25), 0.8, False),
        ((0.01, 0.0), (0.0, 0.0), 0.5, False),
        ((1.0, 1.0), (0.009, 0.009), 0.5, True),  # ... p(1 - p) of 0.01, ...
        ((1.0, 1.0), (0.02, 0.02), 0.5, False),
        ((0.5, 0.5), (0.25, 0.25), 0.7, False),  # ... and an accuracy of 0.75
    ],
)
def test_dead_discriminator(means, slopes, probe, dead):
    recent = dict(zip(("mean_d_real", "mean_d_fake", "slope_real", "slope_fake"), means + slopes, strict=True))
    assert is_dead(recent, lambda: probe) is dead


def test_the_probe_separates_different_distributions():
    rng = torch.Generator().manual_seed(0)
    a, b, c = (
        torch.randn(300, 8, generator=rng),
        torch.randn(300, 8, generator=rng),
        torch.randn(300, 8, generator=rng) + 3,
    )
    assert probe_accuracy(a, b) < 0.65
    assert probe_accuracy(a, c) > 0.95


def test_the_probe_is_tested_on_what_it_was_not_trained_on():
    # Even rows are real above generated, odd rows the other way: what the even ones teach is wrong of every odd one.
    # The second feature is constant, of which there is no scale; there are three times as many real rows.
    sign = 1.0 - 2 * (torch.arange(24) % 2)
    real, generated = (torch.stack([part, torch.ones(len(part))], dim=1) for part in (sign, -sign[:8]))
    assert probe_accuracy(real, generated) == 0
    # 0.02 and 0: both halves are the same, the scale is the spread of the feature, and the border lies between
    small = torch.full((20, 1), 0.02)
    assert probe_accuracy(small, torch.zeros(20, 1)) == 1


def readings(task: Gan, features: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """The point on each curve where the classifier reads these features and labels in the generated images."""
    equilibrium = {"mean_d_real": 0.5, "mean_d_fake": 0.5, "slope_real": 0.25, "slope_fake": 0.25}
    return task.evaluate(1, equilibrium, {"finite": torch.tensor(True), "features": features, "labels": labels})


def test_the_probe_is_at_chance_for_held_out_images(experiment):
    task = Gan(experiment("gan"), CPU)
    data = load("digits")
    classifier, n = task.classifier, len(task.held_out)
    assert n == 100  # of 899, as the settings ask
    torch.testing.assert_close(task.held_out, classifier.features(data.test[:100]))
    # two sets that the classifier was not trained on, of the size that generated images are compared at
    floor = metrics.frechet_distance(classifier.features(data.test[-100:]), classifier.features(data.test[:100]))
    assert floor > 1
    assert task.floor == pytest.approx(floor)
    copied = readings(task, task.held_out, classifier.labels(data.test[:100]))
    assert copied["frechet"] == pytest.approx(0, abs=1e-6)
    assert (copied["coverage"], copied["classes"]) == (1, 10)
    assert copied["dead_discriminator"] == 0
    moved = readings(task, task.held_out + 3, torch.zeros(n, dtype=torch.long))
    assert moved["frechet"] == pytest.approx(9 * task.held_out.shape[1])  # the squared distance of the means
    assert moved["kid"] == pytest.approx(metrics.kernel_distance(task.held_out + 3, task.held_out))
    assert moved["dead_discriminator"] == 1  # D says 1/2 of what a probe tells apart
    # One held-out image, over and over: it lies in the ball of a few real ones, and is no sample of the rest
    collapsed = readings(task, task.held_out[:1].expand(n, -1), torch.zeros(n, dtype=torch.long))
    assert 0 < collapsed["coverage"] < 0.5
    assert collapsed["classes"] == 1


def test_the_last_point_has_the_distance_from_images_that_the_reported_one_does_not_use(experiment):
    task, data = Gan(experiment("gan"), CPU), load("digits")
    spare = task.classifier.features(data.test[-100:])  # of 899; the first 100 are for the reported distance
    seen = {"finite": torch.tensor(True), "features": spare, "labels": torch.zeros(100, dtype=torch.long)}
    means = {"mean_d_real": 0.5, "mean_d_fake": 0.5, "slope_real": 0.25, "slope_fake": 0.25}
    assert "val_frechet" not in task.evaluate(task.experiment.steps - 1, means, seen)
    last = task.evaluate(task.experiment.steps, means, seen)
    assert last["val_frechet"] == pytest.approx(0, abs=1e-6)
    assert last["frechet"] > 1
    assert "val_frechet" not in task.conclude({"grid": torch.zeros(64, 4, 4)}).values  # it is not reported
    settings = task.experiment.settings | {"evaluation_images": 500}  # no two disjoint sets of 500 among 899
    real = Gan(experiment("gan", settings=settings), CPU).real_images
    assert len(real.reported) == len(real.validation) == 449


def test_the_share_of_outliers_is_corrected_by_the_rates_of_the_classifier(experiment):
    task = Gan(experiment("gan", outlier="inverted", rate=0.2), CPU)
    task.classifier = replace(task.classifier, false_positive=0.1, true_positive={"noise": 1.0, "inverted": 0.9})
    labels = torch.arange(100) % 7
    labels[:30] = 10  # after the ten digits: 0.3 are called outliers, 0.1 + (0.9 - 0.1) / 4
    point = readings(task, task.held_out, labels)
    assert point["outlier_share"] == pytest.approx(0.25)
    assert point["classes"] == 7


def test_the_picture_shows_row_by_row_what_was_generated(experiment):
    task = Gan(experiment("gan"), CPU)
    grid = (torch.arange(64) / 51)[:, None, None].expand(64, 4, 4)  # 5 grey levels more each; the last are above white
    task.procedure_ok = False
    readouts = task.conclude({"grid": grid})
    tiles = readouts.picture.reshape(8, 4, 8, 4).transpose(0, 2, 1, 3).reshape(64, 16)
    np.testing.assert_array_equal(tiles, np.minimum(5 * np.arange(64), 255)[:, None].repeat(16, axis=1))
    assert readouts.values["frechet_floor"] == task.floor
    assert readouts.values["procedure_ok"] == 0


def test_evaluation_uses_the_same_latents_in_parts_and_in_evaluation_mode(experiment):
    task, modes = Gan(experiment("gan"), CPU), []
    task.generator.register_forward_hook(lambda network, *_: modes.append(network.training))
    first = task.generate(600)
    assert (len(first), modes) == (600, [False, False])
    task.step(0)
    assert modes[2:] == [True]
    other = Gan(experiment("gan"), CPU)
    torch.testing.assert_close(other.generate(600), first)
    assert not torch.equal(Gan(experiment("gan", seed=1), CPU).generate(5), other.generate(5))


class Meddling(torch.optim.SGD):
    """An optimizer that moves the weights of the other network too, or leaves gradients there, or has no effect."""

    def __init__(self, network: torch.nn.Module, other: torch.nn.Module, fault: str):
        super().__init__(network.parameters(), lr=0.0 if fault == "no effect" else 0.1)
        self.fault, self.victim = fault, next(other.parameters())

    def step(self, closure=None):
        super().step()
        if self.fault == "moves":
            self.victim.data += 1
        if self.fault == "leaves gradients":
            self.victim.grad = torch.ones_like(self.victim)


@pytest.mark.parametrize("fault", ["none", "moves", "leaves gradients", "no effect"])
@pytest.mark.parametrize("guilty", ["g_optimizer", "d_optimizer"])
def test_a_step_that_breaks_the_procedure_is_detected(experiment, guilty, fault):
    task = Gan(experiment("gan"), CPU)
    networks = task.generator, task.discriminator
    setattr(task, guilty, Meddling(*(networks if guilty == "g_optimizer" else networks[::-1]), fault))
    task.step(0)
    assert task.procedure_ok is (fault == "none")


@pytest.mark.parametrize("ratio", [0.003, 1.0])
def test_the_strength_of_d_is_its_learning_rate_over_that_of_g(experiment, ratio):
    settings = {} if ratio == 1 else {"d_lr_ratio": ratio}
    task = Gan(experiment("gan", lr=2e-4, settings=settings), CPU)
    before = [weight.detach().clone() for weight in task.discriminator.parameters()]
    task.step(0)
    assert task.procedure_ok
    # The first step of Adam moves a weight by its learning rate, whatever the gradient, unless that is tiny.
    after = [weight.detach() for weight in task.discriminator.parameters()]
    moved = max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True))
    assert moved == pytest.approx(ratio * 2e-4, rel=0.05)
    task.set_learning_rate(1e-3)
    rates = [task.g_optimizer.param_groups[0]["lr"], task.d_optimizer.param_groups[0]["lr"]]
    assert [float(rate) for rate in rates] == pytest.approx([1e-3, ratio * 1e-3])


def test_a_loss_that_is_not_the_mean_of_its_halves_is_detected(experiment):
    task = Gan(experiment("gan"), CPU)
    honest = task.objective.d_loss
    task.objective = SimpleNamespace(
        **vars(task.objective), g_loss=task.objective.g_loss, constrain=lambda network: None
    )

    def sum_of_halves(output, label):
        d_loss, halves = honest(output, label)
        return 2 * d_loss, halves

    task.objective.d_loss = sum_of_halves
    task.step(0)
    assert not task.procedure_ok
