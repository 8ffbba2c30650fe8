"""Outliers: each kind does what its definition says, at its rate, the same for every loss of a seed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ganlab import metrics
from ganlab.outliers import CLEAN, OUTLIERS, TILE, contaminate, corrupt_target, flip_labels, pull_mse
from ganlab.seeds import generator

TARGETS = [kind.name for kind in OUTLIERS.values() if kind.corrupts == "target"]


DONORS = [torch.full((3, 500, 480), 0.95), torch.full((3, 450, 500), 0.97)]  # brighter than any target: all is seen


def corrupt(target, kind, rate, draw):
    return corrupt_target(target, kind, rate, draw, DONORS)


@pytest.fixture
def target():
    return torch.rand(3, 120, 140, generator=generator(7, "target")) * 0.8 + 0.1  # never exactly 0 or 1


@pytest.mark.parametrize("kind", [name for name in TARGETS if name != "jitter"])
@pytest.mark.parametrize("rate", [0.05, 0.4])
def test_rate(kind, rate, target):
    size = {"mismatch": TILE**2, "overlay": 100, "missing": 100, "wrong-match": 100}.get(
        kind, 1
    )  # pixels that are struck together
    target = torch.nn.functional.interpolate(target[None], scale_factor=3)[0]
    changed = (corrupt(target, kind, rate, generator(0, "c")) != target).all(dim=0).float().mean()
    # binomial over 151,200 pixels: five standard deviations
    assert float(changed) == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) * size / 151_200))


@pytest.mark.parametrize("kind", ["overlay", "missing", "wrong-match"])
@pytest.mark.parametrize("rate", [0.05, 0.25, 0.5])
def test_the_expected_share_is_the_rate_however_small_the_image(kind, rate):
    # Of a patch of 32 x 32 pixels a single stamp is up to half: to stop once the share is reached covers far more
    target, draw = torch.full((1, 32, 32), -1.0), generator(0, "c")
    shares = torch.stack([(corrupt(target, kind, rate, draw) != target).double().mean() for _ in range(100)])
    assert float(shares.mean()) == pytest.approx(rate, abs=3 * float(shares.std()) / np.sqrt(100))


@pytest.mark.parametrize("kind", TARGETS)
@given(rate=st.floats(0, 1), seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_stays_in_range_and_strikes_all_channels_alike(kind, rate, seed):
    target = torch.rand(3, 9, 11, generator=generator(seed, "t"))
    corrupted = corrupt(target, kind, rate, generator(seed, "c"))
    assert corrupted.min() >= 0
    assert corrupted.max() <= 1
    changed = corrupted != target
    if kind != "jitter":  # jitter of a pixel near 0 may round to nothing in one channel
        assert torch.equal(changed.any(dim=0), changed.all(dim=0))


@pytest.mark.parametrize("kind", TARGETS)
def test_mean_of_a_corrupted_pixel(kind):
    target = torch.full((3, 400, 400), 0.3)
    rate = 0.4
    mean = float(corrupt(target, kind, rate, generator(1, "c")).mean())
    mu = OUTLIERS[kind].mean
    if callable(mu):
        mu = float(mu(DONORS).mean())
    expected = 0.3 if mu is None else (1 - rate) * 0.3 + rate * mu
    # 160,000 pixels of standard deviation at most 0.5: 3 sigma; fewer independent ones where whole patches are struck
    assert mean == pytest.approx(
        expected, abs={"overlay": 0.02, "mismatch": 0.06, "missing": 0.004, "wrong-match": 0.02}.get(kind, 0.004)
    )


def test_values(target):
    assert set(corrupt_target(target, "salt", 1.0, generator(0, "c")).unique().tolist()) == {1.0}
    assert set(corrupt_target(target, "salt-pepper", 1.0, generator(0, "c")).unique().tolist()) == {0.0, 1.0}
    assert corrupt_target(target, CLEAN, 0.0, generator(0, "c")) is target
    jittered = corrupt_target(target, "jitter", 0.5, generator(0, "c"))
    assert float(((jittered - target).abs() / torch.minimum(target, 1 - target)).max()) <= 0.5 + 1e-5


def test_overlays_are_opaque_and_coloured():
    target = torch.zeros(3, 200, 200)
    covered = corrupt(target, "overlay", 0.25, generator(0, "c"))
    colours = covered.flatten(1).T.unique(dim=0)
    assert 20 < len(colours) < 2000  # as many as there are rectangles and words, not one for each pixel
    assert not torch.equal(covered[0], covered[1])


@pytest.mark.parametrize("kind", ["missing", "wrong-match"])
def test_wrong_disparities_come_in_blobs(kind):
    target = torch.full((1, 200, 200), 0.6)
    struck = corrupt(target, kind, 0.2, generator(0, "c"))
    hit = struck != target
    blobs, count = ndimage.label(hit[0].numpy())
    assert float(hit.float().mean()) == pytest.approx(0.2, abs=0.01)
    assert 20 < count < 200  # 8,000 pixels in blobs of a hundred, some of them one upon the other
    beside = hit[..., 1:] & hit[..., :-1]
    assert float(beside.sum() / hit.sum()) > 0.8  # pixel by pixel it would be 0.2
    values = struck[hit].unique()
    assert values.tolist() == [0.0] if kind == "missing" else count < len(values) < 3 * count
    sizes = ndimage.sum(hit[0].numpy(), blobs, range(1, count + 1))
    assert np.median(sizes) > 30


def test_overlays_of_one_channel_are_grey():
    assert corrupt(torch.zeros(1, 50, 60), "overlay", 0.25, generator(0, "c")).shape == (1, 50, 60)


def test_the_pull_of_one_channel_has_no_luma():
    target = torch.rand(1, 20, 20, generator=generator(7, "t"))
    known = torch.rand(1, 20, 20, generator=generator(8, "t")) < 0.7
    pull, y = pull_mse(target, "wrong-match", 0.3, known=known)
    assert y is None
    assert pull == pytest.approx(float((0.3 * (target[known] - 0.5)).square().mean()))
    assert pull_mse(target, CLEAN, 0.0) == (0.0, None)


def test_foreign_images_are_photographs():
    images = torch.zeros(50, 1, 28, 28)
    drawn = OUTLIERS["foreign"].draw(images, generator(0, "c"))
    assert drawn.shape == images.shape
    assert float((drawn[..., 1:] - drawn[..., :-1]).abs().mean()) < 0.1  # neighbouring pixels are alike
    assert float(drawn.flatten(1).mean(dim=1).std()) > 0.05  # images are not
    assert torch.equal(OUTLIERS["inverted"].draw(images, generator(0, "c")), torch.ones(50, 1, 28, 28))


def test_same_seed_same_outliers(target):
    first, second = (corrupt_target(target, "impulse", 0.2, generator(5, "c")) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, corrupt_target(target, "impulse", 0.2, generator(6, "c")))


@pytest.mark.parametrize("kind", [name for name, kind in OUTLIERS.items() if kind.corrupts == "real"])
def test_contamination_replaces_exactly_its_share(kind):
    images = torch.rand(200, 1, 8, 8, generator=generator(0, "images"))
    mixed = contaminate(images, kind, 0.2, generator(0, "c"))
    assert int((mixed != images).flatten(1).any(dim=1).sum()) == 40
    assert contaminate(images, CLEAN, 0.0, generator(0, "c")) is images


def test_label_flips():
    labels = torch.ones(20_000)
    flipped = flip_labels(labels, 0.2, generator(0, "c"))
    assert float((flipped == 0).float().mean()) == pytest.approx(0.2, abs=5 * np.sqrt(0.16 / 20_000))
    assert torch.equal(flip_labels(labels, 0.0, generator(0, "c")), labels)
    assert torch.equal(flip_labels(torch.zeros(50), 1.0, generator(0, "c")), torch.ones(50))


@pytest.mark.parametrize("kind", TARGETS)
def test_pull_is_what_a_constant_mean_seeker_loses(kind, target):
    # A network that knows the pixel exactly (C = 0) and seeks the mean predicts (1 - e) x + e mu: its MSE is the pull.
    rate, mu = 0.3, OUTLIERS[kind].mean
    if callable(mu):
        mu = mu(DONORS)
    optimum = target if mu is None else (1 - rate) * target + rate * mu
    rgb, y = pull_mse(target, kind, rate, DONORS)
    assert rgb == pytest.approx(float((optimum - target).square().mean()), rel=1e-5, abs=1e-9)
    assert y == pytest.approx(float((metrics.luma(optimum) - metrics.luma(target)).square().mean()), abs=1e-7)


def test_a_kind_is_refused_where_it_does_not_strike(target):
    with pytest.raises(KeyError, match="corrupts the real"):
        corrupt_target(target, "noise", 0.1, generator(0, "c"))
