"""Does each outlier kind follow its definition, at its rate, equally for every loss of a seed?"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ganlab import metrics, outliers
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
    )  # pixels that are corrupted together
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
def test_stays_in_range_and_corrupts_all_channels_alike(kind, rate, seed):
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
    # 160,000 pixels of standard deviation at most 0.5: 3 sigma; fewer independent ones in whole patches
    assert mean == pytest.approx(
        expected, abs={"overlay": 0.02, "mismatch": 0.06, "missing": 0.004, "wrong-match": 0.02}.get(kind, 0.004)
    )


def test_values(target):
    assert set(corrupt_target(target, "salt", 1.0, generator(0, "c")).unique().tolist()) == {1.0}
    assert set(corrupt_target(target, "salt-pepper", 1.0, generator(0, "c")).unique().tolist()) == {0.0, 1.0}
    assert corrupt_target(target, CLEAN, 0.0, generator(0, "c")) is target
    grey = corrupt_target(target, "impulse", 1.0, generator(0, "c"))[0]  # U[0, 1]: quantiles are what they are of
    quantiles = torch.linspace(0, 1, 11)
    torch.testing.assert_close(grey.flatten().quantile(quantiles), quantiles, rtol=0, atol=0.02)
    jittered = corrupt_target(target, "jitter", 0.5, generator(0, "c"))
    u = (jittered - target) / torch.minimum(target, 1 - target)
    torch.testing.assert_close(u, u[:1].expand_as(u), rtol=0, atol=1e-5)  # the same of all channels
    assert (float(u.min()), float(u.max())) == pytest.approx((-0.5, 0.5), abs=1e-3)


@pytest.mark.parametrize("kind", ["impulse", "salt-pepper"])
def test_an_outlier_has_no_colour(kind, target):
    first, *others = corrupt_target(target, kind, 1.0, generator(0, "c"))
    assert all(torch.equal(first, other) for other in others)


def stamps(kind, channels):
    """The pixels (y, x) of each stamp in a large empty image, by its colour: so few that they hardly meet."""
    drawn = corrupt(torch.full((channels, 1000, 1000), -1.0), kind, 0.03, generator(0, "c"))
    places = (drawn[0] >= 0).nonzero()
    _, which = drawn[:, places[:, 0], places[:, 1]].unique(dim=1, return_inverse=True)
    found = [places[which == k].double() for k in range(int(which.max()) + 1)]
    return [pixels for pixels in found if pixels.min() > 0 and pixels.max() < 999]  # the border cuts some


def test_overlays_are_rectangles_and_words_by_halves():
    overlays = stamps("overlay", 3)
    sides = torch.stack([pixels.amax(0) - pixels.amin(0) + 1 for pixels in overlays])
    full = torch.tensor([len(pixels) for pixels in overlays]) == sides.prod(dim=1)  # a letter has gaps
    assert float(full.double().mean()) == pytest.approx(0.5, abs=2 / len(full) ** 0.5)  # four deviations
    rectangles, words = sides[full], sides[~full]
    assert float((rectangles >= 4).double().mean()) > 0.95  # a few are what another one left
    assert float(rectangles.max()) == 23
    heights, widths = words.unbind(dim=1)
    assert 15 < float(heights.max()) <= 24  # letters of 8 to 23 pixels, not all of them capitals
    assert float(heights.median()) < 15
    assert float(widths.max()) > 60  # of seven letters
    colours = corrupt(torch.full((3, 300, 300), -1.0), "overlay", 0.4, generator(1, "c")).flatten(1).unique(dim=1)
    quantiles = colours[:, colours[0] >= 0].flatten().quantile(torch.tensor([0.25, 0.5, 0.75]))
    assert quantiles.tolist() == pytest.approx([0.25, 0.5, 0.75], abs=0.1)


def test_blobs_are_ellipses_at_any_angle():
    blobs = stamps("wrong-match", 1)
    # semi-axes from 2 to 9.5, 5.75 in the mean: pi 5.75^2
    assert np.mean([len(pixels) for pixels in blobs]) == pytest.approx(np.pi * 5.75**2, rel=0.1)
    spread = torch.stack([pixels.T.cov() for pixels in blobs])
    axes = 4 * torch.linalg.eigvalsh(spread).clamp(min=0).sqrt()  # of an ellipse with the same moments
    assert float(axes[:, 1].median() / axes[:, 0].median()) > 1.3  # long and short
    tilt = spread[:, 0, 1] / spread.diagonal(dim1=1, dim2=2).mean(dim=1)
    assert float(tilt.abs().median()) > 0.1  # upright or lying ellipses have none
    assert (float(tilt.min()), float(tilt.max())) == pytest.approx((-0.8, 0.8), abs=0.2)


def test_blobs_reach_over_every_border():
    image, draw = torch.ones(1, 30, 30), generator(0, "c")
    holes = torch.stack([corrupt(image, "missing", 0.3, draw)[0] == 0 for _ in range(300)]).double().mean(dim=0)
    sides = [holes[0].mean(), holes[-1].mean(), holes[:, 0].mean(), holes[:, -1].mean()]
    # near a border fewer places hit a pixel; from both sides alike
    assert [float(side) for side in sides] == pytest.approx([float(sum(sides) / 4)] * 4, rel=0.25)
    assert float(holes.mean()) == pytest.approx(0.3, abs=0.02)


def test_mismatched_squares_come_from_anywhere_in_any_other_image():
    y, x = torch.meshgrid(torch.arange(100) / 100, torch.arange(90) / 100, indexing="ij")
    donors = [torch.stack([y, x, torch.full_like(x, number)]) for number in (2.0, 3.0)]  # each pixel knows its place
    image = torch.full((3, 320, 320), -1.0)
    corrupted = corrupt_target(image, "mismatch", 0.5, generator(0, "c"), donors)
    squares = corrupted.unfold(1, 32, 32).unfold(2, 32, 32).flatten(1, 2).transpose(0, 1)  # (100, 3, 32, 32)
    hit = (squares != -1).flatten(1)
    assert torch.equal(hit.any(dim=1), hit.all(dim=1))  # a square is corrupted whole
    assert 30 < int(hit.all(dim=1).sum()) < 70
    top, left, number = squares[hit.all(dim=1)][:, :, 0, 0].unbind(dim=1)
    assert set(number.tolist()) == {2, 3}
    assert (float(top.min()), float(top.max())) == pytest.approx((0, 0.68), abs=0.06)  # of 100 - 32 rows
    assert (float(left.min()), float(left.max())) == pytest.approx((0, 0.58), abs=0.06)
    for square in squares[hit.all(dim=1)][:9]:
        torch.testing.assert_close(square[:2, 31, 31] - square[:2, 0, 0], torch.full((2,), 0.31))


def test_images_have_equal_weights_in_the_mean_colour():
    colours = torch.tensor([[0.1, 0.2, 0.3], [0.3, 0.4, 0.8]])[..., None, None]
    donors = [colours[0].expand(3, 2, 2), colours[1].expand(3, 4, 5)]
    torch.testing.assert_close(OUTLIERS["mismatch"].mean(donors).flatten(), torch.tensor([0.2, 0.3, 0.55]))


def test_overlays_are_opaque_and_coloured():
    target = torch.zeros(3, 200, 200)
    covered = corrupt(target, "overlay", 0.25, generator(0, "c"))
    colours = covered.flatten(1).T.unique(dim=0)
    assert 20 < len(colours) < 2000  # as many as there are rectangles and words, not one for each pixel
    assert not torch.equal(covered[0], covered[1])


@pytest.mark.parametrize("kind", ["missing", "wrong-match"])
def test_wrong_disparities_come_in_blobs(kind):
    target = torch.full((1, 200, 200), 0.6)
    corrupted = corrupt(target, kind, 0.2, generator(0, "c"))
    hit = corrupted != target
    blobs, count = ndimage.label(hit[0].numpy())
    assert float(hit.float().mean()) == pytest.approx(0.2, abs=0.01)
    assert 20 < count < 200  # 8,000 pixels in blobs of a hundred, some of them one upon the other
    beside = hit[..., 1:] & hit[..., :-1]
    assert float(beside.sum() / hit.sum()) > 0.8  # pixel by pixel it would be 0.2
    values = corrupted[hit].unique()
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


def test_foreign_images_are_halved_crops_from_anywhere_in_any_photograph(monkeypatch):
    checks = ((torch.arange(200)[:, None] + torch.arange(100)) % 2) / 100  # of which halving leaves the mean, 0.005
    ramps = [torch.arange(200)[:, None] / 200 + checks, torch.arange(100) / 100 + checks]
    monkeypatch.setattr(outliers, "grey_photographs", lambda: ramps)
    drawn = OUTLIERS["foreign"].draw(torch.zeros(200, 1, 28, 28), generator(0, "c"))[:, 0]
    down, right = drawn.diff(dim=1).mean(dim=(1, 2)), drawn.diff(dim=2).mean(dim=(1, 2))
    upright = down > 0.005
    assert 70 < int(upright.sum()) < 130
    torch.testing.assert_close(down[upright], torch.full_like(down[upright], 2 / 200))
    torch.testing.assert_close(right[~upright], torch.full_like(right[~upright], 2 / 100))
    # the first pixel is the mean of four: half a step beyond the corner, which lies anywhere that a crop fits
    for corner, step, room in ((drawn[upright, 0, 0], 200, 144), (drawn[~upright, 0, 0], 100, 44)):
        places = (corner - 0.005) * step - 0.5
        torch.testing.assert_close(places, places.round(), rtol=0, atol=1e-3)
        assert (float(places.min()), float(places.max())) == pytest.approx((0, room), abs=0.06 * room)


@pytest.mark.parametrize(("kind", "mean", "deviation"), [("noise", 0.5, 12**-0.5), ("far", 5, 1), ("near", 0.5, 1)])
def test_moments_of_replacements(kind, mean, deviation):
    drawn = OUTLIERS[kind].draw(torch.zeros(500, 40), generator(0, "c"))
    assert float(drawn.mean()) == pytest.approx(mean, abs=4 * deviation / np.sqrt(20_000))
    assert float(drawn.std()) == pytest.approx(deviation, rel=0.02)
    assert float(drawn.mean(dim=1).std()) == pytest.approx(deviation / np.sqrt(40), rel=0.15)  # each value its own
    if kind != "noise":
        assert OUTLIERS[kind].mean == mean


def test_same_seed_same_outliers(target):
    first, second = (corrupt_target(target, "impulse", 0.2, generator(5, "c")) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, corrupt_target(target, "impulse", 0.2, generator(6, "c")))


@pytest.mark.parametrize("kind", [name for name, kind in OUTLIERS.items() if kind.corrupts == "real"])
def test_contamination_replaces_exactly_its_share(kind):
    images = torch.rand(200, 1, 8, 8, generator=generator(0, "images"))
    mixed = contaminate(images, kind, 0.2, generator(0, "c"))
    corrupted = (mixed != images).flatten(1).any(dim=1)
    assert int(corrupted.sum()) == 40
    assert 2 < int(corrupted[:40].sum()) < 20  # anywhere among them: 8 -+ 2.5
    if kind == "inverted":  # each is its own negative
        assert torch.equal(mixed[corrupted], 1 - images[corrupted])
    assert contaminate(images, CLEAN, 0.0, generator(0, "c")) is images
    few = contaminate(images[:8], kind, 0.2, generator(0, "c"))  # 1.6 of 8 are 2
    assert int((few != images[:8]).flatten(1).any(dim=1).sum()) == 2


def test_label_flips():
    labels = torch.ones(20_000)
    flipped = flip_labels(labels, 0.2, generator(0, "c"))
    assert float((flipped == 0).float().mean()) == pytest.approx(0.2, abs=5 * np.sqrt(0.16 / 20_000))
    assert torch.equal(flip_labels(labels, 0.0, generator(0, "c")), labels)
    assert torch.equal(flip_labels(torch.zeros(50), 1.0, generator(0, "c")), torch.ones(50))


@pytest.mark.parametrize("kind", TARGETS)
def test_pull_is_the_loss_of_a_constant_mean_seeker(kind, target):
    # A network that knows the pixel exactly (C = 0) and seeks the mean predicts (1 - e) x + e mu: its MSE is the pull.
    rate, mu = 0.3, OUTLIERS[kind].mean
    if callable(mu):
        mu = mu(DONORS)
    optimum = target if mu is None else (1 - rate) * target + rate * mu
    rgb, y = pull_mse(target, kind, rate, DONORS)
    assert rgb == pytest.approx(float((optimum - target).square().mean()), rel=1e-5, abs=1e-9)
    assert y == pytest.approx(float((metrics.luma(optimum) - metrics.luma(target)).square().mean()), abs=1e-7)


def test_a_kind_is_rejected_where_it_does_not_apply(target):
    with pytest.raises(KeyError, match="corrupts the real"):
        corrupt_target(target, "noise", 0.1, generator(0, "c"))
