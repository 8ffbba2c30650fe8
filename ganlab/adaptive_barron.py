"""How robust should a loss be? Barron's robust loss with a learned shape and a learned scale: `barron-adaptive`."""

import math

import torch
from torch import Tensor, nn

from ganlab.barron import HIGHEST, LEAST_SCALE, LOWEST, SCALE, general, partition_table


class AdaptiveBarron(nn.Module):
    """rho(e, alpha, c) + ln c + ln Z(alpha): the negative log-likelihood up to a constant; alpha and c are learned.

    ln c and ln Z keep large errors from making the scale infinite or alpha small. alpha starts at 1, c at 0.1; all
    elements share them. Values may be negative.
    """

    coefficients: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.alpha_logit = nn.Parameter(torch.zeros(()))
        self.log_scale = nn.Parameter(torch.tensor(math.log(SCALE)))
        self.first, self.spacing, coefficients = partition_table()
        self.register_buffer("coefficients", coefficients, persistent=False)

    @property
    def alpha(self) -> Tensor:
        """alpha, between 0 and 2, ()."""
        return LOWEST + (HIGHEST - LOWEST) * torch.sigmoid(self.alpha_logit)

    @property
    def scale(self) -> Tensor:
        """c in units of the prediction, ()."""
        return LEAST_SCALE + self.log_scale.exp()

    def log_partition(self) -> Tensor:
        """ln Z(alpha), (), from the table; differentiable."""
        position = ((2 - self.alpha).sqrt() - self.first) / self.spacing
        index = position.detach().long().clamp(0, self.coefficients.shape[1] - 1)
        cubic = self.coefficients.index_select(1, index[None])[:, 0]  # the index stays on the device
        x = (position - index) * self.spacing
        return ((cubic[0] * x + cubic[1]) * x + cubic[2]) * x + cubic[3]

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Elementwise, any shape."""
        alpha, scale = self.alpha, self.scale
        squares = ((prediction - target) / scale).square()
        return general(squares, alpha) + scale.log() + self.log_partition()
