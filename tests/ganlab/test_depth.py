"""Depth: disparities relative to the largest, scored in pixels, and only where they are known."""

import numpy as np
import pytest
import torch

from ganlab.datasets import StereoPair
from ganlab.tasks import TASKS, depth
from tests.support.small_data import CPU, SCENES, cell, use_small_data


def test_unknown_disparities_are_neither_trained_nor_scored(monkeypatch):
    use_small_data(monkeypatch)
    task, twin = (TASKS["depth"](cell("depth", loss="l2", head="raw"), CPU) for _ in range(2))
    unknown = twin.train_known == 0
    assert 0.05 < float(unknown.float().mean()) < 0.15
    twin.train_targets[unknown] = 17.0
    for step in range(3):
        assert torch.equal(task.step(step), twin.step(step))
    name, pair = next(iter(task.pairs.test.items()))
    prediction = torch.where(pair.known, pair.target + 0.1, 17.0)
    score = task.score(name, prediction)
    px = 0.1 * depth.largest("stereo")
    assert score["disparity_error_px"] == pytest.approx(px, rel=1e-4)
    assert score["psnr_db"] == pytest.approx(20, abs=1e-3)  # MSE 0.01
    assert score["bad_pixels"] == (px > 2)
    off = (pair.target[pair.known] - depth.median("stereo")).double()  # which needs no training
    assert score["baseline_psnr_db"] == pytest.approx(-10 * np.log10(float(off.square().mean())), abs=1e-3)
    assert task.main_score(prediction, pair) == score["psnr_db"]


def test_the_loss_of_a_patch_is_the_mean_over_known_pixels(monkeypatch):
    use_small_data(monkeypatch)
    task = TASKS["depth"](cell("depth", loss="l1", head="raw"), CPU)
    drawn = task.draw(0)
    _, target = task.batch(drawn)
    known = [task.train_known[i, y : y + 8, x : x + 8, 0] for i, (y, x) in zip(*drawn, strict=True)]
    level = depth.median("stereo")  # which the untrained network predicts
    expected = torch.cat([(t[0] - level).abs()[k > 0] for t, k in zip(target, known, strict=True)]).mean()
    assert float(task.step(0)) == pytest.approx(float(expected), rel=1e-5)
    task.train_known.zero_()
    assert float(task.step(1)) == 0  # nothing is known of these patches


def test_disparities_are_relative_and_unknown_ones_are_the_median(monkeypatch):
    use_small_data(monkeypatch)
    data, task = SCENES[StereoPair], TASKS["depth"](cell("depth"), CPU)
    top, trained = np.nanmax(data.disparity), np.nanmedian(data.disparity[:72])  # three tiles of 24 rows to train on
    assert (depth.largest("stereo"), depth.median("stereo")) == pytest.approx((top, trained / top), abs=1e-3)
    for k, pair in enumerate((*task.pairs.train.values(), *task.pairs.validation.values(), *task.pairs.test.values())):
        disparity = data.disparity[None, 24 * k : 24 * (k + 1)]
        assert torch.equal(pair.known, disparity.isfinite())
        torch.testing.assert_close(pair.target[pair.known], disparity[pair.known] / float(top))
        assert (pair.target[~pair.known] == depth.median("stereo")).all()
    rows, columns = depth.positions(2, 3)
    assert (rows.tolist(), columns.tolist()) == ([[0, 0, 0], [1, 1, 1]], [[0, 0.5, 1], [0, 0.5, 1]])
    assert task.finish(torch.tensor([-0.1, 0.1234, 1.1])).tolist() == pytest.approx([0, 0.1234, 1])  # no 8 bits


def test_bad_pixels_are_off_by_more_than_two(monkeypatch):
    use_small_data(monkeypatch)
    task = TASKS["depth"](cell("depth"), CPU)
    name, pair = next(iter(task.pairs.test.items()))
    off = torch.zeros_like(pair.target)
    off[..., ::2], off[..., 1::2] = 1.9 / depth.largest("stereo"), -2.1 / depth.largest("stereo")
    score = task.score(name, pair.target + off)
    assert score["bad_pixels"] == pytest.approx(float(pair.known[..., 1::2].sum() / pair.known.sum()))
    assert score["disparity_error_px"] == pytest.approx(1.9 + 0.2 * score["bad_pixels"], rel=1e-4)


def test_the_pull_of_a_disparity_map_counts_known_pixels(monkeypatch):
    """A network that knows the disparity and seeks the mean predicts (1 - e) x under `missing`: off by e x."""
    use_small_data(monkeypatch)
    task = TASKS["depth"](cell("depth", outlier="missing", rate=0.3), CPU)
    name, pair = next(iter(task.pairs.test.items()))
    score = task.score(name, 0.7 * pair.target)
    assert score["psnr_db"] == pytest.approx(-10 * np.log10(score["pull_mse"]), abs=1e-3)
    assert "pull_mse_y" not in score
