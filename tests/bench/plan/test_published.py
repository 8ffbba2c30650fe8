"""Which cells reproduce a published figure?"""

import pytest

from bench.plan.published import SELECTABLE, Published

SETTING = {"loss": "l1", "rate": 0.25, "settings": {"channels": 8, "blocks": 1}}


@pytest.mark.parametrize(
    ("which", "holds"),
    [
        ({}, True),
        ({"loss": "l1"}, True),
        ({"loss": "l1", "rate": 0.25}, True),
        ({"loss": "l1", "rate": 0.5}, False),
        ({"head": "raw"}, False),
        ({"settings": {}}, True),
        ({"settings": {"channels": 8}}, True),
        ({"settings": {"channels": 8, "blocks": 2}}, False),
        ({"settings": {"width": 8}}, False),
        ({"settings": 8}, False),
        ({"loss": "l2", "settings": {"channels": 8}}, False),
    ],
)
def test_a_cell_has_each_value_that_is_named(which, holds):
    assert Published.holds(which, SETTING) is holds


def test_a_group_of_seeds_has_no_seed_and_a_figure_is_of_the_end_of_training():
    assert not {"seed", "evaluations"} & set(SELECTABLE)
    assert {"task", "dataset", "loss", "head", "outlier", "rate", "steps", "lr", "settings"} <= set(SELECTABLE)
