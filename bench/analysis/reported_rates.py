"""Is each loss reported at the learning rate that the run's own tuning found for it, and which verdicts rest on others?

A comparison is fair if each side has its own best rate. Tuning happens inside a run, so only the rows can tell.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis.claims import CLAIMS, Claim
from bench.analysis.comparison import LEVEL, PairedComparison
from bench.analysis.contrasts import Evidence
from bench.analysis.labels import arm_name, dataset_label, listed, task_name
from bench.analysis.metrics import JUDGED
from bench.analysis.summary import pick
from bench.analysis.tuning import TRAINING, best_rates, with_training
from bench.plan.tuning import FEWEST_SEEDS
from bench.store.reader import Run

TUNED, NOT_TUNED = "tuned", "not tuned in this run"


class OffRate(NamedTuple):
    """Reported cells of one arm at another rate than its tuning found.

    Attributes:
        arm: the columns `TRAINING` and `planned_steps`.
        lr, found: the reported rate, and the one found.
        behind: how far the reported rate is behind on validation data, paired by tuning seed, positive if it is worse
            (95 %, this comparison alone); None if it was not tried or did not converge.
        cells: the `cell_id` of the reported cells.
    """

    arm: dict[str, Any]
    lr: float
    found: float
    behind: PairedComparison | None
    cells: frozenset[str]

    @property
    def name(self) -> str:
        """The loss with its head."""
        return arm_name(self.arm["loss"], self.arm["head"])

    @property
    def text(self) -> str:
        """`L2 raw is reported at 0.003, while this run's tuning found 0.001 (0.003: 0.12 dB behind ...)`."""
        slack = JUDGED[self.arm["task"]].behind_text(self.behind) if self.behind else "not tried, or diverged"
        return (
            f"{self.name} is reported at {self.lr:g}, while this run's tuning found {self.found:g}"
            f" (on validation data {self.lr:g} is {slack})"
        )


def off_rates(run: Run) -> list[OffRate]:
    """Every arm that is reported at another rate than its tuning found, unless its tuning is unfinished."""
    rows, report = [], with_training(run.cells[run.cells["role"] == "report"])
    for best in best_rates(run).to_dict("records"):
        arm = {column: best[column] for column in (*TRAINING, "planned_steps")}
        for lr, cells in pick(report, **arm).groupby("lr") if best["complete"] else ():
            if lr != best["lr"]:
                scores, behind = best["scores"], None
                if lr in scores and scores[lr].notna().all():
                    behind = JUDGED[best["task"]].compare(scores[best["lr"]] - scores[lr], LEVEL)
                rows.append(OffRate(arm, float(lr), best["lr"], behind, frozenset(cells["cell_id"])))
    return rows


def warnings_of_rates(run: Run) -> list[str]:
    """One line for each arm that is reported at another rate than its tuning found, for the top of a report."""
    return [
        f"not as tuned: {task_name(off.arm['task'])}, {dataset_label(off.arm['dataset'], off.arm['scale'])},"
        f" {off.arm['optimizer']}, {off.arm['schedule']}: {off.text}; no comparison with these {len(off.cells)} cells"
        " is at tuned rates"
        for off in off_rates(run)
    ]


def with_rates(verdicts: pd.DataFrame, run: Run) -> pd.DataFrame:
    """`verdicts` (claims.csv) with column `rates`: what is not at its tuned rate among the cells of a verdict, or "".

    A verdict rests on cells if its evidence is another without them.
    """
    off, notes = off_rates(run), dict.fromkeys(verdicts["claim"], "")
    claims = [claim for claim in CLAIMS if claim.kind == "data"] if off else []
    for claim in claims:
        evidence = claim.evidence(run)
        if not evidence.lack:
            parts = [one.text for one in off if not _same(evidence, _evidence_without(claim, run, one))]
            notes[claim.name] = f"Not at tuned rates: {'; '.join(parts)}." if parts else ""
    rates = verdicts["claim"].map(notes)
    conclusions = verdicts["may_conclude"] + rates.where(rates == "", " " + rates)
    return verdicts.assign(rates=rates, may_conclude=conclusions)


def _evidence_without(claim: Claim, run: Run, off: OffRate) -> Evidence:
    return claim.evidence(replace(run, cells=run.cells[~run.cells["cell_id"].isin(off.cells)]))


def _same(a: Evidence, b: Evidence) -> bool:
    return a.cells == b.cells and a.effects.equals(b.effects)


def rate_state(cells: pd.DataFrame, best: pd.DataFrame) -> str:
    """Whether the reported cells of a loss and head are at their tuned rate, in words.

    Args:
        cells: cells that differ in seed, condition, and length alone.
        best: the `best_rates` of the run.
    """
    settings = with_training(cells).drop_duplicates([*TRAINING, "planned_steps", "lr"])
    return listed(sorted({_state(row, best) for row in settings.to_dict("records")}))


def _state(cell: dict[str, Any], best: pd.DataFrame) -> str:
    tunings = pick(best, **{column: cell[column] for column in TRAINING})
    if tunings.empty:
        return NOT_TUNED
    same_length = pick(tunings, planned_steps=cell["planned_steps"])
    tuning = (same_length if len(same_length) else tunings).iloc[0]
    if not tuning["complete"]:
        return "tuning not finished"
    if same_length.empty:
        steps = f"in {tuning['planned_steps']} steps instead of {cell['planned_steps']}"
        return f"at {cell['lr']:g}; tuned {steps}, which found {tuning['lr']:g}"
    if cell["lr"] != tuning["lr"]:
        return f"at {cell['lr']:g}, while its tuning found {tuning['lr']:g}"
    few = f" by {tuning['seeds']} seed{'' if tuning['seeds'] == 1 else 's'}" if tuning["seeds"] < FEWEST_SEEDS else ""
    return f"{TUNED}{few}{', on the edge of its grid' if tuning['on_edge'] else ''}"
