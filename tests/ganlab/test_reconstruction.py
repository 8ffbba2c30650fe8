"""Reconstruction tasks: each learns, is scored correctly, and ignores unknown pixels."""

import hashlib

import numpy as np
import pytest
import torch

from bench.plan.block import Block
from bench.training.numerics import configure
from bench.training.steps import learning_rate
from ganlab import metrics, theory
from ganlab.datasets import Frames, Photographs, load
from ganlab.outliers import CLEAN
from ganlab.tasks import TASKS, Experiment, SuperResolution, reconstruction
from ganlab.tasks.interpolation import average, triplets
from ganlab.tasks.patches import fit
from tests.support.small_data import CPU, SCENES, cell, use_data, use_small_data

DATA = {"sr": "photographs", "depth": "stereo", "interpolation": "motion", "restoration": "photographs"}
NEW = ("depth", "interpolation", "restoration")
USERS = """
import torch

def build(role, **sizes):
    assert role == "depth" and set(sizes) == {"channels", "blocks", "scale", "head"}, (role, sizes)
    return torch.nn.Conv2d(6, 1, 3, padding=1)
"""


def experiment(task: str, **changes) -> Experiment:
    base = {
        "task": task,
        "dataset": DATA[task],
        "loss": "l2",
        "head": "raw",
        "lr": 1e-3,
        "seed": 0,
        "batch_size": 8,
        "steps": 100,
        "evaluations": 2,
        "schedule": "cosine",
        "scale": TASKS[task].default_scale,
        "value_range": 1,
    }
    return Experiment(**(base | changes))


def trained(plan: Experiment):
    configure(CPU)
    task = TASKS[plan.task](plan, CPU)
    for step in range(plan.steps):
        task.set_learning_rate(learning_rate(plan, step))
        task.step(step)
    task.evaluate(plan.steps, {})
    return task


# Super-resolution, as it was before the other tasks came


@pytest.mark.parametrize(
    ("condition", "draws", "first", "last", "psnr"),
    [
        ({"outlier": "salt", "rate": 0.2, "loss": "l1", "head": "raw"}, "60b4a8fae5add576", 0.151497, 0.11626, 32.866),
        (
            {"outlier": "impulse", "rate": 0.3, "loss": "l2", "redraw": True},
            "a2b0b3067cfb2e7f",
            0.039028,
            0.030815,
            23.769,
        ),
    ],
)
def test_super_resolution_results_are_unchanged(condition, draws, first, last, psnr, monkeypatch):
    """Draws and corruption to the bit; losses and PSNR to what convolutions differ by from one processor to another.

    On the split of the first reference results, which did not turn.
    """
    train = ("astronaut", "china", "motorcycle_left", "brick", "grass", "gravel", "coins", "moon")
    parts = ((*train, "immunohistochemistry"), ("coffee",), ("camera", "chelsea", "flower", "rocket"))
    data = load("photographs", Photographs)
    images = data.train | data.validation | data.test
    fixed = Photographs("photographs", *({name: images[name] for name in part} for part in parts), credits=())
    use_data(monkeypatch, {Photographs: fixed})
    settings = {"channels": 8, "blocks": 1, "patch": 8}
    base = {"lr": 3e-3, "batch_size": 4, "steps": 20, "settings": settings, "head": "sigmoid"}
    plan = experiment("sr", **base | condition)
    task = SuperResolution(plan, CPU)
    digest = hashlib.sha256((255 * task.train_targets).round().byte().numpy().tobytes())
    for step in (0, 7):
        for part in task.draw(step):
            digest.update((255 * part.double()).round().int().contiguous().numpy().tobytes())
    log = [task.step(step).item() for step in range(20)]
    task.evaluate(20, {})
    assert digest.hexdigest()[:16] == draws
    assert (log[0], log[-1]) == (pytest.approx(first, rel=1e-4), pytest.approx(last, rel=1e-3))
    assert task.conclude().values["psnr_y_db"] == pytest.approx(psnr, abs=0.02)


# The new tasks


@pytest.mark.parametrize("task", NEW)
def test_a_short_training_beats_the_baseline(task):
    settings = {"input_outlier": "impulse", "input_rate": 0.3} if task == "restoration" else {}
    steps = 300 if task == "interpolation" else 100  # an average of frames is hard to beat by 0.1 dB
    plan = experiment(task, settings=settings, lr=3e-3, loss="l1" if task == "depth" else "l2", steps=steps)
    readouts = trained(plan).conclude()
    assert set(readouts.values) == set(TASKS[task].columns)
    assert readouts.values["psnr_db"] > readouts.values["baseline_psnr_db"] + 0.1
    assert len(readouts.images) == {"depth": 24, "interpolation": 16, "restoration": 4}[task]
    assert readouts.picture.shape == (2 * TASKS[task].window, 3 * TASKS[task].window, 3)
    target, _, prediction = np.split(readouts.picture, 3, axis=1)
    if task == "depth":  # what is not scored is black, and nothing else is
        assert 0.01 < (target == 0).mean() < 0.3
        assert (prediction[target == 0] == 0).all()
    for column in set(readouts.values) - {"bce_excess", "bias_mse", "wobble_db"}:
        assert readouts.values[column] == pytest.approx(np.mean([image[column] for image in readouts.images]))


@pytest.mark.parametrize("head", ["raw", "sigmoid"])
@pytest.mark.parametrize("task", ["interpolation", "restoration"])
def test_the_untrained_network_is_its_baseline(monkeypatch, task, head):
    use_small_data(monkeypatch)
    readouts = TASKS[task](cell(task, head=head), CPU)
    for name in readouts.pairs.test:
        margin = 0.011 if head == "sigmoid" else 1e-6  # behind a sigmoid the guess keeps away from black and white
        torch.testing.assert_close(readouts.reconstruct(name), readouts.baseline(name), rtol=0, atol=margin + 1 / 255)


@pytest.mark.parametrize(
    ("task", "baselines"),
    [
        ("sr", {"psnr_y_db": "bicubic_psnr_y_db"}),
        ("depth", {"psnr_db": "baseline_psnr_db"}),
        ("interpolation", {"psnr_db": "baseline_psnr_db", "psnr_y_db": "baseline_psnr_y_db"}),
        ("restoration", {"psnr_db": "baseline_psnr_db", "psnr_y_db": "baseline_psnr_y_db"}),
    ],
)
def test_a_baseline_is_scored_like_predictions(monkeypatch, task, baselines):
    use_small_data(monkeypatch)
    readouts = TASKS[task](cell(task), CPU)
    assert {own for own in readouts.columns if own.startswith(("baseline", "bicubic"))} == {*baselines.values()}
    assert readouts.main_metric in baselines
    for name in readouts.pairs.test:
        score = readouts.score(name, readouts.baseline(name))
        assert all(score[own] == score[baseline] for own, baseline in baselines.items())


@pytest.mark.parametrize("task", NEW)
def test_losses_of_a_seed_share_everything_but_the_loss(monkeypatch, task):
    use_small_data(monkeypatch)
    condition = {"outlier": "wrong-match", "rate": 0.3}
    one, two = (TASKS[task](cell(task, loss=loss, **condition), CPU) for loss in ("l1", "l2"))
    other = TASKS[task](cell(task, seed=1, **condition), CPU)
    for a, b, c in zip(one.batch(one.draw(3)), two.batch(two.draw(3)), other.batch(other.draw(3)), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
    pairs = zip(one.network.parameters(), two.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("task", NEW)
def test_targets_are_corrupted_and_tests_are_clean(monkeypatch, task):
    use_small_data(monkeypatch)
    clean, corrupted = (
        TASKS[task](cell(task, **condition), CPU) for condition in ({}, {"outlier": "salt", "rate": 0.4})
    )
    share = float((corrupted.train_targets != clean.train_targets).any(dim=-1).float().mean())
    inside = sum(t[0].numel() for t in clean.clean_targets) / clean.train_targets[..., 0].numel()  # less the padding
    assert share == pytest.approx(0.4 * inside, abs=0.03)
    assert torch.equal(clean.train_inputs, corrupted.train_inputs)
    for name, pair in clean.pairs.test.items():
        assert torch.equal(pair.target, corrupted.pairs.test[name].target)


# Interpolation


def test_triplets_are_outer_frames_and_the_one_between():
    frames = torch.arange(7.0)[:, None, None, None].expand(7, 3, 5, 6)
    pairs = triplets({"short": frames[:3], "long": frames}, apart=2, most=8, outer={})
    assert list(pairs) == ["short", "long@1", "long@3", "long@5"]
    for name, middle in (("short", 1), ("long@1", 1), ("long@5", 5)):
        given, target, known = pairs[name]
        assert given.shape == (6, 4, 6)  # sides are even
        assert (given[:3].unique(), given[3:].unique(), target.unique()) == (middle - 1, middle + 1, middle)
        assert known is None
    assert list(triplets({"long": frames}, apart=1, most=3, outer={})) == [
        "long@1",
        "long@3",
        "long@5",
    ]  # evenly spaced
    assert average(pairs["long@5"].given[None]).unique().item() == 5  # of 4 and 6


def test_sequences_of_many_frames_and_sizes_can_be_trained_on(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    video = {"a": torch.rand(5, 3, 41, 50, generator=draw), "b": torch.rand(4, 3, 30, 37, generator=draw)}
    use_small_data(monkeypatch)
    monkeypatch.setitem(SCENES, Frames, Frames("motion", video, video, video, ()))
    task = TASKS["interpolation"](cell("interpolation"), CPU)
    assert list(task.pairs.train) == ["a@1", "a@2", "a@3", "b@1", "b@2"]
    task.step(0)
    task.evaluate(1, {})
    readouts = task.conclude()
    assert [image["image"] for image in readouts.images] == ["a@1", "a@3", "b"]
    assert (readouts.picture, readouts.layout) == (None, {})  # no frame is as large as a tile of a picture


# Restoration


def test_inputs_and_targets_are_corrupted_independently(monkeypatch):
    use_small_data(monkeypatch)
    settings = {"channels": 8, "blocks": 1, "patch": 8, "input_outlier": "salt", "input_rate": 0.3}
    task = TASKS["restoration"](cell("restoration", settings=settings, outlier="salt", rate=0.5), CPU)
    given, target = (part[:, :40, :40, 0] for part in (task.train_inputs, task.train_targets))
    shares = (given == 1).float().mean(), (target == 1).float().mean(), ((given == 1) & (target == 1)).float().mean()
    assert tuple(map(float, shares)) == pytest.approx((0.3, 0.5, 0.15), abs=0.03)


def test_test_inputs_are_the_same_for_every_seed_and_not_clean(monkeypatch):
    use_small_data(monkeypatch)
    one, two = (TASKS["restoration"](cell("restoration", seed=seed, lr=seed + 1e-3), CPU) for seed in (0, 1))
    assert not torch.equal(one.train_inputs, two.train_inputs)
    for name, pair in one.pairs.test.items():
        assert torch.equal(pair.given, two.pairs.test[name].given)
        assert not torch.equal(pair.given, pair.target)
        score = one.score(name, pair.given)
        assert score["psnr_db"] == pytest.approx(score["baseline_psnr_db"], abs=0.05)  # in 8 bits
        assert score["psnr_db"] < 20


def test_redraw_also_draws_inputs_with_clean_targets(monkeypatch):
    use_small_data(monkeypatch)
    settings = {"channels": 8, "blocks": 1, "patch": 8, "input_outlier": "salt", "input_rate": 0.3}
    task = TASKS["restoration"](cell("restoration", settings=settings, redraw=True), CPU)
    given, target = task.batch(task.draw(0))
    assert torch.equal(torch.where(given == 1, 1.0, target), given)  # what is not corrupted is the target
    assert float((given == 1).float().mean()) == pytest.approx(0.3, abs=0.1)
    again, _ = task.batch(task.draw(0))
    assert torch.equal(given, again)
    block = {
        "task": "restoration",
        "dataset": "photographs",
        "loss": "l1",
        "lr": 1e-3,
        "seeds": 1,
        "steps": 1,
        "evaluations": 1,
        "batch_size": 2,
        "redraw": True,
        "outliers": {CLEAN: 0, "salt": 0.2},
    }
    assert [cell.redraw for cell in Block(**block).cells()] == [True, True]
    block |= {"task": "interpolation", "dataset": "motion"}
    assert [cell.redraw for cell in Block(**block).cells()] == [False, True]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input_outlier": "sault"}, "did you mean 'salt'"),
        ({"input_outlier": "noise"}, "outlier kind of inputs 'noise'"),
        ({"input_outlier": "salt", "input_rate": 0.0}, "only clean has"),
        ({"patch": 7}, "multiple of 2"),
    ],
)
def test_invalid_settings_are_rejected_in_one_line(settings, words):
    block = {
        "task": "restoration",
        "dataset": "photographs",
        "loss": "l1",
        "lr": 1e-3,
        "seeds": 1,
        "steps": 1,
        "evaluations": 1,
        "batch_size": 2,
        "settings": settings,
    }
    with pytest.raises(ValueError, match=words):
        Block(**block)


def test_fit_cuts_sides_to_multiples():
    assert fit(torch.zeros(2, 3, 11, 13), 4).shape == (2, 3, 8, 12)


def test_the_network_is_the_users_where_one_is_named(monkeypatch, tmp_path):
    use_small_data(monkeypatch)
    (tmp_path / "mynet.py").write_text(USERS)
    monkeypatch.chdir(tmp_path)
    settings = {"channels": 8, "blocks": 1, "patch": 8, "network": "mynet:build"}
    task = TASKS["depth"](cell("depth", settings=settings), CPU)
    assert isinstance(task.network, torch.nn.Conv2d)
    before = task.network.weight.detach().clone()
    task.step(0)
    assert not torch.equal(task.network.weight, before)
    task.evaluate(1, {})
    assert set(task.conclude().values) == set(task.columns)


def test_logits_in_bfloat16_are_trained_on_and_scored_in_single_precision(monkeypatch):
    use_small_data(monkeypatch)
    task, logits = TASKS["depth"](cell("depth", loss="bce", head="sigmoid"), CPU), []

    def in_half(network, given, logit):  # as a network of the user's own may give them
        logits.append(logit.bfloat16())
        return logits[-1]

    task.network.register_forward_hook(in_half)
    loss = task.step(0)
    drawn = task.draw(0)
    expected = task.mean(task.loss(logits[-1].detach().float(), task.batch(drawn)[1], "sigmoid", 1), drawn)
    assert torch.equal(loss, expected[None])
    prediction = task.reconstruct(next(iter(task.pairs.test)))
    assert torch.equal(prediction, logits[-1][0].float().sigmoid())


def test_a_network_learns_in_training_mode_and_is_tested_in_evaluation_mode(monkeypatch):
    use_small_data(monkeypatch)
    task, modes = TASKS["sr"](cell("sr"), CPU), []
    task.network.register_forward_hook(lambda network, *_: modes.append(network.training))
    for step in range(2):
        task.step(step)
        task.evaluate(step + 1, {})
    assert modes == [True, False, True, False]  # one validation photograph


def test_parameters_of_a_loss_are_trained(monkeypatch):
    use_small_data(monkeypatch)
    task = TASKS["interpolation"](cell("interpolation", loss="barron-adaptive", head="raw"), CPU)
    before = [weight.detach().clone() for weight in task.loss_module.parameters()]
    assert before
    task.step(0)
    assert any(not torch.equal(a, b) for a, b in zip(before, task.loss_module.parameters(), strict=True))


def test_training_pixels_are_ranked_once_for_all_test_images(monkeypatch):
    use_small_data(monkeypatch)
    task, asked = TASKS["sr"](cell("sr", outlier="mismatch", rate=0.8), CPU), []

    def levels(*given):
        asked.append(given)
        return theory.median_levels(*given)

    monkeypatch.setattr(reconstruction, "median_levels", levels)
    task.evaluate(1, {})
    images = task.conclude().images
    assert (len(images), len(asked)) == (2, 1)
    pixels = torch.cat([image.flatten(1) for image in task.clean_targets], dim=1)
    low, high = (pixels.quantile(share, dim=1)[:, None, None] for share in (0.375, 0.625))
    for image in images:
        target = metrics.crop_border(task.pairs.test[image["image"]].target, task.border)
        off = target - torch.minimum(torch.maximum(target, low), high)
        assert image["clipping_mse"] == pytest.approx(float(off.square().mean()), rel=1e-4)
