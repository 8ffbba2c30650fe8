"""Shared by both training loops: the learning-rate schedule, and the evaluation points of a cell."""

import pytest

from bench.plan.cell import Cell
from bench.training.steps import evaluation_points, learning_rate
from tests.conftest import TINY_SR


def cell(**changes) -> Cell:
    return Cell(**TINY_SR | {"loss": "l1", "seed": 0} | changes)


def test_cosine_falls_from_lr_to_zero():
    assert learning_rate(cell(steps=100, schedule="cosine", lr=0.5), 0) == 0.5
    assert learning_rate(cell(steps=100, schedule="cosine", lr=0.5), 50) == pytest.approx(0.25)
    assert learning_rate(cell(steps=100, schedule="cosine", lr=0.5), 99) == pytest.approx(0.5 * 0.000247, rel=1e-2)
    assert learning_rate(cell(steps=100, lr=0.5), 99) == 0.5


@pytest.mark.parametrize(("steps", "evaluations"), [(4, 2), (7, 3), (25, 25), (1000, 8)])
def test_evaluation_points_are_even_and_end_at_the_end(steps, evaluations):
    points = evaluation_points(cell(steps=steps, evaluations=evaluations))
    assert points[-1] == steps
    assert len(set(points)) == evaluations
    assert max(b - a for a, b in zip([0, *points], points, strict=False)) <= steps / evaluations + 1
