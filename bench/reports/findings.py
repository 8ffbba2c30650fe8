"""What did the run find, in plain sentences? All sentences are computed from rows.

Every number has its 95 % interval over seeds (for timings: over rounds) or at least its n. If a run lacks the rows for
a sentence, the sentence is left out.
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
    dataset_label,
    in_order,
    loss_name,
    number,
    percent,
    task_name,
)
from bench.analysis.metrics import JUDGED, MARGIN_DB
from bench.analysis.precision import trained_in
from bench.analysis.prediction_errors import predictions
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
HEADLINE_RATE = 0.2  # sentences use the nearest rate; the figure shows all rates
ARTICLE_LOSSES = ("bce", "l1", "l2")  # the losses on the first screen
FIRST_TOPICS = ("robustness", "clean", "location", "gan", "d_loss", "dead")  # on the first screen
MOST_SENTENCES = 3  # on the first screen
BEHIND_BEST: Words = {**WORDS, REFUTED: OPEN}  # better on shared seeds, but not by the mean of all seeds
YARDSTICKS = {"oracle_error": "oracle that knows the outliers", "median_error": "median", "mean_error": "mean"}


class Finding(NamedTuple):
    """A finding: its topic in the report, a lead, an answer per loss, and a short version.

    `task` is set for reconstruction tasks.
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
    """All findings, in the order of the report; deaths are counted over the `whole` run, including varied settings."""
    return [finding for about in ABOUT for finding in about(whole or run if about is _dead else run)]


def sentences(all_findings: list[Finding], tally: str = "") -> list[str]:
    """The sentences of the first screen: the effect of outliers, one more finding, and the tally of the claims."""
    by_topic = {finding.topic: finding.short for finding in reversed(all_findings)}
    first = [by_topic[topic] for topic in FIRST_TOPICS if topic in by_topic]
    return [*first[: MOST_SENTENCES - bool(tally)], *([tally] if tally else [])]


def interval_text(interval: Interval, n: int, digits: int = 1, unit: str = "seed") -> str:
    """`0.2 to 0.4, 6 seeds`, or only the count if there is no interval.

    >>> interval_text(Interval(0.3, 0.2, 0.4), 6), interval_text(t_interval([0.3]), 1)
    ('0.2 to 0.4, 6 seeds', '1 seed')
    """
    count = f"{n} {unit}{'' if n == 1 else 's'}"
    if not interval.defined:
        return count
    return f"{number(interval.low, digits)} to {number(interval.high, digits)}, {count}"


def _datasets(cells: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Each reconstruction task and the name of each of its data sets (with magnification), with their cells."""
    for task in MAIN_PSNR:
        for (dataset, scale), rows in pick(cells, task=task).groupby(["dataset", "scale"], dropna=False):
            name = dataset_label(dataset, scale)
            yield task, name if task == "sr" else f"{task_name(task)}, {name}", rows


def _predicted_losses(run: Run) -> pd.Series:
    """The predicted loss of PSNR in dB, indexed by `WHERE`; tasks without a magnification have scale 0."""
    pairs = main_psnr_pairs(run.cells, run.images, run.references)
    pairs = pairs.assign(scale=pairs["scale"].fillna(0), lost=pairs["clean"] - predict_psnr(pairs))
    by_seed = pairs.groupby([*WHERE, "seed"])["lost"].mean()
    return by_seed.groupby(level=WHERE).mean().dropna()


def _losses_of_psnr(theory: pd.Series, cells: pd.DataFrame, outlier: str, rate: float) -> list[tuple[float, str]]:
    """(mean loss in dB, text) for each loss and head: clean PSNR minus PSNR under outliers, paired by seed."""
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
    """Each outlier kind of some cells, with its rate nearest HEADLINE_RATE; controls do not shift the mean."""
    kinds = in_order(set(cells["outlier"]) - {CLEAN}, OUTLIERS)
    chosen = [kind for kind in kinds if (kind in OUTLIERS and OUTLIERS[kind].mean is None) == control]
    rates = {kind: sorted(set(cells.loc[cells["outlier"] == kind, "rate"])) for kind in chosen}
    return [(kind, min(rates[kind], key=lambda rate: abs(rate - HEADLINE_RATE))) for kind in chosen]


def _robustness(run: Run) -> list[Finding]:
    """The cost of outliers for each loss, by task; the outlier kind that separates the losses most comes first."""
    ranked, theory = [], _predicted_losses(run)
    for task, where, cells in _datasets(run.cells):
        for kind, rate in _corruptions(cells, control=False):
            if parts := _losses_of_psnr(theory, cells, kind, rate):
                effect = f" ({OUTLIERS[kind].effect})" if kind in OUTLIERS else ""
                lead = f"With {percent(rate)} {kind} outliers in the training targets{effect}, {where}"
                spread = parts[-1][0] - parts[0][0]
                texts = tuple(text for _, text in parts)
                named = tuple(f"{loss_name(loss)} " for loss in ARTICLE_LOSSES)
                article_texts = [text for text in texts if text.startswith(named)] or texts
                brief = f"{lead}, {article_texts[0]}" + (
                    f", while {article_texts[-1]}." if len(article_texts) > 1 else "."
                )
                order = list(MAIN_PSNR).index(task), -spread
                ranked.append((order, Finding("robustness", lead, texts, brief, task)))
    return [finding for _, finding in sorted(ranked)]


def _control(run: Run) -> Iterator[Finding]:
    """The cost of zero-mean noise, which must not bias a mean-seeking loss."""
    theory = _predicted_losses(run)
    for task, where, cells in _datasets(run.cells):
        for kind, rate in _corruptions(cells, control=True):
            if parts := _losses_of_psnr(theory, cells, kind, rate):
                lead = f"Control: noise that averages to zero ({kind}, strength {percent(rate)}), {where}"
                yield Finding("control", lead, tuple(part for _, part in parts), task=task)


def _clean(run: Run) -> Iterator[Finding]:
    """The ranking without outliers, by paired differences from the best loss."""
    for task, where, cells in _datasets(pick(run.cells, outlier=CLEAN, status="done")):
        metric, baseline = MAIN_PSNR[task], BASELINES[task]
        place = {"task": task, "outlier": CLEAN} | dict(cells[["dataset", "scale"]].iloc[0])
        reached = pick(summary_of(run), metric=metric, **place)
        if reached.empty:
            continue
        means = reached.groupby(["loss", "head"])["mean"].mean()
        top = reached.loc[reached["mean"].idxmax()]
        best = dict(top[["loss", "head"]])
        spread = interval_text(Interval(*top[["mean", "ci_low", "ci_high"]]), int(top["n_done"]), 2)
        parts, gaps = [f"{arm_name(**best)} comes out highest at {number(top['mean'], 2)} dB ({spread})"], []
        level = family_level(comb(len(means), 2))  # all pairs, because the same data select the best
        for loss, head in arms_of(cells):
            gap = paired_difference(cells, metric, best, {"loss": loss, "head": head})
            if {"loss": loss, "head": head} != best and len(gap):
                behind = JUDGED[task].compare(gap, level)
                mean, spread = behind.interval.mean, interval_text(behind.interval, behind.n, 2)
                parts.append(f"{arm_name(loss, head)} is {number(mean, 2)} dB behind ({spread}: {_conclusion(behind)})")
                if loss in ARTICLE_LOSSES:
                    gaps.append((mean, parts[-1], loss, head))
        if mixed := trained_in(cells):
            parts.append(f"trained in {mixed}")
        if len(untrained := pick(summary_of(run), metric=baseline.column, **place)["mean"]):
            baseline_name = "bicubic interpolation" if task == "sr" else f"the {baseline.name}"
            parts.append(f"{baseline_name}, without any training, reaches {number(untrained.median(), 2)} dB")
        lead = f"Clean training targets, {where} (intervals of differences hold together at {percent(LEVEL)})"
        brief = ""
        if gaps:
            _, furthest, loss, head = max(gaps)
            brief = f"{lead}: {parts[0]}; of BCE, L1, and L2 the furthest, {furthest}"
            precisions = trained_in(pd.concat([pick(cells, **best), pick(cells, loss=loss, head=head)]))
            brief += f", trained in {precisions}." if precisions else "."
        yield Finding("clean", lead, tuple(parts), brief, task)


def _conclusion(behind: PairedComparison) -> str:
    """The conclusion from a paired difference to the best mean."""
    return behind.word(BEHIND_BEST) if behind.interval.defined else "one seed settles nothing"


def _gan(run: Run) -> Iterator[Finding]:
    """Distance from real images, and the final d_loss."""
    cells = pick(run.cells, task="gan", status="done")
    for dataset, rows in cells.groupby("dataset"):
        floor = rows["frechet_floor"].dropna()
        floor_text = f"; two samples of real images are {floor.median():.3g} apart" if len(floor) else ""
        for outlier, rate in conditions_of(rows):
            if parts := _means(pick(rows, outlier=outlier, rate=rate), "frechet", 1):
                lead = f"Fréchet distance on {dataset}, {condition_name(outlier, rate)} (lower is better{floor_text})"
                yield Finding("gan", lead, parts)
        if parts := _means(pick(rows, outlier=CLEAN), "d_loss", 3):
            yield Finding(
                "d_loss", f"Where d_loss ended on {dataset}, clean (the article expects {ARTICLE_D_LOSS})", parts
            )


def _copied(run: Run) -> Iterator[Finding]:
    """Whether generators copy the outliers; a flexible generator must do so under every loss."""
    rows = pick(summary_of(run), task="gan", metric=EXCESS_SHARE)
    for dataset, dataset_rows in rows.groupby("dataset"):
        for outlier, rate in conditions_of(dataset_rows):
            parts = []
            for loss, head in arms_of(matches := pick(dataset_rows, outlier=outlier, rate=rate)):
                row = pick(matches, loss=loss, head=head).iloc[0]
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
    """How many discriminators died, over all settings."""
    judged = run.cells[run.cells["status"] == "done"].dropna(subset="dead_discriminator")
    for task, cells in judged.groupby("task"):
        dead = cells[cells["dead_discriminator"] > 0]
        counts = Counter(arm_name(*arm) for arm in dead[["loss", "head"]].to_numpy())
        lead = f"Discriminators dead at the end: {len(dead)} of {len(cells)} {task_name(task)} cells"
        yield Finding("dead", lead, tuple(f"{count} with {name}" for name, count in sorted(counts.items())))


def _location(run: Run) -> Iterator[Finding]:
    """The error of each loss, beside untrained estimators; rates nearest HEADLINE_RATE come first."""
    cells = pick(run.cells, task="location", status="done")
    for outlier, rate in sorted(conditions_of(cells), key=lambda condition: abs(condition[1] - HEADLINE_RATE)):
        matches = pick(cells, outlier=outlier, rate=rate)
        if parts := _means(matches, "location_error", 3):
            yardsticks = "; ".join(f"{name} {matches[column].mean():.3g}" for column, name in YARDSTICKS.items())
            lead = (
                f"Location GAN, {condition_name(outlier, rate)}: distance of the estimate from the truth ({yardsticks})"
            )
            yield Finding("location", lead, parts)


def _prediction(run: Run) -> Iterator[Finding]:
    """How often the prediction was close to the measured PSNR."""
    rows = predictions(run)
    if len(rows):
        parts = []
        for loss, head in arms_of(rows):
            miss = pick(rows, loss=loss, head=head)["miss"]
            close = (miss.abs() <= MARGIN_DB).sum()
            worst = number(miss.iloc[0], 1)
            parts.append(f"{arm_name(loss, head)} {close} of {len(miss)} (furthest off {worst} dB)")
        yield Finding("prediction", f"Predictions within {MARGIN_DB:g} dB of the measured PSNR", tuple(parts))


def _means(cells: pd.DataFrame, metric: str, digits: int) -> tuple[str, ...]:
    """`L2 sigmoid 0.249 (0.247 to 0.251, 6 seeds; equilibrium 0.25)` for each loss and head."""
    parts = []
    for loss, head in arms_of(cells):
        values = pick(cells, loss=loss, head=head)[metric].dropna()
        if len(values):
            interval = t_interval(values)
            spread = interval_text(interval, len(values), digits)
            if metric == "d_loss" and (equilibrium := equilibrium_d_loss(loss, head)) is not None:
                spread += f"; equilibrium {equilibrium:.3g}"
            parts.append(f"{arm_name(loss, head)} {number(interval.mean, digits)} ({spread})")
    return tuple(parts)


def _timing(run: Run) -> Iterator[Finding]:
    """The time of a step, relative to BCE if it was timed."""
    if parts := cost_sentences(run):
        yield Finding("timing", "Does the loss cost anything? Training steps alone on the device", tuple(parts))


ABOUT = (_robustness, _clean, _control, _prediction, _gan, _copied, _dead, _location, _timing)  # the report's order
