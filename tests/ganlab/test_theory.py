"""Predictions for super-resolution: each formula against brute force and samples."""

import numpy as np
import pytest
import torch

from ganlab import metrics, theory
from ganlab.outliers import OUTLIERS, corrupt_target
from ganlab.theory import mean_seeker_psnr_db, three_db_rate


def expected_absolute_error(q, values, shares):
    """E|q - t| for each candidate q, with t taking `values` at the given `shares`."""
    return (np.abs(np.asarray(q)[:, None] - values) * shares).sum(axis=1)


def test_mean_seekers_by_simulation():
    """Pixels x = y + noise, of which the input tells y: the network's best is (1 - e) y + e mu."""
    rng, rate, mu = np.random.default_rng(0), 0.3, 1.0
    y = rng.uniform(0.2, 0.8, 400_000)
    x = y + 0.1 * rng.standard_normal(y.size)
    clean_db = -10 * np.log10(np.square(x - y).mean())
    pull = rate**2 * np.square(x - mu).mean()
    reached = -10 * np.log10(np.square(x - (1 - rate) * y - rate * mu).mean())
    assert mean_seeker_psnr_db(clean_db, rate, pull) == pytest.approx(reached, abs=0.02)
    assert mean_seeker_psnr_db(clean_db, rate, 0.0) == pytest.approx(clean_db)  # jitter: the mean stays
    # By hand: C = 0.01 (20 dB), e = 0.2, m = 0.26: 0.96 * 0.01 + 0.04 * 0.26 = 0.02, or 16.99 dB
    assert mean_seeker_psnr_db(20, 0.2, 0.04 * 0.26) == pytest.approx(10 * np.log10(50))


@pytest.mark.parametrize("mu", [0.0, 0.3, 1.0])
def test_a_biased_clean_prediction_is_completed_by_its_cross_term(mu):
    """A network whose clean prediction f is too bright and too flat: any f, not the conditional mean."""
    draw, rate = torch.Generator().manual_seed(0), 0.4
    x = torch.rand(3, 40, 50, generator=draw)
    f = 0.2 + 0.7 * x + 0.05 * torch.randn(x.shape, generator=draw)
    reached = metrics.psnr_db((1 - rate) * f + rate * mu, x)
    clean_db, pull = metrics.psnr_db(f, x), rate**2 * float((x - mu).square().mean())
    cross = theory.cross_at(mu, *theory.cross_terms(f, x))
    assert mean_seeker_psnr_db(clean_db, rate, pull, cross) == pytest.approx(reached, abs=1e-4)
    assert abs(mean_seeker_psnr_db(clean_db, rate, pull) - reached) > 0.1  # the formula without it misses
    assert mean_seeker_psnr_db(clean_db, rate, pull, np.nan) == mean_seeker_psnr_db(clean_db, rate, pull)
    y, f_y = metrics.luma(x), metrics.luma(f)  # Y of the outliers is (16 + 219 mu) / 255
    cross_y = theory.cross_at((16 + 219 * mu) / 255, *theory.cross_terms(f_y, y))
    pull_y = rate**2 * float((y - (16 + 219 * mu) / 255).square().mean())
    reached_y = metrics.psnr_db((1 - rate) * f_y + rate * (16 + 219 * mu) / 255, y)
    assert mean_seeker_psnr_db(metrics.psnr_db(f_y, y), rate, pull_y, cross_y) == pytest.approx(reached_y, abs=1e-4)


@pytest.mark.parametrize(
    ("loss", "outlier", "predicted"),
    [
        ("l2", "impulse", True),
        ("bce", "salt", True),
        ("l1", "salt-pepper", True),
        ("l1", "salt", False),
        ("l1", "impulse", False),
        ("l1", "jitter", False),
        ("l2", "clean", False),
        ("l2", "no such kind", False),
        ("no such loss", "salt", False),
    ],
)
def test_conditions_with_a_closed_form(loss, outlier, predicted):
    assert theory.predicts_psnr(loss, outlier) is predicted


def test_median_seekers_keep_the_clean_result_under_salt_and_pepper():
    assert theory.psnr_db("l1", "salt-pepper", 30.0, 0.7, 0.1, np.nan) == pytest.approx(30.0)
    # l2: (1 - 0.7^2) 0.001 + 0.1 = 0.10051
    assert theory.psnr_db("l2", "salt-pepper", 30.0, 0.7, 0.1, np.nan) == pytest.approx(-10 * np.log10(0.10051))


def test_an_additional_error():
    # 30 dB are 0.001, and 0.009 more 20 dB
    np.testing.assert_allclose(theory.with_error_db([30.0, 20.0], [0.009, 0.0]), [20.0, 20.0])


def test_three_db_rate():
    # C = 0.001, m = 0.1: sqrt(0.99526 * 0.001 / 0.099)
    assert three_db_rate(0.001, 0.1) == pytest.approx(0.100266, abs=1e-6)
    clean, mean_square = np.array([1e-4, 1e-3, 1e-2]), np.array([0.08, 0.1, 0.3])
    rate = three_db_rate(clean, mean_square)
    clean_db = -10 * np.log10(clean)
    np.testing.assert_allclose(mean_seeker_psnr_db(clean_db, rate, rate**2 * mean_square), clean_db - 3, rtol=1e-12)
    assert np.all(np.diff(three_db_rate(clean, 0.1)) > 0)  # a better network loses 3 dB sooner
    assert three_db_rate(0.05, 0.06) > 1  # never reached
    np.testing.assert_array_equal(three_db_rate(0.05, [0.05, 0.04]), np.inf)


def median_pixel(pixel, kind, rate, training_pixels):
    (levels,) = theory.median_levels(kind, rate, [torch.as_tensor(training_pixels).view(1, -1, 1)])
    return np.clip(pixel, *levels)


@pytest.mark.parametrize("rate", [0.3, 0.49, 0.7, 0.9])
@pytest.mark.parametrize("clean", [0.0, 0.1, 0.45, 0.98])
def test_impulse_and_mismatch_by_brute_force(clean, rate):
    """The candidate of least expected absolute error: the pixel as it is, or one of the corruption's values."""
    candidates = np.linspace(0, 1, 2001)
    greys = (np.arange(4000) + 0.5) / 4000
    training = np.sort(np.random.default_rng(2).beta(2, 5, 4000))
    for kind, corruption in (("impulse", greys), ("mismatch", training)):
        values, shares = np.append(corruption, clean), np.append(np.full(4000, rate / 4000), 1 - rate)
        best = candidates[expected_absolute_error(candidates, values, shares).argmin()]
        assert median_pixel(clean, kind, rate, training) == pytest.approx(best, abs=1e-3)


def test_up_to_one_half_nothing_is_clipped():
    for kind in ("impulse", "mismatch", "salt", "clean"):  # also where the pixel lies outside all training pixels
        assert theory.median_levels(kind, 0.5, [torch.full((3, 2, 2), 0.5)]) == [(-np.inf, np.inf)] * 3
    # beyond: 1 - 1 / 1.4 and 1 / 1.4
    levels = theory.median_levels("impulse", 0.7, [torch.rand(3, 2, 2)])
    np.testing.assert_allclose(levels, [(0.285714, 0.714286)] * 3, atol=1e-6)


def test_under_mismatch_each_channel_has_its_own_levels():
    ramp = torch.linspace(0, 1, 101)
    first, second = torch.stack([ramp, ramp / 2])[:, None], torch.stack([ramp, 1 - ramp / 2])[:, None]
    levels = theory.median_levels("mismatch", 0.8, [first, second])
    np.testing.assert_allclose(levels, [(0.375, 0.625)] * 2, atol=1e-2)  # of the two halves together, the same
    assert theory.median_levels("mismatch", 0.8, [second])[1] == pytest.approx((0.6875, 0.8125), abs=1e-2)


@pytest.mark.parametrize("kind", [name for name, kind in OUTLIERS.items() if kind.corrupts == "target"])
@pytest.mark.parametrize("rate", [0.3, 0.7])
def test_the_median_of_a_known_pixel_under_drawn_outliers(kind, rate):
    """The median of many draws of one pixel."""
    donors, pixel = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))], 0.9
    draw = torch.Generator().manual_seed(0)
    image = torch.full((3, 64, 64), pixel)  # many small ones: tiles and blobs strike neighbours together
    drawn = torch.stack([corrupt_target(image, kind, rate, draw, donors) for _ in range(100)])
    median = median_pixel(pixel, kind, rate, donors[0][0])
    assert drawn[:, 0].flatten().median().item() == pytest.approx(median, abs=0.03)


def test_clipping_mse_is_that_of_the_clipped_image():
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    levels = np.array([(0.375, 0.625), (0.2, 0.7), (1.0, 1.0)])
    over_channels, of_y = theory.clipping_mse(image, levels)
    clipped = torch.stack([channel.clamp(*own) for channel, own in zip(image, levels.tolist(), strict=True)])
    assert over_channels == pytest.approx(float((clipped - image).square().mean()), rel=1e-5)
    assert of_y == pytest.approx(float((metrics.luma(clipped) - metrics.luma(image)).square().mean()), rel=1e-5)
    assert theory.clipping_mse(image, theory.median_levels("clean", 0.0, [image])) == (0.0, 0.0)
