"""Which losses are compared, and what are their values, gradients, and minimisers?

A network gives a logit `s`. The head turns it into a prediction: `sigmoid`, p = 1 / (1 + exp(-s)), or `raw`, p = s.
The target `t` lies in [0, 1]. Losses are elementwise; the caller reduces. To add one, write a function of
(prediction, target) and add a line to `LOSSES`; tasks, figures, and the report use that registry. To use one without
changing the project, refer to your function or nn.Module class as `package.module:MyLoss`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Literal

from ganlab import objectives, user_losses
from ganlab.barron import barron
from ganlab.lazy import lazily
from ganlab.objectives import Objective
from ganlab.plugins import LOSSES_GROUP, entry_points, is_reference

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
else:
    lazily(globals(), torch="torch", F="torch.nn.functional", nn="torch.nn")

Head = Literal["sigmoid", "raw"]
HEADS: tuple[Head, ...] = ("sigmoid", "raw")
HUBER_DELTA = 0.1  # in units of [0, 1]
CHARBONNIER_EPSILON = 1e-3  # LapSRN's
PINBALL = "pinball-"  # `pinball-0.625` is the loss of the 0.625-quantile
ADVERSARIAL_TASKS = ("gan", "location")


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


def adaptive_barron() -> nn.Module:
    """A new `AdaptiveBarron`."""
    from ganlab.adaptive_barron import AdaptiveBarron

    return AdaptiveBarron()


def barron_adaptive(prediction: Tensor, target: Tensor) -> Tensor:
    """`AdaptiveBarron` with its initial parameters; each training gets its own (`Loss.fresh`)."""
    return adaptive_barron().to(prediction.device)(prediction, target)


def pinball(prediction: Tensor, target: Tensor, tau: float) -> Tensor:
    """max(tau (t - p), (tau - 1)(t - p)): its minimiser is the tau-quantile of t. Koenker, Bassett (1978).

    It is not one of the compared losses: trained on clean targets, it predicts L1's result under salt
    (`ganlab.theory`).
    """
    error = target - prediction
    return torch.maximum(tau * error, (tau - 1) * error)


def bce_with_logits(logit: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of a logit, softplus(s) - t s; its population minimiser over p is the mean of t.

    Computed from the logit, so it stays finite and exact where sigmoid(s) rounds to 0 or 1. Its gradient in the
    logit is p - t: it does not saturate. For soft targets its minimum is the target's entropy (`metrics.entropy`).
    Good, "Rational Decisions" (1952).
    """
    return F.binary_cross_entropy_with_logits(logit, target, reduction="none")


@dataclass(frozen=True)
class Loss:
    """One loss and its theory. It is elementwise, or an `objective` of a GAN's generator and discriminator.

    Attributes:
        name: its name in suites and CSV.
        minimiser: the population minimiser over p: "mean", "median", or None (neither, or unknown).
        of_prediction: the loss as a function of (prediction, target); None where it needs the logit itself.
        of_logit: the loss as a function of (logit, target) for the sigmoid head, where that is numerically safer.
        equilibrium_d_loss: d_loss at p_g = p_data with the best D, on every head of the loss; for an elementwise
            loss under the document's procedure (science.md section 3). None: no closed form.
        objective: the objective as a function of `clip` and `gamma`; None: the document's procedure.
        build: builds the nn.Module of a loss that has one, which may hold parameters, buffers, and other state.
        module: the module of one training (`fresh`); then it is also `of_prediction`.
        references: the user code it depends on, as `package.module:attribute`.
    """

    name: str
    minimiser: Literal["mean", "median"] | None
    of_prediction: Callable[[Tensor, Tensor], Tensor] | None = None
    of_logit: Callable[[Tensor, Tensor], Tensor] | None = None
    equilibrium_d_loss: float | None = None
    objective: Callable[[float, float], Objective] | None = None
    build: Callable[[], nn.Module] | None = None
    module: nn.Module | None = None
    references: tuple[str, ...] = ()

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads this loss is defined on."""
        if self.objective:
            return ("raw",)
        return HEADS if self.of_prediction else ("sigmoid",)

    @property
    def learns(self) -> bool:
        """Whether it has parameters to train."""
        return self.build is not None and any(weight.requires_grad for weight in self.build().parameters())

    def reason_against(self, task: str, head: Head, outlier: str = "clean") -> str | None:
        """Why this loss does not apply to a task, head, and outlier kind; None if it applies.

        >>> find_loss("hinge").reason_against("sr", "raw")
        'hinge is an objective of two opponents: it applies to gan and location'
        """
        if self.objective and task not in ADVERSARIAL_TASKS:
            return f"{self.name} is an objective of two opponents: it applies to {' and '.join(ADVERSARIAL_TASKS)}"
        if self.objective and head not in self.heads:
            return f"{self.name} judges scores, which a {head} would bound: it applies to the raw head"
        if head not in self.heads:
            return f"{self.name} is not defined on the {head} head; it takes {', '.join(self.heads)}"
        if task in ADVERSARIAL_TASKS and self.learns:
            return f"{self.name} learns parameters of its own, which two opponents would pull apart: not for a GAN"
        if outlier == "flip" and self.objective and self.adversarial(head).pairs:
            return f"{self.name} compares pairs and has no labels to flip"
        return None

    def adversarial(self, head: Head, clip: float = objectives.CLIP, gamma: float = objectives.GAMMA) -> Objective:
        """What a GAN's generator and discriminator minimise under this loss.

        Args:
            head: how D's logit becomes its output.
            clip: bound of D's weights, for `wasserstein`.
            gamma: weight of the gradient penalties, for `relativistic`.
        """
        if self.objective:
            return self.objective(clip, gamma)
        return objectives.labelled(partial(self, head=head))

    def fresh(self) -> Loss:
        """A copy for one training, with its own state; the loss itself if it has no state."""
        if self.build is None:
            return self
        module = self.build()
        return replace(self, module=module, of_prediction=module)

    def __call__(self, logit: Tensor, target: Tensor, head: Head = "sigmoid", value_range: float = 1.0) -> Tensor:
        """Elementwise loss.

        Args:
            logit: the network's output, any shape.
            target: values in [0, 1], the same shape; there is no broadcasting.
            head: how the logit becomes a prediction.
            value_range: prediction and target are both multiplied by it before the loss (1 or 255).

        Returns:
            The loss of each element, the shape of `logit`.

        Raises:
            ValueError: shapes differ, or the loss is not elementwise, or not defined on this head or range.

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
            if self.objective:
                raise ValueError(f"{self.name} is an objective of two opponents, no elementwise loss")
            raise ValueError(f"{self.name} is a loss of probabilities: it has no unit other than 1")
        prediction = predict(logit, head)
        if value_range != 1:
            prediction, target = value_range * prediction, value_range * target
        return self.of_prediction(prediction, target)


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("bce", "mean", of_logit=bce_with_logits, equilibrium_d_loss=0.6931471805599453),
        Loss("l1", "median", of_prediction=l1, equilibrium_d_loss=0.5),
        Loss("l2", "mean", of_prediction=l2, equilibrium_d_loss=0.25),
        Loss("huber", None, of_prediction=huber),
        Loss("charbonnier", "median", of_prediction=charbonnier),
        Loss("barron-0", None, of_prediction=partial(barron, alpha=0.0)),
    )
}
PARTICULAR: dict[str, Loss] = {  # for some tasks only, see `Loss.reason_against`
    loss.name: loss
    for loss in (
        Loss("barron-adaptive", None, of_prediction=barron_adaptive, build=adaptive_barron),
        Loss("hinge", None, objective=objectives.hinge_objective, equilibrium_d_loss=1.0),
        Loss("wasserstein", None, objective=objectives.wasserstein_objective, equilibrium_d_loss=0.0),
        Loss("relativistic", None, objective=objectives.relativistic_objective, equilibrium_d_loss=math.log(2)),
    )
}


@dataclass(frozen=True)
class Family:
    """Losses with a parameter, whose value is part of their name.

    Attributes:
        parameter: the parameter's name, for people.
        fits: whether a value is allowed.
        range: the allowed values, for people.
        description: one clause, for people.
        build: the loss, from its name and the parameter's value.
    """

    parameter: str
    fits: Callable[[float], bool]
    range: str
    description: str
    build: Callable[[str, float], Loss]


FAMILIES: dict[str, Family] = {  # by the prefix of their names
    PINBALL: Family(
        "TAU",
        lambda tau: 0 < tau < 1,
        "between 0 and 1",
        "seeks the TAU-quantile",
        lambda name, tau: Loss(name, None, of_prediction=partial(pinball, tau=tau)),
    ),
    "barron-": Family(  # `barron--2` is Barron's with alpha = -2
        "ALPHA",
        lambda alpha: alpha <= 2,
        "at most 2, or -inf",
        "Barron's: 2 is as L2, 1 nearly L1, the lower the less outliers count",
        lambda name, alpha: Loss(name, "mean" if alpha == 2 else None, of_prediction=partial(barron, alpha=alpha)),
    ),
}


def family_hint(name: str) -> str:
    """The allowed values of the parameter in a loss's name, as the end of a message; "" for names without one.

    >>> family_hint("barron-3"), family_hint("l7")
    ('; in barron-ALPHA, ALPHA is at most 2, or -inf', '')
    """
    return "".join(
        f"; in {prefix}{family.parameter}, {family.parameter} is {family.range}"
        for prefix, family in FAMILIES.items()
        if name.startswith(prefix)
    )


def known_names() -> list[str]:
    """The names of all losses: the project's, and those of installed packages."""
    return [*LOSSES, *PARTICULAR, *entry_points(LOSSES_GROUP)]


def find_loss(name: str) -> Loss:
    """The loss of this name: a registered one, one of `FAMILIES`, an entry point `ganlab.losses`, or the user's,
    `package.module:MyLoss`.

    Raises:
        KeyError: no such loss.
        PluginError: the user's loss cannot be loaded, or is no elementwise function of (prediction, target).

    >>> find_loss("pinball-0.75")(torch.tensor([0.25]), torch.tensor([0.75]), "raw")  # 0.75 x 0.5
    tensor([0.3750])
    """
    if shipped := find_shipped(name):
        return shipped
    return examined_loss(name, name if is_reference(name) else entry_points(LOSSES_GROUP)[name])


def find_shipped(name: str) -> Loss | None:
    """The project's loss of this name; None where there is none."""
    if name in LOSSES or name in PARTICULAR:
        return LOSSES.get(name) or PARTICULAR[name]
    for prefix, family in FAMILIES.items():
        if name.startswith(prefix):
            try:
                number = float(name.removeprefix(prefix))
            except ValueError:
                continue
            if family.fits(number):
                return family.build(name, number)
    return None


@cache
def examined_loss(name: str, reference: str) -> Loss:
    """`user_loss`, after checking that it is elementwise and differentiable.

    Raises:
        PluginError: it is not, or cannot be loaded.
    """
    loss = user_loss(name, reference)
    user_losses.examine(name, partial(loss.fresh(), head="raw"))  # a copy: a call may change its state
    return loss


@cache
def user_loss(name: str, reference: str) -> Loss:
    """The loss behind a reference: a function of (prediction, target), or an nn.Module class, which is built with
    reduction="none" where it takes that argument.

    Raises:
        PluginError: it cannot be loaded, or is something else.
    """
    loss = user_losses.load(name, reference)
    build = partial(user_losses.copy_of, name, loss) if isinstance(loss, nn.Module) else None
    return Loss(name, None, of_prediction=loss, references=(reference,), build=build)
