"""The bounds of quantities, and valid names in a run directory: known answers at both ends."""

import math

import pytest

from bench.store.validation import BOUNDS, Bounds, clipped, is_dataset, is_name, name_fits
from ganlab.datasets import folders


@pytest.mark.parametrize(
    ("column", "least", "most", "outside"),
    [
        ("rate", 0, 1, (-1e-9, 1.000001)),
        ("redraw", 0, 1, (-1, 0.5, 2)),
        ("seed", 0, 2**53, (-1, 0.5, 2**53 + 2)),
        ("psnr_db", 0, 100, (-1e-9, 100.001)),
        ("ms", 0, 1e100, (-1e-9, 1.01e100)),
        ("ssim", -1, 1, (-1.001, 1.001)),
        ("lr", 5e-324, 1e100, (0.0, -1.0)),
        ("g_loss", -1e100, 1e100, (-1.01e100, 1.01e100, math.inf, -math.inf, math.nan)),
    ],
)
def test_bounds(column, least, most, outside):
    bounds = BOUNDS.get(column, Bounds())
    assert bounds.hold(least)
    assert bounds.hold(most)
    assert not any(map(bounds.hold, outside))


def test_names():
    assert is_name("x" * 200)
    assert not any(map(is_name, ("", "x" * 201, "a\nb", "$x$")))
    assert name_fits("status", "done")
    assert not name_fits("status", "well")
    assert name_fits("loss", "anything")


def test_a_folder_may_have_a_longer_name_with_its_kind_in_brackets():
    longest = folders.PREFIX + "x" * (folders.LONGEST_DATASET - len(folders.PREFIX))
    assert is_dataset(longest + " " * 100)
    assert not is_dataset(longest + " " * 101)
    assert name_fits("dataset", "folder:/home/me/100 $ photos")


def test_a_text_is_cut_only_where_it_is_too_long():
    assert clipped("abcd", 4) == "abcd"
    assert clipped("abcde", 4) == "abcd..."
