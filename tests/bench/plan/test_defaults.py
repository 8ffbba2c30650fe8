"""`[defaults]` of a suite: which value takes precedence, what a run records, and where a mistake is located?"""

import datetime

import pytest

from bench.plan.block import Block
from bench.plan.defaults import MOST_LETTERS, with_defaults
from bench.plan.reading import SuiteError, read_suite, shipped, shipped_blocks
from ganlab.tasks import TASKS

TWO_TASKS = """
title = "t"

[defaults]
seeds = 3
steps = 10
evaluations = 2
batch_size = 4
lr = 1e-3

[defaults.sr]
dataset = "photographs"
loss = ["l1", "l2"]
steps = 20
outliers = { clean = 0, salt = 0.2 }
settings = { channels = 8, blocks = 1 }

[[matrix]]
task = "sr"

[[matrix]]
task = "sr"
steps = 30
loss = "l1"
lr = { l1 = 1e-2 }
outliers = { impulse = 0.3 }
settings = { blocks = 2 }

[[matrix]]
task = "gan"
dataset = "digits"
loss = "l2"
"""


def suite_of(tmp_path, text, overrides=None):
    (tmp_path / "mine.toml").write_text(text)
    return read_suite(str(tmp_path / "mine.toml"), overrides)


def test_a_block_wins_over_its_task_which_wins_over_all(tmp_path):
    plain, own, other = suite_of(tmp_path, TWO_TASKS).matrix
    assert [block.steps for block in (plain, own, other)] == [20, 30, 10]
    assert [block.seeds for block in (plain, own, other)] == [(0, 1, 2)] * 3
    assert [block.loss for block in (plain, own, other)] == [("l1", "l2"), ("l1",), ("l2",)]
    assert [block.dataset for block in (plain, own, other)] == ["photographs", "photographs", "digits"]


def test_settings_are_merged_and_every_other_value_is_replaced_whole(tmp_path):
    plain, own, other = suite_of(tmp_path, TWO_TASKS).matrix
    assert (plain.settings, own.settings) == ({"channels": 8, "blocks": 1}, {"channels": 8, "blocks": 2})
    assert (plain.outliers, own.outliers) == ({"clean": (0,), "salt": (0.2,)}, {"impulse": (0.3,)})
    assert (plain.lr, own.lr) == ({"l1": (1e-3,), "l2": (1e-3,)}, {"l1": (1e-2,)})
    assert (other.settings, other.outliers) == ({}, {"clean": (0,)})  # sr's are not those of gan


def test_settings_of_all_blocks_are_merged_with_those_of_a_task():
    defaults = {"settings": {"patch": 8, "blocks": 1, "channels": 4}, "sr": {"settings": {"blocks": 2, "channels": 5}}}
    blocks = [{"task": "sr", "settings": {"channels": 6}}, {"task": "depth"}]
    of_sr, of_depth = with_defaults({"defaults": defaults, "matrix": blocks})["matrix"]
    assert of_sr == {"task": "sr", "settings": {"patch": 8, "blocks": 2, "channels": 6}}
    assert of_depth == {"task": "depth", "settings": {"patch": 8, "blocks": 1, "channels": 4}}
    assert blocks[0]["settings"] == {"channels": 6}  # what was read stays as it was


def test_the_task_itself_may_be_a_default():
    defaults = {"task": "sr", "steps": 1, "sr": {"steps": 2}, "gan": {"steps": 3}}
    blocks = with_defaults({"defaults": defaults, "matrix": [{}, {"task": "gan"}, {"task": "depth"}]})["matrix"]
    expected = [{"task": "sr", "steps": 2}, {"task": "gan", "steps": 3}, {"task": "depth", "steps": 1}]
    assert blocks == expected


def test_set_wins_over_every_block_and_every_default(tmp_path):
    overrides = {"steps": 50, "seeds": 1, "settings": {}, "outliers": {"clean": 0}}
    for block in suite_of(tmp_path, TWO_TASKS, overrides).matrix:
        assert (block.steps, block.seeds, block.settings, block.outliers) == (50, (0,), {}, {"clean": (0,)})


def test_a_run_records_complete_blocks_and_no_defaults(tmp_path):
    recorded = suite_of(tmp_path, TWO_TASKS).model_dump(mode="json")
    assert set(recorded) == {"name", "title", "timing", "timeout_s", "matrix", "published"}
    assert all(set(block) == set(Block.model_fields) for block in recorded["matrix"])


def test_no_key_of_a_block_has_the_name_of_a_task():
    assert not set(Block.model_fields) & set(TASKS)  # so `[defaults.sr]` cannot be a key's table


def test_blocks_of_shipped_suites_are_those_that_are_run():
    for name, blocks in shipped_blocks().items():
        places = [(block["task"], block["dataset"], block.get("role", "report")) for block in blocks]
        assert places == [(block.task, block.dataset, block.role) for block in read_suite(name).matrix]
    assert set(shipped_blocks()) == set(shipped())


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("[defaults]", "[defaults]\nstepz = 1", "defaults: unknown key 'stepz'; did you mean 'steps'?"),
        ("[defaults.sr]", "[defaults.srr]", "defaults: unknown key 'srr'; did you mean 'sr'?"),
        ("[defaults.sr]", "[defaults.sr]\nlos = 1", "defaults.sr: unknown key 'los'; did you mean 'loss'?"),
        ("[defaults.sr]", "[defaults.depth]", "defaults.depth: no block has task 'depth'; there are sr, gan"),
        ("[defaults.sr]", '[defaults.sr]\ntask = "sr"', "defaults.sr.task: the name of the table is the task"),
        (
            "[defaults.sr]",
            "[defaults.sr.gan]\nx = 1\n[defaults.sr]",
            "defaults.sr: unknown key 'gan'; there are dataset, ",
        ),
        ("[defaults]", "[defaults]\ngan = 3", "defaults.gan: found 3; it is a table of keys and their values"),
        ("steps = 20", "steps = 0", "defaults.sr.steps: found 0; input should be greater than or equal to 1"),
        ("seeds = 3", 'seeds = "three"', "defaults.seeds: found 'three'"),
        ("seeds = 3\nsteps = 10", "steps = 0\nseeds = 3", "defaults.steps: found 0; input"),
        ("steps = 30", "steps = 0", "matrix 2.steps: found 0; input should be greater than or equal to 1"),
        ("batch_size = 4", "", "matrix 1.batch_size: this key is required and missing"),
        ('task = "gan"', "task = 3", "matrix 3.task: found 3; input should be a valid string"),
        ('task = "gan"', "", "matrix 3.task: this key is required and missing"),
        ('task = "gan"', 'task = "srx"', "matrix 3: unknown task 'srx'; did you mean 'sr'?"),
    ],
)
def test_mistakes_are_named(tmp_path, before, after, says):
    assert TWO_TASKS.count(before) >= 1
    with pytest.raises(SuiteError) as mistake:
        suite_of(tmp_path, TWO_TASKS.replace(before, after, 1))
    message = str(mistake.value)
    assert message.startswith(f"{tmp_path / 'mine.toml'}")
    assert says in message
    assert "\n" not in message


def test_a_misspelt_task_is_named_before_its_defaults(tmp_path):
    with pytest.raises(SuiteError, match=r"matrix 1: unknown task 'srr'; did you mean 'sr'\?"):
        suite_of(tmp_path, TWO_TASKS.replace('task = "sr"', 'task = "srr"'))


def test_a_block_of_the_default_task_counts_as_one_of_that_task():
    defaults = {"task": "sr", "gan": {"steps": 1}}
    with pytest.raises(ValueError, match=r"defaults\.gan: no block has task 'gan'; there are sr, depth$"):
        with_defaults({"defaults": defaults, "matrix": [{}, {"task": "depth"}, {"task": "sr"}]})


def test_a_block_without_a_task_is_named(tmp_path):
    with pytest.raises(SuiteError, match=r"matrix 1\.task: this key is required and missing"):
        suite_of(tmp_path, 'title = "t"\n[defaults.sr]\nsteps = 1\n[[matrix]]\nseeds = 1\n')


def test_mistakes_of_set_are_not_attributed_to_the_defaults(tmp_path):
    with pytest.raises(SuiteError, match=r"matrix 1\.steps: found 0"):
        suite_of(tmp_path, TWO_TASKS, {"steps": 0})


@pytest.mark.parametrize("defaults", [3, [], "sr", datetime.date(2026, 1, 1)])
def test_defaults_are_a_table(defaults):
    with pytest.raises(ValueError, match=r"defaults: found .*; it is a table of keys and their values"):
        with_defaults({"defaults": defaults, "matrix": []})


def test_invalid_blocks_are_rejected_by_the_suite(tmp_path):
    for matrix in ("matrix = 3", "matrix = [3]", "matrix = []"):
        with pytest.raises(SuiteError, match=r"mine\.toml: matrix"):
            suite_of(tmp_path, f'title = "t"\n{matrix}\n[defaults]\nsteps = 1\n[defaults.sr]\nseeds = 2\n')


def test_defaults_that_would_fill_the_memory_in_every_block_are_refused():
    defaults = {"seeds": list(range(1000))}  # 4890 letters
    letters = len(str(defaults))
    most = MOST_LETTERS // letters
    assert len(with_defaults({"defaults": defaults, "matrix": [{}] * most})["matrix"]) == most
    with pytest.raises(ValueError, match=f"defaults: too long for {most + 1} blocks"):
        with_defaults({"defaults": defaults, "matrix": [{}] * (most + 1)})
