"""Which learning rate is best, and how is an unfinished grid handled?"""

from types import SimpleNamespace

import pandas as pd

from bench.analysis.summary import pick
from bench.analysis.tuning import best_rates

ARM = {"task": "sr", "dataset": "photos", "optimizer": "adam", "loss": "l1", "head": "raw", "schedule": "cosine"}


def run_of(values: dict[float, list[float | None]]) -> SimpleNamespace:
    """A run whose tuning cells end at the given validation PSNR, by learning rate and seed; None where not done."""
    cells, curves = [], []
    for lr, ends in values.items():
        for seed, end in enumerate(ends):
            cell = f"{lr}-{seed}"
            status = "pending" if end is None else "done"
            cells.append(ARM | {"cell_id": cell, "lr": lr, "seed": seed, "status": status, "role": "tune"})
            points = [(1, 99.0), (2, end)]  # the last point counts
            curves += [{"cell_id": cell, "metric": "val_psnr_y_db", "step": step, "value": v} for step, v in points]
    return SimpleNamespace(cells=pd.DataFrame(cells).assign(value_range=1.0), curves=pd.DataFrame(curves).dropna())


def test_the_best_rate_has_the_best_mean_over_seeds():
    row = best_rates(run_of({1e-3: [30.0, 31.0], 3e-3: [31.0, 32.0], 1e-2: [33.0, 28.0]})).iloc[0]
    assert (row["lr"], row["value"], row["on_edge"], row["reported"]) == (3e-3, 31.5, False, [])


def test_a_grid_without_a_finished_rate_has_no_best_one_and_keeps_its_columns():
    best = best_rates(run_of({1e-3: [30.0, None], 3e-3: [None, 32.0]}))
    assert best.empty
    assert pick(best, **ARM).empty
