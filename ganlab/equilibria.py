"""To which values must a GAN's losses converge? Closed forms and quadrature from densities; nothing is trained.

d_loss under the best discriminator (science.md section 3), and the location GAN, where both densities are known
(section 4).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganlab.losses import LOSSES

Array = NDArray[np.float64]

GRID_STEP = 1e-3  # of one-dimensional quadrature, in standard deviations; at L1's kinks the error is its square
PAIRS_ON = 1500  # most points per side for densities of pairs: memory grows with the square
GRID_MARGIN = 9.0  # beyond the outermost mean, in standard deviations: 1e-19 of a Gaussian lies outside
BIAS_STEPS = 100  # from the samples to the outliers, in search of the nearest bias
NO_PULL = 1e-9  # a smaller gradient of the generator is a rounding error: theta_hat does not move


@dataclass(frozen=True)
class Densities:
    """Two distributions on the same points: real and generated samples of a GAN.

    Attributes:
        real: density of the real samples at each point (or their probability, for a discrete distribution).
        fake: density of the generated samples there.
        weight: of a point in an integral: the grid's step, or 1 for a discrete distribution.
    """

    real: Array
    fake: Array
    weight: float | Array = 1.0

    def integral(self, values: Array) -> float:
        """The integral of a function given by its `values` at the points."""
        return float((values * self.weight).sum())

    def flipped(self, rate: float) -> "Densities":
        """What D sees when its labels are flipped independently with probability `rate`: two mixtures.

        With label flips at rate e, the label "real" stands for (1 - e) p_data + e p_g, and "fake" for the opposite.
        """
        return Densities(
            (1 - rate) * self.real + rate * self.fake, (1 - rate) * self.fake + rate * self.real, self.weight
        )


def on_grid(real: Callable[[Array], Array], fake: Callable[[Array], Array], low: float, high: float) -> Densities:
    """Two one-dimensional density functions on an evenly spaced grid from `low` to `high`; both are 0 outside."""
    x = np.arange(low, high + GRID_STEP, GRID_STEP)
    return Densities(real(x), fake(x), GRID_STEP)


def jensen_shannon(densities: Densities) -> float:
    """Jensen-Shannon divergence in nats, from 0 (equal) to ln 2 (disjoint). Lin, IEEE Trans. Inf. Theory 37 (1991)."""
    from scipy.special import entr

    middle = (densities.real + densities.fake) / 2
    return densities.integral(entr(middle) - (entr(densities.real) + entr(densities.fake)) / 2)


def triangular_discrimination(densities: Densities) -> float:
    """Delta, the integral of (p - q)^2 / (p + q), from 0 (equal) to 2 (disjoint): Vincze and Le Cam's divergence.

    Topsøe, "Some inequalities for information divergence", IEEE Trans. Inf. Theory 46 (2000).
    """
    total = densities.real + densities.fake
    squares = np.square(densities.real - densities.fake)
    return densities.integral(np.divide(squares, total, out=np.zeros_like(total), where=total > 0))


def total_variation(densities: Densities) -> float:
    """Total variation, half the integral of |p - q|, from 0 (equal) to 1 (disjoint)."""
    return densities.integral(np.abs(densities.real - densities.fake)) / 2


def of_pairs(densities: Densities) -> Densities:
    """The densities of pairs (real, generated) and (generated, real): p x q and q x p, on every pair of points."""
    stride = -(-len(densities.real) // PAIRS_ON)
    p, q = densities.real[::stride], densities.fake[::stride]
    weight = np.broadcast_to(densities.weight, densities.real.shape)[::stride] * stride
    return Densities(np.outer(p, q), np.outer(q, p), np.outer(weight, weight))


D_LOSS: dict[str, Callable[[Densities], float]] = {  # under the best discriminator
    "bce": lambda densities: np.log(2) - jensen_shannon(densities),
    "l2": lambda densities: 1 / 4 - triangular_discrimination(densities) / 8,
    "l1": lambda densities: (1 - total_variation(densities)) / 2,
    "hinge": lambda densities: 1 - total_variation(densities),
    "relativistic": lambda densities: np.log(2) - jensen_shannon(of_pairs(densities)),
}
ADVERSARIAL: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {  # of D's output d
    "bce": (lambda d: -np.log(d), lambda d: -np.log1p(-d)),  # against "real"; against "fake"
    "l2": (lambda d: np.square(1 - d), np.square),
    "l1": (lambda d: 1 - d, lambda d: d),
}


def _with_closed_form(loss: str, losses: Iterable[str] = ADVERSARIAL) -> str:
    if loss not in losses:
        raise ValueError(f"no closed form for the equilibria of {loss}; there are {', '.join(losses)}")
    return loss


def equilibrium_d_loss(loss: str, densities: Densities, flip_rate: float = 0.0) -> float:
    """d_loss under the best discriminator, for any generator: the mean of D's losses on real and generated samples.

    bce: ln 2 - JS; l2: 1/4 - Delta / 8; l1: (1 - TV) / 2. Goodfellow et al., "Generative Adversarial Nets" (NeurIPS
    2014), theorem 1, gives twice the value of bce, for the sum of D's losses. Label flips at rate e reduce Delta to (1
    - 2e)^2 Delta and TV to (1 - 2e) TV. The best D of l1 and l2 lies within [0, 1] on the raw head too, so both heads
    have the same value; for l2 on the raw head, p / (p + q) is the best D of LSGAN, Mao et al. (ICCV 2017), with labels
    0 and 1.

    On scores, hinge: 1 - TV, with scores of +-1 (Lim, Ye, "Geometric GAN", 2017, gives twice that, for the sum).
    relativistic: ln 2 - JS of the pairs; it has no labels to flip. wasserstein has no closed form, because its D has
    clipped weights; at p_g = p_data it is 0.

    Args:
        loss: bce, l1, or l2; hinge or relativistic on scores.
        densities: of real and generated samples.
        flip_rate: share of D's labels that are flipped, both real and fake, below 1/2.

    Raises:
        ValueError: no closed form for this loss, or no labels to flip.

    >>> same = Densities(np.array([0.5, 0.5]), np.array([0.5, 0.5]))
    >>> [round(float(equilibrium_d_loss(loss, same)), 4) for loss in ("bce", "l1", "l2")]
    [0.6931, 0.5, 0.25]
    """
    if loss == "relativistic" and flip_rate:
        raise ValueError("relativistic compares pairs and has no labels to flip")
    return float(D_LOSS[_with_closed_form(loss, D_LOSS)](densities.flipped(flip_rate)))


def best_discriminator(loss: str, densities: Densities, flip_rate: float = 0.0) -> Array:
    """The output of the best discriminator (sigmoid head) at each point.

    For mean-seekers it is r = p / (p + q); label flips at rate e change it to (1 - 2e) r + e. For l1 it is 1 where
    p > q and 0 where p < q. Where p = q every output is optimal for l1 (1/2 is returned).
    """
    seen = densities.flipped(flip_rate)
    if LOSSES[_with_closed_form(loss)].minimiser == "median":
        return (1 + np.sign(seen.real - seen.fake)) / 2
    total = seen.real + seen.fake
    return np.divide(seen.real, total, out=np.full_like(total, 0.5), where=total > 0)


def constant_d_loss(loss: str, output: ArrayLike) -> Array:
    """d_loss of a discriminator with the same `output` in (0, 1) for every sample. For l1 it is 1/2 for every output.

    >>> constant_d_loss("l1", [0.1, 0.5, 0.9]), constant_d_loss("l2", [0.0, 0.5])
    (array([0.5, 0.5, 0.5]), array([0.5 , 0.25]))
    """
    against_real, against_fake = ADVERSARIAL[_with_closed_form(loss)]
    output = np.asarray(output, float)
    return (against_real(output) + against_fake(output)) / 2


def contaminated_location(rate: float, distance: float, error: float = 0.0) -> Densities:
    """Real and generated samples of the location GAN along the line through the two means.

    Perpendicular to that line both are N(0, I) as long as the error of theta_hat is along it. So divergences in any
    dimension equal those of this one-dimensional pair.

    Args:
        rate: e, the share of outliers.
        distance: between the means of samples and outliers: shift * sqrt(dimension).
        error: of theta_hat, towards the outliers.
    """
    from scipy.stats import norm

    return on_grid(
        lambda x: (1 - rate) * norm.pdf(x) + rate * norm.pdf(x - distance),
        lambda x: norm.pdf(x - error),
        min(0.0, error) - GRID_MARGIN,
        max(distance, error) + GRID_MARGIN,
    )


def generator_force(loss: str, densities: Densities) -> float:
    """Derivative of g_loss in theta_hat along the line, with the best D held fixed: G's gradient.

    theta_hat grows where it is negative. It is the mean over generated samples of the slope of loss(D(x), real).

    Args:
        loss: bce, l1, or l2.
        densities: on a one-dimensional grid (`on_grid`).
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # bce's loss is infinite where no real sample is
        rise = np.diff(ADVERSARIAL[loss][0](best_discriminator(loss, densities)))
    generated = (densities.fake[1:] + densities.fake[:-1]) / 2
    return float((generated * np.where(np.isfinite(rise), rise, 0.0)).sum())


def location_bias(loss: str, rate: float, distance: float) -> float:
    """The error of theta_hat towards the outliers, with infinite samples and the best discriminator at every step.

    Outliers that D cannot distinguish from samples cause a bias under every loss. The document's g_loss does not
    minimise the divergence that D measures, so for bce and l2 this is not the minimiser of JS or Delta: at e = 0.2 and
    distance 5 it is 0.016 and 0.015, the minimisers are 0.035 and 0.026. For l1 both are 0.088.

    Args:
        loss: bce, l1, or l2.
        rate: e, below 1/2.
        distance: as for `contaminated_location`.

    Returns:
        The first error at which nothing pulls theta_hat any further; NaN if there is none up to the outliers.
    """
    from scipy.optimize import brentq

    def force(error: float) -> float:
        return generator_force(loss, contaminated_location(rate, distance, error))

    if force(0.0) > -NO_PULL:
        return 0.0
    errors = np.linspace(0.0, distance, BIAS_STEPS + 1)  # a larger step may pass a second, unstable point
    beyond = next((index for index, error in enumerate(errors) if force(error) > 0), None)
    return math.nan if beyond is None else float(brentq(force, errors[beyond - 1], errors[beyond], xtol=1e-6))
