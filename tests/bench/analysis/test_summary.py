"""Are the numbers of each mean correct: intervals, pairing, predictions, counts?"""

import numpy as np
import pandas as pd
import pytest

from bench.analysis.comparison import t_interval
from bench.analysis.summary import (
    equilibrium_d_loss,
    main_cells,
    paired_difference,
    paired_ratio,
    pick,
    predict_psnr,
    predicted_curve,
    summarise,
    summary_of,
    with_clean_psnr,
)
from bench.store.reader import load
from bench.store.schema import COLUMNS
from tests.support.synthetic import TEST_IMAGES, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    not_done = {3: ("diverged", "loss not finite"), 4: ("pending", "")}
    return load(write_run(tmp_path_factory.mktemp("run") / "run", seeds=3, not_done=not_done, samples=False))


def test_paired_difference_pairs_by_seed_and_keeps_the_sign():
    cells = pd.DataFrame(
        {
            "loss": ["l1", "l1", "l1", "l2", "l2", "l2"],
            "seed": [0, 1, 2, 2, 1, 0],  # the other order on purpose
            "status": ["done", "done", "diverged", "done", "done", "done"],
            "psnr_y_db": [30.0, 31.0, np.nan, 99.0, 30.5, 28.0],
        }
    )
    difference = paired_difference(cells, "psnr_y_db", {"loss": "l1"}, {"loss": "l2"})
    assert difference.to_dict() == {0: 2.0, 1: 0.5}  # seed 2 has no partner and is not filled in


def test_an_ambiguous_pairing_is_refused():
    cells = pd.DataFrame({"loss": ["l1", "l1"], "seed": [0, 0], "status": "done", "psnr_y_db": [1.0, 2.0]})
    with pytest.raises(ValueError, match="does not single out"):
        paired_difference(cells, "psnr_y_db", {"loss": "l1"}, {"loss": "l1"})


def test_paired_ratio_cancels_the_drift_of_the_machine():
    drift = np.array([1.0, 3.0, 0.5])
    rows = [
        {"loss": loss, "phase": "step", "round": i, "ms": cost * d}
        for loss, cost in (("bce", 10.0), ("l1", 9.0))
        for i, d in enumerate(drift)
    ]
    ratios = paired_ratio(pd.DataFrame(rows), {"loss": "l1"}, {"loss": "bce"})
    assert ratios.tolist() == pytest.approx([0.9, 0.9, 0.9])


def test_paired_ratio_takes_the_median_of_a_round():
    # medians 4 and 2; smallest 1 and 2; means 5 and 3
    times = {"l1": [10.0, 1.0, 4.0], "bce": [2.0, 5.0, 2.0]}
    rows = [{"loss": loss, "phase": "step", "round": 0, "ms": ms} for loss, found in times.items() for ms in found]
    assert paired_ratio(pd.DataFrame(rows), {"loss": "l1"}, {"loss": "bce"}).tolist() == [2.0]


def test_pick_treats_an_empty_cell_as_a_value():
    frame = pd.DataFrame({"scale": [2.0, np.nan], "loss": ["l1", "l2"]})
    assert pick(frame, scale=np.nan)["loss"].tolist() == ["l2"]
    assert pick(frame, scale=2.0, loss="l2").empty


def test_summary_counts_unfinished_cells_and_never_imputes(run):
    row = pick(summary_of(run), loss="l2", head="sigmoid", outlier="clean", metric="psnr_y_db", task="sr").iloc[0]
    assert (row["n"], row["n_done"]) == (3, 2)
    cells = pick(run.cells, loss="l2", head="sigmoid", outlier="clean", task="sr", status="done")
    mean, low, high = t_interval(cells["psnr_y_db"])
    assert (row["mean"], row["ci_low"], row["ci_high"]) == pytest.approx((mean, low, high))


def test_summary_has_only_read_outs_and_skips_tuning_cells(run):
    metrics = set(summary_of(run)["metric"])
    assert {"psnr_y_db", "ssim", "frechet", "dead_discriminator"} <= metrics
    assert not metrics & {"lr", "seed", "train_s", "steps", "peak_memory_mib", "bce_excess"}  # the last is empty here
    tuned = run.cells.assign(role="tune")
    assert summarise(tuned, run.images).empty


def test_summary_does_not_depend_on_the_order_of_rows(run):
    shuffled = summarise(run.cells.sample(frac=1, random_state=1), run.images.sample(frac=1, random_state=2))
    pd.testing.assert_frame_equal(shuffled, summary_of(run))


def test_predicted_psnr_by_hand():
    # One image, clean 30 dB: C = 1e-3. Salt at 0.2 with pull 0.2^2 * 0.5 = 0.02:
    # MSE = (1 - 0.04) * 1e-3 + 0.02 = 0.02096, PSNR = 16.7860 dB; a second image at 40 dB and pull 0.01:
    # MSE = 0.96e-4 + 0.01 = 0.010096, PSNR = 19.9585 dB; the mean of both is 18.3723 dB (pooling first gives 18.09).
    summary = summarise(*_two_cells(("clean", 0.0, (30.0, 40.0), (0, 0)), ("salt", 0.2, (17.0, 20.0), (0.02, 0.01))))
    row = pick(summary, outlier="salt", metric="psnr_y_db").iloc[0]
    assert row["predicted"] == pytest.approx(18.3723, abs=1e-3)
    assert pd.isna(pick(summary, outlier="clean", metric="psnr_y_db")["predicted"].iloc[0])


def test_no_prediction_without_the_clean_cell():
    cells, images = _two_cells(("clean", 0.0, (30.0, 40.0), (0, 0)), ("salt", 0.2, (17.0, 20.0), (0.02, 0.01)))
    cells.loc[cells["outlier"] == "clean", "status"] = "diverged"
    assert pick(summarise(cells, images), metric="psnr_y_db")["predicted"].isna().all()


def test_median_seekers_are_predicted_only_where_the_median_stays(run):
    rows = pick(summary_of(run), loss="l1", head="raw", metric="psnr_y_db")
    clean = pick(rows, outlier="clean")["mean"].iloc[0]
    assert pick(rows, outlier="salt")["predicted"].isna().all()
    assert pick(rows, outlier="salt-pepper")["predicted"].tolist() == pytest.approx([clean, clean])


@pytest.mark.parametrize("loss", ["l1", "huber", "mine:Loss"])
@pytest.mark.parametrize("outlier", ["salt", "missing", "impulse"])
def test_a_loss_without_a_closed_form_is_predicted_by_its_expected_loss_run(loss, outlier):
    # Its two images stand at 29 and 38 dB, so the prediction is 33.5 dB.
    cells, images = _two_cells(("clean", 0.0, (30.0, 40.0), (0, 0)), (outlier, 0.2, (28.0, 37.0), (0.02, 0.01)))
    reference, reference_images = _two_cells((outlier, 0.2, (29.0, 38.0), (0, 0)))
    reference = reference.assign(expected=1.0, role="reference", cell_id="r")
    pictures = pd.concat([images, reference_images.assign(cell_id="r")])
    everything = pd.concat([cells.assign(expected=0.0), reference]).assign(loss=loss)
    rows = pick(summarise(everything, pictures), metric="psnr_y_db")
    assert pick(rows, outlier=outlier)["n"].tolist() == [1]  # a reference is no contestant
    assert pick(rows, outlier=outlier)["predicted"].tolist() == pytest.approx([33.5])
    for change in ({"rate": 0.3}, {"loss": "l2"}, {"seed": 7}, {"status": "diverged"}, {"expected": 0.0}):
        other = everything.mask(everything["cell_id"] == "r", everything.assign(**change))
        predicted = pick(summarise(other, pictures), outlier=outlier, loss=loss, metric="psnr_y_db")["predicted"]
        assert predicted.tolist() != pytest.approx([33.5])


def test_a_mean_seeker_is_predicted_with_the_cross_term_of_its_clean_cell():
    cells, images = _two_cells(("clean", 0.0, (20.0, 20.0), (0, 0)), ("impulse", 0.2, (17.0, 17.0), (0.01, 0.01)))
    clean = images["cell_id"] == "0"
    images.loc[clean, ["cross_black_y", "cross_white_y"]] = [0.001, 0.003]
    # mu_Y = (16 + 219 / 2) / 255 = 0.4922, c = 0.0019843; MSE = 0.64 * 0.01 + 0.01 + 2 * 0.2 * 0.8 * c = 0.017035
    row = pick(summarise(cells, images), outlier="impulse", metric="psnr_y_db").iloc[0]
    assert row["predicted"] == pytest.approx(17.6866, abs=1e-3)
    # with c = C = 0.01 on RGB, where it was not measured: 0.0064 + 0.01 + 0.0032 = 0.0196
    assert predict_psnr(with_clean_psnr(cells, images, "psnr_db")).tolist() == pytest.approx([17.0774] * 2, abs=1e-3)


def test_a_mean_seeker_keeps_its_closed_form():
    cells, images = _two_cells(("clean", 0.0, (30.0, 40.0), (0, 0)), ("salt", 0.2, (17.0, 20.0), (0.02, 0.01)))
    reference, reference_images = _two_cells(("salt", 0.2, (29.0, 38.0), (0, 0)))
    reference = reference.assign(expected=1.0, role="reference", cell_id="r")
    everything = pd.concat([cells.assign(expected=0.0), reference])
    rows = summarise(everything, pd.concat([images, reference_images.assign(cell_id="r")]))
    assert pick(rows, outlier="salt", metric="psnr_y_db")["predicted"].tolist() == pytest.approx([18.3723], abs=1e-3)


def test_redrawn_outliers_meet_the_same_clean_cell():
    cells, images = _two_cells(("clean", 0.0, (30.0, 40.0), (0, 0)), ("salt", 0.2, (17.0, 20.0), (0.02, 0.01)))
    cells["redraw"] = (cells["outlier"] == "salt").astype(float)
    row = pick(summarise(cells, images), outlier="salt", metric="psnr_y_db").iloc[0]
    assert row["predicted"] == pytest.approx(18.3723, abs=1e-3)  # as above


def test_predicted_d_loss_is_the_equilibrium(run):
    rows = pick(summary_of(run), metric="d_loss", outlier="clean").set_index("loss")["predicted"]
    assert rows.to_dict() == pytest.approx({"bce": np.log(2), "l1": 0.5, "l2": 0.25})


def test_a_head_that_a_loss_does_not_have_has_no_equilibrium():
    assert equilibrium_d_loss("bce", "sigmoid") == pytest.approx(np.log(2))
    assert equilibrium_d_loss("bce", "raw") is None
    assert equilibrium_d_loss("unknown", "sigmoid") is None


def test_an_unknown_loss_is_summarised_without_a_prediction(run):
    renamed = run.cells.assign(loss=run.cells["loss"].replace("l2", "huber"))
    rows = pick(summarise(renamed, run.images), loss="huber")
    assert len(rows)
    assert rows["predicted"].isna().all()


def test_predicted_curve_passes_through_the_clean_mean_and_the_predictions(run):
    pairs = pick(with_clean_psnr(run.cells, run.images), loss="bce", outlier="salt")
    curve = predicted_curve(pairs, [0.0, 0.1, 0.4])
    rows = pick(summary_of(run), loss="bce", metric="psnr_y_db")
    assert curve[0] == pytest.approx(pick(rows, outlier="clean")["mean"].iloc[0])
    for rate, value in ((0.1, curve[1]), (0.4, curve[2])):
        assert value == pytest.approx(pick(rows, outlier="salt", rate=rate)["predicted"].iloc[0])


def test_predicted_curve_takes_the_pull_of_the_highest_rate():
    # Images at 30 dB, pull 0.16 at a rate of 0.4: MSE 0.84 * 0.001 + 0.16 = 0.16084, 7.936 dB. The pull measured at 0.2
    # would make 0.08 of it.
    conditions = ("clean", 0.0, (30.0, 30.0), (0, 0)), ("salt", 0.2, (9.0, 9.0), (0.02, 0.02))
    pairs = with_clean_psnr(*_two_cells(*conditions, ("salt", 0.4, (8.0, 8.0), (0.16, 0.16))))
    assert predicted_curve(pairs, [0.4]) == pytest.approx([-10 * np.log10(0.16084)])


def test_pairs_match_image_and_seed(run):
    pairs = with_clean_psnr(run.cells, run.images)
    one = pick(pairs, loss="bce", outlier="salt", rate=0.2, seed=1, image="chelsea").iloc[0]
    clean = pick(run.cells, task="sr", loss="bce", outlier="clean", seed=1)["cell_id"].iloc[0]
    assert one["clean"] == pick(run.images, cell_id=clean, image="chelsea")["psnr_y_db"].iloc[0]
    assert set(pairs["image"]) == set(TEST_IMAGES)


def test_main_cells_keep_one_training_setting_per_loss(run):
    other = pick(run.cells, task="sr", loss="l1", outlier="clean").assign(schedule="constant", cell_id="other")
    kept = main_cells(pd.concat([other, run.cells]))
    assert set(kept["cell_id"]) == set(run.cells["cell_id"])


def test_main_cells_do_not_move_to_a_side_question_that_needed_more_seeds(run):
    one = pick(run.cells, task="gan", loss="bce", outlier="clean").head(1)
    weak = [one.assign(settings='{"d_lr_ratio": 0.1}', seed=seed, cell_id=f"weak {seed}") for seed in range(48)]
    assert set(main_cells(pd.concat([run.cells, *weak]))["cell_id"]) == set(run.cells["cell_id"])
    alone = pick(run.cells, task="gan", outlier="clean")  # each loss under one condition: the shared setting is main
    assert set(main_cells(pd.concat([alone, *weak]))["cell_id"]) == set(alone["cell_id"])


def test_main_cells_keep_the_longest_trained_of_a_seed(run):
    one = pick(run.cells, task="sr", loss="l1", head="raw", outlier="clean").head(1)
    of_lengths = [one.assign(steps=steps, cell_id=f"after {steps}") for steps in (200, 300, 100)]
    assert main_cells(pd.concat(of_lengths))["cell_id"].tolist() == ["after 300"]


def test_ten_thousand_cells_are_summarised(run):
    many = pd.concat([run.cells.assign(lr=lr) for lr in np.linspace(1e-4, 1e-2, 50)], ignore_index=True)
    summary = summarise(many, run.images)
    assert len(many) > 9_000
    assert len(summary) == 50 * len(summary_of(run))


def _two_cells(*conditions, loss="l2", clipping=np.nan):
    cells, images = [], []
    for number, (outlier, rate, psnrs, pulls) in enumerate(conditions):
        where = {"task": "sr", "dataset": "d", "loss": loss, "head": "raw", "outlier": outlier, "rate": rate, "seed": 0}
        where |= {"schedule": "cosine", "optimizer": "adam", "lr": 1e-3, "scale": 2.0, "value_range": 1.0}
        where |= {"batch_size": 8, "precision": "fp32", "redraw": 0.0, "settings": "{}"}
        cells.append(where | {"cell_id": str(number), "role": "report", "status": "done", "psnr_y_db": np.mean(psnrs)})
        for name, psnr, pull in zip("ab", psnrs, pulls, strict=True):
            levels = {"psnr_db": psnr, "psnr_y_db": psnr, "pull_mse": pull, "pull_mse_y": pull}
            levels |= {"clipping_mse": clipping, "clipping_mse_y": clipping}
            levels |= dict.fromkeys(("cross_black", "cross_white", "cross_black_y", "cross_white_y"), np.nan)
            images.append({"cell_id": str(number), "image": name} | levels)
    return pd.DataFrame(cells), pd.DataFrame(images)


@pytest.mark.parametrize(
    ("outlier", "rate", "clipping", "predicted"),
    [
        ("impulse", 0.3, 0.0, 30.0),
        ("impulse", 0.5, 0.009, 30.0),
        ("impulse", 0.7, 0.009, 20.0),  # 0.001 under clean training, and 0.009
        ("impulse", 0.7, np.nan, np.nan),  # a run of an earlier version
        ("salt", 0.6, 0.099, 10.0),
        ("salt", 0.3, 0.0, np.nan),  # no expected-loss run
        ("salt-pepper", 0.7, 0.0, 30.0),
        ("jitter", 0.9, 0.0, np.nan),
    ],
)
def test_l1_is_predicted_on_both_sides_of_one_half(outlier, rate, clipping, predicted):
    cells, images = _two_cells(
        ("clean", 0.0, (30.0, 30.0), (0, 0)), (outlier, rate, (9.0, 9.0), (0, 0)), loss="l1", clipping=clipping
    )
    found = predict_psnr(with_clean_psnr(cells, images))
    np.testing.assert_allclose(found, [predicted] * 2, equal_nan=True)


def test_the_outlier_share_is_corrected_by_that_of_clean_training():
    keys = {"task": "gan", "dataset": "mnist", "loss": "l1", "head": "sigmoid", "settings": "{}", "status": "done"}
    shares = {(0, "clean"): 0.05, (1, "clean"): 0.01, (0, "noise"): 0.24, (1, "noise"): 0.22, (2, "noise"): 0.5}
    cells = pd.DataFrame(
        [
            keys
            | {
                "seed": seed,
                "outlier": outlier,
                "rate": 0.2 * (outlier != "clean"),
                "outlier_share": share,
                "role": "report",
            }
            for (seed, outlier), share in shares.items()
        ]
    ).reindex(columns=[*COLUMNS["cells"]])
    row = pick(summarise(cells, pd.DataFrame(columns=COLUMNS["images"])), metric="excess_outlier_share").iloc[0]
    # A share e of outliers among samples of which 5 % are mistaken for some gives s = e + (1 - e) 0.05: e = 0.19 / 0.95
    assert row["mean"] == pytest.approx((0.19 / 0.95 + 0.21 / 0.99) / 2)  # seed 2 has no clean partner
    assert row["predicted"] == pytest.approx(0.2)  # a flexible generator copies the outliers
