"""Which losses are compared, and what is each one's value, gradient, and minimiser?

A network emits a logit `s`. The head turns it into a prediction: `sigmoid`, p = 1 / (1 + exp(-s)), or `raw`, p = s.
The target `t` lies in [0, 1]. Losses are elementwise; the caller reduces. To add one, write a function of
(prediction, target) and add a line to `LOSSES`: the tasks, figures, and report pick it up from there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Head = Literal["sigmoid", "raw"]
HEADS: tuple[Head, ...] = ("sigmoid", "raw")
HUBER_DELTA = 0.1  # in units of [0, 1]
CHARBONNIER_EPSILON = 1e-3  # LapSRN's
PINBALL = "pinball-"  # `pinball-0.625` is the loss of the 0.625-quantile


def predict(logit: Tensor, head: Head) -> Tensor:
    """The prediction p behind a logit: `sigmoid(logit)` or, for the raw head, the logit itself. Any shape."""
    return torch.sigmoid(logit) if head == "sigmoid" else logit


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Absolute error |p - t|; its population minimiser is the median of t.

    Behind a sigmoid its gradient in the logit is sign(p - t) p (1 - p), which vanishes where the network is
    confidently wrong. Laplace, "Mémoire sur la probabilité des causes" (1774).
    """
    return (prediction - target).abs()


def l2(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error (p - t)^2, without the factor 1/2; its population minimiser is the mean of t.

    Behind a sigmoid its gradient in the logit is 2 (p - t) p (1 - p); on the raw head it is 2 (p - t), below L1's
    for errors under 1/2. As an adversarial loss on the raw head it is LSGAN (Mao et al., ICCV 2017).
    """
    return (prediction - target).square()


def huber(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error / (2 d) up to d = 0.1, then |e| - d / 2: quadratic near 0, linear for outliers. Huber (1964).

    On pixels in [0, 1] the frequent default d = 1 would be L2 everywhere; 0.1 is about 25 grey levels. The minimiser
    is neither mean nor median.
    """
    return F.huber_loss(prediction, target, reduction="none", delta=HUBER_DELTA) / HUBER_DELTA


def charbonnier(prediction: Tensor, target: Tensor) -> Tensor:
    """sqrt(e^2 + 0.001^2): L1 with a rounded tip, as in LapSRN (Lai et al., CVPR 2017) and much of restoration."""
    return ((prediction - target).square() + CHARBONNIER_EPSILON**2).sqrt()


def pinball(prediction: Tensor, target: Tensor, tau: float) -> Tensor:
    """max(tau (t - p), (tau - 1)(t - p)): its minimiser is the tau-quantile of t. Koenker, Bassett (1978).

    Not a contestant: trained on clean targets it predicts where L1 goes under salt (`ganlab.theory`).
    """
    error = target - prediction
    return torch.maximum(tau * error, (tau - 1) * error)


def bce_with_logits(logit: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of a logit, softplus(s) - t s; its population minimiser over p is the mean of t.

    Computed from the logit, so it stays finite and exact where sigmoid(s) rounds to 0 or 1. Its gradient in the
    logit is p - t: it does not saturate. For soft targets its floor is the target's own entropy (`entropy`).
    Good, "Rational Decisions" (1952).
    """
    return F.binary_cross_entropy_with_logits(logit, target, reduction="none")


def entropy(target: Tensor) -> Tensor:
    """Elementwise entropy -t ln t - (1 - t) ln(1 - t) in nats: the least BCE that soft targets in [0, 1] admit."""
    least = torch.finfo(target.dtype).tiny  # 0 ln 0 is 0; torch.special.entr knows, but is ten times as slow
    return -sum(share * share.clamp(min=least).log() for share in (target, 1 - target))


@dataclass(frozen=True)
class Loss:
    """One elementwise loss and what theory knows of it.

    Attributes:
        name: its name in suites and CSV.
        of_prediction: the loss as a function of (prediction, target); None where it needs the logit itself.
        of_logit: the loss as a function of (logit, target) for the sigmoid head, where that is safer numerically.
        minimiser: what the population minimiser over p is: "mean", "median", or None (neither, or another quantile).
        equilibrium_d_loss: d_loss of the document's procedure at p_g = p_data with the best D (sigmoid head),
            science.md section 3; None where no closed form is known.
    """

    name: str
    minimiser: Literal["mean", "median"] | None
    of_prediction: Callable[[Tensor, Tensor], Tensor] | None = None
    of_logit: Callable[[Tensor, Tensor], Tensor] | None = None
    equilibrium_d_loss: float | None = None

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads this loss is defined on."""
        return HEADS if self.of_prediction else ("sigmoid",)

    def __call__(self, logit: Tensor, target: Tensor, head: Head = "sigmoid", value_range: float = 1.0) -> Tensor:
        """Elementwise loss.

        Args:
            logit: the network's output, any shape.
            target: values in [0, 1], the same shape; nothing is broadcast.
            head: how the logit becomes a prediction.
            value_range: the unit: prediction and target are both multiplied by it before the loss (1 or 255).

        Returns:
            The loss of each element, the shape of `logit`.

        Raises:
            ValueError: shapes differ, or the loss is not defined on this head or in this unit.

        >>> LOSSES["l2"](torch.zeros(2), torch.tensor([0.0, 1.0]))
        tensor([0.2500, 0.2500])
        """
        if logit.shape != target.shape:
            raise ValueError(
                f"{self.name}: logit {tuple(logit.shape)} and target {tuple(target.shape)} differ in shape"
            )
        if head not in self.heads:
            raise ValueError(f"{self.name} is not defined on the {head} head; it takes {', '.join(self.heads)}")
        if self.of_logit and head == "sigmoid" and value_range == 1:
            return self.of_logit(logit, target)
        if not self.of_prediction:
            raise ValueError(f"{self.name} is a loss of probabilities: it has no unit other than 1")
        return self.of_prediction(value_range * predict(logit, head), value_range * target)


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("bce", "mean", of_logit=bce_with_logits, equilibrium_d_loss=0.6931471805599453),
        Loss("l1", "median", of_prediction=l1, equilibrium_d_loss=0.5),
        Loss("l2", "mean", of_prediction=l2, equilibrium_d_loss=0.25),
        Loss("huber", None, of_prediction=huber),
        Loss("charbonnier", "median", of_prediction=charbonnier),
    )
}


def find_loss(name: str) -> Loss:
    """The loss of this name: a registered one, or `pinball-TAU` with 0 < TAU < 1.

    Raises:
        KeyError: no such loss.

    >>> find_loss("pinball-0.75")(torch.tensor([0.25]), torch.tensor([0.75]), "raw")  # 0.75 x 0.5
    tensor([0.3750])
    """
    if name.startswith(PINBALL):
        try:
            tau = float(name.removeprefix(PINBALL))
        except ValueError:
            tau = math.nan
        if 0 < tau < 1:
            return Loss(name, None, of_prediction=partial(pinball, tau=tau))
    return LOSSES[name]
