"""Can networks be trained with a loss, what does it seek, and how do outliers affect it?

The answers come from arithmetic on small tensors: a loss is called, differentiated, and minimised.
Nothing is trained.
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

ELEMENTS, ROUNDS = 10**6, 15  # of the cost measurement
PIXEL, SPREAD, RATES = 0.3, 0.03, (0.2, 0.4)  # value of a clean pixel, its standard deviation, outlier rates
BESIDE = ("l1", "l2")  # reference losses: one seeks the median, one the mean


@dataclass(frozen=True)
class Finding:
    """A check of a loss and its result; `passed` is None for information that cannot fail."""

    asked: str
    passed: bool | None
    answer: str


@dataclass(frozen=True)
class LossCheck:
    """The results of all checks of a loss.

    Attributes:
        findings: the checks and their results.
        outliers: the best prediction for a pixel of value `PIXEL` if targets are corrupted: outlier kind (`outlier`),
            share (`rate`), and a column of predictions for the loss and for each of `BESIDE`. It has no rows if the
            loss fails a check or is an objective of scores.
        expectation: what theory expects under outliers; "" if `outliers` has no rows.
    """

    loss: str
    findings: tuple[Finding, ...]
    outliers: pd.DataFrame
    expectation: str

    @property
    def failed(self) -> tuple[str, ...]:
        """The checks that failed; empty for a loss that networks can be trained with."""
        return tuple(finding.asked for finding in self.findings if finding.passed is False)


def examine(name: str) -> LossCheck:
    """Run every check on the loss of this name.

    Raises:
        PluginError: no such loss, or it cannot be loaded or called.
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
    """The loss of this name, without the checks of `find_loss`.

    Raises:
        PluginError: no such loss, or it cannot be loaded or called.
    """
    shipped = find_shipped(name)
    if shipped:
        return shipped
    installed = entry_points(LOSSES_GROUP)
    if not is_reference(name) and name not in installed:
        hint = family_hint(name) or "; one of your own is mymodule:MyLoss"
        raise PluginError(no_such("loss", name, known_names()) + hint)
    loss = user_loss(name, installed.get(name, name))
    of_prediction = loss.fresh().of_prediction
    assert of_prediction, "a loss of the user's own is of predictions"
    user_losses.call(name, of_prediction, *elementwise.spread(2, 6).float())
    return loss


def check(loss: Loss) -> list[Finding]:
    """The findings of every check that suits the loss."""
    return [*(objective_findings(loss) if loss.objective else elementwise_findings(loss))]


def objective_findings(loss: Loss) -> Iterator[Finding]:
    """The checks of an objective of scores."""
    yield guarded("differentiable", objectives.differentiable, loss)
    yield guarded("finite", objectives.finite, loss)
    yield guarded("equilibrium", objectives.equilibrium, loss)
    yield guarded("cost", partial(cost, head="raw"), loss)
    yield from applies(loss)


def elementwise_findings(loss: Loss) -> Iterator[Finding]:
    """The checks of every other loss. They end early if the loss is not elementwise."""
    yield (each_element := guarded("elementwise", elementwise.elementwise, loss))
    if not each_element.passed:
        yield Finding("all else", None, "not asked: only elementwise losses can be trained with")
        return
    yield (slope := guarded("differentiable", elementwise.differentiable, loss))
    if slope.passed:
        heads = {
            head: guarded(f"finite, {head} head", partial(elementwise.finite, head=head), loss) for head in loss.heads
        }
        yield from tolerate_unusable_heads([*heads.values()])
        yield guarded("minimiser", elementwise.minimiser, loss)
        if not loss.reason_against("gan", loss.heads[0]):
            yield guarded("in a GAN", elementwise.equilibrium, loss)
        usable = next((head for head, finding in heads.items() if finding.passed), loss.heads[0])
        yield guarded("cost", partial(cost, head=usable), loss)
    yield from applies(loss)


def tolerate_unusable_heads(findings: list[Finding]) -> list[Finding]:
    """The findings of all heads. If one head passes, a failure on another becomes advice to leave that head out."""
    if not any(finding.passed for finding in findings):
        return findings
    advice = [replace(finding, passed=None, answer=f"leave this head out: {finding.answer}") for finding in findings]
    return [finding if finding.passed else instead for finding, instead in zip(findings, advice, strict=True)]


def guarded(asked: str, examine: Callable[[Loss], tuple[bool | None, str]], loss: Loss) -> Finding:
    """The finding of one check. An exception in a user's loss is a failed check."""
    try:
        return Finding(asked, *examine(loss))
    except Exception as error:
        if not loss.references:
            raise
        return Finding(asked, False, f"it fails: {describe(error)}")


def cost(loss: Loss, head: Head) -> tuple[None, str]:
    """The median ratio of the time for loss, mean, and gradient to the time of L2. Both are timed in turns."""
    generator = torch.Generator().manual_seed(0)
    outputs, labels = torch.randn(ELEMENTS, generator=generator), torch.rand(ELEMENTS, generator=generator)
    fresh = loss.fresh()

    def seconds(mean_loss: Callable[[Tensor], Tensor]) -> float:
        leaf = outputs.clone().requires_grad_()
        started = time.perf_counter()
        mean_loss(leaf).backward()
        return time.perf_counter() - started

    def l2(output: Tensor) -> Tensor:
        return LOSSES["l2"](output, labels, head).mean()

    if loss.objective:
        objective = loss.adversarial("raw")
        timed, scope = (lambda output: objective.d_loss(output.view(2, -1))[0]), "of D's loss, without penalties"
    else:
        timed, scope = (
            lambda output: fresh(output, labels, head).mean(),
            f"behind a {head}" if head == "sigmoid" else "raw",
        )
    ratios = [seconds(timed) / seconds(l2) for _ in range(ROUNDS)][2:]  # the first two allocate memory
    answer = f"{np.median(ratios):.2f} times L2's, value and gradient of {ELEMENTS:.0e} elements, {scope}".replace(
        "+0", ""
    )
    return None, answer


def applies(loss: Loss) -> Iterator[Finding]:
    """The tasks and heads that the loss applies to, and the reasons against the others."""
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
    """Outlier kind, rate, and the best prediction for a grey pixel under the loss and under each of `BESIDE`.

    Clean targets have the mean `PIXEL` and the standard deviation `SPREAD`. The best prediction has the least mean loss
    over the corrupted targets.
    """
    draw = partial(seeds.generator, 0)
    clean = (PIXEL + SPREAD * torch.randn(3, 128, 128, generator=draw("clean"))).clamp(0, 1)
    donors = [torch.rand(3, 128, 128, generator=draw("donor"))]
    sampled = torch.randperm(128 * 128, generator=draw("pixels"))[:800]
    compared = [in_double(loss), *(in_double(LOSSES[name]) for name in BESIDE)]
    for kind in (kind.name for kind in OUTLIERS.values() if kind.corrupts == "target"):
        for rate in RATES:
            corrupted = corrupt_target(clean, kind, rate, draw("outliers"), donors)[0].flatten()[sampled]
            yield kind, rate, [least(function, corrupted.double().numpy()) for function in compared]


def expectation(kind: str | None) -> str:
    """What theory expects of a loss under outliers, from the statistic that it seeks."""
    if kind == "mean":
        return "a mean-seeker: it moves towards the outliers' mean by the share of outliers, as L2 and BCE do"
    if kind == "median":
        return (
            "a median-seeker: below one half of outliers it stays near the pixel, as L1 does; one-sided ones shift it"
        )
    return "neither mean nor median: the table shows how near to either"
