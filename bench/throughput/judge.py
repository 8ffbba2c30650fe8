"""Is head slower than base? Group-sequential t intervals over rounds, and the verdict that each of them allows.

A round gives one number for each cell: the log ratio of head's step time to base's. The rule does not depend on how it
was measured, so tests and `calibrate` apply it to simulated rounds and simulated clocks.

The error of all intervals together, over cells and looks, stays within `Rule.level`: it is spent over time (Lan and
DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 1983; by calendar time, "Group sequential
procedures: calendar versus information time", Statistics in Medicine 1989) along the power family of Kim and DeMets
(Biometrika 1987), and each look uses Student's t at its share of the error over the count of cells. Looks and cells are
added up by Bonferroni's inequality, which holds whatever their dependence.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from pydantic import Field
from scipy import stats

from ganlab.records import FrozenRecord

Verdict = Literal["BROKEN", "SLOWER", "UNSURE", "FASTER", "SAME", "NEW"]
PRECEDENCE: tuple[Verdict, ...] = ("BROKEN", "SLOWER", "UNSURE", "FASTER", "SAME", "NEW")
SPENDING_POWER = 2.0  # up to a share f of the time the error level * f^2 is spent; late looks get most of it
LOOK_GROWTH = 1.3  # a look takes place after this many times the rounds of the last one
FIRST_BATCH = 0.6  # largest share of the time for the first batch; the second batch gets the rest
POWER = 0.8  # probability of detecting the smallest visible slowdown

Measure = Callable[[Sequence[str]], dict[str, float]]  # one fresh round: the log ratio of each of these cells
Clock = Callable[[], float]  # seconds


class Rule(FrozenRecord):
    """What counts as slower, and with which error; shares of the step time, not percentages."""

    tolerance: float = Field(default=0.02, gt=0, description="a change up to this is not reported")
    margin: float = Field(default=0.05, gt=0, description="SAME: the whole interval lies within this")
    level: float = Field(default=0.05, gt=0, lt=1, description="error of all intervals of a batch together")
    least_rounds: int = Field(default=6, ge=3)


class Interval(NamedTuple):
    """A mean log ratio, its half-width, the standard error behind it, and its degrees of freedom."""

    mean: float
    half: float
    error: float
    freedom: float


class Judgement(FrozenRecord):
    """The verdict on one cell. Ratios are head's step time over base's; rounds are counted for each batch."""

    cell: str
    verdict: Verdict
    reason: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: tuple[int, ...] = ()
    visible: float | None = Field(default=None, description="the smallest slowdown that these rounds detect (`POWER`)")


@lru_cache(maxsize=4096)
def quantile(tail: float, freedom: float) -> float:
    """Student's t, upper tail."""
    return float(stats.t.isf(tail, freedom))


def t_interval(values: Sequence[float], level: float, baseline: Sequence[float] = ()) -> Interval:
    """Two-sided t interval of the mean log ratio at error `level`; of the difference of two means (Welch, "The
    generalization of Student's problem", Biometrika 1947) where `baseline` holds the other side's rounds.

    >>> mean, half, _, _ = t_interval([1.0, 2.0, 3.0], 0.05)  # 2 -+ 4.303 * 1 / sqrt(3)
    >>> f"{mean:.3f} {half:.3f}"
    '2.000 2.484'
    """
    variance, freedom, mean = stdev(values) ** 2 / len(values), len(values) - 1.0, fmean(values)
    if baseline:
        other = stdev(baseline) ** 2 / len(baseline)
        parts = variance**2 / freedom + other**2 / (len(baseline) - 1)
        freedom = (variance + other) ** 2 / parts if parts else freedom
        variance, mean = variance + other, mean - fmean(baseline)
    error = math.sqrt(variance)
    return Interval(mean, quantile(level / 2, freedom) * error, error, freedom)


def decide(interval: Interval, rule: Rule) -> Verdict | None:
    """The verdict that an interval of the log ratio allows; None if it allows none.

    >>> decide(Interval(0.05, 0.02, 0.01, 9), Rule()), decide(Interval(0.0, 0.04, 0.01, 9), Rule())
    ('SLOWER', 'SAME')
    >>> decide(Interval(0.02, 0.04, 0.01, 9), Rule())
    """
    low, high = interval.mean - interval.half, interval.mean + interval.half
    tolerance, margin = math.log1p(rule.tolerance), math.log1p(rule.margin)
    if low > tolerance:
        return "SLOWER"
    if high < -tolerance:
        return "FASTER"
    if -margin < low and high < margin:
        return "SAME"
    return None


class Batch(NamedTuple):
    """The result of a batch of rounds for a cell: the verdict that its interval allows, and the count of rounds."""

    verdict: Verdict | None
    interval: Interval
    rounds: int


def run_batch(
    cells: Iterable[str],
    measure: Measure,
    seconds: float,
    clock: Clock,
    rule: Rule,
    baselines: Mapping[str, Sequence[float]],
    expected: Mapping[str, Verdict] | None = None,
) -> dict[str, Batch]:
    """Measure fresh rounds until every cell has a verdict or the time is up; at least `rule.least_rounds`.

    A cell with a verdict is no longer measured, which leaves time for the others. With `expected`, only the expected
    verdict of a cell counts: the second batch tests whether the verdict of the first recurs.
    """
    values: dict[str, list[float]] = {cell: [] for cell in cells}
    results: dict[str, Batch] = {}
    undecided, family, spent, rounds, next_look, started = list(values), len(values), 0.0, 0, rule.least_rounds, clock()
    while undecided:
        for cell, value in measure(undecided).items():
            values[cell].append(value)
        rounds += 1
        elapsed = clock() - started
        last = rounds >= rule.least_rounds and elapsed + elapsed / rounds > seconds  # another round would end too late
        if rounds < next_look and not last:
            continue
        share = 1.0 if last else elapsed / seconds
        level = rule.level * share**SPENDING_POWER - spent
        spent += level
        next_look = math.ceil(rounds * LOOK_GROWTH)
        for cell in undecided:
            interval = t_interval(values[cell], level / family, baselines.get(cell, ()))
            verdict = decide(interval, rule)
            results[cell] = Batch(verdict if not expected or verdict == expected[cell] else None, interval, rounds)
        undecided = [] if last else [cell for cell in undecided if results[cell].verdict is None]
    return results


def judge(
    cells: Sequence[str],
    measure: Measure,
    seconds: float,
    clock: Clock,
    rule: Rule,
    baselines: Mapping[str, Sequence[float]] | None = None,
) -> list[Judgement]:
    """A verdict for each cell, within about `seconds`.

    Args:
        cells: names of the cells that both sides have.
        measure: measures one fresh round of the given cells.
        seconds: the time for both batches.
        clock: seconds, monotonic.
        rule: what counts as slower.
        baselines: log ratios of recorded rounds, where base is a record; the measured rounds are then of head only.
    """
    baselines, started = baselines or {}, clock()
    first = run_batch(cells, measure, FIRST_BATCH * seconds, clock, rule, baselines)
    changed = {cell: batch.verdict for cell, batch in first.items() if batch.verdict in ("SLOWER", "FASTER")}
    second: dict[str, Batch] = {}
    if changed:
        second = run_batch(changed, measure, seconds - (clock() - started), clock, rule, baselines, changed)
    return [_judgement(cell, first[cell], second.get(cell), rule) for cell in cells]


def _judgement(cell: str, first: Batch, second: Batch | None, rule: Rule) -> Judgement:
    """The verdict of both batches, with the interval of the second: it was not selected for being extreme."""
    last = second or first
    verdict, reason = last.verdict or "UNSURE", ""
    visible = smallest_visible(first.interval, rule)
    if verdict == "UNSURE":
        reason = (
            f"{first.verdict} in the first batch, not again in the second"
            if second
            else f"the smallest slowdown that this machine shows in this time is {100 * visible:.1f} %"
        )
    mean, half = last.interval.mean, last.interval.half
    return Judgement(
        cell=cell,
        verdict=verdict,
        reason=reason,
        ratio=math.exp(mean),
        low=math.exp(mean - half),
        high=math.exp(mean + half),
        rounds=(first.rounds, second.rounds) if second else (first.rounds,),
        visible=visible,
    )


def smallest_visible(interval: Interval, rule: Rule) -> float:
    """The slowdown (share of the step time) whose interval lies beyond the tolerance with a probability of `POWER`."""
    return (1 + rule.tolerance) * math.exp(interval.half + quantile(1 - POWER, interval.freedom) * interval.error) - 1


def overall(judgements: Sequence[Judgement]) -> Verdict:
    """The verdict on the whole: the gravest of its cells; UNSURE where every cell is NEW.

    >>> overall([Judgement(cell="a", verdict="SAME"), Judgement(cell="b", verdict="FASTER")])
    'FASTER'
    """
    verdict = min((judgement.verdict for judgement in judgements), key=PRECEDENCE.index)
    return "UNSURE" if verdict == "NEW" else verdict
