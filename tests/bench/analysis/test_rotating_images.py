"""Seeds that take turns on the test images: paired image by image, averaged over all, compared within folds."""

import numpy as np
import pandas as pd
import pytest

from bench.analysis.comparison import t_interval
from bench.analysis.contrasts import by_seed, cell, less, per_image
from bench.analysis.summary import fold_of, pick, seeds_interval, summarise
from bench.reports.findings import findings
from bench.store.reader import Run
from bench.store.schema import COLUMNS
from tests.bench.analysis.test_claims import SR, Builder

FOLDS = (("a", "b"), ("c", "d"), ("e", "f"))
LEVEL = {"a": 20.0, "b": 22.0, "c": 30.0, "d": 34.0, "e": 40.0, "f": 42.0}  # of each image, dB
GAIN = {"a": 0.1, "b": 0.3, "c": 0.2, "d": 0.2, "e": 0.5, "f": 0.3}  # of l2 over l1


def rotating(seeds: int = 6, broken: tuple[str, int] | None = None, lost: tuple[str, int, str] | None = None) -> Run:
    """l1 and l2, each seed on its fold; seed s adds s / 100 dB to l2. One cell may have diverged, one image be lost."""
    builder = Builder()
    for loss in ("l1", "l2"):
        for seed in range(seeds):
            status = "diverged" if broken == (loss, seed) else "done"
            builder.add(0.0, seeds=[seed], noise=0.0, loss=loss, status=status, **SR)
    run = builder.run()
    rows = []
    for number, found in run.cells[run.cells["status"] == "done"].iterrows():
        loss, seed = found["loss"], int(found["seed"])
        for image in FOLDS[seed % 3]:
            if lost != (loss, seed, image):
                psnr = LEVEL[image] + (loss == "l2") * (GAIN[image] + seed / 100)
                rows.append({"cell_id": found["cell_id"], "image": image, "psnr_y_db": psnr})
        run.cells.loc[number, "psnr_y_db"] = np.mean([row["psnr_y_db"] for row in rows[-2:]])
    images = pd.DataFrame(rows).reindex(columns=run.images.columns)
    timing = run.timing.reindex(columns=COLUMNS["timing"])
    return Run(run.path, {}, run.cells, images, run.curves, timing)


SIDES = less(*(cell(task="sr", loss=loss, head="raw") for loss in ("l2", "l1")))


def effects(run: Run) -> pd.DataFrame:
    return by_seed(per_image("psnr_y_db"), SIDES)(run).effects


def test_each_seed_has_the_effects_of_its_own_images():
    table = effects(rotating())
    assert table.shape == (6, 6)
    for seed, row in table.iterrows():
        own = row.dropna()
        assert tuple(own.index) == FOLDS[int(seed) % 3]
        assert own.to_numpy() == pytest.approx([GAIN[image] + seed / 100 for image in own.index])


def test_a_seed_with_an_unfinished_side_or_a_lost_image_is_left_out():
    assert list(effects(rotating(broken=("l2", 4))).index) == [0, 1, 2, 3, 5]
    assert list(effects(rotating(lost=("l1", 3, "b"))).index) == [0, 1, 2, 4, 5]


def test_a_mean_weighs_folds_alike_and_its_interval_is_within_them():
    run = rotating(seeds=5)  # folds 0 and 1 have two seeds, fold 2 has one
    row = pick(summarise(run.cells, run.images), loss="l2", metric="psnr_y_db").iloc[0]
    seeds = {seed: np.mean([LEVEL[i] + GAIN[i] for i in FOLDS[seed % 3]]) + seed / 100 for seed in range(5)}
    folds = [(seeds[0] + seeds[3]) / 2, (seeds[1] + seeds[4]) / 2, seeds[2]]
    assert row["mean"] == pytest.approx(np.mean(folds))
    # Two folds with seeds 0.03 dB apart: a variance of 0.03^2 / 2, two degrees of freedom, t = 4.303
    error = np.sqrt(0.03**2 / 2 * (1 / 2 + 1 / 2 + 1)) / 3
    assert row["ci_high"] - row["mean"] == pytest.approx(4.3027 * error, rel=1e-4)
    assert row["n"] == row["n_done"] == 5


def test_one_seed_per_fold_has_no_interval_over_seeds():
    run = rotating(seeds=3)
    row = pick(summarise(run.cells, run.images), loss="l1", metric="psnr_y_db").iloc[0]
    assert row["mean"] == pytest.approx(np.mean(list(LEVEL.values())))
    assert np.isnan(row["ci_low"])


def test_without_turns_the_interval_is_that_of_the_seeds():
    run = rotating()
    same = run.images.assign(image="a")
    row = pick(summarise(run.cells, same), loss="l2", metric="psnr_y_db").iloc[0]
    expected = t_interval(pick(run.cells, loss="l2")["psnr_y_db"])
    assert (row["mean"], row["ci_low"], row["ci_high"]) == pytest.approx(tuple(expected))


def test_cells_of_the_same_images_are_of_one_fold():
    run = rotating()
    folds = fold_of(run.cells["cell_id"], run.images)
    assert folds.groupby(run.cells["seed"] % 3).nunique().tolist() == [1, 1, 1]
    assert folds.nunique() == 3
    assert set(fold_of(run.cells["cell_id"], run.images[:0])) == {0}


def test_a_lost_seed_of_easy_images_does_not_cost_a_loss_its_place():
    """l2 gains on every image; without seed 2, whose images have the highest PSNR, the mean of its seeds is lower."""
    run = rotating(broken=("l2", 2))
    found = pick(run.cells, status="done").groupby("loss")["psnr_y_db"].mean()
    assert found["l2"] < found["l1"]
    (clean,) = (finding for finding in findings(run) if finding.topic == "clean")
    assert clean.parts[0].startswith("L2 raw comes out highest")


def test_the_interval_of_a_few_seeds():
    values, folds = pd.Series([1.0, 3.0, 10.0, 12.0]), pd.Series([0, 0, 1, 1])
    mean, low, high = seeds_interval(values, folds)
    error = np.sqrt(2 * (1 / 2 + 1 / 2)) / 2  # both folds have a variance of 2
    assert (mean, low, high) == pytest.approx((6.5, 6.5 - 4.302653 * error, 6.5 + 4.302653 * error))
    assert np.isnan(seeds_interval(values[:0], folds[:0]).mean)
