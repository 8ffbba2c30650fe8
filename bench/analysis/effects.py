"""What is the effect of a loss against another one, by seed and photograph?

Every comparison of two losses under one condition takes its effects from here; claims have contrasts of their own.
"""

import pandas as pd

from bench.analysis.metrics import PHOTOGRAPH, Judged
from bench.analysis.summary import pick
from bench.analysis.verdicts import by_photograph
from bench.store.reader import Run


def paired_effects(run: Run, a: pd.DataFrame, b: pd.DataFrame, judged: Judged) -> pd.DataFrame:
    """How much better `a` did than `b`: a row for each seed that both have done, a column for each photograph.

    NaN where a seed did not test a photograph. Tasks without photographs have a single column; so has a run whose rows
    per image are not complete. The images of one photograph count once, by their mean.

    Args:
        run: has the images.
        a, b: cells of one condition, each of one loss and head, one cell per seed.
    """
    done = [pick(cells, status="done").dropna(subset=judged.column) for cells in (a, b)]
    ids = pd.concat(done)["cell_id"]
    has_images = len(run.images) and judged.column in run.images and ids.isin(run.images["cell_id"]).all()
    if not has_images:
        sides = [judged.effect(cells.set_index("seed")[[judged.column]].astype(float)) for cells in done]
        return (sides[0] - sides[1]).dropna()
    rows = run.images[run.images["cell_id"].isin(ids)]
    values = rows.pivot_table(index="cell_id", columns="image", values=judged.column).astype(float)
    sides = [values.reindex(cells["cell_id"]).set_axis(cells["seed"].to_numpy(), axis="index") for cells in done]
    effects = (judged.effect(sides[0]) - judged.effect(sides[1])).dropna(how="all").dropna(how="all", axis="columns")
    task = str(a["task"].iloc[0]) if len(a) else ""
    return by_photograph(effects, task).rename_axis(index="seed", columns=PHOTOGRAPH)
