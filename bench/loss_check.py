"""Before any training: can a loss be trained with, what does it seek, and what will outliers make of it?

Everything here is arithmetic on small tensors: a loss is called, differentiated, and minimised, never trained.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import beta, norm
from torch import Tensor

from ganlab import seeds
from ganlab.losses import (
    BARRON,
    HEADS,
    LOSSES,
    PINBALL,
    Head,
    Loss,
    call,
    find_shipped,
    known_names,
    user_loss,
)
from ganlab.objectives import Objective
from ganlab.outliers import OUTLIERS, corrupt_target
from ganlab.plugins import LOSSES_GROUP, PluginError, entry_points, is_reference, one_line, place
from ganlab.tasks import TASKS
from ganlab.tasks.experiment import no_such

ELEMENTS, ROUNDS = 10**6, 15  # of the cost
SCAN = 4001  # predictions between 0 and 1 at which kinks are looked for
KINK_WIDTH = 1e-7  # an interval of predictions so short, over which the slope still jumps, holds a kink
EXTREME_LOGITS = (-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4)
EXTREME_PREDICTIONS = (-1e4, -1.0, 0.0, 0.5, 1.0, 2.0, 1e4)
TARGETS = (0.0, 0.3, 0.5, 1.0)
NEAR = 3e-3  # of the minimiser to mean or median: Charbonnier's, rounded by 0.001, is as near to the median
PIXEL, SPREAD, RATES = 0.3, 0.03, (0.2, 0.4)  # a clean pixel, how much the input leaves open, and outlier rates
_QUANTILES = (np.arange(501) + 0.5) / 501
SKEWED = {  # samples whose mean and median lie apart
    "skewed right": beta.ppf(_QUANTILES, 1.2, 4),
    "skewed left": beta.ppf(_QUANTILES, 4, 1.5),
    "two humps": np.concatenate([norm.ppf(_QUANTILES[:350] * 501 / 350, 0.2, 0.05), norm.ppf(
        (_QUANTILES[:151]) * 501 / 151, 0.85, 0.05)]).clip(0, 1),
}  # fmt: skip
FAMILIES = {  # losses with a parameter in their name: how it is called, its range, and what the loss is
    PINBALL: ("TAU", "between 0 and 1", "seeks the TAU-quantile"),
    BARRON: ("ALPHA", "at most 2, or -inf", "Barron's: 2 is as L2, 1 nearly L1, the lower the less outliers count"),
}
BESIDE = ("l1", "l2")  # the yardsticks under outliers: a median-seeker and a mean-seeker
Elementwise = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Finding:
    """What was asked of a loss, and the answer; `passed` is None where there is nothing to pass."""

    asked: str
    passed: bool | None
    answer: str


@dataclass(frozen=True)
class LossCheck:
    """What is known of a loss before any training.

    Attributes:
        findings: what was asked of it, and the answers.
        outliers: what becomes of a pixel of `PIXEL` if targets are struck: outlier kind (`outlier`), share (`rate`),
            and a column of predictions for the loss and for each of `BESIDE`; no rows where it fails, or has no pixels.
        expectation: of theory under outliers; "" where there are no rows.
    """

    loss: str
    findings: tuple[Finding, ...]
    outliers: pd.DataFrame
    expectation: str

    @property
    def failed(self) -> tuple[str, ...]:
        """What was asked and failed; of a loss that can be trained with nothing."""
        return tuple(finding.asked for finding in self.findings if finding.passed is False)


def examine(name: str) -> LossCheck:
    """All that can be known, without training, of the loss of this name.

    Raises:
        PluginError: no such loss, or it cannot be loaded, or not be called.
    """
    loss = resolve(name)
    findings, columns = tuple(check(loss)), ["outlier", "rate", *dict.fromkeys([name, *BESIDE])]
    if loss.objective or any(finding.passed is False for finding in findings):
        return LossCheck(name, findings, pd.DataFrame(columns=columns), "")
    rows = [{"outlier": kind, "rate": rate} | dict(zip([name, *BESIDE], values, strict=True))
            for kind, rate, values in under_outliers(loss)]  # fmt: skip
    return LossCheck(name, findings, pd.DataFrame(rows, columns=columns), expectation(sought(loss)[0]))


def offered_losses() -> Iterator[tuple[str, str]]:
    """Every loss there is by name, families last, and what it is in a line."""
    yield from ((name, summary(name)) for name in known_names())
    for prefix, (parameter, fits, what) in FAMILIES.items():
        yield prefix + parameter, f"{what}; {parameter} is {fits}"


def resolve(name: str) -> Loss:
    """The loss of this name, not yet examined as `find_loss` does.

    Raises:
        PluginError: no such loss, or it cannot be loaded, or not be called.
    """
    shipped = find_shipped(name)
    if shipped:
        return shipped
    offered = entry_points(LOSSES_GROUP)
    if not is_reference(name) and name not in offered:
        hint = family_hint(name) or "; one of your own is mymodule:MyLoss"
        raise PluginError(no_such("loss", name, known_names()) + hint)
    loss = user_loss(name, offered.get(name, name))
    call(loss, *torch.rand(2, 6))
    return loss


def family_hint(name: str) -> str:
    """For who has misspelt the parameter of a family of losses: its range, as the end of a message; else "".

    >>> family_hint("barron-3"), family_hint("l7")
    ('; in barron-ALPHA, ALPHA is at most 2, or -inf', '')
    """
    return "".join(f"; in {prefix}{parameter}, {parameter} is {fits}"
                   for prefix, (parameter, fits, _) in FAMILIES.items() if name.startswith(prefix))  # fmt: skip


def check(loss: Loss) -> list[Finding]:
    """All that can be known of a loss without training."""
    if loss.objective:
        return [*check_objective(loss), Finding("cost", *cost(loss, "raw")), *applies(loss)]
    findings = [guarded("elementwise", elementwise, loss)]
    if not findings[0].passed:
        return [*findings, Finding("all else", None, "not asked: only elementwise losses can be trained with")]
    findings.append(guarded("differentiable", differentiable, loss))
    if findings[-1].passed:
        heads = {head: guarded(f"finite, {head} head", partial(finite, head=head), loss) for head in loss.heads}
        findings += on_some_head([*heads.values()])
        findings.append(guarded("minimiser", minimiser, loss))
        if not loss.reason_against("gan", loss.heads[0]):
            findings.append(guarded("in a GAN", equilibrium, loss))
        usable = next((head for head, finding in heads.items() if finding.passed), loss.heads[0])
        findings.append(guarded("cost", partial(cost, head=usable), loss))
    return [*findings, *applies(loss)]


def on_some_head(findings: list[Finding]) -> list[Finding]:
    """The findings of all heads: one on which a loss fails is only to be left out, where it does well on another."""
    if not any(finding.passed for finding in findings):
        return findings
    told = [replace(finding, passed=None, answer=f"leave this head out: {finding.answer}") for finding in findings]
    return [finding if finding.passed else instead for finding, instead in zip(findings, told, strict=True)]


def guarded(asked: str, examine: Callable[[Loss], tuple[bool | None, str]], loss: Loss) -> Finding:
    """A finding; a user's loss that fails meanwhile has failed it."""
    try:
        return Finding(asked, *examine(loss))
    except Exception as error:
        if not loss.references:
            raise
        return Finding(asked, False, f"it fails: {one_line(error)} ({place(error)})")


def in_double(loss: Loss) -> Elementwise:
    """The loss as a function of (prediction, target) in double precision."""
    copy = loss.fresh()
    if copy.module is not None:
        copy.module.double()
    if copy.of_prediction:
        return copy.of_prediction
    return lambda prediction, target: copy.of_logit(torch.logit(prediction), target)


def spread(*shape: int, seed: int = 0) -> Tensor:
    """Numbers between 0.02 and 0.98, the same at every call."""
    return 0.02 + 0.96 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def elementwise(loss: Loss) -> tuple[bool, str]:
    """Whether each value depends on the prediction and the target of its own element alone."""
    of = in_double(loss)
    prediction, target = spread(12), spread(12, seed=1)
    values = of(prediction, target)
    if not isinstance(values, Tensor) or values.shape != prediction.shape:
        got = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
        return False, f"12 elements give {got}: return a value for each, without mean() or sum()"
    images = of(prediction.view(1, 3, 2, 2), target.view(1, 3, 2, 2))
    if images.shape != (1, 3, 2, 2) or not torch.allclose(images.flatten(), values):
        return False, "the same elements as an image (1, 3, 2, 2) give other values than in a row"
    for index in range(12):
        others = torch.arange(12) != index
        for changed in (0, 1):
            pair = [prediction.clone(), target.clone()]
            pair[changed][index] = 1 - pair[changed][index]
            if not torch.equal(of(*pair)[others], values[others]):
                what = ("prediction", "target")[changed]
                return False, f"the {what} of one element changes the loss of another: drop what looks across elements"
    return True, "each value depends on its own element alone"


def slopes(of: Elementwise, prediction: Tensor, target: float | Tensor) -> Tensor:
    """Derivatives in the prediction (n,)."""
    at = prediction.detach().clone().requires_grad_()
    target = torch.as_tensor(target, dtype=at.dtype).expand_as(at)
    return torch.autograd.grad(of(at, target).sum(), at)[0]


def kinks(of: Elementwise, target: float) -> list[float]:
    """Predictions in (0, 1) at which the slope jumps."""
    grid = torch.linspace(1e-3, 1 - 1e-3, SCAN, dtype=torch.float64) + 1e-6 * math.pi  # on no round number
    slope = slopes(of, grid, target)
    jumps = slope.diff().abs()
    found = []
    for index in (jumps > 0.01 * (slope.max() - slope.min())).nonzero().flatten().tolist():
        low, high, jump = grid[index], grid[index + 1], jumps[index]
        while high - low > KINK_WIDTH:
            middle = (low + high) / 2
            left, centre, right = slopes(of, torch.stack([low, middle, high]), target)
            low, high = (low, middle) if (centre - left).abs() > (right - centre).abs() else (middle, high)
        left, right = slopes(of, torch.stack([low, high]), target)
        if (right - left).abs() > jump / 2:
            found.append(float((low + high) / 2))
        if len(found) == 5:
            break
    return found


def differentiable(loss: Loss) -> tuple[bool, str]:
    """Whether autograd's derivatives are those of the values, away from kinks; in the loss's own parameters, too."""
    of = in_double(loss)
    values = of(spread(3).requires_grad_(), spread(3))
    if not values.requires_grad:
        return False, "it cannot be differentiated: compute it by PyTorch's functions, without .detach() or NumPy"
    if values.dtype != torch.float64:
        return True, (f"by autograd; whether rightly is not checked: it makes {values.dtype} of torch.float64, too "
                      "coarse for differences of its values. Leave .float() out, and it is")  # fmt: skip
    grid, where = torch.linspace(0.03, 0.97, 25, dtype=torch.float64), []
    for target in TARGETS:
        breaks = kinks(of, target)
        away = [p for p in grid.tolist() if all(abs(p - kink) > 1e-3 for kink in breaks)]
        at = torch.tensor(away, dtype=torch.float64, requires_grad=True)
        given = torch.full_like(at, target).detach()
        if not torch.autograd.gradcheck(lambda p, given=given: of(p, given), at, raise_exception=False):
            analytic = slopes(of, at, target)
            h = 1e-6
            numeric = (of(at + h, given) - of(at - h, given)).detach() / (2 * h)
            worst = int((analytic - numeric).abs().nan_to_num(torch.inf).argmax())
            return False, (f"at prediction {away[worst]:.3g}, target {target:g} autograd says {analytic[worst]:.4g}, "
                           f"differences of the values say {numeric[worst]:.4g}")  # fmt: skip
        if breaks:
            where.append(f"{target:g}: " + ", ".join(f"{kink:.3g}" for kink in breaks))
    if isinstance(of, torch.nn.Module) and list(of.parameters()):
        names, values = zip(*of.named_parameters(), strict=True)
        p, t = spread(7), spread(7, seed=1)

        def of_parameters(*values: Tensor) -> Tensor:
            return torch.func.functional_call(of, dict(zip(names, values, strict=True)), (p, t))

        if not torch.autograd.gradcheck(of_parameters, values, raise_exception=False):
            return False, f"the gradient in its own parameters ({', '.join(names)}) is not that of its values"
    own = f"; in its own parameters {', '.join(names)}, too" if isinstance(of, torch.nn.Module) and len(
        list(of.parameters())) else ""  # fmt: skip
    return True, ("kinks at predictions, by target: " + "; ".join(where) if where else "smooth, no kinks") + own


def finite(loss: Loss, head: str) -> tuple[bool, str]:
    """Whether values and gradients in the network's output stay finite, in single precision, where training may go."""
    copy = loss.fresh()
    outputs = EXTREME_LOGITS if head == "sigmoid" else EXTREME_PREDICTIONS
    called = "logit" if head == "sigmoid" else "prediction"
    hits = [(math.log(t / (1 - t)) if head == "sigmoid" else t, t) for t in TARGETS if 0 < t < 1 or head == "raw"]
    cases = [(output, target) for output in outputs for target in TARGETS] + hits
    output, target = (torch.tensor(values) for values in zip(*cases, strict=True))
    output.requires_grad_()
    values = copy(output, target, head)
    weights = [output, *(copy.module.parameters() if copy.module is not None else ())]
    gradients = torch.autograd.grad(values.sum(), weights, allow_unused=True)
    for what, found in (("value", values), ("gradient", gradients[0])):
        odd = (~found.isfinite()).nonzero().flatten().tolist()
        if odd:
            at = odd[0]
            where = f"{called} {cases[at][0]:g}, target {cases[at][1]:g}"
            return (
                False,
                f"the {what} is {found[at].item()} at {where}, and not finite in {len(odd)} of {len(cases)} cases",
            )
    if any(part is not None and not part.isfinite().all() for part in gradients[1:]):
        return False, "the gradient in its own parameters is not finite"
    return True, f"values and gradients, at {called}s from {outputs[0]:g} to {outputs[-1]:g} and on the target itself"


def least(of: Elementwise, targets: np.ndarray) -> float:
    """The prediction in [0, 1] with the least mean loss over some targets: the best of a grid, refined."""
    given = torch.from_numpy(np.asarray(targets, float))

    def risks(predictions: np.ndarray) -> np.ndarray:
        pairs = torch.broadcast_tensors(torch.from_numpy(predictions)[:, None], given[None])
        with torch.no_grad():
            return of(*(part.flatten() for part in pairs)).view(pairs[0].shape).mean(dim=1).numpy()

    def risk(prediction: float) -> float:
        return float(risks(np.array([prediction]))[0])

    grid = np.linspace(1e-3, 1 - 1e-3, 400)
    best = int(np.argmin(risks(grid)))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return float(minimize_scalar(risk, bounds=(low, high), method="bounded", options={"xatol": 1e-7}).x)


@cache
def sought(loss: Loss) -> tuple[str | None, dict[str, float]]:
    """What the minimiser is on every sample of `SKEWED`, "mean", "median", or None; and where it lies, by sample."""
    of = in_double(loss)
    found = {name: least(of, targets) for name, targets in SKEWED.items()}
    for name, statistic in (("mean", np.mean), ("median", np.median)):
        if all(abs(found[sample] - statistic(targets)) < NEAR for sample, targets in SKEWED.items()):
            return name, found
    return None, found


def minimiser(loss: Loss) -> tuple[bool, str]:
    """What the loss seeks, found numerically; a shipped loss must seek what theory says."""
    kind, found = sought(loss)
    where = "; ".join(f"{name}: {found[name]:.3f} (mean {np.mean(targets):.3f}, median {np.median(targets):.3f})"
                      for name, targets in SKEWED.items())  # fmt: skip
    if loss.minimiser and kind != loss.minimiser:
        return False, f"{kind or 'neither'}, and not the {loss.minimiser} as theory says. {where}"
    edge = [name for name, p in found.items() if min(p, 1 - p) < 5e-3]
    if edge:
        return False, f"at the edge, whatever the targets: it does not compare prediction and target. {where}"
    as_it_starts = " (with its parameters as they start)" if loss.build else ""
    return True, f"{kind or 'neither mean nor median'}{as_it_starts}. {where}"


def equilibrium(loss: Loss) -> tuple[bool | None, str]:
    """Where d_loss ends if nobody can tell real from generated samples: the constant output that costs D least."""
    of = in_double(loss)
    p = least(of, np.array([0.0, 1.0]))
    labels = torch.tensor([0.0, 1.0], dtype=torch.float64)
    value = of(torch.full_like(labels, p), labels).mean().item()
    known = loss.equilibrium_d_loss
    answer = f"d_loss is {value:.4f} once nobody can tell real from generated (sigmoid head, D says {p:.2f})"
    if known is None:
        return None, answer
    return abs(value - known) < 1e-4, f"{answer}; theory: {known:.4f}"


def check_objective(loss: Loss) -> Iterator[Finding]:
    """What can be asked of an objective of scores."""
    objective = loss.adversarial("raw")
    real, fake = ((4 * spread(7, seed=seed) - 2).requires_grad_() for seed in (0, 1))
    right = torch.autograd.gradcheck(lambda r, f: d_loss(objective, r, f), (real, fake), raise_exception=False)
    right &= torch.autograd.gradcheck(lambda r, f: objective.g_loss(f, r), (real, fake), raise_exception=False)
    yield Finding("differentiable", right, "both opponents' losses in the scores of a real and a generated batch")
    extremes = torch.tensor(EXTREME_PREDICTIONS)
    real, fake = (grid.flatten().requires_grad_() for grid in torch.meshgrid(extremes, extremes, indexing="ij"))
    odd = []
    for name, value in (("d_loss", d_loss(objective, real, fake)), ("g_loss", objective.g_loss(fake, real))):
        gradients = torch.autograd.grad(value, (real, fake), allow_unused=True)
        if not all(part.isfinite().all() for part in (value, *gradients) if part is not None):
            odd.append(name)
    yield Finding("finite", not odd, f"{' and '.join(odd)} are not" if odd else
                  f"losses and gradients, at scores from {extremes[0]:g} to {extremes[-1]:g}")  # fmt: skip
    value, known = least_d_loss(objective, np.full(8, 1 / 8), np.full(8, 1 / 8)), loss.equilibrium_d_loss
    near = known is None or abs(value - known) < 1e-4
    yield Finding("equilibrium", near, f"d_loss under the best scores is {value:.4f} where generated samples are as "
                  f"the real ones; theory: {known:.4f}")  # fmt: skip


def d_loss(objective: Objective, real: Tensor, fake: Tensor) -> Tensor:
    """d_loss of the scores of a real and a generated batch, (n,) each, without penalties."""
    if objective.pairs:
        return objective.pairs(real, fake).mean()
    return (objective.halves(real, torch.ones_like(real)) + objective.halves(fake, torch.zeros_like(fake))).mean() / 2


def least_d_loss(objective: Objective, real: np.ndarray, fake: np.ndarray) -> float:
    """d_loss under the best scores for two distributions on the same few points, by minimising it.

    Args:
        real, fake: probabilities of the points.
    """
    p, q = torch.from_numpy(real), torch.from_numpy(fake)

    def risk(scores: np.ndarray) -> tuple[float, np.ndarray]:
        s = torch.from_numpy(scores).requires_grad_()
        if objective.pairs:
            rows, columns = torch.broadcast_tensors(s[:, None], s[None])
            value = (torch.outer(p, q) * objective.pairs(rows, columns)).sum()
        else:
            halves = p * objective.halves(s, torch.ones_like(s)) + q * objective.halves(s, torch.zeros_like(s))
            value = halves.sum() / 2
        (slope,) = torch.autograd.grad(value, s)
        return value.item(), slope.numpy()

    starts = np.random.default_rng(0).normal(size=(3, len(real)))
    return min(float(minimize(risk, start, jac=True, method="L-BFGS-B").fun) for start in starts)


def cost(loss: Loss, head: Head) -> tuple[None, str]:
    """Seconds of loss, mean, and gradient beside L2's, taken in turns: their median ratio."""
    generator = torch.Generator().manual_seed(0)
    outputs, labels = torch.randn(ELEMENTS, generator=generator), torch.rand(ELEMENTS, generator=generator)
    fresh = loss.fresh()

    def seconds(of: Callable[[Tensor], Tensor]) -> float:
        at = outputs.clone().requires_grad_()
        begun = time.perf_counter()
        of(at).backward()
        return time.perf_counter() - begun

    def l2(at: Tensor) -> Tensor:
        return LOSSES["l2"](at, labels, head).mean()

    if loss.objective:
        objective = loss.adversarial("raw")
        ours, what = (lambda at: d_loss(objective, *at.view(2, -1))), "of D's loss, without penalties"
    else:
        ours, what = (lambda at: fresh(at, labels, head).mean()), f"behind a {head}" if head == "sigmoid" else "raw"
    ratios = [seconds(ours) / seconds(l2) for _ in range(ROUNDS)][2:]  # the first two find their memory
    answer = f"{np.median(ratios):.2f} times L2's, value and gradient of {ELEMENTS:.0e} elements, {what}".replace(
        "+0", ""
    )
    return None, answer


def applies(loss: Loss) -> Iterator[Finding]:
    """Which tasks and heads it can be trained on, and why not on others."""
    reasons = {(task, head): loss.reason_against(task, head) for task in TASKS for head in HEADS}
    for head in HEADS:
        tasks = [task for task in TASKS if not reasons[task, head]]
        if tasks:
            yield Finding(f"applies, {head} head", None, ", ".join(tasks))
    for reason in dict.fromkeys(filter(None, reasons.values())):
        yield Finding("does not apply", None, reason)
    flipped = loss.reason_against("gan", loss.heads[0], "flip")
    if flipped and flipped not in reasons.values():
        yield Finding("does not apply", None, flipped)


def under_outliers(loss: Loss) -> Iterator[tuple[str, float, list[float]]]:
    """Outlier kind, rate, and what becomes of a grey pixel under the loss and under those it stands beside.

    The pixel is `PIXEL`, of which the input leaves open `SPREAD`; its prediction is the least mean loss over the
    targets that it is trained on.
    """
    draw = partial(seeds.generator, 0)
    clean = (PIXEL + SPREAD * torch.randn(3, 128, 128, generator=draw("clean"))).clamp(0, 1)
    donors = [torch.rand(3, 128, 128, generator=draw("donor"))]
    some = torch.randperm(128 * 128, generator=draw("pixels"))[:800]
    compared = [in_double(loss), *(LOSSES[name].of_prediction for name in BESIDE)]
    for kind in (kind.name for kind in OUTLIERS.values() if kind.strikes == "target"):
        for rate in RATES:
            struck = corrupt_target(clean, kind, rate, draw("outliers"), donors)[0].flatten()[some]
            yield kind, rate, [least(of, struck.double().numpy()) for of in compared]


def expectation(kind: str | None) -> str:
    """What theory expects of a loss under outliers, from what it seeks."""
    if kind == "mean":
        return "a mean-seeker: it moves towards the outliers' mean by the share of outliers, as L2 and BCE do"
    if kind == "median":
        return (
            "a median-seeker: below one half of outliers it stays near the pixel, as L1 does; one-sided ones shift it"
        )
    return "neither mean nor median: the table shows how near to either"


def summary(name: str) -> str:
    """What a loss is, in a line."""
    shipped = find_shipped(name)
    if shipped is None:
        return f"an installed package's: {entry_points(LOSSES_GROUP)[name]}"
    if shipped.objective:
        return "an objective of scores: gan and location, raw head"
    seeks = f"seeks the {shipped.minimiser}" if shipped.minimiser else "seeks neither mean nor median"
    return f"{seeks}; {' and '.join(shipped.heads)} head" + ("; learns parameters: no GAN" if shipped.build else "")
