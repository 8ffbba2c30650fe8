"""How robust should a loss be? Barron's general robust loss: one family from L2 to losses that ignore outliers.

Barron, "A General and Adaptive Robust Loss Function" (CVPR 2019): rho(e, alpha, c), with alpha given, or alpha and the
scale c learned together with the network's weights by the negative log-likelihood of the density that rho induces.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganlab.lazy import lazily

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    lazily(globals(), torch="torch")

SCALE = 0.1  # c in units of [0, 1], like Huber's d: errors of a trained network are smaller, most outliers larger
LOWEST, HIGHEST = 0.001, 1.999  # learned alphas: below 0 the density has no integral, at 0 and 2 rho's formula is 0/0
LEAST_SCALE = 1e-5  # lower bound of a learned c: the likelihood of an exact prediction is unbounded
REACH, STEP = 40.0, 0.01  # range and step of the integral in asinh(e): it omits exp(-40); half the step changes 1e-12
NODES = 513  # of the table in sqrt(2 - alpha); in alpha itself, ln Z is too steep near 2


def barron(prediction: Tensor, target: Tensor, alpha: float) -> Tensor:
    """c rho(p - t, alpha, c) at c = 0.1: quadratic near 0; for large |e| it grows as |e|^alpha, for alpha = 0 as
    ln |e|, and for alpha < 0 it is bounded.

    The factor c makes slopes comparable: for alpha = 1 the slope tends to 1, as for L1. alpha = 2 is L2 / (2 c), 1 is
    pseudo-Huber or Charbonnier, 0 Cauchy or Lorentzian, -2 Geman-McClure, -inf Welsch or Leclerc.

    Args:
        alpha: at most 2; -inf is allowed.
    """
    return SCALE * rho(((prediction - target) / SCALE).square(), alpha)


def rho(squares: Tensor, alpha: float) -> Tensor:
    """rho as a function of `squares` = (e / c)^2, with its limits at alpha = 2, 0, and -inf."""
    if alpha == 2:
        return squares / 2
    if alpha == 0:
        return torch.log1p(squares / 2)
    if alpha == -math.inf:
        return -torch.expm1(-squares / 2)
    return general(squares, alpha)


def general(squares: Tensor, alpha: float | Tensor) -> Tensor:
    """rho for alpha < 2 other than 0: b / alpha ((s / b + 1)^(alpha / 2) - 1) with b = 2 - alpha."""
    b = 2 - alpha
    exponent = alpha / 2 * torch.log1p(squares / b)
    return b / alpha * torch.expm1(exponent)  # expm1 is exact near alpha = 0, where a difference would cancel


def log_partition(alpha: ArrayLike) -> NDArray[np.float64]:
    """ln of Z(alpha), the integral of exp(-rho(e, alpha, 1)) over all e, for 0 < alpha < 2: by the trapezoidal rule.

    In u = asinh(e) the integrand decays at least as fast as exp(-|u|), so the rule converges fast.

    >>> round(float(log_partition(1.0)), 6)  # ln(2 e K_1(1))
    1.185495
    """
    alpha = np.asarray(alpha, float)[..., None]
    u = np.arange(-REACH, REACH + STEP / 2, STEP)
    b = 2 - alpha
    energy = b / alpha * np.expm1(alpha / 2 * np.log1p(np.sinh(u) ** 2 / b))
    return np.log(STEP * (np.cosh(u) * np.exp(-energy)).sum(axis=-1))


@cache
def partition_table() -> tuple[float, float, Tensor]:
    """ln Z as a cubic spline in sqrt(2 - alpha): the first node, the spacing, and coefficients (4, NODES - 1)."""
    from scipy.interpolate import CubicSpline

    nodes = np.linspace(math.sqrt(2 - HIGHEST), math.sqrt(2 - LOWEST), NODES)
    spline = CubicSpline(nodes, log_partition(2 - nodes**2))
    return float(nodes[0]), float(nodes[1] - nodes[0]), torch.from_numpy(spline.c).float()
