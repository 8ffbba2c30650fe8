"""Which loss should one use in which situation, how certain is that, and by which metric?

In each situation one condition is judged, selected by a rule that does not look at results. Among the losses with the
most seeds, the one with the best mean is compared with every other by paired differences. All intervals of the judged
condition hold together at 95 % (Bonferroni over all pairs of declared losses, not only those with the best one, because
the same data select the best). The comparisons with the same loss in the further conditions of the situation form a
family of their own; those without an interval count for nothing.

Like is set beside like: losses whose heads differ are compared behind a head that both have, if there is one. What
still differs (head, precision, length, a rate that was not tuned) is named.
"""

from collections import Counter
from collections.abc import Iterator
from math import comb
from typing import NamedTuple

import pandas as pd

from bench.analysis.comparison import IMAGES_LIKE_THESE, PairedComparison, family_level, words
from bench.analysis.contrasts import FIRST_LOOK
from bench.analysis.effects import paired_effects
from bench.analysis.labels import arm_name, arms_of, condition_name, dataset_label, in_order, listed
from bench.analysis.looks import plan_of
from bench.analysis.metrics import JUDGED, Judged, population
from bench.analysis.reported_rates import NOT_TUNED, rate_state
from bench.analysis.situations import SITUATIONS, Situation, one_sided
from bench.analysis.summary import MAIN_PSNR, pick
from bench.analysis.tuning import best_rates, with_training
from bench.store.reader import Run

WORSE, BETTER, ALIKE, OPEN = "worse", "better", "no difference worth having", "not settled"
WORDS = words(supported=WORSE, refuted=BETTER, equivalent=ALIKE, inconclusive=OPEN)  # effect: how far a loss is behind
NO_INTERVAL = "no interval from one seed"
SAME = {  # what two sides of a fair comparison share: the column -> its name
    **{"head": "head", "precision": "precision", "planned_steps": "steps", "batch_size": "batch size"},
    **{"schedule": "schedule", "optimizer": "optimizer", "value_range": "value range", "redraw": "redraw"},
    "training": "settings",
}
Arm = tuple[str, str]  # a loss and its head


class Rival(NamedTuple):
    """A loss compared with the best one.

    Attributes:
        arm: the rival, as it was compared.
        beside: the best loss, as it was compared: it may stand behind another head than the recommended one.
        behind: how far the rival is behind, over shared seeds; positive is worse.
        population: whom the decision speaks of (`metrics.population`).
        unlike: what else differs between the two.
        cells: the rows of cells.csv that are compared.
    """

    arm: Arm
    beside: Arm
    behind: PairedComparison
    population: str = ""
    unlike: tuple[str, ...] = ()
    cells: pd.DataFrame = pd.DataFrame()

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
        best_by_metric: for every other metric, the arm with the best mean over the seeds that all arms have.
        shared_seeds: how many seeds these are.
        further: what comparisons with `best` show in further conditions: for each rival, words and their counts.
        undecidable: the number of further conditions without any interval; they count for nothing.
        rates: for each arm of the judged condition, whether it is at its tuned rate, in words.
        ahead: the arm with the best mean over shared seeds, if it stands behind a head that is not recommended.
    """

    situation: str
    task: str
    condition: tuple[str, float | None, str, float] | None = None
    best: Arm | None = None
    rivals: tuple[Rival, ...] = ()
    first_look: bool = False
    missing: int = 0
    best_by_metric: dict[str, Arm] = {}
    shared_seeds: int = 0
    further: dict[Arm, Counter[str]] = {}
    undecidable: int = 0
    rates: dict[Arm, str] = {}
    ahead: Arm | None = None


def advise(run: Run, whole: Run) -> list[Advice]:
    """A recommendation per situation of the run's tasks.

    Args:
        run: each loss at its main setting.
        whole: all cells, among them those that tune.
    """
    cells = with_training(run.cells[run.cells["role"] == "report"])
    tasks, best = set(cells["task"]), best_rates(whole)
    return [
        _advice(situation, run, pick(cells, task=situation.task), best)
        for situation in SITUATIONS
        if situation.task in tasks
    ]


def _practice(cells: pd.DataFrame) -> pd.DataFrame:
    """Each loss as it is used in practice: with the raw head if a reconstruction has one. Heads are not compared."""
    raw = cells["head"] == "raw"
    has_raw = cells["loss"].isin(set(cells.loc[raw, "loss"])) & cells["task"].isin(MAIN_PSNR)
    return cells[raw | ~has_raw]


def _advice(situation: Situation, run: Run, all_cells: pd.DataFrame, rates: pd.DataFrame) -> Advice:
    kinds = all_cells[["outlier", "rate"]].drop_duplicates()
    kinds = kinds[[situation.holds(*kind) for kind in kinds.to_numpy()]] if len(kinds) else kinds
    by_condition = all_cells.merge(kinds).groupby(["dataset", "scale", "outlier", "rate"], dropna=False)
    groups = {key: group for key, group in by_condition}
    judged = JUDGED[situation.task]
    bests = {key: best for key, group in groups.items() if (best := _best(_practice(group), judged))}
    if not bests:
        return Advice(situation.name, situation.task)

    def rank(key: tuple) -> tuple:
        dataset, scale, kind, rate = key
        declared = _practice(groups[key])
        size = declared["seed"].nunique() * len(arms_of(declared))  # depends on the suite alone, never on results
        return (dataset == FIRST_LOOK, -size, abs(rate - situation.rate), one_sided(kind), str(dataset), scale, kind)

    chosen = min(bests, key=rank)
    cells = groups[chosen]
    level = family_level(_pairs(cells))
    best, rivals = bests[chosen], _rivals(run, cells, bests[chosen], judged, level)
    if better := [rival.arm for rival in rivals if rival.word == BETTER]:  # better on fewer seeds, or behind its head
        best = next((arm for arm in arms_of(_practice(cells)) if arm[0] == better[0][0]), better[0])
        rivals = _rivals(run, cells, best, judged, level)
    if not rivals:
        return Advice(situation.name, situation.task)
    others = [group for key, group in groups.items() if key != chosen]
    level = family_level(sum(map(_pairs, others)))
    pairs = [(group, arm) for group in others if (arm := _there(group, best))]
    further = [_rivals(run, group, arm, judged, level) for group, arm in pairs]
    declared = _practice(cells)
    done = pick(declared, status="done")
    shared = _on_shared_seeds(done)
    ahead = _best(_on_shared_seeds(pick(cells, status="done")), judged)
    compared = sorted({best, *(arm for rival in rivals for arm in (rival.arm, rival.beside))})
    return Advice(
        situation.name,
        situation.task,
        chosen,
        best,
        rivals,
        first_look=chosen[0] == FIRST_LOOK,
        missing=len(declared) - len(done),
        best_by_metric={
            metric: arm
            for metric, larger in judged.other_metrics.items()
            if metric in shared and (arm := _best_mean(shared, metric, larger))
        },
        shared_seeds=shared["seed"].nunique(),
        further=_tally(rival for one in further for rival in one if rival.behind.interval.defined),
        undecidable=sum(not any(rival.behind.interval.defined for rival in one) for one in further),
        rates={arm: rate_state(_of(cells, arm), rates) for arm in compared},
        ahead=ahead if ahead not in arms_of(declared) else None,
    )


def _pairs(cells: pd.DataFrame) -> int:
    """How many comparisons of two losses the declared cells of a condition allow."""
    return comb(len(arms_of(_practice(cells))), 2)


def _of(cells: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    return pick(cells, loss=arm[0], head=arm[1])


def _best(cells: pd.DataFrame, judged: Judged) -> Arm | None:
    """The arm with the best mean among those with the most seeds; None without results of two arms."""
    done = pick(cells, status="done").dropna(subset=judged.column)
    done = done.assign(effect=judged.effect(done[judged.column].astype(float))).dropna(subset="effect")
    arms = done.groupby(["loss", "head"])["effect"].agg(["count", "mean"])
    if len(arms) < 2:
        return None
    return arms.loc[arms["count"] == arms["count"].max(), "mean"].idxmax()


def _there(cells: pd.DataFrame, best: Arm) -> Arm | None:
    """The best arm in another condition: behind its other head if a reconstruction has only that one there."""
    arms = [arm for arm in arms_of(_practice(cells)) if arm[0] == best[0]]
    return best if best in arms else arms[0] if arms and cells["task"].iloc[0] in MAIN_PSNR else None


def _best_mean(cells: pd.DataFrame, metric: str, larger: bool) -> Arm | None:
    """The arm with the best mean of a metric; None without values."""
    means = cells.groupby(["loss", "head"])[metric].mean().dropna()
    return (means.idxmax() if larger else means.idxmin()) if len(means) else None


def _on_shared_seeds(done: pd.DataFrame) -> pd.DataFrame:
    """The cells of the seeds that every arm has done."""
    counts = done.groupby("seed").size()
    return done[done["seed"].isin(counts.index[counts == len(arms_of(done))])]


def _alike(cells: pd.DataFrame, best: Arm, arm: Arm) -> tuple[Arm, Arm]:
    """The two losses behind one head if a reconstruction declares both there; else as they are."""
    shared = set.intersection(*(set(pick(cells, loss=loss)["head"]) for loss in (best[0], arm[0])))
    if best[1] == arm[1] or best[0] == arm[0] or cells["task"].iloc[0] not in MAIN_PSNR or not shared:
        return best, arm
    (head,) = shared  # one of the two has a single head, else both stood behind the raw one
    return (best[0], head), (arm[0], head)


def _rivals(run: Run, cells: pd.DataFrame, best: Arm, judged: Judged, level: float) -> tuple[Rival, ...]:
    """Every other loss of a condition compared with a given one, the nearest first, if they share a seed."""
    rivals = []
    for other in arms_of(_practice(cells)):
        if other == best:
            continue
        beside, arm = _alike(cells, best, other)
        a, b = _of(cells, beside), _of(cells, arm)
        effects = paired_effects(run, a, b, judged)
        cells_compared = pd.concat([a, b])
        behind = judged.compare(effects, level, plan=plan_of(cells_compared))
        if behind.n:
            unlike = tuple(_unlike(a, b))
            rivals.append(Rival(arm, beside, behind, population(effects, behind), unlike, cells_compared))
    return tuple(sorted(rivals, key=lambda rival: rival.behind.interval.mean))


def _unlike(best: pd.DataFrame, other: pd.DataFrame) -> Iterator[str]:
    """What differs between two arms besides the loss: `head raw against sigmoid`."""
    for column, name in SAME.items():
        sides = [sorted(map(str, cells[column].dropna().unique())) for cells in (other, best)]
        if sides[0] != sides[1]:
            yield f"other {name}" if column == "training" else f"{name} {' against '.join(map(listed, sides))}"


def _tally(rivals: Iterator[Rival]) -> dict[Arm, Counter[str]]:
    counts: dict[Arm, Counter[str]] = {}
    for rival in rivals:
        counts.setdefault(rival.arm, Counter())[rival.word] += 1
    return counts


def answer(advice: Advice) -> str:
    """The recommended loss, in words.

    >>> answer(Advice("x", "sr"))
    'not tested by this run'
    """
    if advice.best is None:
        return "not tested by this run"
    if not any(rival.behind.interval.defined for rival in advice.rivals):
        return f"{OPEN}: {NO_INTERVAL}"
    rival_words = {rival.word for rival in advice.rivals}
    best = arm_name(*advice.best)
    if rival_words == {ALIKE}:
        return f"any: {ALIKE}"
    if BETTER in rival_words:  # behind one head or another
        return f"{OPEN}; {listed([arm_name(*arm) for arm in _arms(advice, BETTER)])} and {best} each lead in one way"
    if WORSE not in rival_words:
        return f"{OPEN}; best mean: {best}"
    names = " or ".join(arm_name(*arm) for arm in (advice.best, *_arms(advice, ALIKE)))
    undecided = ", ".join(arm_name(*arm) for arm in _arms(advice, OPEN))
    return names + (f" ({undecided}: {OPEN})" if undecided else "")


def _arms(advice: Advice, word: str) -> list[Arm]:
    return [rival.arm for rival in advice.rivals if rival.word == word]


def reach(advice: Advice) -> str:
    """Whom the recommendation speaks of, in words; empty if it recommends nothing or the task has no photographs."""
    if answer(advice).startswith(OPEN):
        return ""
    populations = {rival.population for rival in advice.rivals} - {""}
    narrow = sorted(populations - {IMAGES_LIKE_THESE})
    return f"for {' and '.join(narrow) or IMAGES_LIKE_THESE}" if populations else ""


def reasons(advice: Advice) -> tuple[str, ...]:
    """Every other loss compared with the best one: the difference, its interval, and the conclusion.

    `L2 raw 15.35 dB behind (15.22 to 15.49, n = 10): worse, for images like these`.
    """
    lines = []
    for rival in advice.rivals:
        against = "" if rival.beside == advice.best else f", set beside {arm_name(*rival.beside)},"
        told = rival.word if rival.behind.interval.defined else NO_INTERVAL
        whom = f", for {rival.population}" if rival.population else ""
        lines.append(f"{arm_name(*rival.arm)}{against} {JUDGED[advice.task].behind_text(rival.behind)}: {told}{whom}")
    return tuple(lines)


def differences(advice: Advice) -> tuple[str, ...]:
    """What is not alike in the comparisons, and which losses are at tuned rates."""
    lines = [
        f"{arm_name(*rival.arm)} against {arm_name(*rival.beside)}: {', '.join(rival.unlike)}"
        for rival in advice.rivals
        if rival.unlike
    ]
    by_state: dict[str, list[str]] = {}
    for arm, state in advice.rates.items():
        by_state.setdefault(state, []).append(arm_name(*arm))
    for state in sorted(by_state, key=lambda state: (state == NOT_TUNED, state)):
        everyone = len(by_state) == 1
        lines.append(f"{'all rates' if everyone else f'rate of {listed(by_state[state])}'} {state}")
    return tuple(lines)


def not_as_tuned(advice: Advice) -> list[str]:
    """The losses among the compared ones that are at another rate than their tuning found."""
    return [f"{arm_name(*arm)} {state}" for arm, state in advice.rates.items() if "its tuning found" in state]


def further_conditions(advice: Advice) -> tuple[str, ...]:
    """What is shown of the same loss in the further conditions of the situation, by rival."""
    lines = [
        f"{arm_name(*arm)} {', '.join(f'{word} in {counts[word]}' for word in in_order(counts, WORDS.values()))}"
        f" of {counts.total()}"
        for arm, counts in advice.further.items()
    ]
    if advice.undecidable:
        lines.append(f"{advice.undecidable} without any interval, which count for nothing")
    return tuple(lines)


def judged_on(advice: Advice) -> str:
    """The judged condition with its data set; the advice must have a condition."""
    assert advice.condition is not None
    dataset, scale, outlier, rate = advice.condition
    return f"{condition_name(outlier, rate)}, {dataset_label(dataset, scale)}"
