"""What does the document claim, and how is each of its statements tested?

The document makes seven claims (science.md section 1). Each is split into statements that a run can decide: by data, by
a proof, or by an invariant. For a statement that data decide, an effect is measured for every seed, positive in the
claimed direction; `verdicts.py` turns effects into verdicts.

`contrasts.py` compares cells; `observations.py` has the other evidence. To add a claim, yield it from
`_claims`. Claims about image reconstruction are judged on each of the three tasks that the document names
(`RECONSTRUCTION`).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from bench.analysis.contrasts import (
    Contrast,
    Evidence,
    by_seed,
    cell,
    less,
    log_of,
    mean_of,
    per_image,
    rank_correlation,
    tail_towards_zero,
)
from bench.analysis.labels import psnr_name, task_name
from bench.analysis.metrics import DB, LOG_RATIO, MARGIN_DB, MARGIN_LOG_RATIO
from bench.analysis.observations import best_at_half, constant_discriminator, dead_against_live, procedure_holds
from bench.analysis.summary import MAIN_PSNR
from bench.store.reader import Run
from ganlab.outliers import CLEAN

DOCUMENT = {
    "procedure": "Labels are real = 1 and fake = 0; g_loss = adv(D(G(z)), real) steps G only, then"
    " d_loss = (adv(D(x), real) + adv(D(G(z).detach()), fake)) / 2 steps D only.",
    "g-loss-tracks-quality": "The smaller g_loss, the closer generated samples are to real ones.",
    "d-loss-to-zero": "Training drives d_loss towards 0, and a smaller d_loss means a better discriminator.",
    "d-loss-half": "Training is best when d_loss approaches 0.5, with real_loss = 0 and fake_loss = 1.",
    "l1-robust": "L2 squares errors, so outliers dominate; with many outliers L1 is the better loss.",
    "l2-reconstruction": "For image reconstruction (super-resolution, depth estimation, video frame interpolation)"
    " L2 works better, because errors are small and L2 amplifies them.",
    "l1-needs-decay": "L1's gradient stays large for small errors, so it needs learning-rate decay; L2 scales its own"
    " gradient and can do without; decay usually helps anyway.",
}
MARGIN_CORRELATION = 0.2  # explains 4 % of the variance of ranks
MARGIN_SHARE = 0.1  # as a share of the way from the equilibrium to 0

ADVERSARIAL = ("bce", "l1", "l2")
RECONSTRUCTION = ("sr", "depth", "interpolation")  # the three tasks that the document names
CORRUPTED = (  # task, outlier kind, and rate for the judgement of robustness
    *(("sr", "salt", 0.2), ("sr", "salt-pepper", 0.4), ("sr", "salt", 0.6)),
    *(("depth", "missing", 0.2), ("depth", "wrong-match", 0.2), ("interpolation", "salt", 0.2)),
)


@dataclass(frozen=True)
class Claim:
    """One testable part of a claim of the document.

    Attributes:
        name: its name in claims.csv: the sentence of `DOCUMENT` it belongs to (`about`), and which statement it is.
        statement: the tested statement, true if the verdict is SUPPORTED.
        effect: what is measured for every seed, positive in the direction of the statement.
        unit: of the effect and of the margin.
        margin: effects up to it are too small to matter; NaN for a proof.
        evidence: computes the evidence of a run.
        kind: decided by `data` (then it counts in K), or by `proof`, which may be that no data can decide it.
        over_time: computes the evidence without holding the training step constant; it earns CONFOUNDED at most.
        task: the reconstruction task of the effects, else empty.
        no_worse: whether SUPPORTED means only that at most the margin is lost.
    """

    name: str
    statement: str
    effect: str
    unit: str
    margin: float
    evidence: Callable[[Run], Evidence]
    kind: Literal["data", "proof"] = "data"
    over_time: Callable[[Run], Evidence] | None = None
    task: str = ""
    no_worse: bool = False

    @property
    def about(self) -> str:
        """The key of its sentence in `DOCUMENT`."""
        return self.name.partition("/")[0]


def gan(loss: str, outlier: str = CLEAN, rate: float = 0.0) -> Contrast:
    """The document's GAN: probabilities against the labels 1 and 0."""
    return cell(task="gan", head="sigmoid", loss=loss, outlier=outlier, rate=rate)


def location(loss: str, outlier: str = CLEAN, rate: float = 0.0) -> Contrast:
    """The location GAN; its outliers `far` are from N(5, I)."""
    return cell(task="location", head="sigmoid", loss=loss, outlier=outlier, rate=rate)


def reconstruction(task: str, loss: str, head: str, outlier: str = CLEAN, rate: float = 0.0, **other: Any) -> Contrast:
    """A reconstruction task as practitioners train it: Adam, cosine decay, pixels in [0, 1]."""
    practice = {"schedule": "cosine", "optimizer": "adam", "value_range": 1} | other
    return cell(task=task, head=head, loss=loss, outlier=outlier, rate=rate, **practice)


def gain(loss: str, optimizer: str = "adam") -> Contrast:
    """The gain from decay in clean super-resolution: cosine minus constant."""
    return less(*(reconstruction("sr", loss, "raw", optimizer=optimizer, schedule=s) for s in ("cosine", "constant")))


def _tracking(name: str, statement: str, metric: str, of: str, cells: Contrast) -> Claim:
    """A claim on a metric's rank correlation with the Fréchet distance; that at equal training step decides."""
    over_time, equal_step = (by_seed(rank_correlation(metric, equal), cells) for equal in (False, True))
    effect = f"Partial rank correlation of {metric} with Fréchet distance over checkpoints, given the step{of}"
    return Claim(name, statement, effect, "correlation", MARGIN_CORRELATION, equal_step, over_time=over_time)


def _psnr(name: str, statement: str, effect: str, cells: Contrast, task: str = "sr", no_worse: bool = False) -> Claim:
    """A claim on the PSNR that judges a reconstruction task, per test image."""
    evidence = by_seed(per_image(MAIN_PSNR[task]), cells)
    return Claim(name, statement, effect, DB, MARGIN_DB, evidence, task=task, no_worse=no_worse)


def _distance(name: str, statement: str, effect: str, cells: Contrast, column: str) -> Claim:
    """A claim on the logarithm of a distance, such as that of generated from real images."""
    tuned = ("lr", "settings") if column == "location_error" else ("lr",)
    return Claim(name, statement, effect, LOG_RATIO, MARGIN_LOG_RATIO, by_seed(log_of(column), cells, tuned))


def _both_readings(
    condition: tuple[str, str, float],
    given: str,
    ends: str,
    effect: str,
    order: tuple[str, str],
    cells: Callable[..., Contrast],
    claim: Callable[[str, str, str, Contrast], Claim],
) -> Iterator[Claim]:
    """Both readings of "with many outliers L1 is the better loss": it loses less by them; it ends better under them.

    They differ where one of the losses is better without outliers already.

    Args:
        condition: task, outlier kind, and rate.
        given, ends: the condition, and the second reading, in words.
        effect: how far L1 is ahead of L2, in words.
        order: which loss minus which one that is.
        cells: the cells of a loss under an outlier kind and rate.
        claim: the claim of a name, a statement, an effect, and a contrast.
    """
    task, outlier, rate = condition
    name = f"l1-robust/{task}-{outlier}-{rate:g}"
    under, clean = (
        less(*(cells(loss, outlier=o, rate=r) for loss in order)) for o, r in ((outlier, rate), (CLEAN, 0.0))
    )
    loses = f"{given}: L1 loses less by it than L2. (Each against its own clean training.)"
    yield claim(f"{name}/loses-less", loses, f"{effect}, under the outliers minus clean", less(under, clean))
    yield claim(f"{name}/ends-better", f"{given}: {ends}.", f"{effect}, under the outliers", under)


def _claims() -> Iterator[Claim]:
    yield Claim(
        "procedure",
        "The GANs follow the procedure: a step moves its own network alone; d_loss is the mean of real and fake.",
        "Invariants of the first steps, checked in every run",
        "share of GANs",
        math.nan,
        procedure_holds,
        "proof",
    )
    for loss in ADVERSARIAL:
        yield _tracking(
            f"g-loss-tracks-quality/{loss}",
            f"Within a training under {loss.upper()}, a smaller g_loss goes with a smaller Fréchet distance.",
            "g_loss",
            " (0 where g_loss never moves)",
            gan(loss),
        )
    yield Claim(
        "d-loss-to-zero/limit",
        "d_loss ends nearer to 0 than to the equilibrium of its loss (ln 2 for BCE, 0.5 for L1, 0.25 for L2).",
        "0.5 - d_loss / equilibrium over the last fifth of the checkpoints, mean of bce, l1, and l2",
        "share of equilibrium",
        MARGIN_SHARE,
        by_seed(tail_towards_zero, mean_of(*map(gan, ADVERSARIAL))),
    )
    yield _tracking(
        "d-loss-to-zero/quality",
        "Within a training, a smaller d_loss goes with a smaller Fréchet distance. (Read so: a better discriminator is"
        " one that serves the generator. That a smaller d_loss separates D's own batches better is its definition.)",
        "d_loss",
        ", mean of bce, l1, and l2",
        mean_of(*map(gan, ADVERSARIAL)),
    )
    for loss in ("bce", "l2", "l1"):
        yield Claim(
            f"d-loss-half/{loss}",
            f"Under {loss.upper()}, of two strengths of D the one whose d_loss ends nearer to 0.5 gives the smaller"
            " Fréchet distance, not the one nearer to the loss's own equilibrium.",
            "ln of Fréchet distance, the strength nearer to the equilibrium minus that nearer to 0.5, mean over the"
            " pairs where these differ",
            LOG_RATIO,
            MARGIN_LOG_RATIO,
            best_at_half(loss),
            "proof" if loss == "l1" else "data",
        )
    yield Claim(
        "d-loss-half/dead",
        "Dead discriminators, among them the state the document calls best (D = 1 everywhere), go with a smaller"
        " Fréchet distance than live ones. (Observed, not assigned: which loss dies is not up to us.)",
        "ln of Fréchet distance, live minus dead under the same conditions",
        LOG_RATIO,
        MARGIN_LOG_RATIO,
        dead_against_live,
    )
    yield Claim(
        "d-loss-half/constant",
        "Under L1, d_loss = 0.5 tells the best discriminator from one that answers the same to every image.",
        "l1's d_loss of a constant D differs from 0.5",
        "share of constants",
        math.nan,
        constant_discriminator,
        "proof",
    )
    for task, outlier, rate in CORRUPTED:
        yield from _both_readings(
            (task, outlier, rate),
            f"{task_name(task)}, {100 * rate:.0f} % of the training pixels {outlier}",
            "L1 ends with more dB than L2",
            f"{psnr_name(task)} of l1 minus that of l2, raw head",
            ("l1", "l2"),
            partial(reconstruction, task, head="raw"),
            partial(_psnr, task=task),
        )
    yield from _both_readings(
        ("gan", "noise", 0.2),
        "GAN, 20 % of the real images replaced by noise",
        "L1's images end nearer to the real ones than L2's",
        "ln of Fréchet distance, l2 minus l1",
        ("l2", "l1"),
        gan,
        partial(_distance, column="frechet"),
    )
    yield from _both_readings(
        ("location", "far", 0.2),
        "Location GAN, 20 % of the samples far away",
        "L1 ends nearer to the mean than L2",
        "ln of the location error, l2 minus l1",
        ("l2", "l1"),
        location,
        partial(_distance, column="location_error"),
    )
    for task in RECONSTRUCTION:
        for head in ("raw", "sigmoid"):
            yield _psnr(
                f"l2-reconstruction/{task}-{head}",
                f"{task_name(task)}, trained on clean targets with the {head} head: L2 reconstructs better than L1.",
                f"{psnr_name(task)} of l2 minus that of l1, a metric that favours L2",
                less(*(reconstruction(task, loss, head) for loss in ("l2", "l1"))),
                task=task,
            )
    for optimizer in ("adam", "sgd"):
        yield _psnr(
            f"l1-needs-decay/more-than-l2-{optimizer}",
            f"Under {optimizer}, L1 gains more from decay than L2.",
            "PSNR-Y gained by cosine over constant rate, l1 minus l2, clean, raw head, each at its own rates",
            less(gain("l1", optimizer), gain("l2", optimizer)),
        )
    yield _psnr(
        "l1-needs-decay/l2-without",
        f"Without decay L2 loses less than {MARGIN_DB:g} dB.",
        "PSNR-Y of l2 at a constant rate minus under cosine decay (Adam, clean, raw head)",
        less((), gain("l2")),
        no_worse=True,
    )
    yield _psnr(
        "l1-needs-decay/helps",
        "Decay helps, whichever of the two losses.",
        "PSNR-Y gained by cosine over constant rate, mean of l1 and l2 (Adam, clean, raw head)",
        mean_of(gain("l1"), gain("l2")),
    )


CLAIMS: tuple[Claim, ...] = tuple(_claims())
K = sum(claim.kind == "data" for claim in CLAIMS)  # a constant of this file, so no run can choose its own K
