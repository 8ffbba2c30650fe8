"""What did the run find, in plain sentences? Each is computed from rows; none is known beforehand.

Every number carries its 95 % interval over seeds (rounds, for timings) or at least its n. A run that lacks what a
sentence needs simply does not get that sentence.
"""

from collections import Counter
from collections.abc import Iterator
from math import comb
from typing import NamedTuple

import pandas as pd

from bench.analysis.comparison import LEVEL, REFUTED, Interval, PairedComparison, Words, family_level, t_interval
from bench.analysis.cost import cost_sentences
from bench.analysis.labels import (
    ARTICLE_D_LOSS,
    BASELINES,
    arm_name,
    arms_of,
    condition_name,
    conditions_of,
    in_order,
    loss_name,
    number,
    percent,
    place_name,
    task_name,
)
from bench.analysis.metrics import JUDGED
from bench.analysis.precision import trained_in
from bench.analysis.prediction_errors import CLOSE_DB, predictions
from bench.analysis.recommend import OPEN, WORDS
from bench.analysis.summary import (
    EXCESS_SHARE,
    MAIN_PSNR,
    equilibrium_d_loss,
    main_psnr_pairs,
    paired_difference,
    pick,
    predict_psnr,
    summary_of,
)
from bench.store.reader import Run
from ganlab.outliers import CLEAN, OUTLIERS

WHERE = ["task", "dataset", "scale", "outlier", "rate", "loss", "head"]
HEADLINE_RATE = 0.2  # sentences speak of the rate nearest to it; the figure shows them all
ARTICLE_LOSSES = ("bce", "l1", "l2")  # of which the first screen speaks
FIRST_TOPICS = ("robustness", "clean", "location", "gan", "d_loss", "dead")  # of the first screen
MOST_SENTENCES = 3  # on the first screen
BEHIND_BEST: Words = {**WORDS, REFUTED: OPEN}  # better on shared seeds, yet not by the mean of all
YARDSTICKS = {"oracle_error": "oracle that knows the outliers", "median_error": "median", "mean_error": "mean"}


class Finding(NamedTuple):
    """One finding: the part of the report it belongs to, what was asked, an answer per loss, and all that in brief.

    Of a reconstruction also its task.
    """

    topic: str
    lead: str
    parts: tuple[str, ...] = ()
    brief: str = ""
    task: str = ""

    @property
    def text(self) -> str:
        """The finding as one sentence."""
        return f"{self.lead}: {'; '.join(self.parts)}." if self.parts else f"{self.lead}."

    @property
    def short(self) -> str:
        """The finding in one line."""
        return self.brief or self.text


def findings(run: Run, whole: Run | None = None) -> list[Finding]:
    """All findings, in the report's order; deaths are counted over the `whole` run, varied settings included."""
    return [finding for about in ABOUT for finding in about(whole or run if about is _dead else run)]


def sentences(found: list[Finding], tally: str = "") -> list[str]:
    """The three sentences of the first screen: what outliers do, what else there is, and what became of the claims."""
    by_topic = {finding.topic: finding.short for finding in reversed(found)}
    first = [by_topic[topic] for topic in FIRST_TOPICS if topic in by_topic]
    return [*first[: MOST_SENTENCES - bool(tally)], *([tally] if tally else [])]


def interval_text(interval: Interval, n: int, digits: int = 1, unit: str = "seed") -> str:
    """`0.2 to 0.4, 6 seeds`, or the n alone where there is no interval.

    >>> interval_text(Interval(0.3, 0.2, 0.4), 6), interval_text(t_interval([0.3]), 1)
    ('0.2 to 0.4, 6 seeds', '1 seed')
    """
    count = f"{n} {unit}{'' if n == 1 else 's'}"
    if not interval.defined:
        return count
    return f"{number(interval.low, digits)} to {number(interval.high, digits)}, {count}"


def _places(cells: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Each reconstruction task with each data set (and magnification) by name, and its cells."""
    for task in MAIN_PSNR:
        for (dataset, scale), rows in pick(cells, task=task).groupby(["dataset", "scale"], dropna=False):
            place = place_name(dataset, scale)
            yield task, place if task == "sr" else f"{task_name(task)}, {place}", rows


def _predicted_losses(run: Run) -> pd.Series:
    """What theory says each loss loses, in dB, indexed by `WHERE`; a task without a magnification has 0."""
    pairs = main_psnr_pairs(run.cells, run.images, run.references)
    pairs = pairs.assign(scale=pairs["scale"].fillna(0), lost=pairs["clean"] - predict_psnr(pairs))
    by_seed = pairs.groupby([*WHERE, "seed"])["lost"].mean()
    return by_seed.groupby(level=WHERE).mean().dropna()


def _losses_of_psnr(theory: pd.Series, cells: pd.DataFrame, outlier: str, rate: float) -> list[tuple[float, str]]:
    """(mean loss in dB, text) for each loss and head: its own clean PSNR minus that under outliers, paired by seed."""
    parts = []
    task, dataset, scale = cells[["task", "dataset", "scale"]].fillna({"scale": 0}).iloc[0]
    cells = cells[cells["outlier"].isin((CLEAN, outlier)) & cells["rate"].isin((0, rate))]
    for loss, head in arms_of(cells):
        arm = pick(cells, loss=loss, head=head)
        lost = paired_difference(arm, MAIN_PSNR[task], {"outlier": CLEAN}, {"outlier": outlier, "rate": rate})
        if len(lost):
            interval = t_interval(lost)
            expected = theory.get((task, dataset, scale, outlier, rate, loss, head))
            predicted = "" if expected is None else f"; theory {number(expected, 1)}"
            text = f"{arm_name(loss, head)} loses {number(interval.mean, 1)} dB"
            parts.append((interval.mean, f"{text} ({interval_text(interval, len(lost))}{predicted})"))
    return sorted(parts)


def _corruptions(cells: pd.DataFrame, control: bool) -> list[tuple[str, float]]:
    """Each outlier kind of some cells with its rate nearest HEADLINE_RATE; the controls leave the mean alone."""
    kinds = in_order(set(cells["outlier"]) - {CLEAN}, OUTLIERS)
    chosen = [kind for kind in kinds if (kind in OUTLIERS and OUTLIERS[kind].mean is None) == control]
    rates = {kind: sorted(set(cells.loc[cells["outlier"] == kind, "rate"])) for kind in chosen}
    return [(kind, min(rates[kind], key=lambda rate: abs(rate - HEADLINE_RATE))) for kind in chosen]


def _robustness(run: Run) -> list[Finding]:
    """What outliers cost each loss, task by task, the kind that separates the losses most first."""
    found, theory = [], _predicted_losses(run)
    for task, place, cells in _places(run.cells):
        for kind, rate in _corruptions(cells, control=False):
            if parts := _losses_of_psnr(theory, cells, kind, rate):
                effect = f" ({OUTLIERS[kind].effect})" if kind in OUTLIERS else ""
                lead = f"With {percent(rate)} {kind} outliers in the training targets{effect}, {place}"
                spread = parts[-1][0] - parts[0][0]
                texts = tuple(text for _, text in parts)
                named = tuple(f"{loss_name(loss)} " for loss in ARTICLE_LOSSES)
                core = [text for text in texts if text.startswith(named)] or texts
                brief = f"{lead}, {core[0]}" + (f", while {core[-1]}." if len(core) > 1 else ".")
                order = list(MAIN_PSNR).index(task), -spread
                found.append((order, Finding("robustness", lead, texts, brief, task)))
    return [finding for _, finding in sorted(found)]


def _control(run: Run) -> Iterator[Finding]:
    """What zero-mean noise costs, which must not bias a mean-seeking loss."""
    theory = _predicted_losses(run)
    for task, place, cells in _places(run.cells):
        for kind, rate in _corruptions(cells, control=True):
            if parts := _losses_of_psnr(theory, cells, kind, rate):
                lead = f"Control: noise that averages to zero ({kind}, strength {percent(rate)}), {place}"
                yield Finding("control", lead, tuple(part for _, part in parts), task=task)


def _clean(run: Run) -> Iterator[Finding]:
    """The ranking without outliers, by paired differences to the best."""
    for task, place, cells in _places(pick(run.cells, outlier=CLEAN, status="done")):
        metric, baseline = MAIN_PSNR[task], BASELINES.get(task)
        means = cells.groupby(["loss", "head"])[metric].mean().dropna()
        if means.empty:
            continue
        best = dict(zip(("loss", "head"), means.idxmax(), strict=True))
        values = pick(cells, **best)[metric].dropna()
        spread = interval_text(t_interval(values), len(values), 2)
        parts, gaps = [f"{arm_name(**best)} comes out highest at {number(means.max(), 2)} dB ({spread})"], []
        level = family_level(comb(len(means), 2))  # all pairs: the best is picked from them
        for loss, head in arms_of(cells):
            gap = paired_difference(cells, metric, best, {"loss": loss, "head": head})
            if {"loss": loss, "head": head} != best and len(gap):
                behind = JUDGED[task].compare(gap, level)
                mean, spread = behind.interval.mean, interval_text(behind.interval, behind.n, 2)
                parts.append(f"{arm_name(loss, head)} is {number(mean, 2)} dB behind ({spread}: {_worth(behind)})")
                if loss in ARTICLE_LOSSES:
                    gaps.append((mean, parts[-1], loss, head))
        if mixed := trained_in(cells):
            parts.append(f"trained in {mixed}")
        if baseline and (untrained := cells[baseline.column].dropna()).size:
            named = "bicubic interpolation" if task == "sr" else f"the {baseline.name}"
            parts.append(f"{named}, without any training, reaches {number(untrained.median(), 2)} dB")
        lead = f"Clean training targets, {place} (intervals of differences hold together at {percent(LEVEL)})"
        brief = ""
        if gaps:
            _, furthest, loss, head = max(gaps)
            brief = f"{lead}: {parts[0]}; of BCE, L1, and L2 the furthest, {furthest}"
            two = trained_in(pd.concat([pick(cells, **best), pick(cells, loss=loss, head=head)]))
            brief += f", trained in {two}." if two else "."
        yield Finding("clean", lead, tuple(parts), brief, task)


def _worth(behind: PairedComparison) -> str:
    """What a paired difference to the best mean allows to say."""
    return behind.word(BEHIND_BEST) if behind.interval.defined else "one seed settles nothing"


def _gan(run: Run) -> Iterator[Finding]:
    """Distance from real images, where d_loss ended, and how many discriminators died."""
    cells = pick(run.cells, task="gan", status="done")
    for dataset, rows in cells.groupby("dataset"):
        floor = rows["frechet_floor"].dropna()
        beside = f"; two samples of real images are {floor.median():.3g} apart" if len(floor) else ""
        for outlier, rate in conditions_of(rows):
            if parts := _means(pick(rows, outlier=outlier, rate=rate), "frechet", 1):
                lead = f"Fréchet distance on {dataset}, {condition_name(outlier, rate)} (lower is better{beside})"
                yield Finding("gan", lead, parts)
        if parts := _means(pick(rows, outlier=CLEAN), "d_loss", 3):
            yield Finding(
                "d_loss", f"Where d_loss ended on {dataset}, clean (the article expects {ARTICLE_D_LOSS})", parts
            )


def _copied(run: Run) -> Iterator[Finding]:
    """Whether generators model the outliers as well, which is what a flexible one must do under every loss."""
    rows = pick(summary_of(run), task="gan", metric=EXCESS_SHARE)
    for dataset, here in rows.groupby("dataset"):
        for outlier, rate in conditions_of(here):
            parts = []
            for loss, head in arms_of(met := pick(here, outlier=outlier, rate=rate)):
                row = pick(met, loss=loss, head=head).iloc[0]
                interval = Interval(*row[["mean", "ci_low", "ci_high"]])
                spread = interval_text(interval, int(row["n_done"]), 2)
                parts.append(f"{arm_name(loss, head)} {number(interval.mean, 2)} ({spread})")
            where = f"{dataset}, {condition_name(outlier, rate)}"
            lead = f"Share of outliers among the images generated on {where}, beyond that"
            yield Finding(
                "gan",
                f"{lead} of clean training (a generator that models its data copies them: {rate:g})",
                tuple(parts),
            )


def _dead(run: Run) -> Iterator[Finding]:
    """How many discriminators died, in whatever setting."""
    known = run.cells[run.cells["status"] == "done"].dropna(subset="dead_discriminator")
    for task, cells in known.groupby("task"):
        dead = cells[cells["dead_discriminator"] > 0]
        counts = Counter(arm_name(*arm) for arm in dead[["loss", "head"]].to_numpy())
        lead = f"Discriminators dead at the end: {len(dead)} of {len(cells)} {task_name(task)} cells"
        yield Finding("dead", lead, tuple(f"{count} with {name}" for name, count in sorted(counts.items())))


def _location(run: Run) -> Iterator[Finding]:
    """How far each loss's estimate is off, beside ones that train nothing; rates nearest HEADLINE_RATE first."""
    cells = pick(run.cells, task="location", status="done")
    for outlier, rate in sorted(conditions_of(cells), key=lambda condition: abs(condition[1] - HEADLINE_RATE)):
        here = pick(cells, outlier=outlier, rate=rate)
        if parts := _means(here, "location_error", 3):
            beside = "; ".join(f"{name} {here[column].mean():.3g}" for column, name in YARDSTICKS.items())
            lead = f"Location GAN, {condition_name(outlier, rate)}: distance of the estimate from the truth ({beside})"
            yield Finding("location", lead, parts)


def _prediction(run: Run) -> Iterator[Finding]:
    """How often theory hit the measured PSNR."""
    rows = predictions(run)
    if len(rows):
        parts = []
        for loss, head in arms_of(rows):
            miss = pick(rows, loss=loss, head=head)["miss"]
            close = (miss.abs() <= CLOSE_DB).sum()
            worst = number(miss.iloc[0], 1)
            parts.append(f"{arm_name(loss, head)} {close} of {len(miss)} (furthest off {worst} dB)")
        yield Finding("prediction", f"Predictions within {CLOSE_DB:g} dB of the measured PSNR", tuple(parts))


def _means(cells: pd.DataFrame, metric: str, digits: int) -> tuple[str, ...]:
    """`L2 sigmoid 0.249 (0.247 to 0.251, 6 seeds; equilibrium 0.25)` for each loss and head."""
    parts = []
    for loss, head in arms_of(cells):
        values = pick(cells, loss=loss, head=head)[metric].dropna()
        if len(values):
            interval = t_interval(values)
            spread = interval_text(interval, len(values), digits)
            if metric == "d_loss" and (known := equilibrium_d_loss(loss, head)) is not None:
                spread += f"; equilibrium {known:.3g}"
            parts.append(f"{arm_name(loss, head)} {number(interval.mean, digits)} ({spread})")
    return tuple(parts)


def _timing(run: Run) -> Iterator[Finding]:
    """What a step costs, relative to BCE where there is one."""
    if parts := cost_sentences(run):
        yield Finding("timing", "Does the loss cost anything? Training steps alone on the device", tuple(parts))


ABOUT = (_robustness, _clean, _control, _prediction, _gan, _copied, _dead, _location, _timing)  # the report's order
