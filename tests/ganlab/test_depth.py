"""Depth: disparities relative to the largest, matched in two views, scored in pixels, and only where they are known."""

import numpy as np
import pytest
import torch

from ganlab.datasets import StereoScenes
from ganlab.stereo_matching import block_matching, build_stereo_matcher, correlations, shifted
from ganlab.tasks import TASKS
from tests.support.small_data import CPU, SCENES, cell, use_small_data


def task_of(**changes):
    return TASKS["depth"](cell("depth", **changes), CPU)


def test_unknown_disparities_are_neither_trained_nor_scored(monkeypatch):
    use_small_data(monkeypatch)
    task, twin = (task_of(loss="l2", head="raw") for _ in range(2))
    unknown = twin.train_known == 0
    twin.train_targets[unknown] = 17.0
    for step in range(3):
        assert torch.equal(task.step(step), twin.step(step))
    name, pair = next(iter(task.pairs.test.items()))
    prediction = torch.where(pair.known, pair.target + 0.11, 17.0)
    score = task.score(name, prediction)
    assert score["disparity_error_px"] == pytest.approx(0.11 * 20, rel=1e-4)
    assert score["psnr_db"] == pytest.approx(-20 * np.log10(0.11), abs=1e-3)
    assert score["bad_pixels"] == 1
    assert task.main_score(prediction, pair) == score["psnr_db"]


def test_the_loss_of_a_patch_is_the_mean_over_known_pixels(monkeypatch):
    use_small_data(monkeypatch)
    task = task_of(loss="l1", head="raw")
    drawn = task.draw(0)
    given, target = task.batch(drawn)
    known = [task.train_known[i, y : y + 8, x : x + 8, 0] for i, (y, x) in zip(*drawn, strict=True)]
    off = (task.network(given).detach() - target).abs()[:, 0]
    expected = torch.cat([o[k > 0] for o, k in zip(off, known, strict=True)]).mean()
    assert float(task.step(0)) == pytest.approx(float(expected), rel=1e-5)
    task.train_known.zero_()
    assert float(task.step(1)) == 0  # nothing is known of these patches


def test_disparities_are_relative_and_unknown_ones_are_the_median(monkeypatch):
    use_small_data(monkeypatch)
    data, task = SCENES[StereoScenes], task_of()
    median = np.nanmedian(np.concatenate([scene[6].numpy().ravel() for scene in data.train.values()]))
    for part in ("train", "validation", "test"):
        for name, scene in getattr(data, part).items():
            pair = getattr(task.pairs, part)[name]
            assert torch.equal(pair.given, scene[:6])
            assert torch.equal(pair.known[0], scene[6].isfinite())
            torch.testing.assert_close(pair.target[pair.known], scene[6:][pair.known] / 20)
            assert pair.target[~pair.known].numpy() == pytest.approx(median / 20, abs=1e-3)
    assert task.finish(torch.tensor([-0.1, 0.1234, 1.1])).tolist() == pytest.approx([0, 0.1234, 1])  # no 8 bits


def test_bad_pixels_are_off_by_more_than_two(monkeypatch):
    use_small_data(monkeypatch)
    task = task_of()
    name, pair = next(iter(task.pairs.test.items()))
    off = torch.zeros_like(pair.target)
    off[..., ::2], off[..., 1::2] = 1.9 / 20, -2.1 / 20
    score = task.score(name, pair.target + off)
    assert score["bad_pixels"] == pytest.approx(float(pair.known[..., 1::2].sum() / pair.known.sum()))
    assert score["disparity_error_px"] == pytest.approx(1.9 + 0.2 * score["bad_pixels"], rel=1e-4)


def test_the_pull_of_a_disparity_map_counts_known_pixels(monkeypatch):
    """A network that knows the disparity and seeks the mean predicts (1 - e) x under `missing`: off by e x."""
    use_small_data(monkeypatch)
    task = task_of(outlier="missing", rate=0.3)
    name, pair = next(iter(task.pairs.test.items()))
    score = task.score(name, 0.7 * pair.target)
    assert score["psnr_db"] == pytest.approx(-10 * np.log10(score["pull_mse"]), abs=1e-3)
    assert "pull_mse_y" not in score


def two_views(disparity: int) -> torch.Tensor:
    """Noise (1, 6, 32, 64), in which the right view shows at x - disparity what the left one shows at x."""
    scene = torch.rand(1, 3, 32, 64 + disparity, generator=torch.Generator().manual_seed(1))
    return torch.cat([scene[..., :64], scene[..., disparity:]], dim=1)


@pytest.mark.parametrize("disparity", [0, 5, 20])
def test_block_matching_finds_a_shift(disparity):
    found = 20 * block_matching(two_views(disparity), 20.0)
    assert found.shape == (1, 1, 32, 64)
    assert (found[..., disparity + 4 :] == disparity).all()


def test_correlations_are_products_level_by_level():
    a, b = torch.rand(2, 2, 5, 4, 9, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([(a * shifted(b, level)).sum(1) for level in range(6)], dim=1)
    torch.testing.assert_close(correlations(a, b, 6), expected)


def test_the_untrained_network_already_compares_the_views():
    """Its correlation peaks at the true shift, so its soft-argmin is nearer to it than for unrelated views."""
    network = build_stereo_matcher(16, 2, 20.0, "raw", seed=0)
    for disparity in (4, 16):
        found = 20 * network(two_views(disparity))[..., 24:].mean()
        swapped = 20 * network(two_views(disparity).roll(3, 1))[..., 24:].mean()
        assert abs(found - disparity) < abs(swapped - disparity)


def test_heads_share_weights_and_a_seed_draws_them():
    raw, sigmoid, other = (
        build_stereo_matcher(8, 1, 20.0, head, seed) for head, seed in (("raw", 1), ("sigmoid", 1), ("raw", 2))
    )
    assert all(torch.equal(a, b) for a, b in zip(raw.parameters(), sigmoid.parameters(), strict=True))
    assert not torch.equal(raw.describe[0].weight, other.describe[0].weight)
    given = torch.rand(2, 6, 24, 40)
    torch.testing.assert_close(raw(given).clamp(0.01, 0.99), sigmoid(given).sigmoid())
