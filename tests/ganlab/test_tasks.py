"""Tasks: the step is the document's, changes only its own networks, and a seed shares everything but the loss."""

import numpy as np
import pytest
import torch

from ganlab.losses import LOSSES
from ganlab.metrics import luma
from ganlab.networks import build_gan
from ganlab.tasks import Gan, SuperResolution
from ganlab.tasks.patches import Pair, Pairs, gather_patches, stack
from ganlab.tasks.windows import busiest_window, shown_windows

CPU = torch.device("cpu")


def state(network: torch.nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in network.state_dict().values()]


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class Recorder:
    """At the end of each phase: which network changed, and which has gradients."""

    def __init__(self, task: Gan):
        self.task, self.phases = task, {}

    def __call__(self, phase: str) -> None:
        g, d = self.task.generator, self.task.discriminator
        self.phases[phase] = {
            "g": state(g),
            "d": state(d),
            "g_grad": [None if p.grad is None else p.grad.clone() for p in g.parameters()],
            "d_grad": [None if p.grad is None else p.grad.clone() for p in d.parameters()],
        }


@pytest.mark.parametrize("loss", LOSSES)
def test_each_step_changes_only_its_own_network(experiment, loss):
    task = Gan(experiment("gan", loss=loss), CPU)
    for step in range(2):  # the second step starts with gradients left from the first
        recorder = Recorder(task)
        task.step(step, recorder)
        at = recorder.phases
        assert not equal(at["data"]["g"], at["g_optimizer"]["g"])
        assert equal(at["data"]["d"], at["g_optimizer"]["d"])
        for before, after in zip(at["data"]["d_grad"], at["g_optimizer"]["d_grad"], strict=True):
            assert (before is None and after is None) or torch.equal(before, after)
        assert not equal(at["g_optimizer"]["d"], at["d_optimizer"]["d"])
        assert equal(at["g_optimizer"]["g"], at["d_optimizer"]["g"])
        assert equal(at["g_optimizer"]["g_grad"], at["d_optimizer"]["g_grad"])


@pytest.mark.parametrize("loss", LOSSES)
def test_gan_step_is_the_documents_procedure(experiment, loss):
    """The step beside a literal transcription: zero_grad on both, D re-run, everything as the article writes it."""
    task, twin = (Gan(experiment("gan", loss=loss), CPU) for _ in range(2))
    adam = {"lr": 2e-4, "betas": (0.5, 0.999)}
    g_opt = torch.optim.Adam(twin.generator.parameters(), **adam)
    d_opt = torch.optim.Adam(twin.discriminator.parameters(), **adam)

    def adv(logit, label):
        return LOSSES[loss](logit, torch.full_like(logit, label)).mean()

    for step in range(3):
        logged = task.step(step)
        chosen, z, _, _ = twin.draw(step)
        real = 2 * twin.real[chosen] - 1  # the networks work on [-1, 1]
        g_opt.zero_grad()
        g_loss = adv(twin.discriminator(twin.generator(z)), 1.0)
        fake_before = twin.generator(z).detach()
        g_loss.backward()
        g_opt.step()
        d_opt.zero_grad()
        logits = twin.discriminator(real), twin.discriminator(fake_before)
        real_loss, fake_loss = adv(logits[0], 1.0), adv(logits[1], 0.0)
        d_loss = (real_loss + fake_loss) / 2
        d_loss.backward()
        d_opt.step()
        outputs = [1 / (1 + torch.exp(-logit)) for logit in logits]
        means, slopes = [d.mean() for d in outputs], [(d - d**2).mean() for d in outputs]
        expected = torch.stack([g_loss, d_loss, real_loss, fake_loss, *means, *slopes])
        torch.testing.assert_close(logged, expected, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(task.generator.parameters(), twin.generator.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_losses_of_a_seed_share_everything_but_the_loss(experiment):
    for build, task, condition in (
        (Gan, "gan", {"outlier": "noise", "rate": 0.2}),
        (SuperResolution, "sr", {"outlier": "salt", "rate": 0.2}),
    ):
        one, two = (build(experiment(task, loss=loss, **condition), CPU) for loss in ("bce", "l1"))
        for step in (0, 7):
            for a, b in zip(one.draw(step), two.draw(step), strict=True):
                assert torch.equal(a, b)
        networks = ("generator", "discriminator") if task == "gan" else ("network",)
        assert all(equal(state(getattr(one, name)), state(getattr(two, name))) for name in networks)
        other = build(experiment(task, loss="l1", seed=1, **condition), CPU)
        assert not torch.equal(one.draw(0)[0], other.draw(0)[0])


def test_flips_corrupt_the_discriminator_only(experiment):
    task = Gan(experiment("gan", outlier="flip", rate=0.5, batch_size=256), CPU)
    _, _, real_label, fake_label = task.draw(0)
    assert 0.3 < float(real_label.mean()) < 0.7
    assert 0.3 < float(fake_label.mean()) < 0.7
    clean = Gan(experiment("gan", batch_size=256), CPU)
    assert torch.equal(task.draw(0)[1], clean.draw(0)[1])  # the same latents as without flips
    torch.testing.assert_close(
        task.step(0)[0], clean.step(0)[0]
    )  # G's loss before D has learnt: its target is not flipped


def test_noise_replaces_real_images(experiment):
    clean, noisy = (Gan(experiment("gan", **change), CPU) for change in ({}, {"outlier": "noise", "rate": 0.2}))
    changed = (clean.real != noisy.real).flatten(1).any(dim=1)
    assert int(changed.sum()) == round(0.2 * len(clean.real))
    chosen, _, real_label, fake_label = noisy.draw(0)
    assert (real_label.unique().item(), fake_label.unique().item()) == (1, 0)  # no label is flipped
    assert not torch.equal(chosen, noisy.draw(1)[0])


def test_patches_are_cut_at_the_drawn_positions():
    images, sizes = stack([torch.arange(2 * 5 * 6.0).view(2, 5, 6), torch.arange(2 * 7 * 4.0).view(2, 7, 4)])
    assert sizes.tolist() == [[5, 6], [7, 4]]
    patches = gather_patches(images, torch.tensor([1, 0]), torch.tensor([[4, 1], [2, 3]]), 3)
    assert torch.equal(patches[0], images[1, 4:7, 1:4].permute(2, 0, 1))
    assert torch.equal(patches[1], images[0, 2:5, 3:6].permute(2, 0, 1))
    assert patches.is_contiguous(memory_format=torch.channels_last)


def test_sr_patches_pair_and_stay_inside(experiment):
    task = SuperResolution(experiment("sr", batch_size=64), CPU)
    for images, scale in ((task.train_inputs, 1), (task.train_targets, 2)):  # the padding must never be seen
        for image, (height, width) in zip(images, scale * task.sizes, strict=True):
            image[height:] = image[:, width:] = torch.nan
    low, target = task.batch(task.draw(3))
    assert low.shape == (64, 3, 8, 8)
    assert target.shape == (64, 3, 16, 16)
    inside = torch.nn.functional.avg_pool2d(target, 2)  # the low resolution is close to the block means
    assert float((inside - low).abs().mean()) < 0.02
    assert low.isfinite().all()
    assert target.isfinite().all()


def test_redrawn_corruption_changes_from_step_to_step_and_is_the_same_for_every_loss(experiment):
    condition = {"outlier": "salt", "rate": 0.3, "redraw": True}
    one, two = (SuperResolution(experiment("sr", loss=loss, **condition), CPU) for loss in ("bce", "l1"))
    clean = SuperResolution(experiment("sr"), CPU)
    for step in range(2):
        (_, first), (_, second), (_, unspoilt) = (task.batch(task.draw(step)) for task in (one, two, clean))
        assert torch.equal(first, second)
        corrupted = (first != unspoilt).any(dim=1)
        assert 0.15 < float(corrupted.float().mean()) < 0.35  # 0.3, less the pixels that were white already
    assert torch.equal(one.train_targets, clean.train_targets)


def test_sr_readouts_are_complete_and_start_at_bicubic(experiment):
    task = SuperResolution(experiment("sr", lr=1e-9, outlier="salt", rate=0.2), CPU)
    task.step(0)
    task.evaluate(1, {})
    readouts = task.conclude()
    assert set(readouts.values) == set(task.columns)
    assert readouts.values["psnr_y_db"] == pytest.approx(readouts.values["bicubic_psnr_y_db"], abs=0.02)
    assert [image["image"] for image in readouts.images] == ["camera", "china", "brick", "immunohistochemistry"]
    assert readouts.values["psnr_db"] == pytest.approx(np.mean([image["psnr_db"] for image in readouts.images]))
    assert readouts.picture.shape == (128, 192, 3)
    assert readouts.picture.dtype == np.uint8


def test_gan_readouts_are_complete(experiment):
    for condition in ({}, {"outlier": "noise", "rate": 0.2}, {"outlier": "flip", "rate": 0.2}):
        task = Gan(experiment("gan", **condition), CPU)
        recent = dict(zip(task.logged, task.step(0).tolist(), strict=True))
        task.evaluate(1, recent)
        readouts = task.conclude()
        assert set(readouts.values) == set(task.columns)
        empty = {key for key, value in readouts.values.items() if value is None}
        assert empty == ({"outlier_share"} if condition.get("outlier") == "flip" else set())
        assert readouts.picture.shape == (64, 64)


def build(role: str, **sizes) -> torch.nn.Module | None:
    """A generator of one's own; the discriminator is the shipped one."""
    if role != "generator":
        return None
    pixels = sizes["size"] ** 2
    layers = (
        torch.nn.Linear(sizes["latent"], pixels),
        torch.nn.Tanh(),
        torch.nn.Unflatten(1, (1, sizes["size"], sizes["size"])),
    )
    return torch.nn.Sequential(*layers)


def test_a_user_generator(experiment):
    settings = {"width": 8, "latent": 8, "evaluation_images": 100}
    plain = Gan(experiment("gan", settings=settings), CPU)
    task = Gan(experiment("gan", settings=settings | {"network": "tests.ganlab.test_tasks:build"}), CPU)
    assert [weight.shape for weight in task.generator.parameters()] == [(64, 8), (64,)]
    assert equal(state(task.discriminator), state(plain.discriminator))
    before = state(task.generator)
    task.step(0)
    assert not equal(before, state(task.generator))
    assert task.generate(5).shape == (5, 1, 8, 8)
    with torch.no_grad():
        for weight in task.generator.parameters():
            weight.zero_()
    assert torch.equal(task.generate(5), torch.full((5, 1, 8, 8), 0.5))  # tanh(0) = 0 is grey


class Indexed(torch.nn.Module):
    """A network with a parameter that is no number to train, beside one that is frozen and the rest."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network, self.order = network, torch.nn.Parameter(torch.arange(3), requires_grad=False)
        next(network.parameters()).requires_grad_(False)

    def forward(self, given):
        return self.network(given)


def build_partly_frozen(role: str, size: int, latent: int, **sizes) -> torch.nn.Module:
    return Indexed(build_gan(size, latent, 8, "none", 0)[role == "discriminator"])


@pytest.mark.parametrize(("loss", "head"), [("bce", "sigmoid"), ("relativistic", "raw"), ("wasserstein", "raw")])
@pytest.mark.parametrize(("optimizer", "lr"), [("adam", 1e-3), ("sgd", 1.0)])
def test_frozen_user_parameters_stay_and_the_rest_is_trained(experiment, loss, head, optimizer, lr):
    settings = {
        "width": 8,
        "latent": 8,
        "evaluation_images": 100,
        "network": "tests.ganlab.test_tasks:build_partly_frozen",
    }
    task = Gan(experiment("gan", loss=loss, head=head, optimizer=optimizer, lr=lr, settings=settings), CPU)
    networks = task.generator, task.discriminator
    before = [[weight.detach().clone() for weight in network.parameters()] for network in networks]
    for step in range(2):
        task.step(step)
    assert task.procedure_ok
    for network, old in zip(networks, before, strict=True):
        moved = [not torch.equal(*pair) for pair in zip(network.parameters(), old, strict=True)]
        frozen = [not weight.requires_grad for weight in network.parameters()]
        assert frozen.count(True) == 2
        assert not any(a and b for a, b in zip(moved, frozen, strict=True))
        # all the rest moves; only pairs do not feel the bias of D's last layer
        assert moved.count(True) >= frozen.count(False) - (loss == "relativistic")


@pytest.mark.parametrize("shape", [(64, 64), (64, 1), (1, 64)])
def test_busiest_window_finds_the_texture(shape):
    """Noise, or stripes either way, in a frame of grey."""
    image = torch.full((3, 200, 220), 0.5)
    image[:, 100:164, 40:104] = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    top, left, energy = busiest_window(image, 64)
    assert max(abs(top - 100), abs(left - 40)) <= 4
    # every pixel has an edge to the one above and to the one beside it
    y = luma(image[:, 100:164, 40:104])
    edges = y.diff(dim=0).square().mean() + y.diff(dim=1).square().mean()
    assert energy == pytest.approx(float(edges), rel=0.05)


def test_the_two_busiest_images_that_are_large_enough_are_shown():
    noise = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    images = {"calm": noise / 9, "busy": noise / 2, "busiest": noise, "small": noise[:, :63]}
    pairs = Pairs({}, {}, {name: Pair(image, image) for name, image in images.items()})
    assert shown_windows(pairs, 64) == {"busiest": (0, 0), "busy": (0, 0)}
    assert list(shown_windows(pairs, 64)) == ["busiest", "busy"]


@pytest.mark.parametrize("loss", LOSSES)
def test_cuda_agrees_with_cpu(experiment, cuda, loss):
    """Three steps on both devices from the same seed; convolutions differ by rounding only (TF32 is off)."""
    from bench.training.numerics import configure

    configure(cuda)
    for build, task in ((Gan, "gan"), (SuperResolution, "sr")):
        here, there = build(experiment(task, loss=loss), CPU), build(experiment(task, loss=loss), cuda)
        for step in range(3):
            torch.testing.assert_close(there.step(step).cpu(), here.step(step), rtol=2e-3, atol=2e-4)
