"""Cells train and are tested on the split of their seed."""

import pytest

from ganlab.datasets import Frames, Photographs, load
from ganlab.tasks import TASKS
from ganlab.tasks.interpolation import frame_pairs
from ganlab.tasks.super_resolution import photograph_pairs
from tests.support.small_data import CPU, SCENES, cell, sequences, textures, use_small_data


def turning(kind, images):
    """Data of three folds of two images each, and two for validation."""
    names = list(images)
    folds = tuple(tuple(names[k : k + 2]) for k in (0, 2, 4))
    parts = (names[2:6], names[6:], names[:2])
    train, validation, test = ({name: images[name] for name in part} for part in parts)
    return kind("turning", train, validation, test, (), folds=folds)


@pytest.mark.parametrize("task", ["sr", "restoration", "interpolation"])
def test_a_cell_is_tested_on_the_fold_of_its_seed_under_every_loss(monkeypatch, task):
    data = turning(Frames, sequences(8, 66)) if task == "interpolation" else turning(Photographs, textures(8, 66))
    monkeypatch.setitem(SCENES, type(data), data)
    use_small_data(monkeypatch)
    for seed in (3, 4, 5):
        for loss in ("l1", "l2"):
            trained = TASKS[task](cell(task, seed=seed, loss=loss), CPU)
            trained.evaluate(0, {})
            rows = trained.conclude().images
            assert tuple(row["image"] for row in rows) == data.folds[seed % 3]
            assert set(trained.pairs.train) == {name for fold in data.folds for name in fold} - set(trained.pairs.test)
            assert set(trained.pairs.validation) == set(data.validation)
            assert len(trained.clean_targets) == 4


@pytest.mark.parametrize("dataset", ["photographs", "motion"])
def test_folds_share_their_images(dataset):
    pairs = [photograph_pairs(dataset, 2, k) if dataset == "photographs" else frame_pairs(dataset, k) for k in (0, 1)]
    first, second = (fold.train | fold.validation | fold.test for fold in pairs)
    assert set(first) == set(second)
    assert pairs[0].test.keys() != pairs[1].test.keys()
    for name, pair in first.items():
        assert pair.given is second[name].given
        assert pair.target.data_ptr() == second[name].target.data_ptr()


def test_cells_of_a_fold_share_their_pairs():
    tasks = [TASKS["sr"](cell("sr", seed=seed), CPU) for seed in (1, 4)]
    assert tasks[0].pairs is tasks[1].pairs
    assert list(tasks[0].pairs.test) == list(load("photographs").turn(1).test)
