"""Is it slower? Group-sequential t intervals over rounds, and the verdict each of them allows.

A round gives one number for each cell: the log ratio of head's step time to base's. Nothing here knows where it comes
from, so tests and `calibrate` feed the same rule with simulated rounds and simulated clocks.

The error of all intervals together, over cells and looks, stays within `Rule.level`: it is spent over time (Lan and
DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 1983; by calendar time, "Group sequential
procedures: calendar versus information time", Statistics in Medicine 1989) along the power family of Kim and DeMets
(Biometrika 1987), and each look uses Student's t at its own share over the count of cells. Looks and cells are added up
by Bonferroni's inequality, which asks for nothing about how they depend on each other.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from pydantic import Field
from scipy import stats

from ganlab.records import FrozenRecord

Verdict = Literal["BROKEN", "SLOWER", "UNSURE", "FASTER", "SAME", "NEW"]
PRECEDENCE: tuple[Verdict, ...] = ("BROKEN", "SLOWER", "UNSURE", "FASTER", "SAME", "NEW")
SPENDING_POWER = 2.0  # error spent up to a share f of the time: level * f^2; late looks, with most rounds, get most
LOOK_GROWTH = 1.3  # each look waits for so many times the rounds of the last
FIRST_BATCH = 0.6  # of the time, at most; what is left is for the second batch
POWER = 0.8  # with which the smallest visible effect would be seen

Measure = Callable[[Sequence[str]], dict[str, float]]  # one fresh round: the log ratio of each cell asked for
Clock = Callable[[], float]  # seconds


class Rule(FrozenRecord):
    """What counts as slower, and how sure one must be; shares of the step time, not percentages."""

    tolerance: float = Field(0.02, gt=0, description="a slowdown up to this is no news")
    margin: float = Field(0.05, gt=0, description="SAME: the whole interval lies within this")
    level: float = Field(0.05, gt=0, lt=1, description="error of all intervals of a batch together")
    least_rounds: int = Field(6, ge=3)


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
    visible: float | None = Field(None, description="the smallest slowdown these rounds show with a power of 80 %")


@lru_cache(maxsize=4096)
def quantile(tail: float, freedom: float) -> float:
    """Student's t, upper tail."""
    return float(stats.t.isf(tail, freedom))


def interval(values: Sequence[float], level: float, baseline: Sequence[float] = ()) -> Interval:
    """Two-sided t interval of the mean log ratio at error `level`; of the difference of two means (Welch, "The
    generalization of Student's problem", Biometrika 1947) where the other side's rounds are in a `baseline`.

    >>> mean, half, _, _ = interval([1.0, 2.0, 3.0], 0.05)  # 2 -+ 4.303 * 1 / sqrt(3)
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


def settled(found: Interval, rule: Rule) -> Verdict | None:
    """What an interval of the log ratio allows to be said; None where it allows nothing.

    >>> settled(Interval(0.05, 0.02, 0.01, 9), Rule()), settled(Interval(0.0, 0.04, 0.01, 9), Rule())
    ('SLOWER', 'SAME')
    >>> settled(Interval(0.02, 0.04, 0.01, 9), Rule())
    """
    low, high = found.mean - found.half, found.mean + found.half
    tolerance, margin = math.log1p(rule.tolerance), math.log1p(rule.margin)
    if low > tolerance:
        return "SLOWER"
    if high < -tolerance:
        return "FASTER"
    if -margin < low and high < margin:
        return "SAME"
    return None


class Batch(NamedTuple):
    """What a batch of rounds said of a cell: the verdict its interval allows, and the count of rounds behind it."""

    verdict: Verdict | None
    found: Interval
    rounds: int


def run_batch(
    cells: Iterable[str],
    measure: Measure,
    seconds: float,
    clock: Clock,
    rule: Rule,
    baselines: dict[str, Sequence[float]],
    wanted: dict[str, Verdict] | None = None,
) -> dict[str, Batch]:
    """Measure fresh rounds until every cell is settled or the time is up; at least `rule.least_rounds`.

    A cell that is settled at a look is measured no more, which leaves time for the others. With `wanted`, only that
    verdict settles a cell: the second batch asks whether the first one's recurs.
    """
    values: dict[str, list[float]] = {cell: [] for cell in cells}
    results: dict[str, Batch] = {}
    undecided, family, spent, rounds, next_look, started = list(values), len(values), 0.0, 0, rule.least_rounds, clock()
    while undecided:
        for cell, value in measure(undecided).items():
            values[cell].append(value)
        rounds += 1
        elapsed = clock() - started
        last = rounds >= rule.least_rounds and elapsed + elapsed / rounds > seconds  # another would be too late
        if rounds < next_look and not last:
            continue
        share = 1.0 if last else min(1.0, elapsed / seconds)
        level = rule.level * share**SPENDING_POWER - spent
        spent += level
        next_look = math.ceil(rounds * LOOK_GROWTH)
        for cell in undecided:
            found = interval(values[cell], level / family, baselines.get(cell, ()))
            verdict = settled(found, rule)
            results[cell] = Batch(verdict if not wanted or verdict == wanted[cell] else None, found, rounds)
        undecided = [] if last else [cell for cell in undecided if results[cell].verdict is None]
    return results


def judge(
    cells: Sequence[str],
    measure: Measure,
    seconds: float,
    clock: Clock,
    rule: Rule,
    baselines: dict[str, Sequence[float]] | None = None,
) -> list[Judgement]:
    """A verdict for each cell, within about `seconds`.

    Args:
        cells: names of the cells that both sides have.
        measure: measures one fresh round of the cells it is given.
        seconds: the time for both batches.
        clock: seconds, monotonic.
        rule: what counts as slower.
        baselines: log ratios of recorded rounds, where base is a record; measured rounds are then head's alone.
    """
    baselines, started = baselines or {}, clock()
    first = run_batch(cells, measure, FIRST_BATCH * seconds, clock, rule, baselines)
    changed = {cell: batch.verdict for cell, batch in first.items() if batch.verdict in ("SLOWER", "FASTER")}
    again: dict[str, Batch] = {}
    if changed:
        again = run_batch(changed, measure, seconds - (clock() - started), clock, rule, baselines, changed)
    return [_judgement(cell, first[cell], again.get(cell), rule) for cell in cells]


def _judgement(cell: str, first: Batch, again: Batch | None, rule: Rule) -> Judgement:
    """The verdict of both batches. The second's interval is the one to quote: it was not chosen for being far out."""
    shown, rounds, verdict, reason = first, (first.rounds,), first.verdict or "UNSURE", ""
    visible = smallest_visible(first.found, rule)
    if again:
        shown, rounds, verdict = again, (first.rounds, again.rounds), again.verdict or "UNSURE"
        reason = "" if again.verdict else f"{first.verdict} in the first batch, not again in the second"
    elif verdict == "UNSURE":
        reason = f"the smallest slowdown that shows here is {100 * visible:.1f} %"
    mean, half = shown.found.mean, shown.found.half
    return Judgement(
        cell=cell,
        verdict=verdict,
        reason=reason,
        ratio=math.exp(mean),
        low=math.exp(mean - half),
        high=math.exp(mean + half),
        rounds=rounds,
        visible=visible,
    )


def smallest_visible(found: Interval, rule: Rule) -> float:
    """The slowdown (share of the step time) whose interval would lie beyond the tolerance with a power of 80 %."""
    return (1 + rule.tolerance) * math.exp(found.half + quantile(1 - POWER, found.freedom) * found.error) - 1


def overall(judgements: Sequence[Judgement]) -> Verdict:
    """The verdict on the whole: the gravest of its cells; NEW alone is no evidence of anything, hence UNSURE.

    >>> overall([Judgement(cell="a", verdict="SAME"), Judgement(cell="b", verdict="FASTER")])
    'FASTER'
    """
    verdict = min((judgement.verdict for judgement in judgements), key=PRECEDENCE.index)
    return "UNSURE" if verdict == "NEW" else verdict
