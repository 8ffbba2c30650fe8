"""Does the recommendation follow from paired differences, and is a missing recommendation explained?"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.recommend import ALIKE, OPEN, SITUATIONS, WORSE, advise, answer, reasons
from bench.reports.tables.results import advice_table
from bench.store.reader import Run
from ganlab.outliers import CLEAN, OUTLIERS

SEEDS = range(12)  # at most


def run_of(psnr_db, task="sr", column="psnr_y_db", outlier="clean", rate=0.0, head="raw"):
    """A run of one condition from {loss: one value per seed}."""
    rows = [
        {
            "task": task,
            "dataset": "photos",
            "scale": 2.0,
            "loss": loss,
            "head": head,
            "outlier": outlier,
            "rate": rate,
            "seed": seed,
            "role": "report",
            "status": "done",
            "precision": "fp32",
            column: value,
        }
        for loss, values in psnr_db.items()
        for seed, value in zip(SEEDS, values, strict=False)
    ]
    return Run(None, {}, pd.DataFrame(rows).reindex(columns=[*rows[0], "ssim", "mae", "kid"]), *[pd.DataFrame()] * 3)


def advice_on(situation, run):
    return next(advice for advice in advise(run) if advice.situation == situation)


def test_the_better_loss_is_recommended_with_its_paired_interval():
    # differences 5.0, 5.2, 4.8, 5.0 although the seeds themselves lie 3 dB apart: mean 5, s = 0.1633
    l2 = np.array([20.0, 23.0, 26.0, 29.0])
    advice = advice_on("Clean targets", run_of({"l1": l2 + np.array([5.0, 5.2, 4.8, 5.0]), "l2": l2}))
    assert answer(advice) == "L1 raw"
    (rival,) = advice.rivals
    half = 1.5 * stats.t.ppf(0.975, 3) * 0.1633 / 2  # one pair: 95 % as it is, widened
    assert rival.behind.interval == pytest.approx((5.0, 5 - half, 5 + half), abs=1e-4)
    assert reasons(advice) == (f"L2 raw 5.00 dB behind ({5 - half:.2f} to {5 + half:.2f}, n = 4): worse",)
    assert advice.trained_in == ""


def test_different_precisions_are_reported():
    run = run_of({"l1": [31.0, 31.1], "l2": [30.0, 30.1], "huber": [30.5, 30.6]})
    run.cells.loc[run.cells["loss"] == "l2", "precision"] = "bf16"
    advice = advice_on("Clean targets", run)
    assert advice.trained_in == "bf16 for L2 raw, fp32 for the others"
    assert "trained in bf16 for L2 raw, fp32 for the others" in advice_table([advice]).rows[0][2].notes


def test_three_losses_share_the_error_of_all_three_pairs():
    advice = advice_on("Clean targets", run_of({"l1": [5, 5.2, 4.8, 5], "l2": [0] * 4, "huber": [1] * 4}))
    half = 1.5 * stats.t.ppf(1 - 0.025 / 3, 3) * 0.1633 / 2
    mean, _, high = advice.rivals[-1].behind.interval
    assert high - mean == pytest.approx(half, abs=1e-4)


def test_a_difference_within_the_margin_is_negligible():
    advice = advice_on("Clean targets", run_of({"l1": [30.01, 30.02, 30.0, 30.01] * 3, "l2": [30.0] * 12}))
    assert {rival.word for rival in advice.rivals} == {ALIKE}
    assert answer(advice) == "any: no difference worth having"


def test_a_loss_that_leads_with_another_head_is_reported():
    raw = run_of({"l1": [30.0, 30.1], "l2": [29.0, 29.1]})
    sigmoid = run_of({"l1": [29.9, 30.0], "l2": [31.0, 31.1]}, head="sigmoid")
    both = Run(None, {}, pd.concat([raw.cells, sigmoid.cells], ignore_index=True), *[pd.DataFrame()] * 3)
    advice = advice_on("Clean targets", both)
    assert (advice.best, advice.ahead) == (("l1", "raw"), ("l2", "sigmoid"))
    assert {rival.arm for rival in advice.rivals} == {("l2", "raw")}  # heads are no question of a recommendation
    assert "best mean over all heads: L2 sigmoid" in advice_table([advice]).rows[0][1].notes
    assert advice_on("Clean targets", raw).ahead is None


def test_undecided_comparisons_are_not_settled():
    advice = advice_on("Clean targets", run_of({"l1": [30.0, 31.0, 29.5, 30.5], "l2": [30.0] * 4}))
    assert {rival.word for rival in advice.rivals} == {OPEN}
    assert answer(advice) == "not settled; best mean: L1 raw"


def test_one_seed_is_not_enough():
    advice = advice_on("Clean targets", run_of({"l1": [40.0], "l2": [20.0]}))
    assert answer(advice) == "not settled; best mean: L1 raw"
    assert reasons(advice) == ("L2 raw 20.00 dB behind (n = 1): not settled",)


def test_a_loss_with_fewer_seeds_wins_only_where_it_is_shown_better():
    few = {"l1": [30.0, 30.1, 29.9, 30.0], "l2": [20.0, 20.1, 19.9, 20.0]}
    shown = run_of(few | {"huber": [35.0, 35.1, 34.9]})
    assert answer(advice_on("Clean targets", shown)) == "huber raw"
    alike = run_of(few | {"huber": [30.5, 29.9, 30.6]})
    assert answer(advice_on("Clean targets", alike)) == "L1 raw (huber raw: not settled)"


def test_gans_are_judged_by_ratios_of_distances():
    distances = {"l1": [20.0, 22.0, 21.0, 20.5], "l2": [10.0, 11.0, 10.5, 10.25]}
    run = run_of(distances, "gan", "frechet", "flip", 0.2, "sigmoid")
    advice = advice_on("GAN: flipped labels", run)
    assert answer(advice) == "L2 sigmoid"  # a smaller distance is better: twice as far in every seed
    assert advice.rivals[0].word == WORSE
    assert reasons(advice)[0].startswith("L1 sigmoid 2.00 times as far (2.00 to 2.00, n = 4)")


def test_situations_without_cells_are_reported():
    advice = advice_on("Zero-mean noise, no outliers", run_of({"l1": [1, 2], "l2": [1, 2]}))
    assert answer(advice) == "not tested by this run"


def test_further_conditions_are_counted_and_never_choose():
    run = run_of({"l1": [30.0, 30.1], "l2": [20.0, 20.1]}, outlier="salt", rate=0.2)
    other = run_of({"l1": [20.0, 20.1], "l2": [30.0, 30.1]}, outlier="salt", rate=0.4)
    both = Run(None, {}, pd.concat([run.cells, other.cells]), *[pd.DataFrame()] * 3)
    advice = advice_on("Many outliers, one-sided", both)
    assert advice.condition[2:] == ("salt", 0.2)
    assert (advice.others, advice.agreeing) == (1, 0)  # there L2 beats it


@pytest.mark.parametrize("kind", [CLEAN, *(kind.name for kind in OUTLIERS.values() if kind.corrupts == "target")])
def test_every_condition_of_super_resolution_belongs_to_one_situation(kind):
    for rate in [0.0] if kind == CLEAN else [0.02, 0.1, 0.11, 0.2, 0.49, 0.5, 0.6, 0.9]:
        assert sum(one.holds(kind, rate) for one in SITUATIONS if one.task == "sr") == 1, rate


def test_a_majority_of_outliers_to_both_sides_is_judged_by_itself():
    few = run_of({"l1": [30.0, 30.1], "l2": [29.0, 29.1]}, outlier="salt-pepper", rate=0.4)
    most = run_of({"l1": [20.0, 20.1], "l2": [25.0, 25.1]}, outlier="salt-pepper", rate=0.7)
    both = Run(None, {}, pd.concat([few.cells, most.cells]), *[pd.DataFrame()] * 3)
    for situation, best in (("Many outliers, to both sides", "l1"), ("Outliers to both sides in the majority", "l2")):
        advice = advice_on(situation, both)
        assert (advice.best, advice.others) == ((best, "raw"), 0)
