"""What do a GAN's generator G and discriminator D minimise? Objectives of D's outputs on a real and a generated batch.

Any elementwise loss induces an objective by the document's procedure: with labels 1 for real and 0 for generated
samples, D's loss is the mean over both halves, and G's loss is that of its samples against the label 1. Other
objectives take scores without a sigmoid: `hinge` and `wasserstein` also have two halves; `relativistic` compares pairs
of a real and a generated sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ganlab.lazy import lazily

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
else:
    lazily(globals(), torch="torch", F="torch.nn.functional", nn="torch.nn")


REAL, FAKE = 1.0, 0.0  # the document's labels
CLIP = 0.01  # Arjovsky et al., algorithm 1
GAMMA = (
    0.1  # weight of R1 and R2: after 600 steps on the digits as good as 0.01 and better than 1; it depends on the data
)


@dataclass(frozen=True)
class Objective:
    """The losses of D and G from D's outputs on a real and a generated batch, (n,) each: either `halves` or `pairs`.

    Attributes:
        generator: G's loss of each generated sample from D's output on it; with `pairs`, from D's outputs on a real
            sample and on the generated one.
        halves: D's loss of each sample from its output and label (1: real, 0: generated), any shape; d_loss is the mean
            of the real half and the generated one. Labels can be flipped.
        pairs: D's loss of each pair of a real and a generated sample from its two outputs; d_loss is their mean. It
            has neither halves nor labels.
        clip: D's weights are clipped to [-clip, clip] after each of its steps; 0: no clipping.
        gamma: weight of the gradient penalties R1 and R2 in D's step; 0: no penalties.
    """

    generator: Callable[..., Tensor]
    halves: Callable[[Tensor, Tensor], Tensor] | None = None
    pairs: Callable[[Tensor, Tensor], Tensor] | None = None
    clip: float = 0.0
    gamma: float = 0.0

    def d_loss(self, output: Tensor, label: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """D's loss without penalties, (), and its real and its generated half, () each.

        Args:
            output: of D on a real batch and on a generated one, (2, n).
            label: of each sample, (2, n); None: 1 and 0. With `pairs` there are neither labels nor halves.
        """
        if self.pairs:
            return self.pairs(*output).mean(), ()
        if label is None:
            label = output.new_tensor([[REAL], [FAKE]]).expand_as(output)
        real_loss, fake_loss = halves = self.sample_loss(output, label).mean(dim=1)
        return halves.sum() / 2, (real_loss, fake_loss)

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        """G's loss, (), from D's outputs on generated and, with `pairs`, on as many real samples."""
        return (self.generator(real, fake) if self.pairs else self.generator(fake)).mean()

    def sample_loss(self, output: Tensor, label: Tensor) -> Tensor:
        """D's loss of each sample from its output and label, any shape.

        Raises:
            ValueError: an objective of pairs has none.
        """
        if self.halves is None:
            raise ValueError("an objective of pairs has no loss of single samples")
        return self.halves(output, label)

    def penalty(self, output: Tensor, samples: Tensor) -> Tensor:
        """gamma / 2 times the mean squared norm of the gradient of D's `output` (n,) in its `samples` (n, ...), ().

        R1 on real samples, R2 on generated ones; differentiable in D's weights. With batch normalisation in D it is the
        gradient of the sum of all outputs. Mescheder, Geiger, Nowozin (ICML 2018).
        """
        (gradient,) = torch.autograd.grad(output.sum(), samples, create_graph=True)
        return self.gamma / 2 * gradient.float().square().flatten(1).sum(dim=1).mean()

    def constrain(self, discriminator: nn.Module) -> None:
        """Clip D's weights after its step, if the objective requires it."""
        if self.clip:
            with torch.no_grad():
                for weight in discriminator.parameters():
                    if weight.requires_grad:  # a user may have frozen some
                        weight.clamp_(-self.clip, self.clip)


def hinge(score: Tensor, label: Tensor) -> Tensor:
    """max(0, 1 - s) for real samples, max(0, 1 + s) for generated ones: under the best D, d_loss is 1 - TV.

    The best score is +-1. Lim, Ye, "Geometric GAN" (2017), Tran et al. (2017).
    """
    return F.relu(1 - (2 * label - 1) * score)


def wasserstein(score: Tensor, label: Tensor) -> Tensor:
    """-s for real samples, s for generated ones: -2 d_loss is the difference of D's mean scores.

    For a D with Lipschitz constant at most k this difference is at most k times the Wasserstein distance; clipped
    weights bound k.
    Arjovsky, Chintala, Bottou, "Wasserstein Generative Adversarial Networks" (ICML 2017).
    """
    return -(2 * label - 1) * score


def relativistic(better: Tensor, worse: Tensor) -> Tensor:
    """softplus(-(s_better - s_worse)): D scores each real sample above a generated one, and G does the opposite.

    Under the best D, which is ln p/q, d_loss is ln 2 - JS(p x q, q x p). Jolicoeur-Martineau, "The relativistic
    discriminator" (ICLR 2019); with R1 and R2 Huang et al., "The GAN is dead; long live the GAN!" (NeurIPS 2024).
    """
    return F.softplus(worse - better)


def negative_score(score: Tensor) -> Tensor:
    """-s: G maximises D's scores, without a bound."""
    return -score


def reversed_pair(real: Tensor, fake: Tensor) -> Tensor:
    """The relativistic loss with the roles exchanged; it does not saturate where D separates the two."""
    return relativistic(fake, real)


def non_saturating(loss: Callable[[Tensor, Tensor], Tensor], output: Tensor) -> Tensor:
    """An elementwise loss against the label "real", which is never flipped: under `bce` the non-saturating loss of
    Goodfellow et al., "Generative Adversarial Nets" (NeurIPS 2014), section 3."""
    return loss(output, torch.full_like(output, REAL))


def labelled(loss: Callable[[Tensor, Tensor], Tensor]) -> Objective:
    """The document's procedure, for an elementwise loss of D's output and a label."""
    return Objective(partial(non_saturating, loss), halves=loss)


def hinge_objective(clip: float, gamma: float) -> Objective:
    """Margins of 1 for D, `negative_score` for G."""
    return Objective(negative_score, halves=hinge)


def wasserstein_objective(clip: float, gamma: float) -> Objective:
    """The difference of the mean scores, for a D with clipped weights."""
    return Objective(negative_score, halves=wasserstein, clip=clip)


def relativistic_objective(clip: float, gamma: float) -> Objective:
    """As in R3GAN: pairs, and both gradient penalties."""
    return Objective(reversed_pair, pairs=relativistic, gamma=gamma)
