"""Does each claim select its cells, measure its effect in the document's direction, and report all other cells?"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.claims import CLAIMS, DOCUMENT, K
from bench.analysis.comparison import EQUIVALENT, INCONCLUSIVE, NOT_TESTED, REFUTED, SUPPORTED, family_level
from bench.analysis.contrasts import Evidence, rank_correlation
from bench.analysis.labels import CONFOUNDED, NOT_TESTABLE
from bench.analysis.learning import rises, still_learning
from bench.analysis.power import holm
from bench.analysis.summary import MAIN_PSNR
from bench.analysis.verdicts import Verdict, by_photograph, judge, judge_claim, rule_of, same_numbers
from bench.reports.chapters import tally
from bench.store.csv_format import csv_text
from bench.store.reader import Run, load
from bench.store.schema import COLUMNS
from ganlab.losses import LOSSES
from tests.support.synthetic import write_run

SEEDS = 10
IMAGES = {"camera": -3.0, "flower": 3.0}  # dB above the cell's mean
SR = {"task": "sr", "dataset": "photos", "head": "raw", "schedule": "cosine", "scale": 2.0, "value_range": 1.0}
DEPTH = SR | {"task": "depth", "dataset": "stereo", "scale": np.nan}
INTERPOLATION = SR | {"task": "interpolation", "dataset": "motion", "scale": np.nan}
GAN = {"task": "gan", "dataset": "fashion-mnist", "head": "sigmoid", "schedule": "constant"}
LOCATION = {"task": "location", "dataset": "gaussian", "head": "sigmoid", "optimizer": "sgd"}
FAR = {"outlier": "far", "rate": 0.2}
PROOFS = ["procedure", "d-loss-half/constant", "d-loss-half/l1"]
STEPS = [100, 200, 300, 400, 500]


class Builder:
    """A run built cell by cell; noise is small, fixed, and its own for every cell."""

    def __init__(self):
        self.cells, self.images, self.curves = [], [], []

    def add(self, level: float | None = None, curves: dict | None = None, noise: float = 0.01, **where) -> "Builder":
        """One condition for every seed: `level` is PSNR-Y (sr), or ln of Fréchet distance or location error."""
        readouts = {key: where.pop(key) for key in ("dead_discriminator", "procedure_ok") if key in where}
        for seed in where.pop("seeds", range(SEEDS)):
            cell = {
                "code": "c0de",
                "role": "report",
                "outlier": "clean",
                "rate": 0.0,
                "schedule": "constant",
                "optimizer": "adam",
                "lr": 1e-3,
                "scale": np.nan,
                "value_range": np.nan,
                "batch_size": 8.0,
                "precision": "fp32",
                "settings": "{}",
                "status": "done",
                "steps": 500.0,
            }
            cell |= where | readouts | {"seed": float(seed), "cell_id": f"cell{len(self.cells):05}"}
            drawn = noise * np.random.default_rng(len(self.cells)).standard_normal()
            if cell["status"] == "done":
                self._finish(cell, None if level is None else level + drawn, curves or {})
            self.cells.append(cell)
        return self

    def _finish(self, cell: dict, level: float | None, curves: dict) -> None:
        if cell["task"] in MAIN_PSNR:
            for image, above in IMAGES.items():
                self.images.append({"cell_id": cell["cell_id"], "image": image, MAIN_PSNR[cell["task"]]: level + above})
        elif level is not None:
            cell["frechet" if cell["task"] == "gan" else "location_error"] = np.exp(level)
        for metric, values in curves.items():
            points = zip(STEPS, values, strict=True)
            self.curves += [{"cell_id": cell["cell_id"], "step": s, "metric": metric, "value": v} for s, v in points]

    def run(self) -> Run:
        """The run as `load` would return it."""
        cells = pd.DataFrame(self.cells)
        cells = cells.reindex(columns=[*COLUMNS["cells"], *(set(cells) - set(COLUMNS["cells"]))])
        images = pd.DataFrame(self.images, columns=COLUMNS["images"])
        return Run(Path("run"), {}, cells, images, pd.DataFrame(self.curves, columns=COLUMNS["curves"]), pd.DataFrame())

    def judge(self, name: str) -> dict:
        """The row of one claim."""
        return judge_claim(next(claim for claim in CLAIMS if claim.name == name), self.run())


def gan_curves(**metrics) -> Builder:
    """Clean GANs of every loss with these checkpoints."""
    builder = Builder()
    for loss in LOSSES:
        builder.add(3.0, metrics, **GAN, loss=loss)
    return builder


def strengths(loss: str = "bce", **d_loss_and_frechet: tuple[float, float]) -> Builder:
    """GANs of a loss at several strengths of D, named after the setting: {"x0.1": (d_loss at the end, Fréchet)}."""
    builder = Builder()
    for name, (d_loss, frechet) in d_loss_and_frechet.items():
        settings = {} if name == "x1" else {"d_lr_ratio": float(name[1:])}
        curves = {"d_loss": [9, 9, 9, 9, d_loss]}  # of five checkpoints the last fifth is the last
        builder.add(np.log(frechet), curves, **GAN, loss=loss, settings=json.dumps(settings | {"width": 24}))
    return builder


def full_run() -> Run:
    """A run with cells for every claim, a few of them not done."""
    builder = Builder()
    falling = {"frechet": [90, 50, 60, 20, 30], "g_loss": [5, 3, 4, 1, 2], "d_loss": [0.5, 0.4, 0.45, 0.31, 0.3]}
    for loss in LOSSES:
        builder.add(3.0, falling, **GAN, loss=loss, procedure_ok=1.0)
        for ratio, d_loss in ((0.1, 0.45), (0.01, 0.65)):
            settings = json.dumps({"d_lr_ratio": ratio})
            builder.add(
                3.0, falling | {"d_loss": [d_loss] * 5}, **GAN, loss=loss, settings=settings, seeds=range(SEEDS)
            )
        builder.add(3.5, falling, **GAN, loss=loss, outlier="noise", rate=0.2)
        builder.add(3.0, falling, **GAN | {"dataset": "digits"}, loss=loss)
    builder.add(5.0, falling, **GAN, loss="l1", outlier="flip", rate=0.2, dead_discriminator=1.0)
    builder.add(4.0, falling, **GAN, loss="bce", outlier="flip", rate=0.2, dead_discriminator=0.0)
    for loss, error in (("l1", -1.5), ("l2", -3.0)):
        builder.add(error, **LOCATION, **FAR, loss=loss).add(-3.0, **LOCATION, loss=loss)
        for optimizer in ("adam", "sgd"):
            builder.add(33.0, **SR | {"optimizer": optimizer}, loss=loss)
            builder.add(32.5, **SR | {"optimizer": optimizer, "schedule": "constant"}, loss=loss, lr=3e-4)
        builder.add(33.0, **SR | {"head": "sigmoid"}, loss=loss)
        for outlier, rate in (("salt", 0.2), ("salt-pepper", 0.4), ("salt", 0.6)):
            builder.add(33.0 - 10 * rate * (loss == "l2"), **SR, loss=loss, outlier=outlier, rate=rate)
        for place in (DEPTH, INTERPOLATION):
            builder.add(25.0, **place, loss=loss).add(25.0, **place | {"head": "sigmoid"}, loss=loss)
        for place, outlier in ((DEPTH, "missing"), (DEPTH, "wrong-match"), (INTERPOLATION, "salt")):
            builder.add(25.0 - 3 * (loss == "l2"), **place, loss=loss, outlier=outlier, rate=0.2)
    builder.add(status="diverged", seeds=[SEEDS], **SR, loss="l1").add(33.0, seeds=[SEEDS], **SR, loss="l2")
    return builder.run()


# The table as a whole


def test_every_claim_of_the_document_is_there_and_names_are_unique():
    assert {claim.about for claim in CLAIMS} == set(DOCUMENT)
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    assert K == sum(claim.kind == "data" for claim in CLAIMS) == 34  # more claims cost power: change it knowingly
    assert {claim.name for claim in CLAIMS if claim.kind == "proof"} == set(PROOFS)


def test_a_run_with_everything_decides_every_claim():
    table = judge(full_run()).set_index("claim")
    assert not (table["verdict"] == NOT_TESTED).any()
    # one of eleven seeds of l1 diverged: a third of collapses is not excluded, so that nothing matters may not be said
    undecided = table.index[table["verdict"] == INCONCLUSIVE].tolist()
    assert undecided == ["l2-reconstruction/sr-raw", "l1-needs-decay/more-than-l2-adam"]
    data = table.drop(index=PROOFS)
    assert (data["n"] == SEEDS).all()
    assert ((data["ci_low"] <= data["estimate"]) & (data["estimate"] <= data["ci_high"])).all()
    assert data[["estimate", "mde", "p_value", "p_holm", "p_sign_flip"]].notna().all(axis=None)
    assert data["p_holm"].to_numpy() == pytest.approx(holm(data["p_value"], K), abs=0)
    assert (data["p_holm"] > data["p_value"]).any()
    assert (data["may_conclude"] != "").all()


def test_the_order_of_rows_never_matters():
    run = full_run()
    shuffled = replace(
        run,
        **{
            name: getattr(run, name).sample(frac=1, random_state=i)
            for i, name in enumerate(("cells", "images", "curves"))
        },
    )
    pd.testing.assert_frame_equal(judge(shuffled), judge(run))


def test_redrawn_outliers_are_a_separate_setting():
    builder, salt = Builder(), {"outlier": "salt", "rate": 0.2}
    for loss, corrupted in (("l1", 33.0), ("l2", 20.0)):
        builder.add(33.0, **SR, loss=loss, redraw=0.0).add(corrupted, **SR, **salt, loss=loss, redraw=0.0)
    builder.add(10.0, **SR, **salt, loss="l1", redraw=1.0, seeds=range(3))  # would drag three seeds down by 23 dB
    row = builder.judge("l1-robust/sr-salt-0.2/loses-less")
    assert row["estimate"] == pytest.approx(13, abs=0.1)
    assert row["cells"].startswith("40 of 40 cells done; 10 of 10 seeds")


def test_an_empty_run_tests_nothing_but_algebra():
    table = judge(Builder().add(30.0, **SR | {"head": "sigmoid"}, loss="bce").run()).set_index("claim")
    algebra = ["d-loss-half/constant", "d-loss-half/l1"]
    assert (table.drop(index=algebra)["verdict"] == NOT_TESTED).all()
    assert (table.drop(index="d-loss-half/constant")["n"] == 0).all()
    assert "sr l1 raw salt 0.6 cosine adam" in table.loc["l1-robust/sr-salt-0.6/loses-less", "cells"]


def test_a_run_without_any_row_does_not_crash():
    empty = Builder().run()
    assert (
        judge(empty).set_index("claim")["verdict"].drop(["d-loss-half/constant", "d-loss-half/l1"]) == NOT_TESTED
    ).all()
    run = full_run()
    pending = judge(replace(run, cells=run.cells.assign(status="pending"), images=empty.images, curves=empty.curves))
    assert pending.set_index("claim").loc["l1-robust/sr-salt-0.2/loses-less", "verdict"] == INCONCLUSIVE


def test_claims_are_written_to_csv(tmp_path):
    run = load(write_run(tmp_path / "run", seeds=SEEDS, samples=False))
    table = judge(run)
    assert tuple(table.columns) == COLUMNS["claims"]
    lines = csv_text(COLUMNS["claims"], table.to_dict("records")).splitlines()
    assert len(lines) == 1 + len(CLAIMS)
    assert not any(word in line.split(",") for line in lines for word in ("nan", "inf", "None"))
    verdicts = table.set_index("claim")["verdict"]
    assert verdicts["l1-robust/sr-salt-0.2/loses-less"] == SUPPORTED
    assert verdicts["l1-needs-decay/helps"] == NOT_TESTED


def test_the_rule_names_level_margin_and_k():
    rule = rule_of(next(claim for claim in CLAIMS if claim.name == "l2-reconstruction/sr-raw"))
    assert "99.85 %" in rule
    assert family_level(K) == pytest.approx(1 - 0.05 / 34)
    assert "L > 0.1 SUPPORTED, U < -0.1 REFUTED, inside [-0.1, 0.1] EQUIVALENT" in rule
    assert "K = 34" in rule


# Contrasts


def test_l2_reconstruction_by_hand():
    row = (
        Builder()
        .add(33.5, **SR, loss="l2", noise=0)
        .add(33.0, **SR, loss="l1", noise=0)
        .judge("l2-reconstruction/sr-raw")
    )
    assert (row["estimate"], row["verdict"], row["n"]) == (pytest.approx(0.5), SUPPORTED, SEEDS)
    row = Builder().add(33.0, **SR, loss="l2").add(33.5, **SR, loss="l1").judge("l2-reconstruction/sr-raw")
    assert row["verdict"] == REFUTED
    row = Builder().add(33.0, **SR, loss="l2").add(33.0, **SR, loss="l1").judge("l2-reconstruction/sr-raw")
    assert row["verdict"] == EQUIVALENT
    assert row["images_ci_low"] <= row["estimate"] <= row["images_ci_high"]
    assert row["population"] == "for images like these"


def test_images_of_one_photograph_give_no_interval_over_photographs(monkeypatch):
    effects = pd.DataFrame([[1.0, 3.0, 5.0, 5.0], [2.0, 4.0, 6.0, 8.0]])
    sequences = effects.set_axis(["camera-1", "camera-2", "rocket-1", "rocket-2"], axis="columns")
    assert by_photograph(sequences, "interpolation").to_numpy().tolist() == [[2, 5], [3, 7]]
    assert by_photograph(sequences, "sr") is sequences
    cut = effects.set_axis(["seq-1@2", "seq-1 (2)@3", "seq-10 (12)", "seq 2-1"], axis="columns")  # one video in clips
    assert by_photograph(cut, "interpolation").to_dict("list") == {"seq": [3, 4], "seq 2": [5, 8]}
    monkeypatch.setitem(globals(), "IMAGES", {"moto-tile-1-2": -3.0, "moto-tile-2-4": 0.0, "moto-3": 3.0})
    row = Builder().add(25.5, **DEPTH, loss="l2").add(25.0, **DEPTH, loss="l1").judge("l2-reconstruction/depth-raw")
    assert row["verdict"] == SUPPORTED
    assert np.isnan([row["images_ci_low"], row["images_ci_high"]]).all()
    assert row["population"] == "for this one photograph"


def test_a_claim_says_where_its_rates_were_not_tuned():
    builder, said = clean_pair(), "This run tunes no learning rate of this task"
    assert said in builder.judge("l2-reconstruction/sr-raw")["may_conclude"]
    builder.add(33.0, **SR, loss="l1", role="tune", seeds=[100])
    assert said not in builder.judge("l2-reconstruction/sr-raw")["may_conclude"]
    untuned = decay(0.9, 0.3)
    tested = untuned[untuned["verdict"] != NOT_TESTED]
    assert len(tested) == 3
    assert tested["may_conclude"].str.contains(said).all()
    tuned = decay(0.9, 0.3, Builder().add(33.0, **SR, loss="l2", role="tune", seeds=[100]))
    assert not tuned["may_conclude"].str.contains(said).any()


def test_each_task_that_the_document_names_is_judged_by_itself():
    builder = Builder().add(25.5, **DEPTH, loss="l2").add(25.0, **DEPTH, loss="l1")
    builder.add(30.0, **INTERPOLATION, loss="l2").add(30.6, **INTERPOLATION, loss="l1")
    table = judge(builder.run()).set_index("claim")["verdict"].filter(like="l2-reconstruction")
    assert table.drop(table.index[table == NOT_TESTED]).to_dict() == {
        "l2-reconstruction/depth-raw": SUPPORTED,
        "l2-reconstruction/interpolation-raw": REFUTED,
    }


@pytest.mark.parametrize(("salted_l1", "verdict"), [(32.0, SUPPORTED), (20.0, REFUTED), (25.0, EQUIVALENT)])
def test_robustness_is_lost_against_each_loss_s_own_clean_result(salted_l1, verdict):
    builder = Builder().add(34.0, **SR, loss="l2").add(33.0, **SR, loss="l1")  # L2 loses 34 - 26 = 8 dB
    builder.add(26.0, **SR, loss="l2", outlier="salt", rate=0.2)
    row = builder.add(salted_l1, **SR, loss="l1", outlier="salt", rate=0.2).judge("l1-robust/sr-salt-0.2/loses-less")
    assert row["estimate"] == pytest.approx(8 - (33 - salted_l1), abs=0.05)
    assert row["verdict"] == verdict


def test_gan_robustness_is_a_ratio_of_ratios():
    builder = Builder().add(np.log(20), **GAN, loss="l1").add(np.log(30), **GAN, loss="l2")
    builder.add(np.log(30), **GAN, loss="l1", outlier="noise", rate=0.2)  # L1 grows 1.5-fold, L2 3-fold
    row = builder.add(np.log(90), **GAN, loss="l2", outlier="noise", rate=0.2).judge(
        "l1-robust/gan-noise-0.2/loses-less"
    )
    assert row["estimate"] == pytest.approx(np.log(3 / 1.5), abs=0.02)
    assert row["verdict"] == SUPPORTED


def test_location_error_ratio_of_l2_and_l1_with_their_own_settings():
    # L1 triples its error of 0.05, L2 keeps its 0.05: L1 ends three times as far off, and loses three times as much.
    builder = Builder().add(np.log(0.05), **LOCATION, **FAR, loss="l2").add(np.log(0.05), **LOCATION, loss="l2")
    builder.add(np.log(0.15), **LOCATION, **FAR, loss="l1", settings='{"d_steps": 1}')
    builder.add(np.log(0.05), **LOCATION, loss="l1", settings='{"d_steps": 1}')
    for reading in ("loses-less", "ends-better"):
        row = builder.judge(f"l1-robust/location-far-0.2/{reading}")
        assert row["estimate"] == pytest.approx(-np.log(3), abs=0.03)
        assert row["verdict"] == REFUTED


def decay(gain_l1: float, gain_l2: float, builder: Builder | None = None) -> pd.DataFrame:
    builder = builder or Builder()
    for loss, gained in (("l1", gain_l1), ("l2", gain_l2)):
        builder.add(33.0 + gained, **SR, loss=loss).add(33.0, **SR | {"schedule": "constant"}, loss=loss, lr=3e-4)
    return judge(builder.run()).set_index("claim").filter(like="l1-needs-decay", axis="index")


def test_decay_by_hand():
    table = decay(gain_l1=0.9, gain_l2=0.3)
    estimates = table["estimate"].drop("l1-needs-decay/more-than-l2-sgd")
    # 0.9 - 0.3; what L2 has without decay: -0.3; (0.9 + 0.3) / 2
    assert estimates.tolist() == pytest.approx([0.6, -0.3, 0.6], abs=0.02)
    assert table["verdict"].tolist() == [SUPPORTED, NOT_TESTED, REFUTED, SUPPORTED]


@pytest.mark.parametrize(
    ("gained", "verdict"), [(0.0, SUPPORTED), (-0.5, SUPPORTED), (0.05, SUPPORTED), (0.3, REFUTED)]
)
def test_l2_does_not_need_decay_if_it_loses_less_than_the_margin(gained, verdict):
    row = decay(0.9, gained).loc["l1-needs-decay/l2-without"]
    assert row["verdict"] == verdict
    assert row["estimate"] == pytest.approx(-gained, abs=0.02)  # what is shown is what L2 has without, not a distance
    assert row["ci_low"] < row["estimate"] < row["ci_high"]
    assert "L > -0.1 SUPPORTED, U < -0.1 REFUTED, else" in row["rule"]
    assert "dB is lost" in row["may_conclude"]


def test_decay_may_hurt():
    assert decay(-0.5, -0.5).loc["l1-needs-decay/helps", "verdict"] == REFUTED


# Which cells count


def clean_pair() -> Builder:
    return Builder().add(33.5, **SR, loss="l2").add(33.0, **SR, loss="l1")


@pytest.mark.parametrize(
    "other",
    [
        {"role": "tune"},
        {"optimizer": "sgd"},
        {"schedule": "constant"},
        {"value_range": 255.0},
        {"head": "sigmoid"},
        {"dataset": "few", "seeds": range(3)},
        {"lr": 1.0, "seeds": range(3)},
        {"steps": 50.0},
        {"code": "stale", "seeds": [0]},
    ],
)
def test_cells_of_another_setting_are_not_mixed_in(other):
    alone = clean_pair().judge("l2-reconstruction/sr-raw")
    mixed = clean_pair().add(50.0, **SR | {"loss": "l2"} | other).judge("l2-reconstruction/sr-raw")
    assert (mixed["estimate"], mixed["n"]) == (alone["estimate"], alone["n"])


def test_the_setting_with_the_most_cells_is_used():
    few = {"dataset": "a-few", "seeds": range(3)}  # first in the alphabet
    builder = clean_pair().add(40.0, **SR | few, loss="l2").add(50.0, **SR | few, loss="l1")
    row = builder.judge("l2-reconstruction/sr-raw")
    assert (row["n"], row["verdict"]) == (SEEDS, SUPPORTED)
    assert "; photos; " in row["cells"]


def test_numbers_of_a_cell_that_is_not_done_are_not_used():
    run = clean_pair().run()
    run.cells.loc[run.cells["seed"] == 3, "status"] = "interrupted"
    row = judge(run).set_index("claim").loc["l2-reconstruction/sr-raw"]
    assert row["n"] == SEEDS - 1


def test_sides_in_different_settings_are_not_compared():
    builder = Builder().add(33.5, **SR, loss="l2", batch_size=8.0).add(33.0, **SR, loss="l1", batch_size=16.0)
    row = builder.judge("l2-reconstruction/sr-raw")
    assert row["verdict"] == NOT_TESTED
    assert "not all in one setting" in row["cells"]
    unequal = Builder().add(33.5, **SR, loss="l2", steps=500.0).add(33.0, **SR, loss="l1", steps=1000.0)
    assert unequal.judge("l2-reconstruction/sr-raw")["n"] == 0


def test_a_seed_counts_only_where_every_side_is_done():
    builder = Builder().add(33.5, **SR, loss="l2").add(33.0, **SR, loss="l1", seeds=range(2, SEEDS))
    builder.add(seeds=[0], status="diverged", steps=7.0, **SR, loss="l1")
    builder.add(seeds=[1], status="pending", steps=0.0, **SR, loss="l1")
    row = builder.judge("l2-reconstruction/sr-raw")
    assert row["n"] == SEEDS - 2
    assert row["cells"].startswith("18 of 20 cells done, 1 diverged, 1 pending; 8 of 10 seeds complete")


def test_seeds_may_test_photographs_in_turns_but_not_a_part_of_their_turn():
    run = clean_pair().run()
    seed = run.images["cell_id"].map(run.cells.set_index("cell_id")["seed"])
    turns = [run.images.assign(image=f"{turn} " + run.images["image"])[seed % 2 == turn] for turn in (0, 1)]
    row = judge(replace(run, images=pd.concat(turns))).set_index("claim").loc["l2-reconstruction/sr-raw"]
    assert (row["n"], row["verdict"]) == (SEEDS, SUPPORTED)
    assert row["estimate"] == pytest.approx(0.5, abs=0.02)
    lost = (seed == 3) & (run.images["image"] == "flower")
    part = judge(replace(run, images=run.images[~lost])).set_index("claim").loc["l2-reconstruction/sr-raw"]
    assert part["n"] == SEEDS - 1
    assert "9 of 10 seeds complete" in part["cells"]


@pytest.mark.parametrize("seeds", [[], [4]])
def test_declared_cells_of_fewer_than_two_seeds_are_inconclusive(seeds):
    others = [seed for seed in range(SEEDS) if seed not in seeds]
    builder = Builder().add(33.5, **SR, loss="l2").add(33.0, **SR, loss="l1", seeds=seeds)
    row = builder.add(seeds=others, status="crashed", **SR, loss="l1").judge("l2-reconstruction/sr-raw")
    assert (row["verdict"], row["n"]) == (INCONCLUSIVE, len(seeds))
    assert "two seeds" in row["may_conclude"]


def test_an_inconclusive_claim_says_what_may_be():
    builder = Builder().add(33.2, noise=0.2, **SR, loss="l2").add(33.0, noise=0.2, **SR, loss="l1")
    row = builder.judge("l2-reconstruction/sr-raw")
    assert (row["verdict"], row["population"]) == (INCONCLUSIVE, "")
    assert row["seeds_needed"] > SEEDS
    low, high = (f"{end:+.2f}".replace("-", "−") for end in (row["ci_low"], row["ci_high"]))
    assert row["may_conclude"].startswith(f"Nothing: it may be {low} to {high} dB.")
    assert f"a new run with {row['seeds_needed']:.0f} new seeds would decide" in row["may_conclude"]


# What is measured over training


@pytest.mark.parametrize(
    ("g_loss", "estimate", "verdict"),
    [([5, 3, 4, 1, 2], 1, SUPPORTED), ([1, 3, 2, 5, 4], -1, REFUTED), ([0, 0, 0, 0, 0], 0, EQUIVALENT)],
)
def test_g_loss_against_frechet_distance_at_equal_step(g_loss, estimate, verdict):
    # Ranks 5, 3, 4, 1, 2 of the distance, which fall by 0.8 a step, and so do those of g_loss: equal residuals.
    row = gan_curves(g_loss=g_loss, frechet=[90, 50, 60, 20, 30]).judge("g-loss-tracks-quality/l2")
    assert (row["estimate"], row["verdict"]) == (pytest.approx(estimate), verdict)
    assert row["over_time"] == pytest.approx(estimate)


def test_the_rank_correlation_is_that_of_scipy():
    rng = np.random.default_rng(0)
    curves = {"d_loss": rng.integers(0, 3, 5) / 4, "frechet": rng.uniform(size=5)}  # with ties
    measured = rank_correlation("d_loss")(gan_curves(**curves).run())
    expected = stats.spearmanr(curves["d_loss"], curves["frechet"]).statistic
    assert measured.to_numpy() == pytest.approx(expected)


def test_the_partial_rank_correlation_is_that_of_the_residuals_on_time():
    rng = np.random.default_rng(0)
    curves = {"d_loss": rng.uniform(size=5), "frechet": rng.uniform(size=5)}
    measured = rank_correlation("d_loss", beyond_time=True)(gan_curves(**curves).run())
    time = np.arange(5)

    def residuals(values):
        ranks = stats.rankdata(values)
        line = stats.linregress(time, ranks)
        return ranks - line.intercept - line.slope * time

    expected = stats.pearsonr(residuals(curves["d_loss"]), residuals(curves["frechet"])).statistic
    assert measured.to_numpy() == pytest.approx(expected)


@pytest.mark.parametrize(("g_loss", "raw"), [([5, 4, 3, 2, 1], 0.9), ([1, 2, 3, 4, 5], -0.9)])
def test_what_moves_with_training_time_alone_is_confounded(g_loss, raw):
    # g_loss falls (or rises) at every checkpoint, the distance with a bump of its own: correlated by time alone.
    builder = gan_curves(g_loss=g_loss, frechet=[90, 60, 20, 30, 10])
    row = builder.judge("g-loss-tracks-quality/l2")
    assert row["verdict"] == CONFOUNDED
    assert (row["estimate"], row["over_time"]) == (0, pytest.approx(raw))
    assert "for both change with time" in row["may_conclude"]
    assert row["may_conclude"].endswith("nothing worth having.")
    assert "3 CONFOUNDED" in tally(judge(builder.run()))


def test_the_correlation_at_equal_step_decides_against_that_over_time():
    # Both fall with time, but at each step a larger g_loss goes with a smaller distance: residuals of opposite sign.
    row = gan_curves(g_loss=[5, 3, 4, 1, 2], frechet=[90, 80, 30, 40, 10]).judge("g-loss-tracks-quality/l2")
    assert row["over_time"] == pytest.approx(0.5)  # ranks 5, 3, 4, 1, 2 and 5, 4, 2, 3, 1: 1 - 6 (1 + 4 + 4 + 1) / 120
    assert row["estimate"] < -0.2
    assert row["verdict"] == REFUTED


def test_what_is_not_settled_at_equal_step_is_no_more_than_confounded():
    # Both fall in every seed. The bumps on the way go together in one half of the seeds, and not in the other.
    builder = Builder()
    for first, g_loss in ((0, [5, 4, 2, 3, 1]), (SEEDS // 2, [5, 3, 4, 2, 1])):
        curves = {"g_loss": g_loss, "frechet": [90, 60, 20, 30, 10]}
        builder.add(3.0, curves, **GAN, loss="l2", seeds=range(first, first + SEEDS // 2))
    row = builder.judge("g-loss-tracks-quality/l2")
    assert row["over_time"] == pytest.approx((1 + 0.7) / 2)
    assert row["ci_low"] < -0.2 < 0.2 < row["ci_high"]
    assert row["verdict"] == CONFOUNDED
    assert row["may_conclude"].endswith("not settled.")


def test_too_few_checkpoints_give_no_correlation():
    run = gan_curves(g_loss=[5, 4, 3, 2, 1], frechet=[90, 60, 50, 30, 20]).run()
    short = replace(run, curves=run.curves[run.curves["step"] > 100])
    row = judge_claim(next(claim for claim in CLAIMS if claim.name == "g-loss-tracks-quality/bce"), short)
    assert (row["n"], row["verdict"]) == (0, INCONCLUSIVE)
    assert "10 of 10 cells done; 0 of 10 seeds complete" in row["cells"]


def test_digits_never_carry_a_verdict():
    curves = {"g_loss": [5, 4, 3, 2, 1], "frechet": [90, 60, 50, 30, 20]}
    row = Builder().add(3.0, curves, **GAN | {"dataset": "digits"}, loss="bce").judge("g-loss-tracks-quality/bce")
    assert row["verdict"] == NOT_TESTED
    assert "gan bce sigmoid clean" in row["cells"]


@pytest.mark.parametrize(("share", "verdict"), [(0.0, SUPPORTED), (1.0, REFUTED), (0.5, EQUIVALENT)])
def test_final_d_loss_is_relative_to_the_equilibrium_of_the_loss(share, verdict):
    builder = Builder()
    for loss in LOSSES.values():
        if loss.equilibrium_d_loss:
            end = share * loss.equilibrium_d_loss  # of five checkpoints the last fifth is the last
            builder.add(3.0, {"d_loss": [9, 9, 9, 9, end]}, **GAN, loss=loss.name)
    row = builder.judge("d-loss-to-zero/limit")
    assert (row["estimate"], row["verdict"]) == (pytest.approx(0.5 - share), verdict)


def test_d_loss_on_one_side_of_its_target_tests_nothing():
    # 0.12 to 0.38: every distance from 0.5 is 0.5 - d_loss, so "nearer to 0.5" only means "larger".
    builder = strengths("bce", x1=(0.12, 30), **{"x0.1": (0.38, 20)})
    row = builder.judge("d-loss-half/bce")
    assert (row["verdict"], row["n"]) == (NOT_TESTABLE, 0)
    assert row["cells"] == "d_loss ended between 0.12 and 0.38; the target is 0.5"
    alone = strengths("bce", x1=(0.3, 30)).judge("d-loss-half/bce")
    assert (alone["verdict"], alone["cells"]) == (NOT_TESTABLE, "d_loss ended between 0.30 and 0.30; the target is 0.5")
    assert "2 NOT TESTABLE" in tally(judge(builder.run()))  # with l1's, which no data can test


@pytest.mark.parametrize(("at_half", "at_equilibrium", "verdict"), [(20, 40, SUPPORTED), (40, 20, REFUTED)])
def test_d_loss_on_both_sides_of_its_target_tests_it_against_the_equilibrium(at_half, at_equilibrium, verdict):
    # Of 0.45 and 0.68 the first is nearer to 0.5, the second nearer to ln 2. Of 0.45 and 1.8 (or 0.68 and 1.8) the
    # first is nearer to both, so that pair tells nothing, however good or bad the third is.
    cells = {"x0.5": (0.45, at_half), "x0.1": (0.68, at_equilibrium), "x0.003": (1.8, 90)}
    row = strengths("bce", **cells).judge("d-loss-half/bce")
    assert row["estimate"] == pytest.approx(np.log(at_equilibrium / at_half), abs=0.02)
    assert (row["verdict"], row["n"]) == (verdict, SEEDS)
    assert "D's rate over G's 0.003, 0.1, 0.5" in row["cells"]


def test_the_target_is_told_from_each_loss_s_own_equilibrium():
    # L2's is 0.25: of 0.24 and 0.52 the second is nearer to 0.5; the first makes images half as far away.
    row = strengths("l2", x1=(0.24, 20), **{"x0.003": (0.52, 40)}).judge("d-loss-half/l2")
    assert (row["estimate"], row["verdict"]) == (pytest.approx(-np.log(2), abs=0.02), REFUTED)
    l1 = strengths("l1", x1=(0.24, 20), **{"x0.003": (0.52, 40)}).judge("d-loss-half/l1")
    assert l1["verdict"] == NOT_TESTABLE
    assert "0.5 is the loss's own equilibrium" in l1["cells"]
    # On both sides of 0.5, but 0.4 is nearer than 1.2 to both 0.5 and ln 2.
    alike = strengths("bce", x1=(0.4, 20), **{"x0.1": (1.2, 40)}).judge("d-loss-half/bce")
    assert alike["verdict"] == NOT_TESTABLE
    assert "no two strengths of D" in alike["cells"]


def test_strengths_in_other_settings_are_not_compared():
    builder = strengths("bce", **{"x0.5": (0.45, 20), "x0.1": (0.68, 40)})
    curves = {"d_loss": [0.6] * 5}
    builder.add(0.0, curves, **GAN, loss="bce", settings='{"d_lr_ratio": 0.2, "width": 99}')
    builder.add(0.0, curves, **GAN, loss="bce", settings='{"d_lr_ratio": 0.2, "width": 24}', steps=9.0)
    row = builder.judge("d-loss-half/bce")
    assert row["estimate"] == pytest.approx(np.log(2), abs=0.02)
    assert "D's rate over G's 0.1, 0.5" in row["cells"]


def test_one_fact_is_one_claim():
    # Without outliers the losses are equal in every seed, so "loses less" and "ends better" are the same numbers.
    builder = Builder().add(3.0, **GAN, loss="l1", noise=0).add(3.0, **GAN, loss="l2", noise=0)
    builder.add(3.2, **GAN, loss="l1", outlier="noise", rate=0.2).add(3.9, **GAN, loss="l2", outlier="noise", rate=0.2)
    names = [f"l1-robust/gan-noise-0.2/{reading}" for reading in ("loses-less", "ends-better")]
    table = judge(builder.run()).set_index("claim").loc[names]
    assert table["verdict"].tolist() == [SUPPORTED, NOT_TESTABLE]
    assert table["cells"].iloc[1].startswith(f"the effects are those of {names[0]}")
    assert table["n"].tolist() == [SEEDS, 0]
    assert builder.judge(names[1])["verdict"] == SUPPORTED  # by itself
    noisy = Builder().add(3.0, **GAN, loss="l1").add(3.0, **GAN, loss="l2")
    noisy.add(3.2, **GAN, loss="l1", outlier="noise", rate=0.2).add(3.9, **GAN, loss="l2", outlier="noise", rate=0.2)
    assert judge(noisy.run()).set_index("claim").loc[names, "verdict"].tolist() == [SUPPORTED, SUPPORTED]


def test_equal_numbers_up_to_their_sign_are_one_fact():
    effects = pd.DataFrame({"effect": [0.1, 0.3, -0.2]})

    def verdict(effects):
        return Verdict(CLAIMS[1], SUPPORTED, Evidence(effects, ""))

    assert same_numbers(verdict(effects), verdict(-effects))
    assert same_numbers(verdict(effects), verdict(effects + 1e-14))
    assert not same_numbers(verdict(effects), verdict(effects + 0.1))
    assert not same_numbers(verdict(effects), verdict(effects.set_axis([4, 5, 6])))  # other seeds
    ones = pd.DataFrame({"effect": [1.0, 1.0, 1.0]})
    assert not same_numbers(verdict(ones), verdict(ones))  # they may coincide without being one


def test_both_readings_of_robustness_are_judged_and_can_differ():
    # L1 is 4 dB worse without outliers. It loses 1 dB by them, L2 3 dB, so it loses less; but it ends 2 dB lower.
    builder = Builder().add(34.0, **SR, loss="l2").add(30.0, **SR, loss="l1")
    builder.add(31.0, **SR, loss="l2", outlier="salt", rate=0.2).add(29.0, **SR, loss="l1", outlier="salt", rate=0.2)
    table = judge(builder.run()).set_index("claim")
    rows = [table.loc[f"l1-robust/sr-salt-0.2/{reading}"] for reading in ("loses-less", "ends-better")]
    assert [row["verdict"] for row in rows] == [SUPPORTED, REFUTED]
    assert [row["estimate"] for row in rows] == pytest.approx([2, -2], abs=0.05)
    places = list(table.index)
    assert places.index(rows[1].name) == places.index(rows[0].name) + 1  # side by side


def test_more_seeds_of_a_side_question_do_not_move_a_claim_to_its_setting():
    # The strengths of D get more seeds than the GANs of the other claims; fewer losses and conditions share them.
    builder = Builder().add(3.0, {"d_loss": [9, 9, 9, 9, 0.1]}, **GAN, loss="l2", noise=0)
    for loss in ("bce", "l1"):
        builder.add(3.0, {"d_loss": [9, 9, 9, 9, 0.1]}, **GAN, loss=loss)
    curves = {"d_loss": [9, 9, 9, 9, 0.1], "frechet": [90, 60, 50, 30, 20], "g_loss": [5, 4, 3, 2, 1]}
    builder.add(3.0, curves, **GAN, loss="bce", settings='{"d_lr_ratio": 0.1}', seeds=range(48))
    assert builder.judge("g-loss-tracks-quality/bce")["cells"].startswith("10 of 10 cells done")


# Trained enough


def test_a_verdict_on_cells_that_are_still_learning_says_so():
    flat, rising = [25, 30, 32, 33, 33.05], [25, 28, 30, 31, 31.4]  # the last fifth: 400 to 500 steps
    builder = Builder().add(33.5, {"val_psnr_y_db": flat}, **SR, loss="l2")
    builder.add(33.0, {"val_psnr_y_db": rising}, **SR, loss="l1", seeds=range(4))
    builder.add(33.0, {"val_psnr_y_db": flat}, **SR, loss="l1", seeds=range(4, SEEDS))
    row = builder.judge("l2-reconstruction/sr-raw")
    assert row["verdict"] == SUPPORTED
    assert row["learning"] == "4 of 20 cells still learning, +0.40 dB in their last fifth"
    assert clean_pair().judge("l2-reconstruction/sr-raw")["learning"] == ""  # no curve, so nothing is known


def test_the_last_fifth_is_interpolated_between_the_points_of_a_curve():
    # 5 points at 100 to 500 steps: at 400 a point. With 3 points at 100, 300, 500: at 400 half way.
    run = Builder().add(33.0, {"val_psnr_y_db": [20, 25, 30, 30, 31]}, **SR, loss="l1", seeds=[0]).run()
    assert rises(run).tolist() == [1]
    sparse = replace(run, curves=run.curves[run.curves["step"].isin([100, 300, 500])])
    assert rises(sparse).tolist() == [0.5]
    assert still_learning(sparse, run.cells) == (1, 1, 0.5)
    twice = Builder().add(33.5, {"val_psnr_y_db": [20, 21, 22, 23, 25]}, **SR, loss="l1").add(34.0, **SR, loss="l2")
    for loss, level in (("l1", 33.5), ("l2", 34.0)):
        twice.add(level, {"val_psnr_y_db": [20, 25, 30, 31, 31]}, **SR, loss=loss, steps=1000.0)
    assert twice.judge("l2-reconstruction/sr-raw")["learning"] == ""  # the longer training is compared
    pending = replace(run, cells=run.cells.assign(status="crashed"))
    assert still_learning(pending, pending.cells) == (0, 0, 0)
    gans = gan_curves(frechet=[90, 60, 50, 30, 20]).run()
    assert still_learning(gans, gans.cells).of == 0  # not defined


# Proofs and the dead discriminator


def test_dead_discriminators_against_live_ones_of_the_same_condition():
    dead = {"dead_discriminator": 1.0}
    builder = (
        Builder().add(np.log(400), **GAN, loss="l1", **dead).add(np.log(100), **GAN, loss="bce", dead_discriminator=0.0)
    )
    builder.add(np.log(1), **GAN, loss="l2", outlier="noise", rate=0.2, dead_discriminator=0.0)  # no dead one beside it
    builder.add(np.log(1), **GAN, loss="l2", lr=1e-2, dead_discriminator=0.0)  # nor beside this one
    row = builder.judge("d-loss-half/dead")
    assert row["estimate"] == pytest.approx(-np.log(4), abs=0.02)
    assert row["verdict"] == REFUTED
    assert row["cells"].endswith("dead: 10 l1")


@pytest.mark.parametrize(("broken", "verdict", "share"), [([], SUPPORTED, 1.0), ([3], REFUTED, 0.9)])
def test_the_procedure_holds_in_every_run_or_not_at_all(broken, verdict, share):
    builder = Builder().add(
        3.0, **GAN, loss="bce", procedure_ok=1.0, seeds=[s for s in range(SEEDS) if s not in broken]
    )
    row = builder.add(3.0, **GAN, loss="bce", procedure_ok=0.0, seeds=broken).judge("procedure")
    assert (row["verdict"], row["estimate"], row["n"]) == (verdict, pytest.approx(share), SEEDS)
    assert "outside K" in row["rule"]


def test_a_constant_discriminator_has_l1_s_best_d_loss():
    row = Builder().add(3.0, **GAN, loss="bce").judge("d-loss-half/constant")
    assert (row["verdict"], row["estimate"]) == (REFUTED, 0)


# No effect, no verdict of one


def test_a_run_without_any_effect_gets_no_false_verdict():
    run, rng = full_run(), np.random.default_rng(0)
    null = replace(
        run,
        cells=run.cells.assign(
            frechet=np.exp(rng.standard_normal(len(run.cells))),
            location_error=np.exp(rng.standard_normal(len(run.cells))),
        ),
        images=run.images.assign(**dict.fromkeys(("psnr_y_db", "psnr_db"), 30 + rng.standard_normal(len(run.images)))),
        curves=run.curves.assign(value=rng.uniform(size=len(run.curves))),
    )
    table = judge(null).set_index("claim").drop(index=[*PROOFS, "d-loss-to-zero/limit"])
    assert (table.drop(index=["d-loss-half/bce", "d-loss-half/l2"])["n"] == SEEDS).all()  # some tell nothing there
    assert not table["verdict"].isin([SUPPORTED, REFUTED]).any()
