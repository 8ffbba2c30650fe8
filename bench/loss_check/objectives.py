"""Are the gradients of an objective of scores correct and finite, and what is d_loss at equilibrium?

Each check returns whether the loss passes (None for information that cannot fail) and a sentence for the user.
"""

import numpy as np
import torch
from scipy.optimize import minimize

from bench.loss_check.elementwise import EXTREME_PREDICTIONS, spread
from ganlab.losses import Loss
from ganlab.objectives import Objective


def differentiable(loss: Loss) -> tuple[bool, str]:
    """Whether autograd agrees with differences of the values, for both opponents."""
    objective = loss.adversarial("raw")
    scores = (4 * spread(2, 7) - 2).requires_grad_()
    correct = torch.autograd.gradcheck(lambda s: objective.d_loss(s)[0], scores, raise_exception=False)
    correct &= torch.autograd.gradcheck(lambda s: objective.g_loss(s[1], s[0]), scores, raise_exception=False)
    return correct, "both opponents' losses in the scores of a real and a generated batch"


def finite(loss: Loss) -> tuple[bool, str]:
    """Whether both opponents' losses and gradients stay finite in single precision at extreme scores."""
    objective, extremes = loss.adversarial("raw"), torch.tensor(EXTREME_PREDICTIONS)
    scores = torch.cartesian_prod(extremes, extremes).T.requires_grad_()
    invalid = []
    for name, value in (("d_loss", objective.d_loss(scores)[0]), ("g_loss", objective.g_loss(scores[1], scores[0]))):
        (gradient,) = torch.autograd.grad(value, scores)
        if not (value.isfinite() and gradient.isfinite().all()):
            invalid.append(name)
    if invalid:
        return False, f"{' and '.join(invalid)} {'are' if len(invalid) > 1 else 'is'} not"
    return True, f"losses and gradients, at scores from {extremes[0]:g} to {extremes[-1]:g}"


def equilibrium(loss: Loss) -> tuple[bool | None, str]:
    """d_loss under the best scores if real and generated samples have the same distribution."""
    same = np.full(8, 1 / 8)
    value, expected = least_d_loss(loss.adversarial("raw"), same, same), loss.equilibrium_d_loss
    answer = f"d_loss under the best scores is {value:.4f} where generated samples are as the real ones"
    if expected is None:
        return None, answer
    return abs(value - expected) < 1e-4, f"{answer}; theory: {expected:.4f}"


def least_d_loss(objective: Objective, real: np.ndarray, fake: np.ndarray) -> float:
    """The least d_loss over all scores for two distributions on the same few points, found numerically.

    Args:
        real, fake: probabilities of the points.
    """
    p, q = torch.from_numpy(real), torch.from_numpy(fake)

    def risk(scores: np.ndarray) -> tuple[float, np.ndarray]:
        s = torch.from_numpy(scores).requires_grad_()
        if objective.pairs:
            rows, columns = torch.broadcast_tensors(s[:, None], s[None])
            value = (torch.outer(p, q) * objective.pairs(rows, columns)).sum()
        elif objective.halves:
            halves = p * objective.halves(s, torch.ones_like(s)) + q * objective.halves(s, torch.zeros_like(s))
            value = halves.sum() / 2
        (slope,) = torch.autograd.grad(value, s)
        return value.item(), slope.numpy()

    starts = np.random.default_rng(0).normal(size=(3, len(real)))
    return min(float(minimize(risk, start, jac=True, method="L-BFGS-B").fun) for start in starts)
