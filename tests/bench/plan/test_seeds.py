"""Seeds that a block trains only as long as its questions are open."""

import pytest
from pydantic import ValidationError

from bench.plan.reading import SuiteError, read_suite
from bench.plan.seeds import LOOKS, SeedPlan, looks_between
from bench.plan.suite import Suite
from tests.bench.plan.test_suite import BLOCK, suite

PLAN = {"first": 6, "most": 12}


def test_the_looks_are_fixed_and_test_each_photograph_equally_often():
    assert tuple(sorted(set(LOOKS))) == LOOKS
    assert all(look % 3 == 0 for look in LOOKS)
    assert looks_between(6, 48) == LOOKS
    assert looks_between(9, 9) == (9,)


def test_a_plan_declares_its_first_seeds_and_may_train_the_others():
    planned = suite(BLOCK | {"loss": "l1", "seeds": PLAN})
    assert [cell.seed for cell in planned.cells] == list(range(6))
    assert [cell.seed for cell in planned.possible_cells] == list(range(12))
    assert {(cell.first_seeds, cell.most_seeds) for cell in planned.possible_cells} == {(6, 12)}
    assert planned.matrix[0].size == 12
    assert Suite.model_validate(planned.model_dump(mode="json")) == planned


def test_a_fixed_list_of_seeds_is_all_there_is():
    fixed = suite(BLOCK)
    assert fixed.possible_cells == fixed.cells
    assert {cell.most_seeds for cell in fixed.cells} == {None}


def test_a_plan_changes_no_cell():
    planned, fixed = suite(BLOCK | {"seeds": PLAN}).possible_cells, suite(BLOCK | {"seeds": 12}).cells
    assert [cell.cell_id for cell in planned] == [cell.cell_id for cell in fixed]


def test_a_cell_of_several_blocks_has_the_widest_plan_and_keeps_every_fixed_seed():
    block = BLOCK | {"loss": "l1"}
    both = suite(block | {"seeds": 9}, block | {"seeds": PLAN}, block | {"seeds": {"first": 6, "most": 9}})
    assert [cell.seed for cell in both.cells] == list(range(9))
    assert {(cell.first_seeds, cell.most_seeds) for cell in both.possible_cells} == {(6, 12)}
    assert [cell.shows_samples for cell in both.cells] == [True] + [False] * 8


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ({"first": 5, "most": 12}, "first = 5: one of 6, 9, 12, 18, 24, 36, 48"),
        ({"first": 6, "most": 10**9}, "most = 1000000000: one of 6, 9,"),
        ({"first": 12, "most": 6}, "first = 12 is more than most = 6"),
        ({"first": 6, "most": 12.0}, "seeds.most: found 12.0"),
        ({"first": 6}, "seeds.most: this key is required and missing"),
        ({"first": 6, "most": 12, "last": 1}, "seeds.*last"),
        ("six", "seeds: found 'six'"),
    ],
)
def test_a_wrong_plan_is_one_line(seeds, message, tmp_path):
    with pytest.raises(ValidationError):
        suite(BLOCK | {"seeds": seeds})
    value = "{" + ", ".join(f"{key} = {number}" for key, number in seeds.items()) + "}" if seeds != "six" else "'six'"
    keys = "\n".join(f"{key} = {item!r}" for key, item in BLOCK.items() if key != "seeds")
    file = tmp_path / "mine.toml"
    file.write_text(f"title = 'mine'\n[[matrix]]\n{keys}\nseeds = {value}\n")
    with pytest.raises(SuiteError, match=message) as error:
        read_suite(str(file))
    assert "matrix 1" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_plan_can_be_given_on_the_command_line():
    assert read_suite("smoke", {"seeds": PLAN}).matrix[0].seeds == SeedPlan(first=6, most=12)
