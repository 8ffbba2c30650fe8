"""The law of a pixel under each kind of outliers, and trainings with a loss averaged over it."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ganlab.losses import find_loss
from ganlab.outliers import OUTLIERS, corrupt_target
from ganlab.tasks import TASKS, Experiment
from tests.support.small_data import CPU, cell, use_small_data

KINDS = [kind.name for kind in OUTLIERS.values() if kind.corrupts == "target"]
DONORS = [torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(k)) ** k for k in (1, 2, 4)]


def outcomes(kind: str, rate: float, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Values and probabilities of a pixel of the first channel."""
    values, weights = OUTLIERS[kind].law(DONORS).outcomes(torch.full((1, 3, 1, 1), level), rate)
    return values[:, 0, 0, 0, 0].double().numpy(), weights.double().numpy()


def drawn(kind: str, rate: float, level: float) -> np.ndarray:
    """Pixels of the first channel, as corruption draws them."""
    generator, target = torch.Generator().manual_seed(0), torch.full((3, 96, 96), level)
    images = [corrupt_target(target, kind, rate, generator, DONORS)[0] for _ in range(40)]
    return torch.stack(images).double().flatten().numpy()


@pytest.mark.parametrize("rate", [0.2, 0.7])
@pytest.mark.parametrize("kind", KINDS)
def test_the_law_is_that_of_drawn_outliers(kind, rate):
    values, weights = outcomes(kind, rate, 0.3)
    pixels = drawn(kind, rate, 0.3)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    slack = 0.03  # blobs and words of one image have one colour, so few are drawn
    assert weights @ values == pytest.approx(pixels.mean(), abs=slack)
    assert weights @ values**2 == pytest.approx((pixels**2).mean(), abs=slack)
    for level in (0.1, 0.29, 0.31, 0.6, 0.9):
        assert weights[values <= level].sum() == pytest.approx((pixels <= level).mean(), abs=slack)


def test_mismatch_weighs_images_alike_and_knows_channels():
    small = [torch.full((3, 4, 4), 0.2), torch.stack([torch.full((400, 400), level) for level in (0.9, 0.5, 0.1)])]
    law = OUTLIERS["mismatch"].law(small)
    assert law.points.shape == (32, 3)
    torch.testing.assert_close(law.points.mean(dim=0), torch.tensor([0.55, 0.35, 0.15]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("loss", "kind", "rate", "minimiser"),
    [
        ("l2", "salt", 0.2, 0.8 * 0.3 + 0.2),  # the mean
        ("l2", "impulse", 0.4, 0.6 * 0.3 + 0.4 * 0.5),
        ("l1", "salt", 0.4, 0.3),  # the median is the pixel itself
        ("l1", "salt", 0.6, 1.0),  # and white, where most pixels are
        ("l1", "impulse", 0.8, 0.375),  # 1 - 1 / (2 e), below which less than half lies
        ("l1", "jitter", 0.9, 0.3),
    ],
)
def test_the_averaged_loss_is_least_at_the_minimiser_that_theory_names(loss, kind, rate, minimiser):
    values, weights = outcomes(kind, rate, 0.3)
    of_prediction = find_loss(loss).of_prediction

    def average(p: float) -> float:
        losses = of_prediction(torch.full(values.shape, p, dtype=torch.float64), torch.from_numpy(values))
        return float(losses @ torch.from_numpy(weights))

    grid = np.linspace(0, 1, 401)
    assert grid[np.argmin([average(p) for p in grid])] == pytest.approx(minimiser, abs=1 / 32)


def test_l1_averaged_over_salt_has_the_gradient_of_the_pinball_loss():
    """(1 - e) sign(p - t) - e for p < 1 is 2 (1 - e) times the gradient of pinball at tau = 1 / (2 (1 - e))."""
    rate, draw = 0.4, torch.Generator().manual_seed(0)
    target = torch.rand(2, 3, 5, 5, generator=draw)
    p = torch.rand(2, 3, 5, 5, generator=draw).requires_grad_()
    values, weights = OUTLIERS["salt"].law(()).outcomes(target, rate)
    averaged = sum(w * find_loss("l1").of_prediction(p, v) for w, v in zip(weights, values, strict=True)).sum()
    pinball = find_loss(f"pinball-{1 / (2 * (1 - rate)):.6f}").of_prediction(p, target).sum()
    ours, theirs = (torch.autograd.grad(loss, p)[0] for loss in (averaged, pinball))
    torch.testing.assert_close(ours, 2 * (1 - rate) * theirs, atol=1e-5, rtol=1e-4)


# Trainings


@pytest.mark.parametrize(("task", "kind"), [("sr", "impulse"), ("depth", "missing"), ("restoration", "jitter")])
@pytest.mark.parametrize("head", ["raw", "sigmoid"])
def test_an_expected_loss_is_the_mean_over_many_corruptions(monkeypatch, task, kind, head):
    """Of the untrained network on one batch: the loss with outliers drawn anew 300 times."""
    use_small_data(monkeypatch)
    where = {"head": head, "outlier": kind, "rate": 0.3, "loss": "huber"}
    expected = TASKS[task](cell(task, **where, expected=True), CPU)
    assert torch.equal(expected.train_targets, TASKS[task](cell(task, head=head, loss="huber"), CPU).train_targets)
    given, target = expected.batch(expected.draw(0))
    logit = expected.network(given).detach()
    generator, plain = torch.Generator().manual_seed(1), TASKS[task](cell(task, **where), CPU)
    losses = [
        plain.losses(logit, torch.stack([plain.corrupt(patch, kind, generator) for patch in target]))
        for _ in range(300)
    ]
    mean = torch.stack(losses).mean()
    assert float(expected.losses(logit, target).mean()) == pytest.approx(float(mean), rel=0.05)


def test_a_training_with_an_expected_loss_sees_no_outlier_and_steps_once(monkeypatch):
    use_small_data(monkeypatch)
    task = TASKS["sr"](cell("sr", outlier="salt", rate=0.2, loss="barron-adaptive", head="raw", expected=True), CPU)
    before = [value.clone() for value in task.loss_module.parameters()]
    assert task.step(0).isfinite().all()
    assert any(not torch.equal(a, b) for a, b in zip(before, task.loss_module.parameters(), strict=True))


@pytest.mark.parametrize(
    "change", [{"outlier": "clean", "rate": 0.0}, {"redraw": True}, {"task": "gan", "outlier": "noise"}]
)
def test_an_expected_loss_needs_outliers_of_targets_that_are_not_drawn(change):
    base = {"task": "sr", "dataset": "photographs", "loss": "l1", "lr": 1e-3, "seed": 0, "batch_size": 4, "steps": 10}
    base |= {"outlier": "salt", "rate": 0.2, "expected": True}
    assert Experiment(**base).expected
    with pytest.raises(ValidationError, match="averages a loss over outliers of targets"):
        Experiment(**base | change)
