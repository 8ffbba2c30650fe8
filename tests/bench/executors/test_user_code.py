"""Do a user's losses, images, and networks join a suite, make only their cells stale, and reach the workers?"""

import os
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bench.analysis.staleness import _files_of, stale_cells
from bench.executors import ExecutorError
from bench.executors.user_code import fingerprints, load_user_code, travelling_files
from bench.plan.additions import Additions, extended, try_out
from bench.plan.reading import SuiteError, read_suite
from bench.plan.suite import Suite
from bench.store.reader import load
from bench.store.schema import base_code
from bench.training.checkpoints import loaded_code
from ganlab.plugins import PluginError, source_files
from ganlab.tasks import Gan
from tests.bench.analysis.test_claims import SR, Builder
from tests.support.fake_runs import CPU, fake_run, fake_suite, fake_work

MODULE = """
import torch
from torch import nn

from ganlab.networks import SuperResolver


def cubic(prediction, target):
    return (prediction - target).abs() ** 3


def build(role, scale=None, head=None, **sizes):
    if role == "super-resolver":
        return SuperResolver(channels=2, blocks=0, scale=scale, head=head)


def wrong(role, **sizes):
    return nn.Conv2d(3, 3, 1)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder outside the repository, with `own_NAME.py` in it; importing from there. Gives the module's name."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def photos(mine, tmp_path):
    """A folder of thirty small photographs, `photos` in the current folder."""
    (tmp_path / "photos").mkdir()
    draw = np.random.default_rng(0)
    for number in range(30):
        pixels = draw.integers(0, 256, (72, 84, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    return "folder:photos"


def suite(*blocks: dict) -> Suite:
    common = {"seeds": 1, "steps": 2, "evaluations": 1, "batch_size": 2}
    sr = {"task": "sr", "dataset": "photographs", "settings": {"channels": 2, "blocks": 0, "patch": 8}}
    gan = {"task": "gan", "dataset": "digits", "settings": {"width": 2, "latent": 4, "evaluation_images": 100}}
    kinds = {"sr": sr, "gan": gan, "location": {"task": "location", "dataset": "gaussian"}}
    matrix = [kinds[block["task"]] | common | block for block in blocks]
    return Suite.model_validate({"name": "mine", "title": "mine", "timing": {"rounds": 0}, "matrix": matrix})


# What joins a suite


def test_a_suite_without_additions_is_unchanged_after_a_round_trip():
    smoke = read_suite("smoke")
    assert extended(smoke, Additions()) == (smoke, [])
    assert Suite.model_validate(smoke.model_dump()) == smoke
    again, notes = extended(smoke, Additions(losses=("l1",)))  # it is there already
    assert [cell.cell_id for cell in again.cells] == [cell.cell_id for cell in smoke.cells]
    assert notes == []


def test_a_loss_joins_every_comparison_at_the_rates_of_l1_or_else_of_the_first(mine):
    before = suite(
        {"task": "sr", "loss": ["l2", "l1"], "lr": {"l2": 1e-2, "l1": [1e-3, 2e-3]}, "head": ["sigmoid", "raw"]},
        {"task": "gan", "loss": ["bce", "l2"], "lr": {"bce": 1e-4, "l2": 2e-4}},
        {"task": "sr", "loss": ["pinball-0.75"], "lr": 3e-3, "role": "reference"},
    )
    name = f"{mine}:cubic"
    after, notes = extended(before, Additions(losses=(name,)))
    assert notes == []
    added = [cell for cell in after.cells if cell.loss == name]
    assert {(cell.task, cell.head, cell.lr) for cell in added} == {
        ("sr", "sigmoid", 1e-3),
        ("sr", "sigmoid", 2e-3),
        ("sr", "raw", 1e-3),
        ("sr", "raw", 2e-3),
        ("gan", "sigmoid", 1e-4),
    }
    assert all(cell.references == (name,) for cell in added)
    assert [cell.cell_id for cell in after.cells if cell.loss != name] == [cell.cell_id for cell in before.cells]


def test_a_loss_joins_the_references_that_predict_it(mine):
    shared = {"task": "sr", "loss": "l1", "lr": 1e-3, "outliers": {"salt": 0.2}}
    before = suite(shared, shared | {"role": "reference", "expected": True})
    name = f"{mine}:cubic"
    after, notes = extended(before, Additions(losses=(name,)))
    assert notes == []
    assert [(cell.role, cell.expected) for cell in after.cells if cell.loss == name] == [
        ("report", False),
        ("reference", True),
    ]


def test_a_loss_that_does_not_apply_is_explained():
    before = suite(
        {"task": "sr", "loss": "l1", "lr": 1e-3}, {"task": "gan", "loss": "l1", "lr": 1e-4, "head": ["sigmoid", "raw"]}
    )
    after, notes = extended(before, Additions(losses=("hinge",)))
    reason = "hinge is an objective of two opponents: it applies to gan and location"
    assert notes == [f"hinge is left out of sr on photographs: {reason}"]
    assert {(cell.task, cell.head) for cell in after.cells if cell.loss == "hinge"} == {("gan", "raw")}


@pytest.mark.parametrize(
    ("loss", "error", "says"),
    [
        ("hinge", SuiteError, "--loss: hinge applies nowhere in suite mine: hinge is an objective of two opponents"),
        ("l7", SuiteError, "--loss: unknown loss 'l7'; did you mean 'l"),
        ("barron-3", SuiteError, "did you mean 'barron-0'?; in barron-ALPHA, ALPHA is at most 2, or -inf"),
        ("my_losses.MyLoss", SuiteError, "one of your own is mymodule:MyLoss"),
        ("my_losses.py:MyLoss", PluginError, "a module's name has neither folders nor .py"),
        ("no_such_module:MyLoss", PluginError, "there is no module 'no_such_module' in "),
        ("OWN:cubix", PluginError, "has no 'cubix'; did you mean 'cubic'?"),
        ("OWN:build", PluginError, "OWN:build"),
    ],
)
def test_a_loss_that_cannot_join_is_one_line(mine, loss, error, says):
    with pytest.raises(error) as mistake:
        extended(suite({"task": "sr", "loss": "l1", "lr": 1e-3}), Additions(losses=(loss.replace("OWN", mine),)))
    assert says.replace("OWN", mine) in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_a_suite_file_that_lists_a_loss_which_applies_nowhere_in_a_block_says_why(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'title = "t"\n[[matrix]]\ntask = "sr"\ndataset = "photographs"\nloss = ["l1", "bce"]\nlr = 1e-3\n'
        'head = "raw"\nseeds = 1\nsteps = 2\nevaluations = 1\nbatch_size = 4\n'
    )
    with pytest.raises(SuiteError, match="matrix 1: loss bce applies to no cell: bce is not defined on the raw head"):
        read_suite(str(file))


def test_images_replace_those_of_every_block_that_can_read_them(photos):
    before = suite({"task": "sr", "loss": "l1", "lr": 1e-3}, {"task": "location", "loss": "l1", "lr": 1e-2})
    after, notes = extended(before, Additions(dataset=photos))
    assert [(cell.task, cell.dataset) for cell in after.cells] == [("sr", photos)]
    assert [note.split(", ")[0] for note in notes] == ["without location on gaussian"]
    assert after.cells[0].cell_id != before.cells[0].cell_id
    try_out(after)


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        (
            "photos",
            "--data: no data set named 'photos'; did you mean photographs or motion?; the images of a folder "
            "are 'folder:photos'",
        ),
        ("folder:nowhere", "no block of suite mine can use folder:nowhere: "),
        ("digits", "no block of suite mine can use digits: it holds nothing that task 'sr' can train on"),
    ],
)
def test_images_that_cannot_be_used_are_one_line(mine, photos, dataset, says):
    with pytest.raises(SuiteError) as mistake:
        extended(suite({"task": "sr", "loss": "l1", "lr": 1e-3}), Additions(dataset=dataset))
    assert says in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_images_smaller_than_patches_are_reported_before_any_work(photos):
    large = {"task": "sr", "loss": "l1", "lr": 1e-3, "settings": {"channels": 2, "blocks": 0, "patch": 64}}
    with pytest.raises(SuiteError, match=r"sr on folder:photos: settings.patch = 64 does not fit the smallest"):
        try_out(extended(suite(large), Additions(dataset=photos))[0])
    try_out(extended(suite(large), Additions(dataset=photos))[0], selected=lambda cell: False)  # they are not to be run


def test_a_network_is_tried_in_the_tasks_that_accept_one(mine):
    before = suite({"task": "sr", "loss": "l1", "lr": 1e-3}, {"task": "location", "loss": "l1", "lr": 1e-2})
    after, notes = extended(before, Additions(network=f"{mine}:build"))
    assert notes == [f"{mine}:build is left out of location on gaussian: that task has no network to choose"]
    assert [cell.references for cell in after.cells] == [(f"{mine}:build",), ()]
    try_out(after)
    with pytest.raises(PluginError, match="a super-resolver maps low resolution"):
        try_out(extended(before, Additions(network=f"{mine}:wrong"))[0])
    with pytest.raises(SuiteError, match="no task of suite mine takes a network of your own"):
        extended(suite({"task": "location", "loss": "l1", "lr": 1e-2}), Additions(network=f"{mine}:build"))


def test_classifier_training_is_announced(mine, monkeypatch):
    told = []
    monkeypatch.setattr(Gan, "__init__", lambda self, cell, device: told.append("tried"))
    try_out(
        extended(suite({"task": "gan", "loss": "bce", "lr": 1e-4}), Additions(network=f"{mine}:build"))[0],
        note=told.append,
    )
    assert told == ["trying out what is yours; that takes the frozen classifier for digits, trained once", "tried"]


def test_yours_has_enough_paired_seeds_and_one_head_for_all():
    cells = [cell for cell in read_suite("yours").possible_cells if cell.role == "report"]
    seeds = {(cell.loss, cell.outlier): set() for cell in cells}
    for cell in cells:
        seeds[cell.loss, cell.outlier].add(cell.seed)
    assert {loss for loss, _ in seeds} == {"bce", "l1", "l2"}
    assert len({frozenset(of_one) for of_one in seeds.values()}) == 1
    assert len(seeds["l1", "clean"]) >= 10
    assert {(cell.first_seeds, cell.head) for cell in cells} == {(6, "sigmoid")}


# What becomes stale


def test_an_edited_file_makes_its_own_cells_stale_and_no_others(tmp_path, mine):
    name = f"{mine}:cubic"
    plan = fake_suite(2, ["l1", name])
    fake_run(tmp_path / "r", plan)
    codes = load(tmp_path / "r").cells.groupby("loss")["code"].unique()
    (plain,), (own,) = codes["l1"], codes[name]
    assert base_code(own) == plain != own
    assert loaded_code(CPU, (name,)) == own  # of a checkpoint as well

    tried = []

    def work(cell, device, checkpoints):
        tried.append((cell.loss, cell.seed))
        return fake_work(cell, device, checkpoints)

    fake_run(tmp_path / "r", plan, work)
    assert tried == []
    assert not stale_cells(load(tmp_path / "r")).any()
    file = tmp_path / f"{mine}.py"
    file.write_text(file.read_text() + "\n# another word on it\n")
    assert not stale_cells(load(tmp_path / "r")).any()
    file.write_text(file.read_text() + "\nEXPONENT = 3\n")
    before = load(tmp_path / "r")
    sys.modules.pop(mine)
    assert before.cells["loss"][stale_cells(before)].to_list() == [name, name]
    assert mine not in sys.modules  # it may be a stranger who names it: it is read, and not run
    _, notes = fake_run(tmp_path / "r", plan, work)
    assert sorted(tried) == [(name, 0), (name, 1)]
    assert notes[0] == "2 of 4 cells are on disk"
    assert notes[1].startswith("2 are stale (the code changed, it is ")
    again = load(tmp_path / "r").cells
    assert set(again["status"]) == {"done"}
    assert again.groupby("loss")["code"].nunique().to_list() == [1, 1]
    assert set(again["code"]) > {plain}
    assert own not in set(again["code"])
    file.unlink()
    sys.modules.pop(mine)
    assert not stale_cells(load(tmp_path / "r")).any()  # nobody can tell


def test_files_are_located_with_and_without_an_import(mine, tmp_path):
    package = tmp_path / f"{mine}_package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "__init__.py").write_text("from .helper import cubic\n\n\ndef own(p, t):\n    return p - t\n")
    (package / "inner" / "helper.py").write_text(MODULE)
    same = [f"{mine}:cubic", f"{mine}:build", f"{package.name}.inner:own", f"{package.name}.inner.helper:cubic"]
    found = {reference: _files_of(reference) for reference in same}
    assert not {mine, package.name} & set(sys.modules)
    assert found == {reference: list(source_files(reference)) for reference in same}
    for reference in (
        f"{package.name}.inner:cubic",
        f"{mine}:missing",
        f"{mine}.inner:cubic",
        "torch.nn:L1Loss",
        "no_such_module:x",
        "../mine:x",
    ):
        with pytest.raises((ImportError, ValueError, IndexError, OSError)):
            _files_of(reference)


@pytest.mark.parametrize("network", ["5", '["a:b"]', "{}"])
def test_an_invalid_network_setting_makes_no_cell_stale(tmp_path, network):
    fake_run(tmp_path / "r", fake_suite(2))
    run = load(tmp_path / "r")
    assert not stale_cells(replace(run, cells=run.cells.assign(settings=f'{{"network": {network}}}'))).any()


def test_losses_from_different_files_are_compared():
    def judged(code: str) -> dict:
        pair = Builder().add(33.5, **SR, loss="l2").add(33.0, **SR, loss="l1", code=code)
        return pair.judge("l2-reconstruction/sr-raw")

    same, own, other = (judged(code)["n"] for code in ("c0de", "c0de+0123abcd", "dead+0123abcd"))
    assert same == own > 0
    assert other == 0


# What workers find


def test_a_worker_with_another_file_or_none_says_so_in_one_line(mine, tmp_path):
    ours = fingerprints([f"{mine}:cubic", f"{mine}:cubic"])
    assert list(ours) == [f"{mine}:cubic"]
    load_user_code(ours)
    file = tmp_path / f"{mine}.py"
    file.write_text(file.read_text() + "\nEXPONENT = 3\n")
    with pytest.raises(ExecutorError, match=f"holds another {mine}:cubic .*changed since. Run the same command"):
        load_user_code(ours)
    with pytest.raises(ExecutorError, match="no_such_module"):
        load_user_code({"no_such_module:x": "0" * 8})


def test_files_travel_as_they_are_imported_and_installed_ones_stay(mine, tmp_path, monkeypatch):
    package = tmp_path / f"{mine}_package" / "inner"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("")
    (package / "losses.py").write_text("from .helper import cubic")
    (package / "helper.py").write_text(MODULE)
    (package / "notes.txt").write_text("no code")
    references = [
        f"{mine}:cubic",
        f"{package.parent.name}.inner.losses:cubic",
        "torch.nn:SmoothL1Loss",
        "ganlab.losses:l1",
    ]
    found = travelling_files(references)
    inside = [
        os.path.join(package.parent.name, *parts)
        for parts in (("__init__.py",), ("inner", "__init__.py"), ("inner", "helper.py"), ("inner", "losses.py"))
    ]
    assert sorted(found) == sorted([f"{mine}.py", *inside])
    assert all(os.path.samefile(tmp_path / name, file) for name, file in found.items())
