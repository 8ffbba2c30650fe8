"""Which loss should one use in which situation, how certain is that, and by which metric?

In each situation one condition is judged, selected by a rule that does not look at results; the others are counted.
Among the losses with the most seeds, the one with the best mean is compared with every other by paired differences.
All intervals of a row hold together at 95 % (Bonferroni over all pairs, not only those with the best loss, because the
same data select the best).
"""

from collections.abc import Callable
from math import comb
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.comparison import PairedComparison, family_level, words
from bench.analysis.contrasts import FIRST_LOOK
from bench.analysis.labels import arm_name, arms_of, condition_name, dataset_label, signed
from bench.analysis.metrics import DB, JUDGED, Judged
from bench.analysis.precision import trained_in
from bench.analysis.summary import MAIN_PSNR, one_sided_at, pick
from bench.store.reader import Run
from ganlab.outliers import CLEAN, OUTLIERS

FEW = 0.1  # up to this rate outliers count as few
HALF = 0.5  # from this rate on outliers are the majority; if all are on one side, the median is an outlier
WORSE, BETTER, ALIKE, OPEN = "worse", "better", "no difference worth having", "not settled"
WORDS = words(supported=WORSE, refuted=BETTER, equivalent=ALIKE, inconclusive=OPEN)  # effect: how far a loss is behind


class Situation(NamedTuple):
    """A situation of a user: its name, its task, which conditions belong to it, and the preferred outlier rate."""

    name: str
    task: str
    holds: Callable[[str, float], bool]
    rate: float = 0.0


def _corrupts(corrupted: str) -> Callable[[str, float], bool]:
    return lambda kind, rate: kind in OUTLIERS and OUTLIERS[kind].corrupts == corrupted


def _one_sided(kind: str) -> bool:
    """Whether all outliers of a kind lie at one end of the pixel range."""
    return one_sided_at(kind) is not None


def _is_control(kind: str) -> bool:
    return kind in OUTLIERS and OUTLIERS[kind].corrupts == "target" and OUTLIERS[kind].mean is None


def _is_outlier(kind: str) -> bool:
    return kind != CLEAN and not _is_control(kind)


def _two_sided(kind: str) -> bool:
    return _is_outlier(kind) and not _one_sided(kind)


SITUATIONS = (
    Situation("Clean targets", "sr", lambda kind, rate: kind == CLEAN),
    Situation("Few outliers (up to 10 %)", "sr", lambda kind, rate: _is_outlier(kind) and rate <= FEW, FEW),
    Situation("Many outliers, to both sides", "sr", lambda kind, rate: _two_sided(kind) and FEW < rate < HALF, 0.4),
    Situation("Many outliers, one-sided", "sr", lambda kind, rate: _one_sided(kind) and FEW < rate < HALF, 0.2),
    Situation("One-sided outliers in the majority", "sr", lambda kind, rate: _one_sided(kind) and rate >= HALF, 0.6),
    Situation(
        "Outliers to both sides in the majority", "sr", lambda kind, rate: _two_sided(kind) and rate >= HALF, 0.7
    ),
    Situation("Zero-mean noise, no outliers", "sr", lambda kind, rate: _is_control(kind), 0.5),
    Situation("Depth: true disparity", "depth", lambda kind, rate: kind == CLEAN),
    Situation("Depth: missing values", "depth", lambda kind, rate: kind == "missing", 0.2),
    Situation(
        "Depth: wrong matches or other outliers",
        "depth",
        lambda kind, rate: _is_outlier(kind) and kind != "missing",
        0.2,
    ),
    Situation("Frame interpolation: clean frames", "interpolation", lambda kind, rate: kind == CLEAN),
    Situation(
        "Frame interpolation: outliers in the frames", "interpolation", lambda kind, rate: _is_outlier(kind), 0.2
    ),
    Situation("Restoration: clean targets", "restoration", lambda kind, rate: kind == CLEAN),
    Situation("Restoration: spoiled targets (Noise2Noise)", "restoration", lambda kind, rate: _is_outlier(kind), 0.25),
    Situation("GAN: clean images and labels", "gan", lambda kind, rate: kind == CLEAN),
    Situation("GAN: outliers among the real images", "gan", _corrupts("real"), 0.2),
    Situation("GAN: flipped labels", "gan", _corrupts("label"), 0.2),
    Situation("Mean of a cloud with outliers (location GAN)", "location", _corrupts("sample"), 0.2),
)


class Rival(NamedTuple):
    """A loss compared with the best one: how far it is behind, over shared seeds; positive is worse."""

    arm: tuple[str, str]
    behind: PairedComparison

    @property
    def word(self) -> str:
        """The conclusion from the comparison."""
        return self.behind.word(WORDS)


class Advice(NamedTuple):
    """One row of the recommendation; if `best` is None, the run has no results for it.

    Attributes:
        condition: dataset, scale, outlier, and rate of the judged cells.
        first_look: whether these are the 8x8 digits, which verdicts do not use.
        missing: the number of declared cells that are not done, over all compared losses.
        best_by_metric: for every other metric, the arm with the best mean.
        others: the number of further conditions of the situation; in `agreeing` of them no loss is shown to be better
            than `best`.
        trained_in: the precision of each loss, if they differ.
        ahead: the arm with the best mean over all heads, if it is none of the compared arms.
    """

    situation: str
    task: str
    condition: tuple[str, float | None, str, float] | None = None
    best: tuple[str, str] | None = None
    rivals: tuple[Rival, ...] = ()
    first_look: bool = False
    missing: int = 0
    best_by_metric: dict[str, tuple[str, str]] = {}
    others: int = 0
    agreeing: int = 0
    trained_in: str = ""
    ahead: tuple[str, str] | None = None


def advise(run: Run) -> list[Advice]:
    """A recommendation per situation of the run's tasks; `run` has each loss at its main setting."""
    cells = run.cells[run.cells["role"] == "report"]
    tasks = set(cells["task"])
    return [_advice(situation, pick(cells, task=situation.task)) for situation in SITUATIONS if situation.task in tasks]


def _practice(cells: pd.DataFrame) -> pd.DataFrame:
    """Each loss as it is used in practice: with the raw head if a reconstruction has one. Heads are not compared."""
    raw = cells["head"] == "raw"
    has_raw = cells["loss"].isin(set(cells.loc[raw, "loss"])) & cells["task"].isin(MAIN_PSNR)
    return cells[raw | ~has_raw]


def _advice(situation: Situation, all_cells: pd.DataFrame) -> Advice:
    cells = _practice(all_cells)
    kinds = cells[["outlier", "rate"]].drop_duplicates()
    kinds = kinds[[situation.holds(*kind) for kind in kinds.to_numpy()]] if len(kinds) else kinds
    by_condition = cells.merge(kinds).groupby(["dataset", "scale", "outlier", "rate"], dropna=False)
    groups = {key: group for key, group in by_condition}
    judged = JUDGED[situation.task]
    results = {key: result for key, group in groups.items() if (result := _compare(group, judged))}
    if not results:
        return Advice(situation.name, situation.task)
    declared = {key: len(set(zip(group["loss"], group["head"], strict=True))) for key, group in groups.items()}

    def rank(key: tuple) -> tuple:
        dataset, scale, kind, rate = key
        size = groups[key]["seed"].nunique() * declared[key]  # depends on the suite alone, never on results
        return (dataset == FIRST_LOOK, -size, abs(rate - situation.rate), _one_sided(kind), str(dataset), scale, kind)

    chosen = min(results, key=rank)
    best, rivals = results[chosen]
    declared_cells = groups[chosen]
    done = pick(declared_cells, status="done")
    other_results = [_compare(groups[key], judged, best) for key in results if key != chosen]
    dataset, scale, outlier, rate = chosen
    any_head = pick(all_cells, status="done", dataset=dataset, scale=scale, outlier=outlier, rate=rate)
    ahead = _best_mean(any_head, judged.column, judged.unit == DB)
    return Advice(
        situation.name,
        situation.task,
        chosen,
        best,
        rivals,
        first_look=chosen[0] == FIRST_LOOK,
        missing=len(declared_cells) - len(done),
        best_by_metric={
            metric: arm for metric, larger in judged.other_metrics.items() if (arm := _best_mean(done, metric, larger))
        },
        others=len([result for result in other_results if result]),
        agreeing=sum(all(rival.word != BETTER for rival in result[1]) for result in other_results if result),
        trained_in=trained_in(done),
        ahead=ahead if ahead not in arms_of(done) else None,
    )


def _best_mean(cells: pd.DataFrame, metric: str, larger: bool) -> tuple[str, str] | None:
    """The arm with the best mean of a metric over the seeds that all arms have; None without such seeds."""
    wide = cells.pivot_table(index="seed", columns=["loss", "head"], values=metric).dropna()
    if wide.empty:
        return None
    return wide.mean().idxmax() if larger else wide.mean().idxmin()


def _compare(
    cells: pd.DataFrame, judged: Judged, best: tuple[str, str] | None = None
) -> tuple[tuple[str, str], tuple[Rival, ...]] | None:
    """The best arm (or a given one), and every other arm compared with it; None if no two arms share a seed."""
    done = pick(cells, status="done").dropna(subset=judged.column)
    effects = done.assign(effect=judged.effect(done[judged.column])).dropna(subset="effect")
    if effects.empty:
        return None
    wide = effects.pivot_table(index="seed", columns=["loss", "head"], values="effect")
    if wide.shape[1] < 2 or (best is not None and best not in wide):
        return None
    level = family_level(comb(wide.shape[1], 2))

    def against(reference: tuple[str, str]) -> list[Rival]:
        rivals = [
            Rival(arm, judged.compare(wide[reference] - wide[arm], level)) for arm in arms_of(done) if arm != reference
        ]
        return sorted((rival for rival in rivals if rival.behind.n), key=lambda rival: rival.behind.interval.mean)

    if best is None:
        seeds = wide.notna().sum()
        best = wide[seeds.index[seeds == seeds.max()]].mean().idxmax()
        better = [rival.arm for rival in against(best) if rival.word == BETTER]  # better on fewer seeds
        best = better[0] if better else best
    rivals = tuple(against(best))
    return (best, rivals) if rivals else None


def answer(advice: Advice) -> str:
    """The recommended loss, in words.

    >>> answer(Advice("x", "sr"))
    'not tested by this run'
    """
    if advice.best is None:
        return "not tested by this run"
    rival_words = {rival.word for rival in advice.rivals}
    if rival_words == {ALIKE}:
        return f"any: {ALIKE}"
    if WORSE not in rival_words:
        return f"{OPEN}; best mean: {arm_name(*advice.best)}"
    names = " or ".join(arm_name(*arm) for arm in (advice.best, *_arms(advice, ALIKE)))
    undecided = ", ".join(arm_name(*arm) for arm in _arms(advice, OPEN))
    return names + (f" ({undecided}: {OPEN})" if undecided else "")


def _arms(advice: Advice, word: str) -> list[tuple[str, str]]:
    return [rival.arm for rival in advice.rivals if rival.word == word]


def _size(behind: float, task: str) -> str:
    """How far a loss is behind, in the unit of the task.

    >>> _size(0.25, "sr"), _size(0.25, "gan")
    ('0.25 dB behind', '1.28 times as far')
    """
    return f"{signed(behind).lstrip('+')} dB behind" if task in MAIN_PSNR else f"{np.exp(behind):.2f} times as far"


def reasons(advice: Advice) -> tuple[str, ...]:
    """Every other loss compared with the best one: the difference, its interval, and the conclusion."""
    return tuple(f"{arm_name(*rival.arm)} {_behind(rival, advice.task)}" for rival in advice.rivals)


def _behind(rival: Rival, task: str) -> str:
    """`15.35 dB behind (15.22 to 15.49, n = 10): worse`; a ratio: `1.31 times as far (1.10 to 1.56, n = 10): worse`."""
    mean, low, high = (_size(value, task) for value in rival.behind.interval)
    spread = f"{low.partition(' ')[0]} to {high.partition(' ')[0]}, " if rival.behind.interval.defined else ""
    return f"{mean} ({spread}n = {rival.behind.n}): {rival.word}"


def judged_on(advice: Advice) -> str:
    """The judged condition with its data set; the advice must have a condition."""
    assert advice.condition is not None
    dataset, scale, outlier, rate = advice.condition
    return f"{condition_name(outlier, rate)}, {dataset_label(dataset, scale)}"
