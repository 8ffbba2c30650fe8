"""Does bfloat16 cost quality? The same cells in fp32 and under bfloat16 autocast, compared by paired seeds.

Weights, optimizer, losses, and evaluation stay in fp32; only the operations that autocast selects run in bfloat16.
bfloat16 is admissible for a condition if the simultaneous interval of the paired difference excludes a loss of quality
beyond the margin: a test of non-inferiority, with the margins of science.md section 8. Suite `precision` trains the
cells for it.
"""

from collections import Counter

import pandas as pd

from bench.analysis.comparison import INCONCLUSIVE, REFUTED, SUPPORTED, Words, family_level
from bench.analysis.labels import arm_name, arms_of, condition_name, conditions_of, dataset_label, listed, task_name
from bench.analysis.metrics import JUDGED
from bench.analysis.summary import ARM, CONDITION, paired_difference, pick
from bench.store.reader import Run

NO_COST, COST, UNDECIDED = "no cost", "costs", "cannot tell"
WORDS: Words = {SUPPORTED: NO_COST, REFUTED: COST, INCONCLUSIVE: UNDECIDED}
SHOWS = {  # by the verdict on pairs trained in both precisions
    NO_COST: "bfloat16 costs less than",
    COST: "bfloat16 costs more than",
    UNDECIDED: "bfloat16 may cost more than",
}
SAME_TRAINING = [
    *("task", "dataset", "scale", *ARM, *CONDITION),
    *("schedule", "optimizer", "lr", "value_range", "batch_size", "redraw", "role", "settings"),
]


def comparisons(run: Run) -> pd.DataFrame:
    """A row for each condition that at least two seeds trained in both precisions.

    Columns: those of `SAME_TRAINING`, then n (pairs of seeds), unit, margin, `gain` (the mean of bf16 minus fp32,
    positive if bf16 is better; for a distance or an error, the logarithm of the ratio), its simultaneous interval
    ci_low and ci_high, and verdict.
    """
    done = pick(run.cells, status="done")
    done = done[done["task"].isin(JUDGED)]
    pairs = []
    for key, cells in done.groupby(SAME_TRAINING, dropna=False):
        judged = JUDGED[cells["task"].iloc[0]]
        effects = cells.assign(effect=judged.effect(cells[judged.column]))
        gains = paired_difference(effects, "effect", {"precision": "bf16"}, {"precision": "fp32"})
        if len(gains) >= 2:
            pairs.append((key, gains, judged))
    rows, level = [], family_level(len(pairs))
    for key, gains, judged in pairs:
        comparison = judged.compare(gains, level, no_worse=True)
        row = dict(zip(SAME_TRAINING, key, strict=True)) | {
            "n": comparison.n,
            "unit": comparison.unit,
            "margin": comparison.margin,
        }
        row |= dict(zip(("gain", "ci_low", "ci_high"), comparison.interval, strict=True))
        rows.append(row | {"verdict": comparison.word(WORDS)})
    return pd.DataFrame(rows)


def trained_in(cells: pd.DataFrame) -> str:
    """The precisions of the losses: `fp32 for BCE sigmoid, bf16 for the others`; empty if there is only one."""
    precisions = {
        (loss, head): " and ".join(sorted(set(pick(cells, loss=loss, head=head)["precision"])))
        for loss, head in arms_of(cells)
    }
    first, *others = [precision for precision, _ in Counter(precisions.values()).most_common()] or [""]
    named = {
        other: listed([arm_name(*arm) for arm, precision in precisions.items() if precision == other])
        for other in others
    }
    parts = [*(f"{other} for {names}" for other, names in named.items()), f"{first} for the others"]
    return ", ".join(parts) if others else ""


def caveats(run: Run, shown: Run) -> list[str]:
    """What supports a comparison of losses across precisions: a sentence for each data set with several precisions.

    Args:
        run: all cells; a loss may occur in both precisions.
        shown: the compared cells, each loss at its main setting.
    """
    rows, sentences = comparisons(run), []
    reported = shown.cells[shown.cells["role"] == "report"]
    for (task, dataset, scale), cells in reported.groupby(["task", "dataset", "scale"], dropna=False):
        if not (mixed := trained_in(cells)):
            continue
        paired = pick(rows, task=task, dataset=dataset, scale=scale) if len(rows) else rows
        parts = [f"{task_name(task)}, {dataset_label(dataset, scale)}: trained in {mixed}"]
        for verdict, words in SHOWS.items():
            matches = paired[paired["verdict"] == verdict] if len(paired) else paired
            if len(matches):
                names = [f"{arm_name(*arm)} ({_conditions(matches, *arm)})" for arm in arms_of(matches)]
                parts.append(f"Trained in both by the same seeds, {words} {JUDGED[task].margin_text}: {listed(names)}")
        alone = [arm for arm in arms_of(pick(cells, precision="bf16")) if not len(paired) or arm not in arms_of(paired)]
        if alone:
            parts.append(f"For {listed([arm_name(*arm) for arm in alone])} this run has no such pairs")
        sentences.append(f"{'. '.join(parts)}.")
    return sentences


def _conditions(rows: pd.DataFrame, loss: str, head: str) -> str:
    return listed([condition_name(*condition) for condition in conditions_of(pick(rows, loss=loss, head=head))])
