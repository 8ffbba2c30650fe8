"""Which loss should one use, how sure is that, and by which metric? A row per situation, computed from the cells.

Of each situation one condition is judged, chosen by a rule that never looks at results; the others are counted. Among
the losses with the most seeds the one with the best mean is compared with every other by paired differences. All pairs
of a row hold together at 95 % (Bonferroni over all pairs, not only those with the best, which the same data pick).
"""

from collections.abc import Callable
from math import comb
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.comparison import PairedComparison, family_level, words
from bench.analysis.contrasts import FIRST_LOOK
from bench.analysis.labels import arm_name, arms_of, condition_name, place_name, signed
from bench.analysis.metrics import DB, JUDGED, Judged
from bench.analysis.precision import trained_in
from bench.analysis.summary import MAIN_PSNR, one_sided_at, pick
from bench.store.reader import Run
from ganlab.outliers import CLEAN, OUTLIERS

FEW = 0.1  # up to this rate outliers are few
HALF = 0.5  # from it on outliers are the majority, and the median is theirs where all are on one side
WORSE, BETTER, ALIKE, OPEN = "worse", "better", "no difference worth having", "not settled"
WORDS = words(supported=WORSE, refuted=BETTER, equivalent=ALIKE, inconclusive=OPEN)  # of how far a loss is behind


class Situation(NamedTuple):
    """What somebody may face: its name, the task it is judged on, which conditions belong, and the rate to judge at."""

    name: str
    task: str
    holds: Callable[[str, float], bool]
    rate: float = 0.0


def _corrupts(what: str) -> Callable[[str, float], bool]:
    return lambda kind, rate: kind in OUTLIERS and OUTLIERS[kind].corrupts == what


def _one_sided(kind: str) -> bool:
    """Whether all outliers of a kind lie at one end of the values a pixel can take."""
    return one_sided_at(kind) is not None


def _control(kind: str) -> bool:
    return kind in OUTLIERS and OUTLIERS[kind].corrupts == "target" and OUTLIERS[kind].mean is None


def _spoils(kind: str) -> bool:
    return kind != CLEAN and not _control(kind)


def _mixed(kind: str) -> bool:
    return _spoils(kind) and not _one_sided(kind)


SITUATIONS = (
    Situation("Clean targets", "sr", lambda kind, rate: kind == CLEAN),
    Situation("Few outliers (up to 10 %)", "sr", lambda kind, rate: _spoils(kind) and rate <= FEW, FEW),
    Situation("Many outliers, to both sides", "sr", lambda kind, rate: _mixed(kind) and FEW < rate < HALF, 0.4),
    Situation("Many outliers, one-sided", "sr", lambda kind, rate: _one_sided(kind) and FEW < rate < HALF, 0.2),
    Situation("One-sided outliers in the majority", "sr", lambda kind, rate: _one_sided(kind) and rate >= HALF, 0.6),
    Situation("Outliers to both sides in the majority", "sr", lambda kind, rate: _mixed(kind) and rate >= HALF, 0.7),
    Situation("Zero-mean noise, no outliers", "sr", lambda kind, rate: _control(kind), 0.5),
    Situation("Depth: true disparity", "depth", lambda kind, rate: kind == CLEAN),
    Situation("Depth: missing values", "depth", lambda kind, rate: kind == "missing", 0.2),
    Situation(
        "Depth: wrong matches or other outliers", "depth", lambda kind, rate: _spoils(kind) and kind != "missing", 0.2
    ),
    Situation("Frame interpolation: clean frames", "interpolation", lambda kind, rate: kind == CLEAN),
    Situation("Frame interpolation: outliers in the frames", "interpolation", lambda kind, rate: _spoils(kind), 0.2),
    Situation("Restoration: clean targets", "restoration", lambda kind, rate: kind == CLEAN),
    Situation("Restoration: spoiled targets (Noise2Noise)", "restoration", lambda kind, rate: _spoils(kind), 0.25),
    Situation("GAN: clean images and labels", "gan", lambda kind, rate: kind == CLEAN),
    Situation("GAN: outliers among the real images", "gan", _corrupts("real"), 0.2),
    Situation("GAN: flipped labels", "gan", _corrupts("label"), 0.2),
    Situation("Mean of a cloud with outliers (location GAN)", "location", _corrupts("sample"), 0.2),
)


class Rival(NamedTuple):
    """A loss against the best one: how far behind it is, over the seeds that both have done; positive is worse."""

    arm: tuple[str, str]
    behind: PairedComparison

    @property
    def word(self) -> str:
        """What that allows to say."""
        return self.behind.word(WORDS)


class Advice(NamedTuple):
    """One row of the recommendation; without `best` the run has nothing on it.

    Attributes:
        condition: dataset, scale, outlier, rate of the cells judged.
        first_look: whether these are the 8x8 digits, on which no verdict rests.
        missing: seeds that are declared and not done, over all losses compared.
        beside: of every other metric the arm with the best mean.
        others: further conditions of the situation; in `agreeing` of them no loss is shown to be better than the one
            that is best here.
        trained_in: in which precision each loss was trained, where they differ.
        ahead: the arm with the best mean of all heads trained here, where it is none of those compared.
    """

    situation: str
    task: str
    condition: tuple[str, float | None, str, float] | None = None
    best: tuple[str, str] | None = None
    rivals: tuple[Rival, ...] = ()
    first_look: bool = False
    missing: int = 0
    beside: dict[str, tuple[str, str]] = {}
    others: int = 0
    agreeing: int = 0
    trained_in: str = ""
    ahead: tuple[str, str] | None = None


def advise(run: Run) -> list[Advice]:
    """A recommendation per situation of the run's tasks; `run` as figures see it, each loss at its main setting."""
    cells = run.cells[run.cells["role"] == "report"]
    tasks = set(cells["task"])
    return [_advice(situation, pick(cells, task=situation.task)) for situation in SITUATIONS if situation.task in tasks]


def _practice(cells: pd.DataFrame) -> pd.DataFrame:
    """Each loss as it is used: straight on the pixel where a reconstruction has it so; heads are no question here."""
    raw = cells["head"] == "raw"
    has_raw = cells["loss"].isin(set(cells.loc[raw, "loss"])) & cells["task"].isin(MAIN_PSNR)
    return cells[raw | ~has_raw]


def _advice(situation: Situation, every: pd.DataFrame) -> Advice:
    cells = _practice(every)
    kinds = cells[["outlier", "rate"]].drop_duplicates()
    kinds = kinds[[situation.holds(*kind) for kind in kinds.to_numpy()]] if len(kinds) else kinds
    places = cells.merge(kinds).groupby(["dataset", "scale", "outlier", "rate"], dropna=False)
    groups = {key: here for key, here in places}
    judged = JUDGED[situation.task]
    found = {key: found for key, here in groups.items() if (found := _compare(here, judged))}
    if not found:
        return Advice(situation.name, situation.task)
    declared = {key: len(set(zip(here["loss"], here["head"], strict=True))) for key, here in groups.items()}

    def rank(key: tuple) -> tuple:
        dataset, scale, kind, rate = key
        size = groups[key]["seed"].nunique() * declared[key]  # what the suite declares, never what came out
        return (dataset == FIRST_LOOK, -size, abs(rate - situation.rate), _one_sided(kind), str(dataset), scale, kind)

    chosen = min(found, key=rank)
    best, rivals = found[chosen]
    here = groups[chosen]
    done = pick(here, status="done")
    rest = [_compare(groups[key], judged, best) for key in found if key != chosen]
    dataset, scale, outlier, rate = chosen
    any_head = pick(every, status="done", dataset=dataset, scale=scale, outlier=outlier, rate=rate)
    ahead = _best_mean(any_head, judged.column, judged.unit == DB)
    return Advice(
        situation.name,
        situation.task,
        chosen,
        best,
        rivals,
        first_look=chosen[0] == FIRST_LOOK,
        missing=len(here) - len(done),
        beside={metric: arm for metric, larger in judged.beside.items() if (arm := _best_mean(done, metric, larger))},
        others=len([one for one in rest if one]),
        agreeing=sum(all(rival.word != BETTER for rival in one[1]) for one in rest if one),
        trained_in=trained_in(done),
        ahead=ahead if ahead not in arms_of(done) else None,
    )


def _best_mean(cells: pd.DataFrame, metric: str, larger: bool) -> tuple[str, str] | None:
    """The arm with the best mean of a metric over the seeds that all arms have; None where there are none."""
    wide = cells.pivot_table(index="seed", columns=["loss", "head"], values=metric).dropna()
    if wide.empty:
        return None
    return wide.mean().idxmax() if larger else wide.mean().idxmin()


def _compare(
    cells: pd.DataFrame, judged: Judged, best: tuple[str, str] | None = None
) -> tuple[tuple[str, str], tuple[Rival, ...]] | None:
    """The best arm (or a given one) and every other against it; None where no two arms share a seed."""
    done = pick(cells, status="done").dropna(subset=judged.column)
    effects = done.assign(effect=judged.effect(done[judged.column])).dropna(subset="effect")
    if effects.empty:
        return None
    wide = effects.pivot_table(index="seed", columns=["loss", "head"], values="effect")
    if wide.shape[1] < 2 or (best is not None and best not in wide):
        return None
    level = family_level(comb(wide.shape[1], 2))

    def against(one: tuple[str, str]) -> list[Rival]:
        rivals = [Rival(arm, judged.compare(wide[one] - wide[arm], level)) for arm in arms_of(done) if arm != one]
        return sorted((rival for rival in rivals if rival.behind.n), key=lambda rival: rival.behind.interval.mean)

    if best is None:
        seeds = wide.notna().sum()
        best = wide[seeds.index[seeds == seeds.max()]].mean().idxmax()
        better = [rival.arm for rival in against(best) if rival.word == BETTER]  # on fewer seeds, and still shown
        best = better[0] if better else best
    rivals = tuple(against(best))
    return (best, rivals) if rivals else None


def answer(advice: Advice) -> str:
    """Which loss, in words.

    >>> answer(Advice("x", "sr"))
    'not tested by this run'
    """
    if advice.best is None:
        return "not tested by this run"
    found = {rival.word for rival in advice.rivals}
    if found == {ALIKE}:
        return f"any: {ALIKE}"
    if WORSE not in found:
        return f"{OPEN}; best mean: {arm_name(*advice.best)}"
    named = " or ".join(arm_name(*arm) for arm in (advice.best, *_arms(advice, ALIKE)))
    unsure = ", ".join(arm_name(*arm) for arm in _arms(advice, OPEN))
    return named + (f" ({unsure}: {OPEN})" if unsure else "")


def _arms(advice: Advice, word: str) -> list[tuple[str, str]]:
    return [rival.arm for rival in advice.rivals if rival.word == word]


def _size(behind: float, task: str) -> str:
    """How far behind, in the unit of the task.

    >>> _size(0.25, "sr"), _size(0.25, "gan")
    ('0.25 dB behind', '1.28 times as far')
    """
    return f"{signed(behind).lstrip('+')} dB behind" if task in MAIN_PSNR else f"{np.exp(behind):.2f} times as far"


def reasons(advice: Advice) -> tuple[str, ...]:
    """Every other loss against the best one: by how much, with its interval, and what that allows to say."""
    return tuple(f"{arm_name(*rival.arm)} {_behind(rival, advice.task)}" for rival in advice.rivals)


def _behind(rival: Rival, task: str) -> str:
    """`15.35 dB behind (15.22 to 15.49, n = 10): worse`; a ratio: `1.31 times as far (1.10 to 1.56, n = 10): worse`."""
    mean, low, high = (_size(value, task) for value in rival.behind.interval)
    spread = f"{low.partition(' ')[0]} to {high.partition(' ')[0]}, " if rival.behind.interval.defined else ""
    return f"{mean} ({spread}n = {rival.behind.n}): {rival.word}"


def judged_on(advice: Advice) -> str:
    """The condition judged, with its place; of an advice that has one."""
    assert advice.condition is not None
    dataset, scale, outlier, rate = advice.condition
    return f"{condition_name(outlier, rate)}, {place_name(dataset, scale)}"
