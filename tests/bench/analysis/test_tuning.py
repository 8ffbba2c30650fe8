"""Which learning rate is best, is it determined, and how is an unfinished grid handled?"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.reported_rates import NOT_TUNED, TUNED, off_rates, rate_state, warnings_of_rates, with_rates
from bench.analysis.summary import pick
from bench.analysis.tuning import CONVERGED, FAILED, NEVER_TRIED, NOT_DONE, asides, best_rates, tuned, untuned
from bench.analysis.verdicts import judge
from bench.reports.tables.rates import rate_table
from bench.store.reader import Run
from bench.store.schema import COLUMNS

ARM = {"task": "sr", "dataset": "photos", "optimizer": "adam", "loss": "l1", "head": "raw", "schedule": "cosine"}
SETTING = ARM | {"scale": 2.0, "value_range": 1.0, "batch_size": 8, "precision": "fp32", "redraw": 0.0, "code": "c0de"}
SETTING |= {"outlier": "clean", "rate": 0.0, "settings": '{"evaluations": 3, "steps": 100, "width": 8}'}
FINER = {"training": '{"width": 8}', "planned_steps": 100}


def cells_of(values, role="tune", metric="val_psnr_y_db", status="pending", **where):
    """Cells and curves whose curve ends at the given value, by learning rate and seed; None where not done."""
    cells, curves = [], []
    for lr, ends in values.items():
        for seed, end in enumerate(ends):
            cell = f"{role}-{lr}-{seed}-{'-'.join(map(str, where.values()))}"
            cells.append(SETTING | where | {"cell_id": cell, "lr": lr, "seed": seed, "role": role})
            cells[-1] |= {"status": status if end is None else "done", "psnr_y_db": end, "psnr_db": end}
            points = [(1, 99.0), (2, end)]  # the last point counts
            curves += [{"cell_id": cell, "metric": metric, "step": step, "value": v} for step, v in points]
    return pd.DataFrame(cells), pd.DataFrame(curves).dropna()


def run_of(*parts):
    """A run from pairs of cells and curves, with an image per done cell."""
    cells, curves = (pd.concat(frames, ignore_index=True) for frames in zip(*parts, strict=True))
    images = pick(cells, status="done")[["cell_id", "psnr_y_db", "psnr_db"]].assign(image="camera")
    return Run(None, {}, cells.reindex(columns=[*COLUMNS["cells"]]), images, curves, pd.DataFrame())


def best_of(values, **more):
    return best_rates(run_of(cells_of(values, **more))).iloc[0]


def test_the_best_rate_has_the_best_mean_over_seeds():
    row = best_of({1e-3: [30.0, 31.0], 3e-3: [31.0, 32.0], 1e-2: [33.0, 28.0]})
    assert (row["lr"], row["value"], row["on_edge"], row["reported"]) == (3e-3, 31.5, False, [])
    assert (row["seeds"], row["conditions"], row["metric"], row["complete"]) == (2, "clean", "val_psnr_y_db", True)


def test_a_grid_without_a_finished_rate_has_no_best_one_and_keeps_its_columns():
    best = best_rates(run_of(cells_of({1e-3: [30.0, None], 3e-3: [None, 32.0]})))
    assert best.empty
    assert pick(best, **ARM).empty


def test_a_seed_counts_once_and_only_with_all_its_conditions():
    clean = cells_of({1e-3: [30.0, 31.0], 3e-3: [29.0, 30.0]})
    salt = cells_of({1e-3: [20.0, 21.0], 3e-3: [25.0, 26.0]}, outlier="salt", rate=0.2)
    row = best_rates(run_of(clean, salt)).iloc[0]
    assert (row["lr"], row["value"], row["seeds"], row["conditions"]) == (3e-3, 27.5, 2, "clean and salt 20 %")
    salt = cells_of({1e-3: [20.0, 21.0], 3e-3: [25.0, None]}, status="diverged", outlier="salt", rate=0.2)
    row = best_rates(run_of(clean, salt)).iloc[0]  # 3e-3 would lead on what is left of it
    assert (row["lr"], row["above"].state) == (1e-3, FAILED)


def test_the_differences_to_both_neighbours_are_paired_and_hold_together():
    # the seeds lie 5 dB apart, the differences to the rate above are 0.9, 1.0, 1.1: mean 1, s = 0.1
    row = best_of({1e-3: [29.0, 33.0, 38.0], 3e-3: [30.0, 35.0, 40.0], 1e-2: [29.1, 34.0, 38.9]})
    half = 1.5 * stats.t.ppf(1 - 0.025 / 2, 2) * 0.1 / 3**0.5  # widened for few seeds
    assert (row["above"].lr, row["above"].state) == (1e-2, CONVERGED)
    assert row["above"].behind.interval == pytest.approx((1.0, 1 - half, 1 + half))
    assert row["below"].behind.interval.mean == pytest.approx(5 / 3)


def test_a_best_rate_without_a_converging_neighbour_is_on_the_edge_and_says_why():
    grid = {1e-3: [30.0] * 3, 3e-3: [31.0] * 3}
    for above, status, state in (
        ({}, "", NEVER_TRIED),
        ({1e-2: [None, 20.0, 20.0]}, "diverged", FAILED),
        ({1e-2: [None, 20.0, 20.0]}, "pending", NOT_DONE),
    ):
        run = run_of(cells_of(grid | above, status=status))
        row = best_rates(run).iloc[0]
        assert (row["lr"], row["on_edge"]) == (3e-3, True)
        assert (row["below"].state, row["above"].state) == (CONVERGED, state)
        assert row["complete"] == (status != "pending")
        text = rate_table(run).rows[0][7].line
        assert "the best is on the edge" in text
        assert (state if above else "none tried") in text
    assert not best_of(grid | {1e-2: [29.0] * 3})["on_edge"]


def test_distances_are_compared_by_their_ratios_on_validation_images_where_there_are_any():
    gan = {"task": "gan", "dataset": "mnist", "head": "sigmoid", "scale": np.nan, "value_range": np.nan}
    values = {1e-4: [20.0, 40.0], 2e-4: [10.0, 20.0], 4e-4: [1.0, 1000.0]}  # the last: mean 500, geometric mean 32
    validation, reported = (cells_of(values, metric=name, **gan) for name in ("val_frechet", "frechet"))
    row = best_rates(run_of(validation)).iloc[0]
    assert (row["lr"], row["metric"]) == (2e-4, "val_frechet")
    assert row["value"] == pytest.approx(200**0.5)
    assert row["below"].behind.interval.mean == pytest.approx(np.log(2))
    assert asides(run_of(validation)) == []
    assert set(tuned(run_of(reported))["metric"]) == {"frechet"}
    assert "on the test images" in asides(run_of(reported))[0]


TUNING = {1e-3: [32.0, 32.1, 31.9], 3e-3: [31.9, 31.9, 31.9], 1e-2: [30.0] * 3}  # 1e-3 is 0.1 dB better than 3e-3
CLEAN = {3e-3: [34.0, 34.1, 34.2]}
OFF = "at 0.003, while its tuning found 0.001"


def settings(steps, width):
    """Settings that differ from those of `SETTING` in the number of evaluations, which changes no training."""
    return {"settings": f'{{"evaluations": 9, "steps": {steps}, "width": {width}}}'}


def test_a_loss_that_is_reported_at_another_rate_than_tuned_is_named_with_its_slack():
    run = run_of(cells_of(TUNING), cells_of(CLEAN, "report"))
    (off,) = off_rates(run)
    assert (off.lr, off.found, len(off.cells)) == (3e-3, 1e-3, 3)
    half = 1.5 * stats.t.ppf(0.975, 2) * 0.1 / 3**0.5
    assert off.behind.interval == pytest.approx((0.1, 0.1 - half, 0.1 + half))
    slack = f"on validation data 0.003 is 0.10 dB behind (−{half - 0.1:.2f} to {half + 0.1:.2f}, n = 3)"
    assert warnings_of_rates(run) == [
        "not as tuned: Super-resolution, photos, ×2, adam, cosine: L1 raw is reported at 0.003, while this run's tuning"
        f" found 0.001 ({slack}); no comparison with these 3 cells is at tuned rates"
    ]
    assert rate_state(pick(run.cells, role="report"), best_rates(run)) == OFF
    assert rate_table(run).rows[0][-1].notes == (f"not as tuned: {off.text}",)


@pytest.mark.parametrize(
    ("tuning", "report", "state"),
    [
        (TUNING, {}, OFF),
        ({3e-3: [33.0] * 3} | {lr: TUNING[lr] for lr in (1e-3, 1e-2)}, {}, TUNED),
        ({3e-3: [33.0] * 2, 1e-3: [32.0] * 2, 1e-2: [32.0] * 2}, {}, "tuned by 2 seeds"),
        ({3e-3: [33.0] * 3, 1e-3: [32.0] * 3}, {}, "tuned, on the edge of its grid"),
        (TUNING | {1e-4: [None] * 3}, {}, "tuning not finished"),
        (TUNING, settings(300, 8), "at 0.003; tuned in 100 steps instead of 300, which found 0.001"),
        (TUNING, settings(100, 9), NOT_TUNED),
        (TUNING, settings(100, 8), OFF),
        (TUNING, {"head": "sigmoid"}, NOT_TUNED),
        (TUNING, {"value_range": 255.0}, NOT_TUNED),
        (TUNING, {"outlier": "salt", "rate": 0.2, "precision": "bf16"}, OFF),
    ],
)
def test_whether_a_loss_is_at_its_tuned_rate(tuning, report, state):
    run = run_of(cells_of(tuning), cells_of(CLEAN, "report", **report))
    assert rate_state(pick(run.cells, role="report"), best_rates(run)) == state
    assert bool(off_rates(run)) is (state == OFF)


def test_verdicts_that_rest_on_other_rates_carry_it_and_no_others():
    sides = [cells_of({3e-3: [35.0, 35.1, 35.2]}, "report", loss="l2")]
    for head in ("raw", "sigmoid"):
        sides.append(cells_of(CLEAN, "report", head=head))
    sides.append(cells_of({3e-3: [35.0, 35.1, 35.2]}, "report", loss="l2", head="sigmoid"))
    plain, off = run_of(*sides), run_of(*sides, cells_of(TUNING))
    verdicts = with_rates(judge(off), off).set_index("claim")
    concerned = verdicts.index[verdicts["rates"] != ""]
    assert list(concerned) == ["l2-reconstruction/sr-raw"]
    assert "L1 raw is reported at 0.003" in verdicts.loc["l2-reconstruction/sr-raw", "may_conclude"]
    assert verdicts.loc["l2-reconstruction/sr-sigmoid", "n"] == 3
    assert (with_rates(judge(plain), plain)["rates"] == "").all()


def test_losses_without_tuning_are_named_beside_those_with():
    run = run_of(cells_of(TUNING), cells_of(CLEAN, "report"), cells_of(CLEAN, "report", loss="huber"))
    assert untuned(run) == ("In Super-resolution on photos it tunes no rate of huber raw.", ())
    assert untuned(run_of(cells_of(TUNING), cells_of(CLEAN, "report"))) is None
