"""Networks: shapes, the start at bicubic, and initial weights that depend only on the seed."""

import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest
import torch
from torch import nn

from ganlab.networks import MARGIN, FlattenPixels, build_gan, build_super_resolver, downscale, upscale, user_network
from ganlab.plugins import PluginError


@pytest.mark.parametrize("size", [8, 28, 32])
@pytest.mark.parametrize("norm", ["batch", "none", "spectral"])
def test_gan_shapes(size, norm):
    g, d = build_gan(size, latent=16, width=8, norm=norm, seed=0)
    images = g(torch.randn(5, 16))
    assert images.shape == (5, 1, size, size)
    assert images.abs().max() <= 1
    assert d(images).shape == (5,)


def test_weights_depend_only_on_the_seed():
    before = torch.random.get_rng_state()
    (g1, d1), (g2, d2), (g3, _) = (build_gan(8, 16, 8, "batch", seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())  # the global state is put back
    for a, b in ((g1, g2), (d1, d2)):
        assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(g1.project.weight, g3.project.weight)


def test_a_forward_pass_changes_nothing_in_the_discriminator():
    _, d = build_gan(8, 16, 8, "batch", seed=0)
    before = {name: value.clone() for name, value in d.state_dict().items()}
    d(torch.randn(4, 1, 8, 8))
    assert all(torch.equal(before[name], value) for name, value in d.state_dict().items())


@pytest.mark.parametrize("head", ["sigmoid", "raw"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_starts_at_bicubic(head, scale):
    network = build_super_resolver(channels=8, blocks=1, scale=scale, head=head, seed=0)
    low = torch.rand(2, 3, 10, 12)
    logit = network(low)
    assert logit.shape == (2, 3, 10 * scale, 12 * scale)
    prediction = logit.sigmoid() if head == "sigmoid" else logit
    margin = MARGIN
    expected = upscale(low, scale)
    torch.testing.assert_close(prediction, expected.clamp(margin, 1 - margin) if head == "sigmoid" else expected)


def test_heads_share_their_weights():
    sigmoid, raw = (build_super_resolver(8, 1, 2, head, seed=1) for head in ("sigmoid", "raw"))
    assert all(torch.equal(a, b) for a, b in zip(sigmoid.parameters(), raw.parameters(), strict=True))


def test_downscale_is_8_bit_and_keeps_a_constant():
    low = downscale(torch.full((3, 12, 8), 0.4), 2)
    assert low.shape == (3, 6, 4)
    torch.testing.assert_close(low, torch.full((3, 6, 4), 102 / 255))  # 0.4 x 255 = 102 exactly
    levels = 255 * downscale(torch.rand(3, 12, 8), 2)
    torch.testing.assert_close(levels, levels.round())


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (1, 3, 17, 40)])
def test_upscale_is_bicubic_interpolation_also_under_autocast(shape, scale):
    low = torch.rand(shape)
    expected = torch.nn.functional.interpolate(low, scale_factor=scale, mode="bicubic", antialias=True)
    for image in (low, low.contiguous(memory_format=torch.channels_last)):
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(upscale(image, scale), expected, atol=1e-6, rtol=0)


def test_flattening_pixels_copies_nothing_in_channels_last_memory():
    images = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    flat = FlattenPixels()(images)
    assert flat.data_ptr() == images.data_ptr()
    assert torch.equal(flat[1, :3], images[1, :, 0, 0])  # a pixel's channels stay together


def test_bicubic_kernel_is_that_of_imresize():
    # Column 7 lies 2.5, 0.5, 1.5, 3.5 pixels from the centres of output columns 2, 3, 4, 5. imresize weighs it by
    # k(d/2)/2 with the cubic kernel at a = -1/2: k(1.25), k(0.25), k(0.75), k(1.75)
    image = torch.zeros(1, 1, 16, 16)
    image[..., 7] = 1
    low = torch.nn.functional.interpolate(image, scale_factor=0.5, mode="bicubic", antialias=True)[0, 0, 4]
    weights = torch.tensor([0.0, 0.0, -0.0703125, 0.8671875, 0.2265625, -0.0234375, 0.0, 0.0]) / 2
    torch.testing.assert_close(low, weights, atol=1e-6, rtol=0)


def test_weights_of_a_seed_are_the_same_however_many_threads_build():
    """PyTorch's initialisers draw from one global state; a pack of cells builds its networks in threads."""

    def weights(seed: int) -> list[torch.Tensor]:
        return [value for network in build_gan(28, 64, 16, "spectral", seed) for value in network.state_dict().values()]

    alone = [weights(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(weights, range(8)))
    for ours, theirs in zip(together, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.fixture
def mine(monkeypatch):
    """A module of the user's own, `mine`, with the given function as its `build`."""

    def define(build) -> str:
        module = ModuleType("mine")
        module.build = build
        monkeypatch.setitem(sys.modules, "mine", module)
        return "mine:build"

    return define


def restorer(seed: int, reference: str) -> nn.Module | None:
    return user_network(reference, "restorer", (2, 3, 8, 8), (2, 3, 8, 8), seed, width=4)


def test_a_network_of_the_users_is_built_from_the_seed_and_left_as_it_was_built(mine):
    def build(role, width, **sizes):
        assert (role, sizes) == ("restorer", {})
        return nn.Sequential(nn.LazyConv2d(width, 3, padding=1), nn.BatchNorm2d(width), nn.Conv2d(width, 3, 1))

    before = torch.random.get_rng_state()
    one, same, other = (restorer(seed, mine(build)) for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.training
    assert one[1].num_batches_tracked == 0  # trying it out counted no batch
    assert torch.equal(one[1].running_var, torch.ones(4))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one[2].weight, other[2].weight)


def test_a_build_may_leave_a_role_to_the_shipped_network_and_use_its_builders(mine):
    assert restorer(0, mine(lambda role, **sizes: None)) is None
    made = user_network(
        mine(lambda role, **sizes: build_gan(8, 16, 8, "none", 0)[0]), "generator", (2, 16), (2, 1, 8, 8), 0
    )
    assert made(torch.zeros(3, 16)).shape == (3, 1, 8, 8)


class Flat(nn.Module):
    """Works on patches of one size alone."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3 * 8 * 8, 3 * 8 * 8)

    def forward(self, images):
        return self.linear(images.flatten(1)).reshape(images.shape)


class Detached(nn.Conv2d):
    def forward(self, images):
        return super().forward(images).detach()


class Numb(nn.Conv2d):
    def forward(self, images):
        return super().forward(images) / 0


unseeded = torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda role, depth: None, "build('restorer', width=4) fails: TypeError: "),
        (lambda role, **sizes: 1 / 0, "fails: ZeroDivisionError: division by zero ("),
        (lambda role, **sizes: "network", "gives str; return a torch.nn.Module that can be trained, or None"),
        (lambda role, **sizes: nn.ReLU(), "gives a module without parameters; return"),
        (
            lambda role, **sizes: nn.Conv2d(1, 3, 1),
            "here (2, 3, 8, 8) to (2, 3, 8, 8); in evaluation it fails: Runtime",
        ),
        (lambda role, **sizes: nn.Conv2d(3, 1, 1), "a restorer maps corrupted images (n, 3, h, w) in [0, 1] to logits"),
        (lambda role, **sizes: nn.Conv2d(3, 1, 1), "but in evaluation it gives (2, 1, 8, 8)"),
        (lambda role, **sizes: Flat(), "here (1, 3, 10, 14) to (1, 3, 10, 14); in evaluation it fails"),
        (lambda role, **sizes: Numb(3, 3, 1), "but in evaluation zeros give torch.float32 that is not finite"),
        (lambda role, **sizes: Detached(3, 3, 1), "what its restorer gives depends on no parameter"),
        (lambda role, **sizes: nn.utils.skip_init(nn.Conv2d, 3, 3, 1).requires_grad_(False), "are frozen; return a"),
        (lambda role, **sizes: drawn_elsewhere(), "two restorers of one seed start from different weights"),
    ],
)
def test_defects_of_a_user_network_are_one_line(mine, build, says):
    with pytest.raises(PluginError) as mistake:
        restorer(0, mine(build))
    assert str(mistake.value).startswith("mine:build: ")
    assert says in str(mistake.value)
    assert "\n" not in str(mistake.value)


def drawn_elsewhere() -> nn.Module:
    network = nn.Conv2d(3, 3, 1)
    nn.init.normal_(network.weight, generator=unseeded)
    return network
