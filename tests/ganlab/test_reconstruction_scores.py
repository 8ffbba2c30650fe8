"""Scores of reconstructions, computed by hand: of an image, a curve, and a picture."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import rel_entr

from ganlab import metrics
from ganlab.tasks import TASKS, reconstruction
from ganlab.tasks.windows import shown_windows
from tests.support.small_data import CPU, cell, use_small_data


def reddened(target: torch.Tensor, border: int) -> torch.Tensor:
    """An image whose red is off by 0.1, towards the middle; what is not scored of it is far off."""
    prediction = torch.full_like(target, 17.0)
    inside = metrics.crop_border(prediction, border)
    inside.copy_(metrics.crop_border(target, border))
    inside[0] -= 0.1 * (inside[0] - 0.5).sign()
    return prediction


def test_scores_by_hand(monkeypatch):
    use_small_data(monkeypatch)
    task = TASKS["sr"](cell("sr", outlier="salt", rate=0.6), CPU)
    name, pair = next(iter(task.pairs.test.items()))
    prediction = reddened(pair.target, border=2)
    score, t = task.score(name, prediction), pair.target[:, 2:-2, 2:-2].double()
    p = prediction[:, 2:-2, 2:-2].double()
    y_off = 0.1 * 65.481 / 255
    assert score["psnr_db"] == pytest.approx(-10 * np.log10(0.01 / 3), abs=1e-3)
    assert score["psnr_y_db"] == task.main_score(prediction, pair) == pytest.approx(-20 * np.log10(y_off), abs=1e-3)
    assert score["mae"] == pytest.approx(0.1 / 3, rel=1e-4)
    divergence = rel_entr(t.numpy(), p.numpy()) + rel_entr(1 - t.numpy(), 1 - p.numpy())
    assert score["bce_excess"] == pytest.approx(float(divergence.mean()), abs=1e-5)
    assert score["ssim"] == pytest.approx(metrics.ssim(metrics.luma(p), metrics.luma(t)), abs=1e-5)
    # white at 0.6 pulls a mean-seeker by 0.6 (1 - x), and makes the median white
    white, y = float((1 - t).square().mean()), float((235 / 255 - metrics.luma(t)).square().mean())
    assert (score["pull_mse"], score["pull_mse_y"]) == pytest.approx((0.36 * white, 0.36 * y), rel=1e-4)
    assert (score["clipping_mse"], score["clipping_mse_y"]) == pytest.approx((white, y), rel=1e-4)
    # of two images, of which one is right to the bit: (100 dB + that) / 2
    task.pairs = replace(task.pairs, validation=task.pairs.test)
    seen = {other: image.target for other, image in task.pairs.test.items()} | {name: prediction}
    assert task.evaluate(1, {}, seen)["val_psnr_y_db"] == pytest.approx((100 + score["psnr_y_db"]) / 2)


@pytest.mark.parametrize(
    ("curve", "wobble"),
    [
        ([20.0, 30.0, 31.0, 33.0], 1.0),  # of the last two at least: 32 -+ 1
        ([0.0] * 8 + [1.0, 2.0, 3.0], (2 / 3) ** 0.5),  # of the last fifth of eleven, three: (1 + 0 + 1) / 3
    ],
)
def test_wobble_bias_and_picture_by_hand(monkeypatch, curve, wobble):
    use_small_data(monkeypatch)
    task = TASKS["sr"](cell("sr", outlier="salt", rate=0.6), CPU)
    task.validation_curve = curve
    readouts = task.conclude({name: torch.full_like(pair.target, 0.5) for name, pair in task.pairs.test.items()})
    assert readouts.values["wobble_db"] == pytest.approx(wobble)
    assert readouts.values["bias_mse"] == pytest.approx(np.mean([image["pull_mse"] for image in readouts.images]))
    target, bicubic, prediction = np.split(readouts.picture, 3, axis=1)
    assert (prediction == 128).all()  # 127.5, rounded to an even grey level
    name = readouts.layout["images"][0]
    top, left = shown_windows(task.pairs, 64)[name]
    shown = (255 * torch.stack([task.pairs.test[name].target, task.baseline(name)])).round()
    for tile, image in zip((target, bicubic), shown[..., top : top + 64, left : left + 64], strict=True):
        np.testing.assert_array_equal(tile[:64], image.permute(1, 2, 0))


def test_eight_bits():
    # 255 x 0.5 = 127.5 rounds to even, 255 x 0.1001 = 25.5255
    found = reconstruction.eight_bit(torch.tensor([-0.1, 0.1001, 0.5, 1.2]))
    assert (255 * found).tolist() == pytest.approx([0, 26, 128, 255])


def test_a_mismatched_target_is_of_another_image(monkeypatch):
    use_small_data(monkeypatch)
    task = TASKS["sr"](cell("sr", outlier="mismatch", rate=1.0), CPU)
    task.clean_targets = [torch.full((3, 40, 40), grey) for grey in (0.25, 0.75)]
    corrupted = task.corrupt(task.clean_targets[0], "mismatch", torch.Generator().manual_seed(0))
    assert corrupted.unique().tolist() == [0.75]
