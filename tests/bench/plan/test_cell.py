"""A cell's identity, its kind of work, and its user code: known answers."""

import pytest

from bench.plan.cell import Cell, kind_of, used_data
from ganlab.datasets import GaussianSamples, LabelledImages, Photographs

CELL = Cell(
    task="gan",
    dataset="digits",
    loss="l1",
    head="sigmoid",
    outlier="noise",
    rate=0.25,
    schedule="constant",
    optimizer="adam",
    lr=0.5,
    seed=3,
    scale=None,
    value_range=None,
    batch_size=4,
    steps=10,
    evaluations=2,
    settings={"width": 2},
)


def changed(**settings) -> Cell:
    return Cell(**(CELL.model_dump() | settings))


def test_the_identity_is_the_first_twelve_digits_of_a_hash_of_all_settings_and_the_data(monkeypatch):
    monkeypatch.setattr("bench.plan.cell.fingerprint", lambda data: f"{type(data).__name__}: d1")
    # printf '{"batch_size": 4, "data": "LabelledImages: d1", "dataset": "digits", "evaluations": 2, "expected": false,
    # "head": "sigmoid", "loss": "l1", "lr": 0.5, "optimizer": "adam", "outlier": "noise", "precision": "fp32", "rate":
    # 0.25, "redraw": false, "role": "report", "scale": null, "schedule": "constant", "seed": 3, "settings": {"width":
    # 2}, "steps": 10, "task": "gan", "value_range": null}' | sha256sum, on one line
    assert changed().cell_id == "917c57f61b9d"
    assert changed(shows_samples=True).cell_id == "917c57f61b9d"
    monkeypatch.setattr("bench.plan.cell.fingerprint", lambda data: "d2")
    assert changed().cell_id != "917c57f61b9d"


def test_cells_of_one_kind_do_the_same_work_per_step():
    other_work = (
        {"task": "sr", "dataset": "photographs", "outlier": "salt", "scale": 2},
        {"dataset": "fashion-mnist"},
        {"scale": 2},
        {"batch_size": 8},
        {"precision": "bf16"},
        {"settings": {"width": 3}},
    )
    assert len({kind_of(CELL), *(kind_of(changed(**change)) for change in other_work)}) == len(other_work) + 1
    for change in ({"seed": 4}, {"lr": 0.1}, {"loss": "l2"}, {"steps": 20}, {"rate": 0.5}, {"role": "tune"}):
        assert kind_of(changed(**change)) == kind_of(CELL)


def test_a_guess_of_the_time_is_steps_by_images_by_the_cost_of_an_image():
    assert CELL.cost() == pytest.approx(10 * 4 * 1.5e-4)
    assert changed(dataset="fashion-mnist", steps=20).cost() == pytest.approx(20 * 4 * 4e-4)
    other = {"task": "sr", "dataset": "photographs", "outlier": "salt", "scale": 2, "batch_size": 8}
    assert changed(**other).cost() == pytest.approx(10 * 8 * 6e-4)


def test_a_cell_depends_on_the_users_loss_and_network(tmp_path, monkeypatch):
    assert CELL.references == ()
    assert changed(settings={"network": "nets_of_mine:build"}).references == ("nets_of_mine:build",)
    (tmp_path / "loss_of_mine.py").write_text(
        "def cubic(prediction, target):\n    return abs(prediction - target) ** 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    both = changed(loss="loss_of_mine:cubic", settings={"network": "nets_of_mine:build"})
    assert both.references == ("loss_of_mine:cubic", "nets_of_mine:build")


def test_used_data_is_named_once_in_order():
    photographs = changed(task="sr", dataset="photographs", outlier="salt", scale=2)
    gaussian = changed(task="location", dataset="gaussian", outlier="far")
    expected = [("digits", LabelledImages), ("gaussian", GaussianSamples), ("photographs", Photographs)]
    assert used_data([photographs, CELL, gaussian, changed(seed=9)]) == expected
