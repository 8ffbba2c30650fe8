"""Are the metrics correct? Known answers, properties, and independent implementations as oracles."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from skimage.metrics import peak_signal_noise_ratio
from sklearn.neighbors import NearestNeighbors
from torchmetrics.functional.image import structural_similarity_index_measure

from ganlab import metrics


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# One predicted image against its target


def test_luma_of_primaries_in_8_bit_units():
    # BT.601 studio range: black 16, white 235, and 16 + 65.481 = 81.481, 16 + 128.553 = 144.553, 16 + 24.966 = 40.966.
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).float()[:, :, None, None]
    y = metrics.luma(colours)
    assert y.shape == (5, 1, 1)
    assert (y.flatten() * 255).tolist() == pytest.approx([16, 235, 81.481, 144.553, 40.966], abs=1e-3)


def test_luma_of_grey_is_the_slope_science_md_uses():
    # A grey g has Y = (16 + 219 g) / 255; section 5 predicts the bias in Y from that.
    grey = uniform(1, 4, 5)
    assert torch.allclose(metrics.luma(grey.expand(3, -1, -1)), ((16 + 219 * grey) / 255)[0])


@pytest.mark.parametrize("shape", [(1, 4, 4), (4, 3), (3, 4)])
def test_luma_refuses_other_than_three_channels(shape):
    with pytest.raises(ValueError, match="3 channels"):
        metrics.luma(torch.zeros(shape))


def test_crop_border():
    image = torch.arange(30.0).view(1, 5, 6)
    assert torch.equal(metrics.crop_border(image, 0), image)
    assert metrics.crop_border(image, 2).tolist() == [[[14, 15]]]  # row 2, columns 2 and 3
    with pytest.raises(ValueError, match="leaves nothing"):
        metrics.crop_border(torch.zeros(4, 9), 2)


def test_psnr_known_answer():
    # Off by 0.1 everywhere: MSE = 0.01, 10 log10(1 / 0.01) = 20 dB.
    assert metrics.psnr_db(torch.full((3, 4, 4), 0.6), torch.full((3, 4, 4), 0.5)) == pytest.approx(20, abs=1e-5)


def test_mae_known_answer():
    # errors of 0.5, -0.3, and 0: 0.8 / 3, whichever way they point
    assert metrics.mae(torch.tensor([0.7, 0.1, 1.0]), torch.tensor([0.2, 0.4, 1.0])) == pytest.approx(0.8 / 3)


def test_psnr_agrees_with_scikit_image_and_falls_with_error():
    target, noise = uniform(3, 16, 16), normal(3, 16, 16, seed=1)
    values = [metrics.psnr_db(target + spread * noise, target) for spread in (0.01, 0.1, 0.3)]
    assert values == sorted(values, reverse=True)
    oracle = peak_signal_noise_ratio(target.double().numpy(), (target + 0.1 * noise).double().numpy(), data_range=1)
    assert values[1] == pytest.approx(oracle, abs=1e-9)


def test_psnr_of_identical_images_is_the_cap_and_nan_is_not_hidden_by_it():
    image = uniform(3, 4, 4)
    assert metrics.psnr_db(image, image) == metrics.PSNR_CAP_DB == 100
    assert math.isnan(metrics.psnr_db(image * torch.nan, image))


def test_ssim_agrees_with_torchmetrics_where_the_window_fits():
    # torchmetrics averages over the padded border too; Wang et al. and scikit-image leave out the window's radius, 5.
    target = uniform(1, 1, 40, 48).double()
    prediction = (target + 0.2 * normal(1, 1, 40, 48, seed=1)).clamp(0, 1)
    _, oracle = structural_similarity_index_measure(
        prediction, target, sigma=1.5, kernel_size=11, data_range=1.0, return_full_image=True
    )
    inside = metrics.crop_border(oracle, 5).mean()
    assert metrics.ssim(prediction[0, 0], target[0, 0]) == pytest.approx(float(inside), abs=1e-9)


def test_ssim_known_answer_for_flat_images():
    # Without structure only luminance counts: (2 a b + C1) / (a^2 + b^2 + C1), C1 = 0.01^2.
    a, b, c1 = 0.2, 0.6, 1e-4
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    assert metrics.ssim(torch.full((16, 16), a), torch.full((16, 16), b)) == pytest.approx(expected, abs=1e-6)


def test_ssim_compares_colour_on_luma():
    a, b = uniform(3, 16, 16), uniform(3, 16, 16, seed=1)
    assert metrics.ssim(a, b) == metrics.ssim(metrics.luma(a), metrics.luma(b))
    assert metrics.ssim(a, a) == pytest.approx(1)


def test_bce_excess_known_answer():
    # t = 0.5, p = 0.25: -(ln 0.25 + ln 0.75)/2 - ln 2 = 0.8370 - 0.6931 = 0.1438 nats.
    assert metrics.bce_excess(torch.tensor([0.25]), torch.tensor([0.5])) == pytest.approx(0.14384, abs=1e-5)
    # A wrong pure pixel costs -ln(1e-4) = 9.2103 nats, not infinity.
    assert metrics.bce_excess(torch.tensor([0.0]), torch.tensor([1.0])) == pytest.approx(9.21034, abs=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 1), st.floats(0, 1))
def test_bce_excess_is_a_divergence(p, t):
    p, t = torch.tensor([p], dtype=torch.float64), torch.tensor([t], dtype=torch.float64)
    assert metrics.bce_excess(p, t) >= metrics.bce_excess(t, t) - 1e-12 >= -2e-12
    assert metrics.bce_excess(t, t) <= 1.001e-4  # the cost of clipping


@pytest.mark.parametrize("metric", [metrics.psnr_db, metrics.ssim, metrics.mae, metrics.bce_excess])
def test_nothing_is_broadcast(metric):
    with pytest.raises(ValueError, match="differ in shape"):
        metric(torch.zeros(16, 16), torch.zeros(1, 16))


# A set of samples against another, by features


def sqrtm_oracle(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.double().numpy(), b.double().numpy()
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(cov_a @ cov_b)
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b - 2 * np.real(root)))


def test_frechet_agrees_with_sqrtm():
    a, b = normal(200, 8), normal(150, 8, seed=1) @ normal(8, 8, seed=2) + 0.5
    assert metrics.frechet_distance(a, b) == pytest.approx(sqrtm_oracle(a, b), rel=1e-9)


def test_frechet_known_answer_in_one_dimension():
    # Samples -1, 1 and -3, 3: standard deviations sqrt(2) and 3 sqrt(2); (3 sqrt 2 - sqrt 2)^2 = 8, equal means.
    assert metrics.frechet_distance(torch.tensor([[-1.0], [1.0]]), torch.tensor([[-3.0], [3.0]])) == pytest.approx(8)


def test_frechet_of_few_samples_is_zero_to_themselves_and_symmetric():
    few, other = normal(5, 64), normal(7, 64, seed=1)  # rank 4 and 6 in 64 dimensions
    assert 0 <= metrics.frechet_distance(few, few) < 1e-9
    assert metrics.frechet_distance(few, other) == pytest.approx(metrics.frechet_distance(other, few))
    # A rotation of the whole space changes nothing, a shift by delta adds |delta|^2 where means were equal.
    rotation = torch.linalg.qr(normal(64, 64, seed=2).double()).Q
    rotated = metrics.frechet_distance(few.double() @ rotation, other.double() @ rotation)
    assert rotated == pytest.approx(metrics.frechet_distance(few, other))
    assert metrics.frechet_distance(few.double(), few.double() + 0.5) == pytest.approx(64 * 0.25)


def test_frechet_of_constant_features_is_the_squared_distance():
    # Both covariances are 0: only the means count, 3^2 + 4^2 = 25.
    assert metrics.frechet_distance(torch.zeros(9, 2), torch.tensor([3.0, 4.0]).expand(9, 2)) == pytest.approx(25)


@pytest.mark.parametrize("distance", [metrics.frechet_distance, metrics.kernel_distance, metrics.density_coverage])
def test_distances_refuse_nan_and_single_samples(distance):
    with pytest.raises(ValueError, match="diverged"):
        distance(normal(9, 2), torch.full((9, 2), torch.nan))
    with pytest.raises(ValueError, match="n >="):
        distance(normal(1, 2), normal(9, 2))


def test_kernel_distance_agrees_with_a_loop():
    a, b = normal(6, 3).double().numpy(), (normal(5, 3, seed=1) + 0.3).double().numpy()

    def kernel(x, y):
        return (sum(p * q for p, q in zip(x, y, strict=True)) / 3 + 1) ** 3

    within_a = [kernel(a[i], a[j]) for i in range(6) for j in range(6) if i != j]
    within_b = [kernel(b[i], b[j]) for i in range(5) for j in range(5) if i != j]
    between = [kernel(x, y) for x in a for y in b]
    expected = np.mean(within_a) + np.mean(within_b) - 2 * np.mean(between)
    assert metrics.kernel_distance(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_is_unbiased():
    # Equal distributions: the mean is 0 within 4 standard errors, and single values fall on both sides.
    values = np.array(
        [metrics.kernel_distance(normal(50, 4, seed=2 * i), normal(50, 4, seed=2 * i + 1)) for i in range(200)]
    )
    assert abs(values.mean()) < 4 * values.std(ddof=1) / np.sqrt(len(values))
    assert values.min() < 0 < values.max()


def test_density_coverage_agrees_with_nearest_neighbours():
    real, fake, k = normal(60, 4), 0.8 * normal(40, 4, seed=1), 3
    neighbours = NearestNeighbors(n_neighbors=k).fit(real.double().numpy())
    radius = neighbours.kneighbors()[0][:, -1]  # without arguments, a sample is not its own neighbour
    inside = [[math.dist(x, y) < r for y in fake.tolist()] for x, r in zip(real.tolist(), radius, strict=True)]
    density, coverage = metrics.density_coverage(real, fake, k)
    assert density == pytest.approx(np.sum(inside) / (k * 40))
    assert coverage == pytest.approx(np.any(inside, axis=1).mean())


def test_density_is_fidelity_and_coverage_is_diversity():
    real = normal(300, 4)
    collapsed = metrics.density_coverage(real, torch.zeros(300, 4))
    far = metrics.density_coverage(real, normal(300, 4, seed=1) + 50)
    same = metrics.density_coverage(real, normal(300, 4, seed=1))
    assert far == (0, 0)
    assert collapsed[0] > same[0]  # every sample is at the mode
    assert collapsed[1] < 0.5 < same[1]
    assert same == pytest.approx((1, 1 - 2**-5), abs=0.1)


def test_classes_covered_counts_from_a_tenth_of_the_fair_share():
    # 4 classes, 400 samples: the fair share is 100, a class needs 10. Index 4 is the outlier class.
    labels = torch.tensor([0] * 10 + [1] * 9 + [2] * 200 + [4] * 181)
    assert metrics.classes_covered(labels, n_classes=4, count=400) == 2
    assert metrics.classes_covered(torch.empty(0, dtype=torch.int64), n_classes=4, count=400) == 0


@given(share=st.floats(0, 1), fpr=st.floats(0, 0.4), tpr=st.floats(0.5, 1))
def test_corrected_share_inverts_the_classifier(share, fpr, tpr):
    assert metrics.corrected_share(share * tpr + (1 - share) * fpr, fpr, tpr) == pytest.approx(share, abs=1e-9)


def test_corrected_share_is_clipped_and_refuses_a_blind_classifier():
    assert metrics.corrected_share(0.01, false_positive=0.05, true_positive=0.9) == 0
    assert metrics.corrected_share(0.95, false_positive=0.05, true_positive=0.9) == 1
    with pytest.raises(ValueError, match="cannot estimate"):
        metrics.corrected_share(0.5, false_positive=0.3, true_positive=0.3)
