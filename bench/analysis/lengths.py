"""Does longer training, or another width, change which loss is better?

Cells that differ in the number of steps or in the network are never mixed; here they stand side by side. At each
length, width, and condition the losses are compared with the first one (L1 where it is there) by paired effects.
"""

import pandas as pd

from bench.analysis.comparison import family_level
from bench.analysis.effects import paired_effects
from bench.analysis.labels import arms_of
from bench.analysis.learning import still_learning
from bench.analysis.looks import plan_of
from bench.analysis.metrics import JUDGED, population
from bench.analysis.summary import MAIN_PSNR, fold_of, pick, seeds_interval
from bench.analysis.tuning import with_training
from bench.store.reader import Run

PLACE = ["task", "dataset", "scale", "head", "schedule", "optimizer", "value_range", "precision"]
COLUMNS = [
    *(*PLACE, "training", "planned_steps", "outlier", "rate", "loss", "n", "mean", "low", "high"),
    *("comparison", "population", "learning"),
]


def lengths(run: Run) -> pd.DataFrame:
    """Each loss at each length, width, and condition, if a run has several lengths with two losses.

    Columns: those of `PLACE`; `training`, the settings without the steps; `planned_steps`; the condition; `loss`; `n`,
    `mean`, `low`, `high` of its main PSNR over seeds; `comparison` with the first loss there (None for itself),
    positive if the loss is better, all comparisons of the table being one family; `population` of its decision; and
    `learning`, the cells that are still learning.
    """
    cells = with_training(pick(run.cells, role="report"))
    cells = cells[cells["task"].isin(MAIN_PSNR)]
    groups = []
    for _, place in cells.groupby(PLACE, dropna=False):
        settings = ["training", "planned_steps", "outlier", "rate"]
        losses = place.groupby(settings)["loss"].nunique()
        if losses[losses > 1].index.get_level_values("planned_steps").nunique() > 1:
            groups += [group for _, group in place.groupby(settings) if group["loss"].nunique() > 1]
    level = family_level(sum(group["loss"].nunique() - 1 for group in groups))
    rows = [row for group in groups for row in _rows(run, group, level)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(run: Run, group: pd.DataFrame, level: float) -> list[dict[str, object]]:
    """The losses of one length, width, and condition."""
    arms = sorted(arms_of(group), key=lambda arm: arm[0] != "l1")  # l1 first, the others in their order
    judged, rows = JUDGED[group["task"].iloc[0]], []
    first = pick(group, loss=arms[0][0])
    for loss, _ in arms:
        side = pick(group, loss=loss)
        done = pick(side, status="done").dropna(subset=judged.column)
        mean, low, high = seeds_interval(done[judged.column], fold_of(done["cell_id"], run.images))
        comparison, reach = None, ""
        if loss != arms[0][0]:
            effects = paired_effects(run, side, first, judged)
            comparison = judged.compare(effects, level, plan=plan_of(pd.concat([side, first])))
            reach = population(effects, comparison)
        row = side.iloc[0][[*PLACE, "training", "planned_steps", "outlier", "rate", "loss"]].to_dict()
        row |= {"n": len(done), "mean": mean, "low": low, "high": high}
        rows.append(row | {"comparison": comparison, "population": reach, "learning": still_learning(run, side)})
    return rows
