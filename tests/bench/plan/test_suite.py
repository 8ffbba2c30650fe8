"""Suites: the product of the axes, identities, and one line for every mistake."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.plan.cell import Cell
from bench.plan.reading import SuiteError, read_suite, shipped
from bench.plan.suite import Suite
from ganlab.losses import LOSSES, PARTICULAR

BLOCK = {
    "task": "sr",
    "dataset": "photographs",
    "loss": ["bce", "l1"],
    "lr": 1e-3,
    "seeds": 2,
    "steps": 10,
    "batch_size": 4,
    "evaluations": 2,
}


def suite(*blocks: dict) -> Suite:
    return Suite(name="test", title="a test", matrix=blocks or (BLOCK,))


def test_cells_are_the_product():
    cells = suite(BLOCK | {"outliers": {"clean": 0, "salt": [0.1, 0.2]}, "head": ["sigmoid", "raw"]}).cells
    # (bce sigmoid, l1 sigmoid, l1 raw) x (clean, salt 0.1, salt 0.2) x 2 seeds; bce has no raw head
    assert len(cells) == 3 * 3 * 2
    assert {(cell.loss, cell.head) for cell in cells} == {("bce", "sigmoid"), ("l1", "sigmoid"), ("l1", "raw")}
    assert sum(cell.shows_samples for cell in cells) == 9
    assert all(cell.scale == 2 and cell.value_range == 1 for cell in cells)


def test_a_cell_declared_twice_counts_once():
    assert len(suite(BLOCK, BLOCK | {"loss": "l1", "seeds": 3}).cells) == 4 + 1
    cells = suite(BLOCK, BLOCK | {"seeds": [1]}).cells  # the first to declare it says whether it shows samples
    assert [(cell.seed, cell.shows_samples) for cell in cells] == [(0, True), (1, False)] * 2


def test_each_loss_may_have_its_own_learning_rates():
    cells = suite(BLOCK | {"lr": {"bce": 1e-3, "l1": [1e-2, 1e-1]}}).cells
    assert {(cell.loss, cell.lr) for cell in cells} == {("bce", 1e-3), ("l1", 1e-2), ("l1", 1e-1)}


def test_seeds_are_a_count_or_a_list():
    assert {cell.seed for cell in suite(BLOCK | {"seeds": [5, 9]}).cells} == {5, 9}
    assert suite(BLOCK | {"seeds": 1}).matrix[0].seeds == (0,)
    assert suite(BLOCK | {"seeds": 1000}).matrix[0].seeds == tuple(range(1000))
    for count in (0, 1001):
        with pytest.raises(ValidationError, match=f"seeds = {count}: a count from 1 to 1000, or a list of seeds"):
            suite(BLOCK | {"seeds": count})
    with pytest.raises(ValidationError, match="seeds"):
        suite(BLOCK | {"seeds": True})


def test_the_smallest_seed_of_a_reported_group_shows_samples():
    cells = suite(BLOCK | {"seeds": [9, 5, 7], "outliers": {"clean": 0, "salt": 0.2}}).cells
    shown = [(cell.loss, cell.rate, cell.seed) for cell in cells if cell.shows_samples]
    assert sorted(shown) == [("bce", 0, 5), ("bce", 0.2, 5), ("l1", 0, 5), ("l1", 0.2, 5)]
    for role in ("tune", "reference"):
        assert not any(cell.shows_samples for cell in suite(BLOCK | {"role": role}).cells)


def test_a_block_must_have_the_keys_without_default():
    block = BLOCK | {"steps": 20}
    del block["evaluations"]
    cell = suite(block).cells[0]
    expected = {"task": "sr", "dataset": "photographs", "loss": "bce", "lr": 1e-3, "seed": 0, "steps": 20}
    expected |= {"batch_size": 4, "evaluations": 10, "head": "sigmoid", "outlier": "clean", "rate": 0, "redraw": False}
    expected |= {"expected": False}
    expected |= {"schedule": "constant", "optimizer": "adam", "precision": "fp32", "scale": 2, "value_range": 1}
    expected |= {"role": "report", "shows_samples": True, "first_seeds": None, "most_seeds": None}
    expected |= {"tuned": False}
    assert cell.model_dump(exclude={"settings"}) == expected
    gan = suite(BLOCK | {"task": "gan", "dataset": "digits"}).cells[0]
    assert (gan.scale, gan.value_range) == (None, None)
    assert suite().timing.model_dump() == {"rounds": 8, "chunk_ms": 150}
    assert suite().timeout_s == 3600


def test_cells_come_by_outlier_then_loss_then_rate_then_head_then_seed():
    axes = {"outliers": {"clean": 0, "salt": 0.2}, "lr": {"bce": 1e-3, "l1": [1e-2, 1e-3]}, "head": ["raw", "sigmoid"]}
    cells = [cell for cell in suite(BLOCK | axes).cells if cell.rate == 0 or cell.seed == 1]
    assert [(cell.outlier, cell.loss, cell.lr, cell.head, cell.seed) for cell in cells] == [
        ("clean", "bce", 1e-3, "sigmoid", 0),
        ("clean", "bce", 1e-3, "sigmoid", 1),
        ("clean", "l1", 1e-2, "raw", 0),
        ("clean", "l1", 1e-2, "raw", 1),
        ("clean", "l1", 1e-2, "sigmoid", 0),
        ("clean", "l1", 1e-2, "sigmoid", 1),
        ("clean", "l1", 1e-3, "raw", 0),
        ("clean", "l1", 1e-3, "raw", 1),
        ("clean", "l1", 1e-3, "sigmoid", 0),
        ("clean", "l1", 1e-3, "sigmoid", 1),
        ("salt", "bce", 1e-3, "sigmoid", 1),
        ("salt", "l1", 1e-2, "raw", 1),
        ("salt", "l1", 1e-2, "sigmoid", 1),
        ("salt", "l1", 1e-3, "raw", 1),
        ("salt", "l1", 1e-3, "sigmoid", 1),
    ]


def test_only_corrupted_data_can_be_redrawn():
    block = BLOCK | {"redraw": [False, True], "loss": "l1", "seeds": 1}
    cells = suite(block | {"outliers": {"clean": 0, "salt": 0.2}}).cells
    assert [(cell.outlier, cell.redraw) for cell in cells] == [("clean", False), ("salt", False), ("salt", True)]
    inputs = {"task": "restoration", "settings": {"input_outlier": "impulse", "input_rate": 0.2}}
    assert [cell.redraw for cell in suite(block | inputs).cells] == [False, True]  # of the inputs


def test_a_loss_that_needs_the_logit_has_no_other_unit():
    cells = suite(BLOCK | {"value_range": [1, 255], "seeds": 1}).cells
    assert [(cell.loss, cell.value_range) for cell in cells] == [("bce", 1), ("l1", 1), ("l1", 255)]


def test_the_size_of_a_block_is_the_product_of_its_axes():
    pairs = {"head": ["sigmoid", "raw"], "schedule": ["constant", "cosine"], "optimizer": ["adam", "sgd"]}
    pairs |= {"precision": ["fp32", "bf16"], "redraw": [False, True], "scale": [2, 3], "value_range": [1, 255]}
    axes = {"lr": {"bce": 1e-3, "l1": [1e-2, 1e-3]}, "outliers": {"clean": 0, "salt": [0.1, 0.2]}, "seeds": 5}
    assert suite(BLOCK | pairs | axes).matrix[0].size == 2**7 * 3 * 3 * 5
    block = suite(BLOCK | axes).matrix[0]
    assert block.size == len(list(block.cells())) == 3 * 3 * 5


def test_a_suite_has_at_most_100_000_cells():
    large = BLOCK | {"loss": "l1", "seeds": 1000, "outliers": {"salt": [n / 100 for n in range(100)]}}
    assert suite(large).matrix[0].size == 100_000
    with pytest.raises(ValidationError, match="declares 100001 cells, at most 100000 fit: split it"):
        suite(large, BLOCK | {"loss": "l2", "seeds": 1})


@pytest.mark.parametrize(
    ("key", "fits", "does_not"),
    [
        ("steps", 10**9, 10**9 + 1),
        ("batch_size", 10**6, 10**6 + 1),
        ("batch_size", 2, 1),
        ("evaluations", 25, 26),
        ("seeds", [2**53], [2**53 + 1]),
        ("seeds", [0], [-1]),
        ("lr", 1e-300, 0.0),
        ("lr", 1e100, 1.1e100),
        ("outliers", {"salt": 1.0}, {"salt": 1.0000001}),
        ("settings", {"gamma": 1e100}, {"gamma": 1.1e100}),
        ("settings", {"gamma": 0.5}, {"gamma": math.nan}),
    ],
)
def test_limits(key, fits, does_not):
    block = BLOCK | ({"task": "gan", "dataset": "digits"} if key == "settings" else {})
    suite(block | {key: fits})
    with pytest.raises(ValidationError):
        suite(block | {key: does_not})


def test_cell_id_hashes_every_setting():
    cell = suite().cells[0]
    assert cell.cell_id == suite().cells[0].cell_id
    changes = {
        "loss": "l1",
        "seed": 1,
        "lr": 2e-3,
        "steps": 11,
        "value_range": None,
        "batch_size": 8,
        "settings": cell.settings | {"blocks": 4},
        "precision": "bf16",
        "role": "tune",
    }
    changed = [{key: value} for key, value in changes.items()] + [{"rate": 0.1, "outlier": "salt"}]
    ids = {Cell(**(cell.model_dump() | change)).cell_id for change in changed}
    assert len(ids | {cell.cell_id}) == len(changed) + 1
    assert Cell(**(cell.model_dump() | {"shows_samples": False})).cell_id == cell.cell_id


def test_auto_is_the_precision_of_the_device_at_hand(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'title = "t"\n[[matrix]]\ntask = "sr"\ndataset = "photographs"\nloss = "l1"\nlr = 1e-3\nseeds = 2\n'
        'steps = 10\nbatch_size = 4\nprecision = "auto"\n'
    )
    for fast in ("fp32", "bf16"):
        assert [cell.precision for cell in read_suite(str(file), auto=fast).cells] == [fast, fast]
    both = read_suite(str(file), {"precision": ["auto", "fp32"]}, "fp32")
    assert both.matrix[0].precision == ("fp32",)  # the manifest says what was run, once


def test_claims_uses_bfloat16_only_where_it_is_faster():
    assert {cell.precision for cell in read_suite("claims").cells} == {"fp32"}
    assert {cell.precision for cell in read_suite("claims", auto="bf16").cells} == {"fp32", "bf16"}


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_suites_read(name):
    cells = read_suite(name).cells
    assert len({cell.cell_id for cell in cells if cell.dataset != "fashion-mnist"}) == len(
        [cell for cell in cells if cell.dataset != "fashion-mnist"]
    )
    assert {"l1", "l2"} <= {cell.loss for cell in cells if cell.role != "reference"} <= {*LOSSES, *PARTICULAR}


def test_suite_losses_compares_every_shipped_loss():
    cells = [cell for cell in read_suite("losses").cells if cell.role == "report"]
    trained = {task: {cell.loss for cell in cells if cell.task == task} for task in ("sr", "gan")}
    objectives = {name for name, loss in PARTICULAR.items() if loss.objective}
    assert trained["sr"] == {*LOSSES, *PARTICULAR} - objectives
    assert trained["gan"] >= {"bce", "l1", "l2"} | objectives


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"los": "l1"}, "matrix 1.los: unknown key 'los'; did you mean 'loss'?"),
        ({"loss": "pinball-2"}, "; in pinball-TAU, TAU is between 0 and 1"),
        ({"loss": "l7"}, "matrix 1: unknown loss 'l7'; did you mean 'l"),
        ({"loss": "barron-3"}, "in barron-ALPHA, ALPHA is at most 2, or -inf"),
        ({"dataset": "photograph"}, "unknown data set 'photograph'; did you mean 'photographs'?"),
        ({"task": "srr"}, "unknown task 'srr'; did you mean 'sr'?"),
        ({"outliers": {"sallt": 0.1}}, "unknown outlier kind 'sallt'; did you mean 'salt'?"),
        ({"outliers": {"noise": 0.1}}, "corrupts the real, which task 'sr' does not have"),
        ({"outliers": {"salt": 1.5}}, "less than or equal to 1"),
        ({"outliers": {"salt": 0}}, "clean has rate 0"),
        ({"head": "sigmoyd"}, "unknown value 'sigmoyd'; did you mean 'sigmoid'?"),
        ({"precision": "fp16"}, "matrix 1.precision: unknown value 'fp16'; did you mean 'bf16'?"),
        ({"lr": "fast"}, "matrix 1.lr.bce: found 'fast'; input should be a valid number"),
        ({"lr": {"l1": 1e-3}}, "bce, l1 stands in only one of lr and loss"),
        ({"dataset": "digits"}, "task 'sr' cannot train on 'digits'; there is photographs"),
        ({"settings": {"channels": 0}}, "settings.channels: found 0; input should be greater than or equal to 1"),
        ({"steps": 0}, "matrix 1.steps: found 0; input should be greater than or equal to 1"),
        ({"evaluations": 11}, "evaluations = 11 is more than steps = 10"),
        ({"settings": {"widht": 3}}, "settings: unknown setting of sr 'widht'"),
        ({"seeds": []}, "seeds"),
    ],
)
def test_mistakes_are_named(tmp_path, change, says):
    file = tmp_path / "mine.toml"
    file.write_text(
        'title = "t"\n[[matrix]]\ntask = "sr"\ndataset = "photographs"\nloss = ["bce"]\nlr = 1e-3\n'
        "seeds = 2\nsteps = 10\nevaluations = 2\nbatch_size = 4\n"
    )
    with pytest.raises(SuiteError) as mistake:
        read_suite(str(file), change)
    message = str(mistake.value)
    assert message.startswith(f"{file}: ")
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("title = ", "is not valid TOML"),
        ("", "title: this key is required and missing"),
        ('title = "t"\nmatrix = 3', "matrix: found 3"),
        ('title = "t"', "matrix: this key is required"),
    ],
)
def test_broken_files_are_named(tmp_path, content, says):
    file = tmp_path / "mine.toml"
    file.write_text(content)
    with pytest.raises(SuiteError, match=says):
        read_suite(str(file))


def test_unknown_suites_are_named():
    with pytest.raises(SuiteError, match="unknown suite 'quik'; did you mean 'quick'"):
        read_suite("quik")
    with pytest.raises(SuiteError, match=r"no suite file nowhere/x\.toml; shipped suites: "):
        read_suite("nowhere/x.toml")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from(["task", "loss", "lr", "outliers", "seeds", "steps", "settings", "head", "scale", "x"])


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_no_override_ever_causes_a_traceback(overrides):
    try:
        cells, message = read_suite("smoke", overrides).cells, ""
    except SuiteError as error:
        cells, message = (), str(error)
    assert cells or message
    assert "\n" not in message
