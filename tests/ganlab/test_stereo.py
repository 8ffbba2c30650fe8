"""Stereo scenes: planes shift by their disparity, near ones hide far ones, and scenes turn with their photographs."""

import numpy as np
import pytest
import torch

from ganlab.datasets import load
from ganlab.datasets.stereo import (
    LARGEST,
    Layer,
    draw_layers,
    hidden,
    measured,
    photographed,
    render,
    view,
    visible_disparity,
)
from ganlab.seeds import generator

SIDES = (40, 60)


@pytest.fixture(scope="module")
def stereo():
    return load("stereo")


def texture(number: int) -> torch.Tensor:
    """Smooth noise, so that positions between pixels can be interpolated."""
    draw = torch.Generator().manual_seed(number)
    noise = torch.rand(1, 3, 30, 40, generator=draw, dtype=torch.float64)
    return torch.nn.functional.interpolate(noise, size=(240, 320), mode="bicubic").clamp(0, 1)[0]


def seen_right(right: torch.Tensor, disparity: torch.Tensor) -> torch.Tensor:
    """The right view (3, h, w) at x - disparity for each pixel of the left one, by NumPy's own interpolation."""
    columns = np.arange(right.shape[2])
    rows = [
        np.interp(columns - d, columns, channel[y])
        for channel in right.numpy()
        for y, d in enumerate(disparity.nan_to_num(0).numpy())
    ]
    return torch.from_numpy(np.array(rows).reshape(right.shape))


@pytest.mark.parametrize("d", [0, 1, 7])
def test_a_plane_at_disparity_d_shifts_left_by_d(d):
    layers = [Layer(texture(0), (20, 20), (d, 0, 0))]
    left, right = (view(layers, side, *SIDES) for side in (False, True))
    torch.testing.assert_close(right[..., : 60 - d], left[..., d:])
    disparity = visible_disparity(layers, *SIDES)
    assert disparity[:, :d].isnan().all()
    assert (disparity[:, d:] == d).all()


def test_the_nearest_layer_hides_the_others_whatever_their_order():
    far, near = (
        Layer(texture(0), (20, 20), (3, 0, 0)),
        Layer(texture(1), (0, 0), (9, 0, 0), "rectangle", (30, 20), (8, 5)),
    )
    disparity = visible_disparity([far, near], *SIDES)
    torch.testing.assert_close(disparity, visible_disparity([near, far], *SIDES), equal_nan=True)
    row = disparity[20]
    assert (row[22:39] == 9).all()  # the shape, 30 - 8 to 30 + 8
    assert row[16:22].isnan().all()  # its right image, 13 to 29, hides what the left view shows 3 further right
    assert (row[3:16] == 3).all()
    assert (row[39:] == 3).all()
    assert (disparity[10, 3:] == 3).all()  # above the shape
    images = [view(order, right=True, height=40, width=60) for order in ([far, near], [near, far])]
    torch.testing.assert_close(*images)
    torch.testing.assert_close(images[0][:, 20, 14:29], view([near], False, *SIDES)[:, 20, 23:38])


@pytest.mark.parametrize("plane", [(4.3, 0, 0), (2, 0.05, 0), (3, 0, 0.04), (8, -0.05, -0.03)])
def test_the_right_view_shows_every_known_point_at_its_disparity(plane):
    shape = Layer(texture(1), (7, 3), (10, 0.03, -0.02), "ellipse", (40, 18), (9, 8))
    layers = [Layer(texture(0), (20, 20), plane), shape]
    left, right = (view(layers, side, *SIDES) for side in (False, True))
    disparity = visible_disparity(layers, *SIDES)
    off = (seen_right(right, disparity) - left).abs().amax(0)[~disparity.isnan()]
    assert off.median() < 0.01  # edges of the shape are mixed pixels
    assert float((off > 0.05).double().mean()) < 0.06


@pytest.mark.parametrize(
    "name", ["china-1", "moon-4", "coffee-2", "motorcycle_left-tile-1-1", "motorcycle_left-tile-2-2"]
)
def test_the_sign_is_that_of_the_measured_pair(stereo, name):
    """The right view at x - disparity resembles the left one; at x + disparity and at x it does not."""
    scene = (stereo.train | stereo.validation | stereo.test)[name].double()
    known = ~scene[6].isnan()
    good, wrong, same = (
        float((seen_right(scene[3:6], sign * scene[6]) - scene[:3]).abs()[:, known].mean()) for sign in (1, -1, 0)
    )
    assert good < 0.03
    assert good < min(wrong, same) / 3


def test_hidden_points_are_behind_nearer_ones_or_beyond_the_border():
    row = np.full((1, 12), 1.0)
    row[0, 6:9] = 4  # seen at 2, 3, 4, where the row shows its 3, 4, 5
    row[0, 10] = np.nan
    assert np.flatnonzero(hidden(row)).tolist() == [0, 3, 4, 5]


def test_drawn_disparities_stay_within_the_range():
    for number in range(40):
        layers = draw_layers([texture(0), texture(1)], generator(number, "any"))
        assert 3 <= len(layers) <= 5
        disparity = visible_disparity(layers)
        known = disparity[~disparity.isnan()]
        assert known.min() > 0
        assert known.max() < LARGEST
        assert len(known) > 0.6 * disparity.numel()


def test_views_have_noise_and_a_gain_in_8_bits():
    grey = torch.full((3, 96, 128), 0.5, dtype=torch.float64)
    image = photographed(grey, 1.04, generator(0, "noise"))
    torch.testing.assert_close((255 * image).round() / 255, image)
    assert float(image.mean()) == pytest.approx(0.52, abs=1e-3)
    assert float(image.std()) == pytest.approx(2 / 255, rel=0.03)


def test_scenes_turn_with_their_photographs(stereo):
    photographs = load("photographs")
    for seed in range(3):
        turned, source = stereo.turn(seed), photographs.turn(seed)
        for part in ("train", "validation", "test"):
            names = set(getattr(turned, part))
            rendered = {name for name in names if "tile" not in name}
            assert {name.rpartition("-")[0] for name in rendered} == set(getattr(source, part))
            assert len(rendered) == 6 * len(getattr(source, part))
            assert len(names - rendered) == 4 * ("motorcycle_left" in getattr(source, part))
        assert not set(turned.train) & set(turned.test)
    for name, scene in (stereo.train | stereo.validation | stereo.test).items():
        assert scene.shape == ((7, 80, 120) if "tile" in name else (7, 96, 128))
        known = scene[6][~scene[6].isnan()]
        assert known.min() > 0
        assert known.max() < stereo.largest == LARGEST
        assert 0.5 < len(known) / scene[6].numel() < 1


def test_a_scene_shows_photographs_of_its_fold_alone(stereo):
    """It is drawn anew from the four of its fold."""
    photographs = load("photographs")
    every = photographs.train | photographs.test
    for fold in photographs.folds:
        first, *others = (every[name].double() for name in fold)
        again = render(f"{fold[0]}-3", [first, *others])
        torch.testing.assert_close(again, (stereo.train | stereo.test)[f"{fold[0]}-3"], rtol=0, atol=0, equal_nan=True)


def test_the_measured_disparities_are_a_third_of_the_published_ones():
    import skimage.data

    disparity = skimage.data.stereo_motorcycle()[2]
    tile = measured()["motorcycle_left-tile-2-2"][6].numpy()
    published = disparity[80 * 3 + 1 : 160 * 3 : 3, 120 * 3 + 1 : 240 * 3 : 3] / 3
    known = np.isfinite(tile)
    assert known.mean() > 0.6
    assert np.isfinite(published[known]).all()
    np.testing.assert_allclose(tile[known], published[known], atol=1 / 500)
