"""How often are verdicts false, and how many do the seeds decide? A simulation of the rule, written as a page.

`python -m tools.error_rates` draws effects whose true mean is known, runs the rule's own intervals on them
(`bench/analysis/intervals.py`), and writes `docs/error-rates.md`. A verdict can be false only if an interval misses the
true mean; here every miss counts as false, on either side, at any look, over seeds or over seeds and images. That is
the least favourable truth, whatever the margin: an effect that lies exactly on it.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import typer
from scipy import stats

from bench.analysis.claims import CLAIMS, Claim, K
from bench.analysis.comparison import ALPHA, IMAGES_LIKE_THESE, PairedComparison
from bench.analysis.intervals import FENCE, FENCED_FROM, WIDEST, folds_of, limits, widening
from bench.analysis.looks import Plan, fixed, sequential
from bench.analysis.verdicts import compare
from bench.store.files import write_atomically
from bench.store.reader import load

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "error-rates.md"
RUN = ROOT / "results" / "reference-cpu"
FAMILY = 30  # comparisons; the error of each is 5 % / 30
OTHER_FAMILIES = (10, 100)
NEAR = 2.5  # percent; from here on with its limits
SINGLE = (6, 9, 10, 12, 18, 24, 36, 48)  # seeds of a fixed list
FOLDS, IMAGES = 3, 12
BATCH = 10_000  # repetitions in memory at once
IN_FOLDS = 0.3  # of the repetitions for images in folds, which cost more


class Truth(NamedTuple):
    """Effects to draw, in units of their standard deviation; their true mean is 0.

    Attributes:
        name: in the page.
        draw: (random numbers, repetitions, seeds) -> effects (repetitions, seeds) or (repetitions, seeds, images), and
            the true mean for these images, (repetitions,) or 0.
        share: of the repetitions, for truths that cost more.
    """

    name: str
    draw: Callable[[np.random.Generator, int, int], tuple[np.ndarray, np.ndarray | float]]
    share: float = 1.0


def lognormal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Lognormal values of skew 1.75, standardised."""
    sigma = 0.5  # skew (e^(s^2) + 2) sqrt(e^(s^2) - 1) = 1.75
    deviation = np.sqrt(np.expm1(sigma**2)) * np.exp(sigma**2 / 2)
    return (np.exp(sigma * rng.standard_normal(shape)) - np.exp(sigma**2 / 2)) / deviation


def student(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Student's t with 3 degrees of freedom, standardised."""
    return rng.standard_t(3, shape) / np.sqrt(3)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal values."""
    return rng.standard_normal(shape)


Law = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def smoothed(residuals: list[np.ndarray], bandwidth: float = 1.0) -> Law:
    """Values drawn from one of some samples, smoothed by a normal kernel; Scott's bandwidth n^(-1/5) times a factor.

    Each repetition (first axis) draws from one sample, all in turn; their standard deviation stays 1.
    """

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        values = np.empty(shape)
        for place, sample in enumerate(residuals):
            rows = values[place :: len(residuals)]
            width = bandwidth * len(sample) ** -0.2
            kernel = width * rng.standard_normal(rows.shape)
            rows[:] = (rng.choice(sample, rows.shape) + kernel) / np.sqrt(1 + width**2)
        return values

    return draw


def of_law(name: str, law: Law) -> Truth:
    """Effects that follow a law, without images."""
    return Truth(name, lambda rng, repetitions, seeds: (law(rng, (repetitions, seeds)), 0.0))


def collapsing(rate: float, nearest: float, farthest: float, law: Law = normal) -> Truth:
    """Some seeds collapse: their effects lie deviations away. The true mean is that of the others."""

    def draw(rng: np.random.Generator, repetitions: int, seeds: int) -> tuple[np.ndarray, float]:
        effects = law(rng, (repetitions, seeds))
        away = rng.uniform(nearest, farthest, effects.shape)
        return effects + away * (rng.random(effects.shape) < rate), 0.0

    distance = f"{nearest:g}" if nearest == farthest else f"{nearest:g} to {farthest:g}"
    kind = "" if law is normal else f", {law.__name__}"
    return Truth(f"{100 * rate:g} % of seeds collapse, {distance} sd away{kind}", draw)


def in_folds(
    image_sd: float, residual_sd: float, law: Law = normal, image_law: Law = normal, collapses: float = 0.0
) -> Truth:
    """Twelve images in three folds, which take turns with the seed; deviations relative to that of seeds."""

    def draw(rng: np.random.Generator, repetitions: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
        images = image_sd * image_law(rng, (repetitions, IMAGES))
        effects = images[:, None] + law(rng, (repetitions, seeds))[..., None]
        effects = effects + residual_sd * law(rng, effects.shape)
        fold = np.arange(IMAGES) * FOLDS // IMAGES
        effects += 10 * (rng.random((repetitions, seeds, 1)) < collapses)
        effects[:, np.arange(seeds)[:, None] % FOLDS != fold] = np.nan
        return effects, images.mean(axis=1)

    laws = "" if law is normal and image_law is normal else f"; seeds {law.__name__}, images {image_law.__name__}"
    laws += f"; {100 * collapses:g} % collapse, 10 sd away" if collapses else ""
    return Truth(f"3 folds of 4 images: image sd {image_sd:g}, residual sd {residual_sd:g}{laws}", draw, share=IN_FOLDS)


class Reference(NamedTuple):
    """The effects of a claim in the reference run: (seeds, images), or (seeds, 1) where it has no test images."""

    claim: Claim
    effects: np.ndarray

    @property
    def residuals(self) -> np.ndarray:
        """The standardised effects of the seeds, (seeds,)."""
        return stats.zscore(self.effects.mean(axis=1))


def references() -> list[Reference]:
    """The claims that data decide and whose effects vary in the reference run."""
    run = load(RUN)
    found = []
    for claim in CLAIMS:
        if claim.kind == "data":
            effects = compare(claim, claim.evidence(run).effects).effects
            effects = effects if effects.ndim == 2 else effects[:, None]
            if len(effects) > 2 and np.ptp(effects.mean(axis=1)) > 0:
                found.append(Reference(claim, effects))
    return found


def truths() -> list[Truth]:
    """Every truth of the page."""
    own = [reference.residuals for reference in references()]
    return [
        of_law("normal", normal),
        of_law("Student's t, 3 degrees of freedom", student),
        of_law("lognormal, skew 1.75", lognormal),
        of_law("residuals of the reference run, pooled", smoothed([np.concatenate(own)])),
        of_law("residuals, each claim's own", smoothed(own)),
        of_law("residuals, each claim's own, half the smoothing", smoothed(own, 0.5)),
        *(collapsing(rate, *away) for rate in (0.1, 0.2) for away in ((10, 10), (10, 50), (50, 50))),
        collapsing(0.2, 10, 10, lognormal),
        *(in_folds(image_sd, 0.3) for image_sd in (0.0, 0.3, 1.0, 3.0)),
        in_folds(1.0, 1.0),
        in_folds(1.0, 0.3, lognormal),
        in_folds(3.0, 0.3, lognormal, lognormal),
        in_folds(1.0, 0.3, student, student),
        in_folds(1.0, 0.3, collapses=0.1),
        in_folds(1.0, 0.3, collapses=0.2),
    ]


def false_verdicts(effects: np.ndarray, these: np.ndarray | float, plan: Plan, error: float) -> np.ndarray:
    """Whether any look of a plan gives a false verdict, (2, repetitions): with the margin at either truth.

    Args:
        effects: (repetitions, seeds) or (repetitions, seeds, images); the true mean over images is 0.
        these: the true mean for these images.
        plan: the looks.
        error: of the comparison, over all looks.
    """
    false = np.zeros((2, len(effects)), bool)
    table = effects if effects.ndim == 3 else effects[..., None]
    folds = folds_of(table[0])
    for look, share in zip(plan.looks, plan.shares, strict=True):
        none = np.zeros((len(effects), look), bool)
        found = limits(table[:, :look], folds[:look], none, share * error)
        false[0] |= (found.images_low > 0) | (found.images_high < 0)
        false[0] |= ((found.low > 0) & (these <= 0)) | ((found.high < 0) & (these >= 0))
        false[1] |= (found.low > these) | (found.high < these)
    return false


def rates(truth: Truth, plans: list[tuple[Plan, float]], repetitions: int, seed: int = 0) -> np.ndarray:
    """The counts of false verdicts of each (plan, error), and last the number of repetitions."""
    rng = np.random.default_rng(seed)
    counts, done = np.zeros((len(plans), 2), int), 0
    while done < repetitions * truth.share:
        effects, these = truth.draw(rng, BATCH, max(plan.looks[-1] for plan, _ in plans))
        counts += np.array([false_verdicts(effects, these, *plan).sum(axis=-1) for plan in plans])
        done += BATCH
    return np.array([*counts.max(axis=1), done])


def again(reference: Reference, rng: np.random.Generator, seeds: int) -> np.ndarray:
    """A new run of a claim, as if the reference's estimates were the truth: (seeds,), or (seeds, 12) in three folds.

    Seeds vary by the claim's own smoothed residuals; images and what remains vary normally, with the deviations that
    the reference shows. The mean over images is the estimate.
    """
    effects = reference.effects
    of_seeds = effects.mean(axis=1)
    drawn = of_seeds.mean() + of_seeds.std(ddof=1) * smoothed([reference.residuals])(rng, (1, seeds))[0]
    if effects.shape[1] == 1:
        return drawn
    rest = (effects - of_seeds[:, None] - effects.mean(axis=0) + effects.mean()).std(ddof=1)
    images = rng.standard_normal(IMAGES) * effects.mean(axis=0).std(ddof=1)
    table = drawn[:, None] + images - images.mean() + rest * rng.standard_normal((seeds, IMAGES))
    table[np.arange(seeds)[:, None] % FOLDS != np.arange(IMAGES) * FOLDS // IMAGES] = np.nan
    return table


def power(plan: Plan, repetitions: int, seed: int = 0) -> list[list[PairedComparison]]:
    """New runs of each claim of the reference, judged."""
    rng = np.random.default_rng(seed)
    return [
        [
            replace(compare(reference.claim, pd.DataFrame()), effects=again(reference, rng, plan.looks[-1]), plan=plan)
            for _ in range(repetitions)
        ]
        for reference in references()
    ]


def constants() -> str:
    """The constants of the rule that the page was made for; a test compares them with the code."""
    plan = sequential()
    shares = ", ".join(f"{share:.3f}" for share in plan.shares)
    return (
        f"Looks at {', '.join(map(str, plan.looks))} seeds, which spend the shares {shares}; quantiles widened by"
        f" 1 + 2 / sqrt(n), at most {WIDEST:g} ({widening(48):.2f} at 48); far out: {FENCE:g} interquartile ranges,"
        f" from {FENCED_FROM} seeds; families of {FAMILY} comparisons, and of {' and '.join(map(str, OTHER_FAMILIES))}."
    )


def _cell(count: int, repetitions: int, family: int) -> str:
    """A family's error in percent: how often a comparison errs, times their number; with 95 % limits near 5."""
    rate = 100 * family * count / repetitions
    if rate < NEAR:
        return f"{rate:.1f}"
    low, high = stats.binomtest(count, repetitions).proportion_ci(method="exact")
    return f"{rate:.1f} ({100 * family * low:.1f} to {100 * family * high:.1f})"


def errors_table(repetitions: int) -> list[str]:
    """The table of error rates, a row per truth."""
    columns = [(f"n = {n}", fixed(n), FAMILY) for n in SINGLE] + [("all looks", sequential(), FAMILY)]
    columns += [(f"all looks, K = {family}", sequential(), family) for family in OTHER_FAMILIES]
    lines = [_row(["true law of the effects", *(name for name, _, _ in columns)]), _row(["---"] * (len(columns) + 1))]
    for truth in truths():
        *counts, done = rates(truth, [(plan, ALPHA / family) for _, plan, family in columns], repetitions)
        cells = [_cell(count, done, family) for count, (_, _, family) in zip(counts, columns, strict=True)]
        lines.append(_row([truth.name, *cells]))
        typer.echo(lines[-1])
    return lines


def above(table: list[str]) -> str:
    """Which cells of the table of error rates exceed what the rule promises, in a sentence."""
    names, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in (table[0], *table[2:]))
    found = [
        f"{row[0]}, {name} ({cell.split()[0]})"
        for row in rows
        for name, cell in zip(names[1:], row[1:], strict=True)
        if float(cell.split()[0]) > 100 * ALPHA
    ]
    return f"Above it: {'; '.join(found)}." if found else "No cell is above it."


def power_table(repetitions: int) -> list[str]:
    """How many percent of new runs decide each reference effect, by each look, and with ten fixed seeds."""
    plan = sequential()
    lines = [_row(["claim", *(f"by {look}" for look in plan.looks), "images like these", "n = 10, one look"])]
    lines.append(_row(["---"] * (len(plan.looks) + 3)))
    totals = np.zeros(len(plan.looks) + 2)
    known = references()
    for reference, runs, tens in zip(known, power(plan, repetitions), power(fixed(10), repetitions), strict=True):
        at = np.array([run.look or np.inf for run in runs])
        wide = np.mean([run.population == IMAGES_LIKE_THESE for run in runs])
        shares = np.array(
            [*((at <= look).mean() for look in plan.looks), wide, np.mean([bool(run.look) for run in tens])]
        )
        totals += shares
        lines.append(_row([reference.claim.name, *(f"{100 * share:.0f}" for share in shares)]))
        typer.echo(lines[-1])
    lines.append(_row([f"decided, of {len(known)}", *(f"{total:.1f}" for total in totals)]))
    return lines


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


PAGE_TEXT = """# How often verdicts are false, and how many are reached

Made by `python -m tools.error_rates`; not edited by hand.

{constants}

## False verdicts

All false verdicts of a family together, at most, in percent: the share of {repetitions:,} simulated comparisons
({fewer:,} for folds of images) that are decided although the true effect lies exactly on the margin, times the
number of comparisons, {family} where nothing else is said. Any decision counts there, on either side, at any look,
whatever it speaks of; brackets are 95 % limits. Mirrored laws give the same. The rule promises at most 5. For effects
that collapse, the truth is the mean of the seeds that do not. A column n is one look at n seeds with the whole error.

{errors}

{above}

What this does not show: no rule knows of collapses that no seed has shown. Of a loss that collapses in 10 % of its
seeds, {unseen10:.0f} % of runs with 10 seeds show none, and {unseen48:.1f} % of those with 48. So every verdict
speaks of seeds that do not collapse, and gives the Clopper-Pearson interval of the rate; EQUIVALENT, and "at most the
margin is lost", need an upper limit below a third, so at least ten seeds. More skewed laws were not tried.

## Verdicts reached

If the estimates of `results/reference-cpu` were the truth: the percentage of {runs} new runs that decide each claim by
each look. Seeds vary as the claim's own smoothed residuals; images (twelve, in three folds) as the reference's four.
The error of each claim is that of the family in the code, K = {claims}.

{power}
"""


def main(
    repetitions: Annotated[int, typer.Option(help="simulated comparisons for each law")] = 100_000,
    runs: Annotated[int, typer.Option(help="simulated runs for each claim of the reference run")] = 50,
) -> None:
    """Simulate the rule and write docs/error-rates.md; about 10 minutes."""
    errors = errors_table(repetitions)
    text = PAGE_TEXT.format(
        constants=constants(),
        repetitions=repetitions,
        family=FAMILY,
        fewer=int(repetitions * IN_FOLDS),
        errors="\n".join(errors),
        above=above(errors),
        unseen10=100 * 0.9**10,
        unseen48=100 * 0.9**48,
        runs=runs,
        claims=K,
        power="\n".join(power_table(runs)),
    )
    write_atomically(PAGE, text.encode())


if __name__ == "__main__":
    typer.run(main)
