"""Why did this claim of the document come out so? Each claim, what of it can be tested, its rule, and its verdict.

The document makes seven claims (science.md section 1). Each is split into statements that a run can decide. Of a
statement decided by data, an effect is measured for every seed, positive in the direction the document claims;
`verdicts.py` turns the effects into a verdict. Statements decided by a proof or an invariant stay outside K, the
number of claims decided by data. K counts the claims of this file, not those a run happens to have cells for, so no run
can choose its own K.

What is compared is in `contrasts.py`, what is no contrast in `observed.py`. To add a claim, yield it from
`_claims`. What the document claims of image reconstruction is judged on each of the three tasks it names
(`RECONSTRUCTION`).
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bench.analysis import verdicts
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
from bench.analysis.observations import BEST_D_LOSS, constant_discriminator, dead_against_live, procedure_holds
from bench.analysis.summary import LEVEL, MAIN_PSNR
from bench.store.reader import Run
from bench.store.schema import COLUMNS, TEXT_COLUMNS
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
MARGIN_CORRELATION = 0.2  # 4 % of the variance of ranks
MARGIN_SHARE = 0.1  # of the way from the equilibrium to 0

ADVERSARIAL = ("bce", "l1", "l2")
RECONSTRUCTION = {  # the three tasks that the document names: their columns of images.csv, in dB, larger is better
    task: MAIN_PSNR[task] for task in ("sr", "depth", "interpolation")
}
PHOTOGRAPH = {  # what of a test image's name tells it from others of the same photograph, in tasks that have several
    **{"depth": re.compile(r"-\d+-\d+$"), "interpolation": re.compile(r"-\d+( \(\d+\))?(@\d+)?$")}
}
STRUCK = (  # task, outlier kind, and rate at which robustness is judged
    *(("sr", "salt", 0.2), ("sr", "salt-pepper", 0.4), ("sr", "salt", 0.6)),
    *(("depth", "missing", 0.2), ("depth", "wrong-match", 0.2), ("interpolation", "salt", 0.2)),
)


@dataclass(frozen=True)
class Claim:
    """One testable part of a claim of the document.

    Attributes:
        name: its name in claims.csv.
        about: which sentence of `DOCUMENT` it belongs to.
        statement: what is tested; SUPPORTED means this.
        effect: what is measured for every seed, positive in the direction of the statement.
        unit: of the effect and of the margin.
        margin: an effect up to it is not worth having.
        evidence: the effects a run has.
        kind: decided by `data`, and so one of K, or by `proof`.
        beyond_time: the effects with the training step held constant; stands beside the verdict and decides nothing.
        task: of the effects, where they are those of a reconstruction.
        no_worse: whether SUPPORTED means only that no more than the margin is lost.
    """

    name: str
    about: str
    statement: str
    effect: str
    unit: str
    margin: float | None
    evidence: Callable[[Run], Evidence]
    kind: Literal["data", "proof"] = "data"
    beyond_time: Callable[[Run], Evidence] | None = None
    task: str = ""
    no_worse: bool = False

    @property
    def rule(self) -> str:
        """How the verdict follows, in words."""
        if self.kind == "proof":
            return f"{self.effect}: SUPPORTED if in every case, else REFUTED; a proof, outside K"
        least = -self.margin if self.no_worse else self.margin
        bounds = f"L > {least:g} SUPPORTED, U < {-self.margin:g} REFUTED"
        inside = "" if self.no_worse else f", inside [-{self.margin:g}, {self.margin:g}] EQUIVALENT"
        level = f"{100 * verdicts.simultaneous_level(K):.2f} % t interval [L, U] over seeds, K = {K}"
        return f"{self.effect}; {level}: {bounds}{inside}, else INCONCLUSIVE"

    def judge(self, run: Run) -> dict[str, Any]:
        """The row of claims.csv, but for `p_holm`, which takes all claims."""
        evidence = self.evidence(run)
        row = {"claim": self.name, "statement": self.statement, "rule": self.rule, "unit": self.unit}
        row |= {"margin": self.margin, "n": 0, "verdict": verdicts.NOT_TESTED, "cells": evidence.cells}
        row |= {"about": self.about, "document": DOCUMENT[self.about]}
        if not evidence.tested:
            return row | {"may_conclude": verdicts.MAY_CONCLUDE[verdicts.NOT_TESTED]}
        if self.kind == "proof":
            holds = evidence.effects.to_numpy()
            verdict = verdicts.SUPPORTED if holds.all() else verdicts.REFUTED
            row |= {"verdict": verdict, "estimate": float(holds.mean()), "n": len(holds)}
            return row | {
                "may_conclude": "Decided by a proof or an invariant, not estimated: it says no more than the statement."
            }
        effects = evidence.effects.to_numpy()
        seeds = effects.mean(axis=1) if effects.size else np.empty(0)
        row |= asdict(self.verdict(seeds))
        photographs = by_photograph(evidence.effects, self.task).to_numpy()
        low, high = (float(limit) for limit in verdicts.seeds_and_images_limits(photographs, LEVEL))
        row |= {"images_ci_low": low, "images_ci_high": high}
        if self.beyond_time:
            rest = self.beyond_time(run).effects.to_numpy().ravel()
            low, high = (float(limit) for limit in verdicts.t_limits(rest, LEVEL))
            mean = float(rest.mean()) if rest.size else math.nan
            row |= {"beyond_time": mean, "beyond_time_ci_low": low, "beyond_time_ci_high": high}
        tuned = self.task in set(run.cells.loc[run.cells["role"] == "tune", "task"])
        return row | {"may_conclude": " ".join(self._may_conclude(row, tuned))}

    def verdict(self, seeds: ArrayLike) -> verdicts.Verdict:
        """The verdict on one effect per seed, of a claim that data decide."""
        judge = verdicts.judge_no_worse if self.no_worse else verdicts.judge_effects
        return judge(seeds, self.margin, verdicts.simultaneous_level(K))

    def _by_itself(self, low: float, high: float) -> str:
        """What another interval of the effect would decide."""
        shift = self.margin if self.no_worse else 0.0
        return str(verdicts.decide(low + shift, high + shift, self.margin - shift))

    def _may_conclude(self, row: dict[str, Any], tuned: bool) -> Iterable[str]:
        yield (verdicts.MAY_CONCLUDE | (verdicts.MAY_CONCLUDE_NO_WORSE if self.no_worse else {}))[row["verdict"]]
        if row["verdict"] == verdicts.INCONCLUSIVE:
            if row["n"] < 2:
                yield "An interval needs two seeds."
            elif row["seeds_needed"] is None:
                yield f"Were the estimate the truth, even {verdicts.MOST_SEEDS} seeds would be too few."
            else:
                yield f"Were the estimate the truth, {row['seeds_needed']} seeds could decide."
        if not math.isnan(row.get("beyond_time_ci_low", math.nan)):
            mean, low, high = (row[f"beyond_time{end}"] for end in ("", "_ci_low", "_ci_high"))
            yield (
                f"Both change as training goes on, which alone correlates them: with the step held constant the partial"
                f" correlation is {mean:+.2f} ({low:+.2f} to {high:+.2f}; 95 %, this claim alone),"
                f" by itself {self._by_itself(low, high)}."
            )
        if not math.isnan(row["images_ci_low"]):
            limits = row["images_ci_low"], row["images_ci_high"]
            yield (
                f"This speaks for these test images; over seeds and images the interval is {limits[0]:.2f} to"
                f" {limits[1]:.2f} {self.unit} (95 %, this claim alone), by itself"
                f" {self._by_itself(*limits)}."
            )
        elif self.task == "depth":
            yield "This speaks for the tiles of one photograph."
        if self.task and not tuned:
            yield "This run tunes no learning rate of this task: they were chosen before it."


def by_photograph(effects: pd.DataFrame, task: str) -> pd.DataFrame:
    """Effects (seeds, test images) averaged over images of the same photograph, which vary less than photographs do.

    Of depth's tiles all are of one photograph, of interpolation's sequences several are of each.
    """
    if task not in PHOTOGRAPH:
        return effects
    names = [PHOTOGRAPH[task].sub("", str(image)) for image in effects.columns]
    return effects.astype(float).set_axis(names, axis="columns").T.groupby(level=0).mean().T


def judge(run: Run) -> pd.DataFrame:
    """claims.csv: one row per claim in the order of `CLAIMS`, from manifest and frames alone, in any row order.

    Every claim has a verdict: SUPPORTED, REFUTED, EQUIVALENT, INCONCLUSIVE, or, where the run does not declare the
    cells, NOT TESTED with the reason in `cells`. Numbers that are not defined are NaN.
    """
    frame = pd.DataFrame([claim.judge(run) for claim in CLAIMS]).reindex(columns=COLUMNS["claims"])
    frame["p_holm"] = verdicts.holm(frame["p_value"], K)
    numbers = [column for column in frame if column not in TEXT_COLUMNS]
    return frame.astype(dict.fromkeys(numbers, float)).astype({"n": int})


# The claims


def gan(loss: str, outlier: str = CLEAN, rate: float = 0.0) -> Contrast:
    """The document's GAN: probabilities against the labels 1 and 0."""
    return cell(task="gan", head="sigmoid", loss=loss, outlier=outlier, rate=rate)


def location(loss: str) -> Contrast:
    """The location GAN with a fifth of its samples from N(5, I)."""
    return cell(task="location", head="sigmoid", loss=loss, outlier="far", rate=0.2)


def reconstruction(task: str, loss: str, head: str, outlier: str = CLEAN, rate: float = 0.0, **other: Any) -> Contrast:
    """A reconstruction task as practitioners train it: Adam, cosine decay, pixels in [0, 1]."""
    practice = {"schedule": "cosine", "optimizer": "adam", "value_range": 1} | other
    return cell(task=task, head=head, loss=loss, outlier=outlier, rate=rate, **practice)


def lost(task: str, loss: str, outlier: str, rate: float) -> Contrast:
    """What outliers cost a reconstruction: the loss's own clean result minus that under outliers."""
    return less(reconstruction(task, loss, "raw"), reconstruction(task, loss, "raw", outlier, rate))


def gain(loss: str, optimizer: str = "adam") -> Contrast:
    """What decay gains clean super-resolution: cosine minus constant."""
    return less(*(reconstruction("sr", loss, "raw", optimizer=optimizer, schedule=s) for s in ("cosine", "constant")))


def tracking(metric: str, cells: Contrast, distance_from: float | None = None) -> dict[str, Callable[[Run], Evidence]]:
    """A metric's rank correlation with the Fréchet distance, and the same with the training step held constant."""
    plain, partial = (rank_correlation(metric, distance_from, beyond_time=beyond) for beyond in (False, True))
    return {"evidence": by_seed(plain, cells), "beyond_time": by_seed(partial, cells)}


def _claims() -> Iterable[Claim]:
    yield Claim(
        "procedure",
        "procedure",
        "The GANs follow the procedure: a step moves its own network alone; d_loss is the mean of real and fake.",
        "Invariants of the first steps, checked in every run",
        "share of GANs",
        None,
        procedure_holds,
        "proof",
    )
    for loss in ADVERSARIAL:
        yield Claim(
            f"g-loss-tracks-quality/{loss}",
            "g-loss-tracks-quality",
            f"Within a training under {loss.upper()}, a smaller g_loss goes with a smaller Fréchet distance.",
            "Rank correlation of g_loss with Fréchet distance over checkpoints (0 where g_loss never moves)",
            "correlation",
            MARGIN_CORRELATION,
            **tracking("g_loss", gan(loss)),
        )
    yield Claim(
        "d-loss-to-zero/limit",
        "d-loss-to-zero",
        "d_loss ends nearer to 0 than to the equilibrium of its loss (ln 2 for BCE, 0.5 for L1, 0.25 for L2).",
        "0.5 - d_loss / equilibrium over the last fifth of the checkpoints, mean of bce, l1, and l2",
        "share of equilibrium",
        MARGIN_SHARE,
        by_seed(tail_towards_zero, mean_of(*map(gan, ADVERSARIAL))),
    )
    yield Claim(
        "d-loss-to-zero/quality",
        "d-loss-to-zero",
        "Within a training, a smaller d_loss goes with a smaller Fréchet distance. (Read so: a better discriminator is"
        " one that serves the generator. That a smaller d_loss separates D's own batches better is its definition.)",
        "Rank correlation of d_loss with Fréchet distance over checkpoints, mean of bce, l1, and l2",
        "correlation",
        MARGIN_CORRELATION,
        **tracking("d_loss", mean_of(*map(gan, ADVERSARIAL))),
    )
    for loss in ADVERSARIAL:
        yield Claim(
            f"d-loss-half/{loss}",
            "d-loss-half",
            f"Within a training under {loss.upper()}, a d_loss nearer to 0.5 goes with a smaller Fréchet distance.",
            "Rank correlation of |d_loss - 0.5| with Fréchet distance over checkpoints",
            "correlation",
            MARGIN_CORRELATION,
            **tracking("d_loss", gan(loss), BEST_D_LOSS),
        )
    yield Claim(
        "d-loss-half/dead",
        "d-loss-half",
        "Dead discriminators, among them the state the document calls best (D = 1 everywhere), go with a smaller"
        " Fréchet distance than live ones. (Observed, not assigned: which loss dies is not up to us.)",
        "ln of Fréchet distance, live minus dead under the same conditions",
        LOG_RATIO,
        MARGIN_LOG_RATIO,
        dead_against_live,
    )
    yield Claim(
        "d-loss-half/constant",
        "d-loss-half",
        "Under L1, d_loss = 0.5 tells the best discriminator from one that answers the same to every image.",
        "l1's d_loss of a constant D differs from 0.5",
        "share of constants",
        None,
        constant_discriminator,
        "proof",
    )
    for task, outlier, rate in STRUCK:
        yield Claim(
            f"l1-robust/{task}-{outlier}-{rate:g}",
            "l1-robust",
            f"{task_name(task)}, {100 * rate:.0f} % of the training pixels {outlier}: L1 loses fewer dB than L2.",
            f"{psnr_name(task)} lost to outliers by l2 minus by l1, each against its own clean training, raw head",
            DB,
            MARGIN_DB,
            by_seed(per_image(MAIN_PSNR[task]), less(*(lost(task, loss, outlier, rate) for loss in ("l2", "l1")))),
            task=task,
        )
    yield Claim(
        "l1-robust/gan-noise-0.2",
        "l1-robust",
        "With 20 % of the real images replaced by noise, L1's GAN suffers less than L2's.",
        "ln of Fréchet distance, l2 minus l1, under noise minus the same without",
        LOG_RATIO,
        MARGIN_LOG_RATIO,
        by_seed(log_of("frechet"), less(*(less(gan(loss, "noise", 0.2), gan(loss)) for loss in ("l2", "l1")))),
    )
    yield Claim(
        "l1-robust/location-far-0.2",
        "l1-robust",
        "With 20 % of the samples far away, L1's GAN finds the mean better than L2's.",
        "ln of the location error, l2 minus l1",
        LOG_RATIO,
        MARGIN_LOG_RATIO,
        by_seed(log_of("location_error"), less(*(location(loss) for loss in ("l2", "l1"))), tuned=("lr", "settings")),
    )
    for task, column in RECONSTRUCTION.items():
        for head in ("raw", "sigmoid"):
            yield Claim(
                f"l2-reconstruction/{task}-{head}",
                "l2-reconstruction",
                f"{task_name(task)}, trained on clean targets with the {head} head: L2 reconstructs better than L1.",
                f"{psnr_name(task)} of l2 minus that of l1, a metric that favours L2",
                DB,
                MARGIN_DB,
                by_seed(per_image(column), less(*(reconstruction(task, loss, head) for loss in ("l2", "l1")))),
                task=task,
            )
    for optimizer in ("adam", "sgd"):
        yield Claim(
            f"l1-needs-decay/more-than-l2-{optimizer}",
            "l1-needs-decay",
            f"Under {optimizer}, L1 gains more from decay than L2.",
            "PSNR-Y gained by cosine over constant rate, l1 minus l2, clean, raw head, each at its own rates",
            DB,
            MARGIN_DB,
            by_seed(per_image("psnr_y_db"), less(gain("l1", optimizer), gain("l2", optimizer))),
            task="sr",
        )
    yield Claim(
        "l1-needs-decay/l2-without",
        "l1-needs-decay",
        f"Without decay L2 loses less than {MARGIN_DB:g} dB.",
        "PSNR-Y of l2 at a constant rate minus under cosine decay (Adam, clean, raw head)",
        DB,
        MARGIN_DB,
        by_seed(per_image("psnr_y_db"), less((), gain("l2"))),
        task="sr",
        no_worse=True,
    )
    yield Claim(
        "l1-needs-decay/helps",
        "l1-needs-decay",
        "Decay helps, whichever of the two losses.",
        "PSNR-Y gained by cosine over constant rate, mean of l1 and l2 (Adam, clean, raw head)",
        DB,
        MARGIN_DB,
        by_seed(per_image("psnr_y_db"), mean_of(gain("l1"), gain("l2"))),
        task="sr",
    )


CLAIMS: tuple[Claim, ...] = tuple(_claims())
K = sum(claim.kind == "data" for claim in CLAIMS)
