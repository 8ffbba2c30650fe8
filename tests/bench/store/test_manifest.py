"""Which values may a manifest contain? The limits of its numbers, at both ends."""

import json

import pytest

from bench.store.manifest import parse_manifest, picture_size
from bench.store.validation import Invalid


def parse(**entries: object) -> dict:
    return parse_manifest(json.dumps({"schema_version": 1, "cells": 0} | entries).encode())


def grid(rows: int, columns: int, tile: int) -> dict:
    return {"kind": "gan", "rows": rows, "columns": columns, "tile": tile}


def test_the_size_of_a_picture():
    assert picture_size(grid(2, 3, 10)) == (20, 30)
    crops = {"kind": "sr", "images": ["a", "b"], "columns": ["target", "bicubic", "prediction"], "tile": 10}
    assert picture_size(crops) == (20, 30)


@pytest.mark.parametrize(
    ("valid", "invalid", "says"),
    [
        ({"samples": {"a": grid(1, 1, 2000)}}, {"samples": {"a": grid(1, 2, 2000)}}, "2000 x 4000 pixels"),
        ({"threads": 0}, {"threads": -1}, "threads"),
        ({"threads": 2**53}, {"threads": 2**53 + 1}, "threads"),
        ({"calibration": {"minutes": 0}}, {"calibration": {"minutes": -0.5}}, "greater than or equal to 0"),
        ({"roofline": {"matmul_gflop_per_s": {"x": 1.0}}}, {"roofline": {"matmul_gflop_per_s": {"x": 0.0}}}, "greater"),
        (
            {"calibration": {"trials": {"0.05": {"SAME": 1}, "1e-05": {"SAME": 1}}}},
            {"calibration": {"trials": {"-0.05": {"SAME": 1}}}},
            "pattern",
        ),
        (
            {"calibration": {"trials": {"0.0": {"SAME": 0, "SLOWER": 1}}}},
            {"calibration": {"trials": {"0.0": {"SAME": 0}}}},
            "counts nothing",
        ),
        ({"started": "2024-05-01T10:00:00+00:00"}, {"started": "2024-05-01T10:00:00"}, "a time needs its zone"),
    ],
)
def test_limits(valid, invalid, says):
    assert parse(**valid).items() >= valid.items()
    with pytest.raises(Invalid, match=says):
        parse(**invalid)
