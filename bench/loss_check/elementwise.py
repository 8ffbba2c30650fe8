"""Is a loss elementwise, is its gradient correct and finite, and which statistic of the targets does it seek?

Each check returns whether the loss passes (None for information that cannot fail) and a sentence for the user.
"""

import math
from functools import cache

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import beta, norm
from torch import Tensor
from torch.nn import Module

from ganlab.losses import Head, Loss
from ganlab.optimizers import trainable
from ganlab.user_losses import Elementwise

SCAN = 4001  # grid of predictions in (0, 1) for the search for kinks
KINK_WIDTH = 1e-7  # an interval holds a kink if the slope still jumps over it at this width
EXTREME_LOGITS = (-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4)
EXTREME_PREDICTIONS = (-1e4, -1.0, 0.0, 0.5, 1.0, 2.0, 1e4)
TARGETS = (0.0, 0.3, 0.5, 1.0)
NEAR = 3e-3  # largest distance from the mean or median; Charbonnier's smoothing of 0.001 moves its minimiser this far
_QUANTILES = (np.arange(501) + 0.5) / 501
SKEWED = {  # samples whose mean and median differ
    "skewed right": beta.ppf(_QUANTILES, 1.2, 4),
    "skewed left": beta.ppf(_QUANTILES, 4, 1.5),
    "two humps": np.concatenate(
        [norm.ppf(_QUANTILES[:350] * 501 / 350, 0.2, 0.05), norm.ppf((_QUANTILES[:151]) * 501 / 151, 0.85, 0.05)]
    ).clip(0, 1),
}


def in_double(loss: Loss) -> Elementwise:
    """The loss as a function of (prediction, target) in double precision."""
    copy = loss.fresh()
    if copy.module is not None:
        copy.module.double()
    of_prediction, of_logit = copy.of_prediction, copy.of_logit
    if of_prediction:
        return of_prediction
    assert of_logit, "a loss is of predictions or of logits"
    return lambda prediction, target: of_logit(torch.logit(prediction), target)


def spread(*shape: int, seed: int = 0) -> Tensor:
    """Numbers between 0.02 and 0.98, the same at every call."""
    return 0.02 + 0.96 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def elementwise(loss: Loss) -> tuple[bool, str]:
    """Whether each value depends only on the prediction and the target of its own element."""
    function = in_double(loss)
    prediction, target = spread(12), spread(12, seed=1)
    values = function(prediction, target)
    if not isinstance(values, Tensor) or values.shape != prediction.shape:
        got = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
        return False, f"12 elements give {got}: return a value for each, without mean() or sum()"
    images = function(prediction.view(1, 3, 2, 2), target.view(1, 3, 2, 2))
    if images.shape != (1, 3, 2, 2) or not torch.allclose(images.flatten(), values):
        return False, "the same elements as an image (1, 3, 2, 2) give other values than in a row"
    for index in range(12):
        others = torch.arange(12) != index
        for changed in (0, 1):
            pair = [prediction.clone(), target.clone()]
            pair[changed][index] = 1 - pair[changed][index]
            if not torch.equal(function(*pair)[others], values[others]):
                changed_input = ("prediction", "target")[changed]
                return (
                    False,
                    f"the {changed_input} of one element changes the loss of another: drop what looks across elements",
                )
    return True, "each value depends on its own element alone"


def slopes(function: Elementwise, prediction: Tensor, target: float | Tensor) -> Tensor:
    """Derivatives in the prediction (n,)."""
    leaf = prediction.detach().clone().requires_grad_()
    target = torch.as_tensor(target, dtype=leaf.dtype).expand_as(leaf)
    return torch.autograd.grad(function(leaf, target).sum(), leaf)[0]


def kinks(function: Elementwise, target: float) -> list[float]:
    """Predictions in (0, 1) at which the slope jumps."""
    grid = torch.linspace(1e-3, 1 - 1e-3, SCAN, dtype=torch.float64) + 1e-6 * math.pi  # avoids round numbers
    slope = slopes(function, grid, target)
    jumps = slope.diff().abs()
    positions = []
    for index in (jumps > 0.01 * (slope.max() - slope.min())).nonzero().flatten().tolist():
        low, high, jump = grid[index], grid[index + 1], jumps[index]
        while high - low > KINK_WIDTH:
            middle = (low + high) / 2
            left, centre, right = slopes(function, torch.stack([low, middle, high]), target)
            low, high = (low, middle) if (centre - left).abs() > (right - centre).abs() else (middle, high)
        left, right = slopes(function, torch.stack([low, high]), target)
        if (right - left).abs() > jump / 2:
            positions.append(float((low + high) / 2))
        if len(positions) == 5:
            break
    return positions


def differentiable(loss: Loss) -> tuple[bool, str]:
    """Whether autograd agrees with differences of the values, away from kinks, also in the loss's own parameters."""
    function = in_double(loss)
    values = function(spread(3).requires_grad_(), spread(3))
    if not values.requires_grad:
        return False, "it cannot be differentiated: compute it by PyTorch's functions, without .detach() or NumPy"
    if values.dtype != torch.float64:
        return True, (
            f"by autograd; whether rightly is not checked: it makes {values.dtype} of torch.float64, too "
            "coarse for differences of its values. Leave .float() out, and it is"
        )
    grid, kink_texts = torch.linspace(0.03, 0.97, 25, dtype=torch.float64), []
    for target in TARGETS:
        breaks = kinks(function, target)
        smooth = [p for p in grid.tolist() if all(abs(p - kink) > 1e-3 for kink in breaks)]
        predictions = torch.tensor(smooth, dtype=torch.float64, requires_grad=True)
        targets = torch.full_like(predictions, target).detach()
        if not torch.autograd.gradcheck(
            lambda p, targets=targets: function(p, targets), predictions, raise_exception=False
        ):
            analytic = slopes(function, predictions, target)
            h = 1e-6
            numeric = (function(predictions + h, targets) - function(predictions - h, targets)).detach() / (2 * h)
            worst = int((analytic - numeric).abs().nan_to_num(torch.inf).argmax())
            return False, (
                f"at prediction {smooth[worst]:.3g}, target {target:g} autograd says {analytic[worst]:.4g}, "
                f"differences of the values say {numeric[worst]:.4g}"
            )
        if breaks:
            kink_texts.append(f"{target:g}: " + ", ".join(f"{kink:.3g}" for kink in breaks))
    parameters = {}
    if isinstance(function, Module) and (
        parameters := {name: value for name, value in function.named_parameters() if value.requires_grad}
    ):
        p, t = spread(7), spread(7, seed=1)

        def of_parameters(*values: Tensor) -> Tensor:
            return torch.func.functional_call(function, dict(zip(parameters, values, strict=True)), (p, t))

        if not torch.autograd.gradcheck(of_parameters, tuple(parameters.values()), raise_exception=False):
            return False, f"the gradient in its own parameters ({', '.join(parameters)}) is not that of its values"
    answer = "kinks at predictions, by target: " + "; ".join(kink_texts) if kink_texts else "smooth, no kinks"
    return True, f"{answer}; in its own parameters {', '.join(parameters)}, too" if parameters else answer


def finite(loss: Loss, head: Head) -> tuple[bool, str]:
    """Whether values and gradients in the network's output stay finite in single precision at extreme outputs."""
    copy = loss.fresh()
    outputs = EXTREME_LOGITS if head == "sigmoid" else EXTREME_PREDICTIONS
    output_name = "logit" if head == "sigmoid" else "prediction"
    hits = [(math.log(t / (1 - t)) if head == "sigmoid" else t, t) for t in TARGETS if 0 < t < 1 or head == "raw"]
    cases = [(output, target) for output in outputs for target in TARGETS] + hits
    output, target = (torch.tensor(values) for values in zip(*cases, strict=True))
    output.requires_grad_()
    values = copy(output, target, head)
    weights = [output, *(trainable(copy.module) if copy.module is not None else ())]
    gradients = torch.autograd.grad(values.sum(), weights, allow_unused=True)
    for quantity, numbers in (("value", values), ("gradient", gradients[0])):
        invalid = (~numbers.isfinite()).nonzero().flatten().tolist()
        if invalid:
            first = invalid[0]
            where = f"{output_name} {cases[first][0]:g}, target {cases[first][1]:g}"
            return (
                False,
                f"the {quantity} is {numbers[first].item()} at {where}, "
                f"and not finite in {len(invalid)} of {len(cases)} cases",
            )
    if any(part is not None and not part.isfinite().all() for part in gradients[1:]):
        return False, "the gradient in its own parameters is not finite"
    return (
        True,
        f"values and gradients, at {output_name}s from {outputs[0]:g} to {outputs[-1]:g} and on the target itself",
    )


def least(function: Elementwise, targets: np.ndarray) -> float:
    """The prediction in [0, 1] with the least mean loss over some targets: a grid search, then a refinement."""
    target_row = torch.from_numpy(np.asarray(targets, float))

    def risks(predictions: np.ndarray) -> np.ndarray:
        pairs = torch.broadcast_tensors(torch.from_numpy(predictions)[:, None], target_row[None])
        with torch.no_grad():
            return function(*(part.flatten() for part in pairs)).view(pairs[0].shape).mean(dim=1).numpy()

    def risk(prediction: float) -> float:
        return float(risks(np.array([prediction]))[0])

    grid = np.linspace(1e-3, 1 - 1e-3, 400)
    best = int(np.argmin(risks(grid)))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return float(minimize_scalar(risk, bounds=(low, high), method="bounded", options={"xatol": 1e-7}).x)


@cache
def sought(loss: Loss) -> tuple[str | None, dict[str, float]]:
    """The statistic that the minimiser equals on all of `SKEWED` ("mean", "median", or None), and the minimisers."""
    function = in_double(loss)
    minimisers = {name: least(function, targets) for name, targets in SKEWED.items()}
    for name, statistic in (("mean", np.mean), ("median", np.median)):
        if all(abs(minimisers[sample] - statistic(targets)) < NEAR for sample, targets in SKEWED.items()):
            return name, minimisers
    return None, minimisers


def minimiser(loss: Loss) -> tuple[bool, str]:
    """Which statistic the loss seeks, found numerically. A shipped loss must seek what theory says."""
    kind, minimisers = sought(loss)
    where = "; ".join(
        f"{name}: {minimisers[name]:.3f} (mean {np.mean(targets):.3f}, median {np.median(targets):.3f})"
        for name, targets in SKEWED.items()
    )
    if loss.minimiser and kind != loss.minimiser:
        return False, f"{kind or 'neither'}, and not the {loss.minimiser} as theory says. {where}"
    edge = [name for name, p in minimisers.items() if min(p, 1 - p) < 5e-3]
    if edge:
        return False, f"at the edge, whatever the targets: it does not compare prediction and target. {where}"
    as_it_starts = " (with its parameters as they start)" if loss.learns else ""
    return True, f"{kind or 'neither mean nor median'}{as_it_starts}. {where}"


def equilibrium(loss: Loss) -> tuple[bool | None, str]:
    """d_loss at equilibrium: real and generated samples are indistinguishable, and D has its best constant output."""
    function = in_double(loss)
    p = least(function, np.array([0.0, 1.0]))
    labels = torch.tensor([0.0, 1.0], dtype=torch.float64)
    value = function(torch.full_like(labels, p), labels).mean().item()
    expected = loss.equilibrium_d_loss
    answer = f"d_loss is {value:.4f} once nobody can tell real from generated (sigmoid head, D says {p:.2f})"
    if expected is None:
        return None, answer
    return abs(value - expected) < 1e-4, f"{answer}; theory: {expected:.4f}"
