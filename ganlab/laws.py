"""What is the law of a pixel under outliers, and what does a loss lose on average over it?

A loss averaged over the law of its corrupted targets has the same population minimiser as the loss on corrupted
targets, without their noise. So a training on clean targets with it predicts any elementwise loss under outliers
(science.md section 9, "Expected-loss reference").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ganlab.lazy import lazily

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    lazily(globals(), torch="torch")

POINTS = 32  # of a quadrature; a median-seeker's gradient becomes a staircase of as many steps
SAMPLED = 256  # quantiles of each training image, from which those of all are taken

Donors = Sequence["Tensor"]  # the clean training images, (channels, height, width) each


class Law(NamedTuple):
    """The law of a corrupted pixel, as points and their probabilities.

    Attributes:
        points: (k, channels) or (k, 1), values in [0, 1]; if `relative`, u in [-1, 1], and a pixel t becomes
            t + rate u min(t, 1 - t), without clean pixels in between.
        weights: (k,), with sum 1.
        relative: whether the points move a pixel instead of replacing it.
    """

    points: Tensor
    weights: Tensor
    relative: bool = False

    def outcomes(self, target: Tensor, rate: float) -> tuple[Tensor, Tensor]:
        """What becomes of clean targets at an outlier rate.

        Args:
            target: (batch, channels, height, width), values in [0, 1].
            rate: expected share of corrupted pixels; for a relative law the strength.

        Returns:
            Values (outcomes, batch, channels, height, width), and the probability of each outcome (outcomes,).
        """
        points = self.points.to(target.device)[:, None, :, None, None]
        weights = self.weights.to(target.device)
        if self.relative:
            return target + rate * points * torch.minimum(target, 1 - target), weights
        values = torch.cat([target[None], points.expand(-1, *target.shape)])
        return values, torch.cat([weights.new_tensor([1 - rate]), rate * weights])


def at(*levels: float) -> Callable[[Donors], Law]:
    """Each of these values with the same probability."""
    return lambda donors: _law(np.array(levels)[:, None], np.full(len(levels), 1 / len(levels)))


def uniform(donors: Donors) -> Law:
    """U[0, 1], by Gauss-Legendre quadrature."""
    points, weights = np.polynomial.legendre.leggauss(POINTS)
    return _law((points[:, None] + 1) / 2, weights / 2)


def moved(donors: Donors) -> Law:
    """u ~ U[-1, 1] of a relative law, by Gauss-Legendre quadrature."""
    points, weights = np.polynomial.legendre.leggauss(POINTS)
    return _law(points[:, None], weights / 2)._replace(relative=True)


def of_images(donors: Donors) -> Law:
    """The pixels of the training images, every image with the same weight: quantiles of each channel."""
    shares = (np.arange(SAMPLED) + 0.5) / SAMPLED
    images = [np.quantile(donor.flatten(1).numpy(), shares, axis=1) for donor in donors]
    middles = (np.arange(POINTS) + 0.5) / POINTS
    return _law(np.quantile(np.concatenate(images), middles, axis=0), np.full(POINTS, 1 / POINTS))


def _law(points: np.ndarray, weights: np.ndarray) -> Law:
    return Law(torch.from_numpy(points).float(), torch.from_numpy(weights).float())
