"""Does the recommendation follow from paired differences, and is a missing recommendation explained?"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.effects import paired_effects
from bench.analysis.metrics import JUDGED
from bench.analysis.recommend import (
    ALIKE,
    BETTER,
    OPEN,
    SITUATIONS,
    WORSE,
    advise,
    answer,
    differences,
    further_conditions,
    reach,
    reasons,
)
from bench.analysis.summary import pick
from bench.reports.tables.advice import advice_table
from bench.store.reader import Run
from ganlab.outliers import CLEAN, OUTLIERS

SEEDS = range(12)  # at most
SETTING = {
    **{"dataset": "photos", "scale": 2.0, "schedule": "cosine", "optimizer": "adam", "lr": 1e-3, "precision": "fp32"},
    **{"value_range": 1.0, "batch_size": 8, "redraw": 0, "settings": '{"steps": 100, "evaluations": 5, "width": 8}'},
}
TUNE = {"role": "tune", "outlier": "clean", "rate": 0.0, "status": "done", "task": "sr", "head": "raw"}


def run_of(psnr_db, task="sr", column="psnr_y_db", outlier="clean", rate=0.0, head="raw"):
    """A run of one condition from {loss: one value per seed}."""
    rows = [
        {
            **SETTING,
            "cell_id": f"{loss}-{head}-{outlier}-{rate}-{seed}",
            "task": task,
            "loss": loss,
            "head": head,
            "outlier": outlier,
            "rate": rate,
            "seed": seed,
            "role": "report",
            "status": "done",
            column: value,
        }
        for loss, values in psnr_db.items()
        for seed, value in zip(SEEDS, values, strict=False)
    ]
    return Run(None, {}, pd.DataFrame(rows).reindex(columns=[*rows[0], "ssim", "mae", "kid"]), *[pd.DataFrame()] * 3)


def joined(*runs):
    """One run with the cells of several."""
    return Run(None, {}, pd.concat([run.cells for run in runs], ignore_index=True), *[pd.DataFrame()] * 3)


def advice_on(situation, run, whole=None):
    return next(advice for advice in advise(run, whole or run) if advice.situation == situation)


def test_the_better_loss_is_recommended_with_its_paired_interval():
    # differences 5.0, 5.2, 4.8, 5.0 although the seeds themselves lie 3 dB apart: mean 5, s = 0.1633
    l2 = np.array([20.0, 23.0, 26.0, 29.0])
    advice = advice_on("Clean targets", run_of({"l1": l2 + np.array([5.0, 5.2, 4.8, 5.0]), "l2": l2}))
    assert answer(advice) == "L1 raw"
    (rival,) = advice.rivals
    half = 1.5 * stats.t.ppf(0.975, 3) * 0.1633 / 2  # one pair: 95 % as it is, widened
    assert rival.behind.interval == pytest.approx((5.0, 5 - half, 5 + half), abs=1e-4)
    assert reasons(advice) == (f"L2 raw 5.00 dB behind ({5 - half:.2f} to {5 + half:.2f}, n = 4): worse",)
    assert differences(advice) == ("all rates not tuned in this run",)


def test_a_difference_of_training_has_its_own_column():
    run = run_of({"l1": [31.0, 31.1], "l2": [30.0, 30.1], "huber": [30.5, 30.6]})
    run.cells.loc[run.cells["loss"] == "l2", "precision"] = "bf16"
    advice = advice_on("Clean targets", run)
    said = ("L2 raw against L1 raw: precision bf16 against fp32", "all rates not tuned in this run")
    assert differences(advice) == said
    (row,) = advice_table([advice]).rows
    assert (advice_table([advice]).header[3], row[3].notes) == ("not alike", said)
    for column, value, name in (
        ("batch_size", 16, "batch size 16 against 8"),
        ("schedule", "constant", "schedule constant against cosine"),
        ("settings", '{"steps": 300, "evaluations": 5, "width": 8}', "steps 300 against 100"),
        ("settings", '{"steps": 100, "evaluations": 5, "width": 9}', "other settings"),
        ("settings", '{"steps": 100, "evaluations": 6, "width": 8}', ""),
    ):
        run = run_of({"l1": [31.0, 31.1], "l2": [30.0, 30.1]})
        run.cells.loc[run.cells["loss"] == "l2", column] = value
        told = [line for line in differences(advice_on("Clean targets", run)) if "rates" not in line]
        assert told == ([f"L2 raw against L1 raw: {name}"] if name else [])


def test_losses_are_set_beside_each_other_behind_a_head_that_both_have():
    run = joined(
        run_of({"l1": [31.0, 31.1, 31.2] * 4, "huber": [29.0, 29.1, 29.2] * 4}),
        run_of({"l1": [30.0, 30.1, 30.2] * 4, "bce": [29.95, 30.05, 30.15] * 4}, head="sigmoid"),
    )
    advice = advice_on("Clean targets", run)
    by_arm = {rival.arm: rival for rival in advice.rivals}
    assert advice.best == ("l1", "raw")
    assert by_arm["bce", "sigmoid"].beside == ("l1", "sigmoid")
    assert by_arm["bce", "sigmoid"].word == ALIKE  # 0.05 dB behind the same head, and 1.05 dB behind the raw one
    assert by_arm["huber", "raw"].beside == ("l1", "raw")
    assert reasons(advice)[0].startswith("BCE sigmoid, set beside L1 sigmoid, 0.05 dB behind")
    assert not any("head" in line for line in differences(advice))
    alone = run_of({"bce": [29.95, 30.05, 30.15]}, head="sigmoid")
    advice = advice_on("Clean targets", joined(run_of({"huber": [31.0, 31.1, 31.2]}), alone))
    assert "BCE sigmoid against huber raw: head sigmoid against raw" in differences(advice)


def test_a_loss_that_is_not_as_tuned_is_named_beside_the_recommendation():
    run = run_of({"l1": [31.0, 31.1, 31.2], "l2": [30.0, 30.1, 30.2]})
    tuning = [
        SETTING | TUNE | {"cell_id": f"t{loss}{lr}{seed}", "loss": loss, "lr": lr, "seed": seed}
        for loss, rates in (("l1", (3e-4, 1e-3, 3e-3)), ("l2", (1e-3, 3e-3, 1e-2)))
        for lr in rates
        for seed in range(3)
    ]
    curves = [{"cell_id": c["cell_id"], "step": 9, "metric": "val_psnr_y_db", "value": 30.0} for c in tuning]
    for cell, point in zip(tuning, curves, strict=True):
        point["value"] += cell["lr"] == (1e-3 if cell["loss"] == "l1" else 3e-3)
    whole = replace(run, cells=pd.concat([run.cells, pd.DataFrame(tuning)]), curves=pd.DataFrame(curves))
    advice = advice_on("Clean targets", run, whole)
    assert differences(advice) == ("rate of L2 raw at 0.001, while its tuning found 0.003", "rate of L1 raw tuned")
    use = advice_table([advice]).rows[0][1]
    assert use.line == "L1 raw (not as tuned: L2 raw at 0.001, while its tuning found 0.003)"


def test_other_metrics_are_compared_on_the_seeds_that_all_losses_have():
    run = run_of({"l1": [31.0, 31.1, 31.2, 31.3], "l2": [30.0, 30.1, 30.2]})
    ssim = {"l1": [0.8, 0.8, 0.8, 0.0], "l2": [0.7, 0.7, 0.7]}  # the last seed would turn the order
    run.cells["ssim"] = [value for loss in ("l1", "l2") for value in ssim[loss]]
    advice = advice_on("Clean targets", run)
    assert (advice.best_by_metric["ssim"], advice.shared_seeds) == (("l1", "raw"), 3)
    assert "by mean SSIM over 3 shared seeds: L1 raw" in advice_table([advice]).rows[0][-1].notes


def with_images(run, offsets):
    """The run with a row per cell and image: the cell's value plus an offset of the loss, the image, and the seed.

    `offsets` maps (loss, image) to a function of the seed, whose NaN stands for an image that the seed does not test.
    """
    rows = [
        {"cell_id": cell.cell_id, "image": image, "psnr_y_db": cell.psnr_y_db + offset(cell.seed)}
        for cell in run.cells.itertuples()
        for (loss, image), offset in offsets.items()
        if loss == cell.loss
    ]
    return replace(run, images=pd.DataFrame(rows).dropna())


def test_a_recommendation_names_whom_it_speaks_of():
    run = run_of({"l1": [31.0, 31.1, 30.9, 31.0], "l2": [30.0] * 4})
    alike = {(loss, image): lambda seed: 0.0 for loss in ("l1", "l2") for image in "abcd"}
    advice = advice_on("Clean targets", with_images(run, alike))
    assert reach(advice) == "for images like these"
    assert reasons(advice)[0].endswith(": worse, for images like these")
    # the gain is +3 dB on one photograph and 1/3 dB on the others: certain for these four, not for others
    apart = alike | {
        ("l1", image): lambda seed, gain=gain: gain
        for image, gain in zip("abcd", (2, -2 / 3, -2 / 3, -2 / 3), strict=True)
    }
    advice = advice_on("Clean targets", with_images(run, apart))
    assert (answer(advice), reach(advice)) == ("L1 raw", "for these 4 images")
    assert advice_table([advice]).rows[0][1].notes[0] == "for these 4 images"
    assert reach(advice_on("Clean targets", run)) == ""  # without images nobody knows
    open_ = run_of(
        {
            "l1": [31.0, 31.1, 30.9, 31.0] * 3,
            "l2": [31.01, 31.09, 30.91, 31.0] * 3,
            "huber": [30.0, 32.0, 30.5, 31.4] * 3,
        }
    )
    levels = {(loss, image): lambda seed: 0.0 for loss in ("l1", "l2", "huber") for image in "abcd"}
    advice = advice_on("Clean targets", with_images(open_, levels))
    assert {rival.word for rival in advice.rivals} == {ALIKE, OPEN}
    assert (answer(advice).startswith(OPEN), reach(advice)) == (True, "")  # nothing is recommended


def test_seeds_that_test_different_photographs_are_paired_by_photograph():
    run = run_of({"l1": [31.0, 31.0, 31.0, 31.0], "l2": [30.0] * 4})
    tested = {
        (loss, image): lambda seed, turn=turn, level=level: level if seed % 2 == turn else np.nan
        for loss in ("l1", "l2")
        for image, turn, level in (("a", 0, 5.0), ("b", 0, -3.0), ("c", 1, 0.0))
    }
    run = with_images(run, tested)
    sides = [pick(run.cells, loss=loss) for loss in ("l1", "l2")]
    effects = paired_effects(run, *sides, JUDGED["sr"])
    nan = np.nan
    assert effects.to_numpy() == pytest.approx(
        np.array([[1, 1, nan], [nan, nan, 1], [1, 1, nan], [nan, nan, 1]]), nan_ok=True
    )
    advice = advice_on("Clean targets", run)
    assert (advice.rivals[0].behind.n, advice.rivals[0].behind.interval.mean) == (4, 1.0)
    assert reach(advice) == "for images like these"  # the gain is the same on each of them
    lost = run.images[run.images["cell_id"] != run.cells["cell_id"].iloc[0]]  # a done cell without images
    assert paired_effects(replace(run, images=lost), *sides, JUDGED["sr"]).shape == (4, 1)


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


def test_one_seed_recommends_nothing():
    advice = advice_on("Clean targets", run_of({"l1": [40.0], "l2": [20.0]}))
    assert answer(advice) == "not settled: no interval from one seed"
    assert reasons(advice) == ("L2 raw 20.00 dB behind (n = 1): no interval from one seed",)


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


def test_further_conditions_count_by_what_their_intervals_show_and_never_choose():
    salt = {
        0.2: {"l1": [30.0, 30.1, 30.2] * 4, "l2": [20.0, 20.1, 20.2] * 4},  # judged
        0.3: {"l1": [30.0, 30.1, 30.2] * 4, "l2": [20.0, 20.1, 20.2] * 4},
        0.35: {"l1": [30.0, 30.1, 30.2] * 4, "l2": [31.0, 31.1, 31.2] * 4},
        0.4: {"l1": [30.0, 30.1, 30.2] * 4, "l2": [30.0, 30.1, 30.2] * 4},
        0.45: {"l1": [30.0, 32.0, 30.2] * 4, "l2": [30.1, 30.1, 30.2] * 4},
        0.48: {"l1": [20.0], "l2": [30.0]},  # one seed, in which L1 is 10 dB worse
    }
    run = joined(*(run_of(levels, outlier="salt", rate=rate) for rate, levels in salt.items()))
    advice = advice_on("Many outliers, one-sided", run)
    assert advice.condition[2:] == ("salt", 0.2)
    assert advice.further == {("l2", "raw"): Counter([WORSE, BETTER, ALIKE, OPEN])}
    said = (
        "L2 raw worse in 1, better in 1, no difference worth having in 1, not settled in 1 of 4",
        "1 without any interval, which count for nothing",
    )
    assert further_conditions(advice) == said
    assert advice_table([advice]).rows[0][4].notes == said


def test_the_further_conditions_share_the_error_of_all_their_pairs():
    effects = np.array([5, 5.2, 4.8, 5]) - 4.45  # +0.55, sd 0.163: above the margin for one pair, not for six
    levels = {"l1": effects, "l2": [0.0] * 4}
    few = joined(*(run_of(levels, outlier="salt", rate=rate) for rate in (0.2, 0.3)))
    most = joined(few, *(run_of(levels, outlier="salt", rate=rate) for rate in (0.31, 0.32, 0.33, 0.34, 0.35)))
    assert advice_on("Many outliers, one-sided", few).further == {("l2", "raw"): Counter({WORSE: 1})}
    assert advice_on("Many outliers, one-sided", most).further == {("l2", "raw"): Counter({OPEN: 6})}


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
        assert (advice.best, advice.further) == ((best, "raw"), {})
