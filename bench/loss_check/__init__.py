"""Before any training: can a loss be trained with, what does it seek, and what will outliers make of it?

Everything here is arithmetic on small tensors: a loss is called, differentiated, and minimised, never trained.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench.loss_check import elementwise, objectives
from bench.loss_check.elementwise import in_double, least, sought
from ganlab import seeds, user_losses
from ganlab.errors import no_such
from ganlab.losses import HEADS, LOSSES, Head, Loss, family_hint, find_shipped, known_names, user_loss
from ganlab.outliers import OUTLIERS, corrupt_target
from ganlab.plugins import LOSSES_GROUP, PluginError, describe, entry_points, is_reference
from ganlab.tasks import TASKS

ELEMENTS, ROUNDS = 10**6, 15  # of the cost
PIXEL, SPREAD, RATES = 0.3, 0.03, (0.2, 0.4)  # a clean pixel, how much the input leaves open, and outlier rates
BESIDE = ("l1", "l2")  # the yardsticks under outliers: a median-seeker and a mean-seeker


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
    rows = [
        {"outlier": kind, "rate": rate} | dict(zip([name, *BESIDE], values, strict=True))
        for kind, rate, values in under_outliers(loss)
    ]
    return LossCheck(name, findings, pd.DataFrame(rows, columns=columns), expectation(sought(loss)[0]))


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
    of_prediction = loss.fresh().of_prediction
    assert of_prediction, "a loss of the user's own is of predictions"
    user_losses.call(name, of_prediction, *elementwise.spread(2, 6).float())
    return loss


def check(loss: Loss) -> list[Finding]:
    """All that can be known of a loss without training."""
    return [*(of_objective(loss) if loss.objective else of_elementwise(loss))]


def of_objective(loss: Loss) -> Iterator[Finding]:
    """What is asked of an objective of scores."""
    yield guarded("differentiable", objectives.differentiable, loss)
    yield guarded("finite", objectives.finite, loss)
    yield guarded("equilibrium", objectives.equilibrium, loss)
    yield guarded("cost", partial(cost, head="raw"), loss)
    yield from applies(loss)


def of_elementwise(loss: Loss) -> Iterator[Finding]:
    """What is asked of all others, as long as there is something to ask of."""
    yield (of_each := guarded("elementwise", elementwise.elementwise, loss))
    if not of_each.passed:
        yield Finding("all else", None, "not asked: only elementwise losses can be trained with")
        return
    yield (slope := guarded("differentiable", elementwise.differentiable, loss))
    if slope.passed:
        heads = {
            head: guarded(f"finite, {head} head", partial(elementwise.finite, head=head), loss) for head in loss.heads
        }
        yield from on_some_head([*heads.values()])
        yield guarded("minimiser", elementwise.minimiser, loss)
        if not loss.reason_against("gan", loss.heads[0]):
            yield guarded("in a GAN", elementwise.equilibrium, loss)
        usable = next((head for head, finding in heads.items() if finding.passed), loss.heads[0])
        yield guarded("cost", partial(cost, head=usable), loss)
    yield from applies(loss)


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
        return Finding(asked, False, f"it fails: {describe(error)}")


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
        ours, what = (lambda at: objective.d_loss(at.view(2, -1))[0]), "of D's loss, without penalties"
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
    compared = [in_double(loss), *(in_double(LOSSES[name]) for name in BESIDE)]
    for kind in (kind.name for kind in OUTLIERS.values() if kind.corrupts == "target"):
        for rate in RATES:
            corrupted = corrupt_target(clean, kind, rate, draw("outliers"), donors)[0].flatten()[some]
            yield kind, rate, [least(of, corrupted.double().numpy()) for of in compared]


def expectation(kind: str | None) -> str:
    """What theory expects of a loss under outliers, from what it seeks."""
    if kind == "mean":
        return "a mean-seeker: it moves towards the outliers' mean by the share of outliers, as L2 and BCE do"
    if kind == "median":
        return (
            "a median-seeker: below one half of outliers it stays near the pixel, as L1 does; one-sided ones shift it"
        )
    return "neither mean nor median: the table shows how near to either"
