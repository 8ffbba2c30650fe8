"""Can the tuning of a suite decide the rates that it reports? What is wrong in the plan is said before any training."""

from collections import defaultdict

from bench.plan.suite import Suite

FEWEST_SEEDS = 3  # tuning seeds: one per fold of the test set, which leaves other photographs to train on
FEWEST_RATES = 3  # an optimum has a rate on both sides


def notes_on_tuning(suite: Suite) -> list[str]:
    """A line for each kind of tuning that cannot decide: too few seeds or rates, or a reported rate that none tries."""
    tuning, reported = defaultdict(list), defaultdict(set)
    for cell in suite.cells:
        if cell.role == "tune":
            tuning[cell.arm].append(cell)
        elif cell.role == "report":
            reported[cell.arm].add(cell.lr)
    few_seeds, few_rates, untried = (defaultdict(list) for _ in range(3))
    for arm, cells in tuning.items():
        name, rates = " ".join(map(str, (*arm[:4], *arm[5:3:-1]))), {cell.lr for cell in cells}
        if (seeds := len({cell.seed for cell in cells})) < FEWEST_SEEDS:
            few_seeds[seeds].append(name)
        if len(rates) < FEWEST_RATES:
            few_rates[len(rates)].append(name)
        for lr in sorted(reported[arm] - rates):
            untried[lr].append(name)
    parts = (
        (few_seeds, "tuned by {:d} seed(s), too few to tell its rates apart"),
        (few_rates, "tuned among {:d} rate(s), while an optimum needs one on both sides"),
        (untried, "reported at {:g}, which its tuning does not try"),
    )
    return [f"{text.format(number)}: {'; '.join(names)}" for kind, text in parts for number, names in kind.items()]
