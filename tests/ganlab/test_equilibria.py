"""GAN equilibria: known answers, numeric integration, and samples whose densities are known."""

import numpy as np
import pytest
import torch
from scipy import integrate
from scipy.optimize import minimize_scalar
from scipy.spatial import distance
from scipy.stats import norm

from bench.loss_check.objectives import least_d_loss
from ganlab import equilibria
from ganlab.equilibria import Densities, contaminated_location, equilibrium_d_loss, on_grid
from ganlab.losses import LOSSES, find_loss

TWO_GAUSSIANS = on_grid(norm.pdf, lambda x: norm.pdf(x - 1), -9, 10)
# A tenth of the real samples is real beyond doubt, a tenth of the generated ones generated; the rest looks alike.
# At the last point there is nothing.
ATOMS = Densities(np.array([0.1, 0.9, 0.0, 0.0]), np.array([0.0, 0.9, 0.1, 0.0]))


def test_divergences_of_atoms():
    assert equilibria.total_variation(ATOMS) == pytest.approx(0.1)  # half of 0.1 + 0 + 0.1
    assert equilibria.triangular_discrimination(ATOMS) == pytest.approx(0.2)  # 0.01 / 0.1, twice
    assert equilibria.jensen_shannon(ATOMS) == pytest.approx(0.1 * np.log(2))  # ln 2 where there is no doubt, else 0
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(9), size=2)
    assert equilibria.jensen_shannon(Densities(p, q)) == pytest.approx(distance.jensenshannon(p, q) ** 2)


def test_divergences_of_two_gaussians():
    def integral(function):
        return integrate.quad(lambda x: function(norm.pdf(x), norm.pdf(x - 1)), -9, 10, points=[0.5])[0]

    # |p - q| changes sign at 1/2: TV = Phi(1/2) - Phi(-1/2)
    assert equilibria.total_variation(TWO_GAUSSIANS) == pytest.approx(norm.cdf(0.5) - norm.cdf(-0.5), abs=1e-6)
    delta = integral(lambda p, q: (p - q) ** 2 / (p + q))
    assert equilibria.triangular_discrimination(TWO_GAUSSIANS) == pytest.approx(delta, abs=1e-8)
    js = integral(lambda p, q: (p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))) / 2)
    assert equilibria.jensen_shannon(TWO_GAUSSIANS) == pytest.approx(js, abs=1e-8)


@pytest.mark.parametrize("loss", ["bce", "l1", "l2"])
def test_the_best_discriminator_of_atoms(loss):
    # sure of what is real or generated beyond doubt; 1/2 of what looks alike, and of what never comes
    assert equilibria.best_discriminator(loss, ATOMS).tolist() == [1, 0.5, 0, 0.5]


@pytest.mark.parametrize("error", [-20.0, 0.0, 20.0])
def test_all_of_both_distributions_lies_on_the_grid(error):
    seen = contaminated_location(0.2, 5, error)
    assert (seen.integral(seen.real), seen.integral(seen.fake)) == pytest.approx((1, 1))


@pytest.mark.parametrize("loss", LOSSES)
def test_at_the_generators_optimum(loss):
    if LOSSES[loss].equilibrium_d_loss is None:
        pytest.skip(f"no closed form is known for {loss}")
    same = Densities(TWO_GAUSSIANS.real, TWO_GAUSSIANS.real, TWO_GAUSSIANS.weight)
    for flip_rate in (0.0, 0.3):
        assert equilibrium_d_loss(loss, same, flip_rate) == pytest.approx(LOSSES[loss].equilibrium_d_loss, abs=1e-9)
    disjoint = Densities(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert equilibrium_d_loss(loss, disjoint) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("loss", ["bce", "l1", "l2"])
@pytest.mark.parametrize("flip_rate", [0.0, 0.2])
def test_no_discriminator_does_better(loss, flip_rate):
    """Search the best output point by point, knowing nothing but the loss."""
    coarse = Densities(TWO_GAUSSIANS.real[::100], TWO_GAUSSIANS.fake[::100], 0.1)
    outputs = np.linspace(5e-4, 1 - 5e-4, 1000)[:, None]
    against_real, against_fake = (loss_of(outputs) for loss_of in equilibria.ADVERSARIAL[loss])
    of_real, of_fake = (  # a sample's mean loss, its label flipped or not
        (1 - flip_rate) * right + flip_rate * wrong
        for right, wrong in ((against_real, against_fake), (against_fake, against_real))
    )
    found = coarse.integral((coarse.real * of_real + coarse.fake * of_fake).min(axis=0)) / 2
    assert equilibrium_d_loss(loss, coarse, flip_rate) == pytest.approx(found, abs=1e-3)
    assert equilibrium_d_loss(loss, coarse, flip_rate) <= found + 1e-12


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_the_best_discriminator_is_bounded_on_the_raw_head(loss):
    """Of all outputs, far beyond [0, 1], the best of each point lies within: LSGAN has sigmoid L2's equilibrium."""
    coarse = Densities(TWO_GAUSSIANS.real[::100], TWO_GAUSSIANS.fake[::100], 0.1)
    outputs = torch.linspace(-2, 3, 5001, dtype=torch.float64)
    against_real, against_fake = (
        LOSSES[loss](outputs, torch.full_like(outputs, label), "raw")[:, None].numpy() for label in (1.0, 0.0)
    )
    risk = coarse.real * against_real + coarse.fake * against_fake
    best = outputs.numpy()[risk.argmin(axis=0)]
    assert -1e-9 <= best.min() < best.max() <= 1 + 1e-9
    np.testing.assert_allclose(best, equilibria.best_discriminator(loss, coarse), atol=1e-3)
    assert equilibrium_d_loss(loss, coarse) == pytest.approx(coarse.integral(risk.min(axis=0)) / 2, abs=1e-6)


@pytest.mark.parametrize("loss", ["hinge", "relativistic"])
def test_scores_in_the_location_gan(loss):
    """No scores do better where a fifth of the samples are outliers near by."""
    near = contaminated_location(0.2, 5)
    p, q = (side[::700] / side[::700].sum() for side in (near.real, near.fake))
    found, expected = least_d_loss(find_loss(loss).adversarial("raw"), p, q), equilibrium_d_loss(loss, Densities(p, q))
    assert expected - 1e-9 <= found <= expected + 1e-2  # the search rounds hinge's kinks badly
    assert equilibrium_d_loss(loss, near) == pytest.approx(expected, abs=1e-3)  # 33 points are enough


def test_flips_shrink_what_discriminators_can_see():
    e = 0.2
    delta, tv = equilibria.triangular_discrimination(TWO_GAUSSIANS), equilibria.total_variation(TWO_GAUSSIANS)
    assert equilibrium_d_loss("l2", TWO_GAUSSIANS, e) == pytest.approx(1 / 4 - (1 - 2 * e) ** 2 * delta / 8)
    assert equilibrium_d_loss("l1", TWO_GAUSSIANS, e) == pytest.approx((1 - (1 - 2 * e) * tv) / 2)
    clean = equilibria.best_discriminator("bce", TWO_GAUSSIANS)
    flipped = equilibria.best_discriminator("bce", TWO_GAUSSIANS, e)
    np.testing.assert_allclose(flipped, (1 - 2 * e) * clean + e)
    np.testing.assert_array_equal(
        equilibria.best_discriminator("l1", TWO_GAUSSIANS, e), equilibria.best_discriminator("l1", TWO_GAUSSIANS)
    )


@pytest.mark.parametrize("loss", ["bce", "l1", "l2"])
@pytest.mark.parametrize("flip_rate", [0.0, 0.2])
def test_simulation(loss, flip_rate):
    """Samples, the project's own losses on logits, and labels flipped one by one."""
    n, rng = 400_000, np.random.default_rng(1)
    real, fake = rng.standard_normal(n), 1 + rng.standard_normal(n)

    def loss_of(samples, label, flip_rate_here):
        here = Densities(norm.pdf(samples), norm.pdf(samples - 1))
        logit = torch.logit(torch.from_numpy(equilibria.best_discriminator(loss, here, flip_rate)), eps=1e-12)
        flips = torch.from_numpy(rng.random(n) < flip_rate_here)
        return float(LOSSES[loss](logit, torch.where(flips, 1 - label, label).to(logit)).mean())

    d_loss = (loss_of(real, torch.tensor(1.0), flip_rate) + loss_of(fake, torch.tensor(0.0), flip_rate)) / 2
    # an elementwise loss deviates by less than 1 from its mean: 4 / sqrt(2 n) = 0.0045
    assert equilibrium_d_loss(loss, TWO_GAUSSIANS, flip_rate) == pytest.approx(d_loss, abs=0.0045)


def test_constant_discriminators():
    outputs = np.array([0.1, 0.5, 0.8])
    np.testing.assert_allclose(equilibria.constant_d_loss("l1", outputs), 0.5)
    # l2 at 0.8: (0.64 + 0.04) / 2; bce at 0.8: -(ln 0.8 + ln 0.2) / 2
    np.testing.assert_allclose(equilibria.constant_d_loss("l2", outputs), [0.41, 0.25, 0.34])
    np.testing.assert_allclose(equilibria.constant_d_loss("bce", outputs)[1:], [np.log(2), 0.916291], atol=1e-6)


def test_other_losses_are_refused():
    with pytest.raises(ValueError, match="no closed form for the equilibria of wasserstein"):
        equilibrium_d_loss("wasserstein", ATOMS)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
def test_far_contamination_three_ways(rate):
    """Outliers so far away that no sample is in doubt: the closed forms of science.md section 4, atoms, quadrature."""
    e = rate
    js = ((1 - e) * np.log(2 * (1 - e) / (2 - e)) + e * np.log(2)) / 2 + np.log(2 / (2 - e)) / 2
    delta = e**2 / (2 - e) + e
    d_loss = {"bce": np.log(2) - js, "l2": 1 / 4 - delta / 8, "l1": (1 - e) / 2}
    atoms = Densities(np.array([1 - e, e]), np.array([1.0, 0.0]))  # a good sample, an outlier
    for seen in (atoms, contaminated_location(e, 50)):
        assert equilibria.jensen_shannon(seen) == pytest.approx(js, abs=1e-7)
        assert equilibria.triangular_discrimination(seen) == pytest.approx(delta, abs=1e-7)
        assert equilibria.total_variation(seen) == pytest.approx(e, abs=1e-7)
        assert {loss: equilibrium_d_loss(loss, seen) for loss in d_loss} == pytest.approx(d_loss, abs=1e-7)


def test_numbers_of_the_specification():
    """science.md section 4, e = 0.2: far, and 0.5 away in each of 100 coordinates."""
    for away, expected in ((50, (0.6183, 0.2222, 0.4)), (0.5 * np.sqrt(100), (0.6213, 0.2230, 0.4012))):
        seen = contaminated_location(0.2, away)
        assert [equilibrium_d_loss(loss, seen) for loss in ("bce", "l2", "l1")] == pytest.approx(expected, abs=5e-5)
    good, _ = equilibria.best_discriminator("bce", Densities(np.array([0.8, 0.2]), np.array([1.0, 0.0])))
    assert -np.log(good) == pytest.approx(0.811, abs=5e-4)  # bce's g_loss


def test_one_dimension_is_enough():
    """bce's equilibrium from samples in 100 dimensions, by their densities there, beside one-dimensional quadrature."""
    p, n, rate, rng = 100, 20_000, 0.2, np.random.default_rng(2)
    real, fake = rng.standard_normal((2, n, p))
    real[: int(rate * n)] += 0.5
    losses = []
    for x, sign in ((real, 1), (fake, -1)):
        outlier_over_good = np.exp(0.5 * x.sum(axis=1) - p / 8)  # N(0.5, I) over N(0, I)
        logit = np.log(1 - rate + rate * outlier_over_good)  # generated samples are N(0, I)
        losses.append(np.logaddexp(0, -sign * logit).mean())
    d_loss = equilibrium_d_loss("bce", contaminated_location(rate, 5))
    assert np.mean(losses) == pytest.approx(d_loss, abs=0.006)  # sd 0.4, four standard errors


@pytest.mark.parametrize("loss", ["bce", "l1", "l2"])
def test_force_is_the_slope_of_g_loss_under_a_frozen_discriminator(loss):
    here, h = contaminated_location(0.2, 5, 0.15), 1e-2
    x = on_grid(lambda x: x, lambda x: x, -equilibria.GRID_MARGIN, 5 + equilibria.GRID_MARGIN).real
    losses = equilibria.ADVERSARIAL[loss][0](equilibria.best_discriminator(loss, here))
    ahead, behind = (here.integral(norm.pdf(x - 0.15 - step) * losses) for step in (h, -h))
    assert equilibria.generator_force(loss, here) == pytest.approx((ahead - behind) / (2 * h), rel=5e-3)


def test_the_force_is_zero_where_a_density_is_rounded_to_zero():
    # q / p = exp(40 x - 800) for N(0, 1) and N(40, 1): bce's loss ln(1 + q / p) rises by at most 40 for each x, and is
    # infinite from 38.6 on, where p is rounded to 0
    assert 0 < equilibria.generator_force("bce", contaminated_location(0.0, 5, 40.0)) < 40


def test_bias_of_theta_hat():
    for loss in ("bce", "l2", "l1"):
        bias = equilibria.location_bias(loss, 0.2, 5)
        assert equilibria.generator_force(loss, contaminated_location(0.2, 5, bias - 0.01)) < 0
        assert equilibria.generator_force(loss, contaminated_location(0.2, 5, bias + 0.01)) > 0
    assert equilibria.location_bias("bce", 0.2, 50) == 0
    assert equilibria.location_bias("bce", 0.0, 5) == 0
    # l1's g_loss is D's own stake with the sign turned: there, and only there, the divergence's minimiser comes out
    for loss, same in (("l1", True), ("bce", False), ("l2", False)):
        least = minimize_scalar(
            lambda error, loss=loss: -equilibrium_d_loss(loss, contaminated_location(0.2, 5, error)),
            bounds=(0, 0.3),
            method="bounded",
        ).x
        assert bool(abs(equilibria.location_bias(loss, 0.2, 5) - least) < 1e-3) is same


@pytest.mark.parametrize("loss", ["bce", "l1", "l2"])
@pytest.mark.parametrize(("rate", "distance"), [(0.05, 2), (0.05, 1), (0.2, 2), (0.3, 1), (0.45, 3)])
def test_the_bias_from_near_outliers_is_the_first_error_without_a_pull(loss, rate, distance):
    """By brute force on a grid: the force changes its sign there, and nowhere before."""
    bias = equilibria.location_bias(loss, rate, distance)
    assert 0 < bias < distance
    errors = np.linspace(0, distance, 81)
    pulled = np.array([equilibria.generator_force(loss, contaminated_location(rate, distance, e)) for e in errors]) < 0
    first = errors[np.flatnonzero(~pulled & (errors > 0))[0]]
    assert first - errors[1] <= bias <= first


@pytest.mark.parametrize("loss", ["bce", "l2", "l1"])
@pytest.mark.parametrize(("rate", "distance"), [(0.05, 2), (0.49, 3)])  # beyond 1.5 the second pulls to the outliers
def test_bias_from_outliers_that_overlap_the_samples(loss, rate, distance):
    """By brute force: at each error the best D is frozen, and g_loss is compared on both sides of it."""
    x = np.arange(-8, 8 + distance, 2e-3)
    real = (1 - rate) * norm.pdf(x) + rate * norm.pdf(x - distance)
    paid = {
        "bce": lambda fake: np.log1p(fake / real),
        "l2": lambda fake: np.square(fake / (real + fake)),
        "l1": lambda fake: 1.0 * (fake > real),
    }

    def slope(error: float, step: float = 0.05) -> float:
        losses = paid[loss](norm.pdf(x - error))
        return float((losses * (norm.pdf(x - error - step) - norm.pdf(x - error + step))).sum())

    errors = np.linspace(0, distance, 201)
    slopes = np.array([slope(error) for error in errors])
    turn = np.flatnonzero((slopes[:-1] < 0) & (slopes[1:] > 0))[0]
    assert equilibria.location_bias(loss, rate, distance) == pytest.approx(errors[turn : turn + 2].mean(), abs=0.02)


def test_total_variation_is_flat_near_the_truth():
    """Why l1 stops short: at an error of 0.05, l1's pull is a thousandth of bce's; at 0.2 it is the stronger one."""
    pull = {
        (loss, error): equilibria.generator_force(loss, contaminated_location(0.2, 50, error))
        for loss in ("bce", "l1")
        for error in (0.05, 0.2)
    }
    assert 0 < pull["l1", 0.05] < 1e-3 * pull["bce", 0.05]
    assert pull["l1", 0.2] > pull["bce", 0.2]
