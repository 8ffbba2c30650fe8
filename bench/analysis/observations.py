"""Which evidence does a run have on claims that do not compare cells: invariants, proofs, and observations?"""

import numpy as np
import pandas as pd

from bench.analysis.contrasts import HELD, Evidence, account, untested, verdict_cells
from bench.analysis.summary import pick
from bench.store.reader import Run
from ganlab.equilibria import constant_d_loss

BEST_D_LOSS = 0.5  # the value that the document calls best


def dead_against_live(run: Run) -> Evidence:
    """ln of the Fréchet distance of live discriminators minus that of dead ones, for each seed and condition."""
    cells = pick(verdict_cells(run), task="gan", head="sigmoid")
    done = pick(cells, status="done").dropna(subset=["dead_discriminator", "frechet"])
    dead = done["dead_discriminator"] == 1
    if not dead.any():
        return untested(f"no dead discriminator among {len(done)} GANs that may carry a verdict")
    same = [*HELD, "lr", "outlier", "rate", "seed"]
    done = done.assign(log_frechet=np.log(done["frechet"].where(done["frechet"] > 0)))
    live, dead_ones = (
        part.groupby(same, dropna=False)["log_frechet"].mean().reset_index() for part in (done[~dead], done[dead])
    )
    pairs = live.merge(dead_ones, on=same, suffixes=("_live", "_dead"))
    pairs["effect"] = pairs["log_frechet_live"] - pairs["log_frechet_dead"]
    effects = pairs.sort_values(same).groupby("seed")[["effect"]].mean().dropna()
    losses = done.loc[dead, "loss"].value_counts().sort_index()
    counts = ", ".join(f"{count} {loss}" for loss, count in losses.items())
    return Evidence(effects, f"{account(cells, len(effects))}; dead: {counts}")


def procedure_holds(run: Run) -> Evidence:
    """The invariants of the document's procedure, checked in the first steps of every GAN (`procedure_ok`)."""
    if "procedure_ok" not in run.cells or run.cells["procedure_ok"].isna().all():
        return untested("no cell of the run has checked its steps (procedure_ok)")
    checked = run.cells[["procedure_ok"]].dropna().astype(float)
    return Evidence(checked, f"{int(checked['procedure_ok'].sum())} of {len(checked)} GANs kept every invariant")


def constant_discriminator(run: Run) -> Evidence:
    """Whether L1's d_loss distinguishes a constant D = c from the best D: it is (1 - c + c) / 2 = 0.5 for every c."""
    d_loss = constant_d_loss("l1", np.linspace(0, 1, 11))
    differs = np.abs(d_loss - BEST_D_LOSS) > 1e-12
    return Evidence(pd.DataFrame({"differs": differs.astype(float)}), "none: algebra, checked at 11 constants")
