"""Which evidence does a run have on claims that are no contrast of cells: invariants, proofs, and observations?"""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd

from bench.analysis.contrasts import HELD, Evidence, account, final_d_loss, log_of, untestable, untested, verdict_cells
from bench.analysis.summary import equilibrium_d_loss, pick
from bench.store.reader import Run
from ganlab.equilibria import constant_d_loss
from ganlab.outliers import CLEAN

BEST_D_LOSS = 0.5  # the value that the document calls best
STRENGTH = "d_lr_ratio"  # the setting of a GAN that varies the strength of D


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
    return Evidence(effects, f"{account(cells, len(effects))}; dead: {counts}", cells)


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


def best_at_half(loss: str) -> Callable[[Run], Evidence]:
    """Evidence on "training is best when d_loss approaches 0.5", against "... when it approaches its equilibrium".

    The strengths of D (`d_lr_ratio`) of a seed end at different d_loss (`final_d_loss`) and Fréchet distances, after
    equally many steps. Two strengths tell the hypotheses apart where one ends nearer to 0.5 and the other nearer to the
    equilibrium, as 0.45 and 0.65 do for BCE. The effect of a seed is the mean over such pairs of ln of the Fréchet
    distance, that of the strength nearer to the equilibrium minus that of the strength nearer to 0.5: positive for the
    document, negative if images are better where d_loss is nearer to ln 2 (BCE) or 0.25 (L2).

    NOT TESTABLE where 0.5 is the equilibrium itself (L1), where all d_loss lie on one side of 0.5 (a smaller distance
    from 0.5 is then just a larger, or just a smaller, d_loss), or where no two strengths tell them apart.
    """
    equilibrium = equilibrium_d_loss(loss, "sigmoid")
    assert equilibrium is not None

    def evidence(run: Run) -> Evidence:
        if equilibrium == BEST_D_LOSS:
            return untestable(f"{BEST_D_LOSS:g} is the loss's own equilibrium, so nothing tells the two apart")
        cells = pick(verdict_cells(run), task="gan", head="sigmoid", loss=loss, outlier=CLEAN)
        if cells.empty:
            return untested(f"the run has no cells that may carry a verdict for gan {loss} sigmoid {CLEAN}")
        arms = _most_strengths(cells)
        done = pick(arms, status="done").set_index("cell_id")
        done = done.assign(d_loss=final_d_loss(run), log_frechet=log_of("frechet")(run)["frechet"])
        done = done.dropna(subset=["d_loss", "log_frechet"])
        strengths = arms["strength"].nunique()
        complete = done[done.groupby("seed")["strength"].transform("nunique") == strengths]
        effects = complete.groupby("seed")[["d_loss", "log_frechet"]].apply(_nearer_to_half, equilibrium)
        low, high = done["d_loss"].min(), done["d_loss"].max()
        ended = f"d_loss ended between {low:.2f} and {high:.2f}; the target is {BEST_D_LOSS:g}"
        if len(done) and not low < BEST_D_LOSS < high:
            return untestable(ended, arms)
        if len(complete) and effects.isna().all():
            return untestable(f"{ended}, but no two strengths of D tell it from {equilibrium:.3g}", arms)
        found = effects.dropna().astype(float).to_frame("effect") if len(complete) else pd.DataFrame()
        rates = ", ".join(f"{strength:g}" for strength in sorted(set(arms["strength"])))
        return Evidence(found, f"{account(arms, len(found))}; D's rate over G's {rates}; {ended}", arms)

    return evidence


def _most_strengths(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of the setting that was run at the most strengths of D, with a column `strength`.

    Settings equal in all but the strength are one; ties go to the one with more cells.
    """
    settings = [json.loads(text) for text in cells["settings"]]
    cells = cells.assign(
        strength=[float(setting.get(STRENGTH, 1.0)) for setting in settings],
        others=[
            json.dumps({k: v for k, v in setting.items() if k != STRENGTH}, sort_keys=True) for setting in settings
        ],
    )
    held = [*(column for column in HELD if column != "settings"), "others", "lr", "steps"]
    sizes = cells.groupby(held, dropna=False).agg(strengths=("strength", "nunique"), cells=("cell_id", "size"))
    ranked = sizes.reset_index().sort_values(
        ["strengths", "cells", *held], ascending=[False, False, *[True] * len(held)], kind="stable"
    )
    return pick(cells, **ranked.iloc[0][held].to_dict()).drop(columns="others")


def _nearer_to_half(arms: pd.DataFrame, equilibrium: float) -> float:
    """The effect of a seed, from the d_loss and log_frechet of its strengths; NaN if no two tell the two apart."""
    d_loss, log_frechet = (arms[column].to_numpy(float) for column in ("d_loss", "log_frechet"))
    to_half, to_equilibrium = np.abs(d_loss - BEST_D_LOSS), np.abs(d_loss - equilibrium)
    telling = (to_half[:, None] < to_half) & (to_equilibrium[:, None] > to_equilibrium)  # (nearer to 0.5, the other)
    differences = log_frechet - log_frechet[:, None]
    return float(differences[telling].mean()) if telling.any() else np.nan
