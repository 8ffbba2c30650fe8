"""Can a GAN train on any folder of images, with sub-folders as classes?"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench.running.preparation import classifier_note
from ganlab import classifiers, datasets
from ganlab.datasets import DataMissing, LabelledImages, folder_classes
from tests.support.folder_data import class_folder, noise, save, train_on

pytestmark = pytest.mark.usefixtures("fresh_folders")


def test_sub_folders_are_classes(tmp_path):
    class_folder(tmp_path, {"cat": 200, "dog": 190, "10": 30, "9": 30})
    save(tmp_path / "stray.png", noise(30, 30))
    data = datasets.load(f"folder:{tmp_path}", LabelledImages)
    assert data.classes == ("9", "10", "cat", "dog")
    assert data.train.shape == (len(data.train), 1, 28, 28)
    assert len(data.train) + len(data.test) == 450
    assert torch.bincount(torch.cat([data.train_labels, data.test_labels])).tolist() == [30, 30, 200, 190]
    means = [float(data.test[data.test_labels == own].mean()) for own in (2, 3, 1, 0)]
    assert np.diff(means) == pytest.approx([60 / 255] * 3, abs=0.02)  # the labels are the pictures'
    assert 0 <= data.train.min() < data.train.max() <= 1
    assert "1 skipped: stray.png (in no sub-folder, so of no class)" in data.notes


def test_without_sub_folders_there_is_one_class(tmp_path):
    class_folder(tmp_path, {"": 400})
    data = datasets.load(f"folder:{tmp_path}", LabelledImages)
    assert data.classes == ("image",)
    assert any("only tells images from outliers" in note for note in data.notes)


def test_too_many_images_are_cut_equally_in_both_halves(tmp_path, monkeypatch):
    class_folder(tmp_path, {"": 150})
    monkeypatch.setattr(folder_classes, "NEEDED_GREY", 20)
    whole = datasets.load(f"folder:{tmp_path}", LabelledImages)
    datasets.registry.read_folder.cache_clear()
    monkeypatch.setattr(folder_classes, "MOST_GREY", 60)  # fewer than either half has
    data = datasets.load(f"folder:{tmp_path}", LabelledImages)
    assert "60 of 150 images are used" in data.notes
    assert len(data.train) + len(data.test) == 60
    assert abs(len(data.train) - len(data.test)) <= 15  # two standard deviations
    for part in ("train", "test"):  # no image has changed sides
        before, after = ({image.numpy().tobytes() for image in getattr(own, part)} for own in (whole, data))
        assert after < before


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"a": 20, "b": 20}, "40 images are too few for a GAN and its read-outs; at least 400 are needed"),
        ({"a": 395, "b": 6}, "the class b has 6 images, at least 20 are needed"),
    ],
)
def test_too_few_small_images_are_refused(tmp_path, classes, message):
    class_folder(tmp_path, classes)
    with pytest.raises(DataMissing, match=message):
        datasets.load(f"folder:{tmp_path}", LabelledImages)


def test_gans_on_a_folder_have_their_own_classifier(tmp_path, monkeypatch):
    monkeypatch.setattr(classifiers, "STEPS", 50)  # enough to tell noise from pictures, and no more
    monkeypatch.setenv("GANLAB_CACHE", str(tmp_path / "cache"))
    class_folder(tmp_path / "images", {"cat": 200, "dog": 200})
    values = train_on(tmp_path / "images", "gan", width=4, latent=4, evaluation_images=150).values
    assert values["frechet"] > values["frechet_floor"] > 0
    (cached,) = (tmp_path / "cache").iterdir()
    assert cached.name.startswith("classifier-")


def test_images_that_look_like_noise_cannot_be_read_out():
    blind = SimpleNamespace(accuracy=0.5, false_positive=0.3, true_positive={"noise": 0.2, "inverted": 0.9})
    with pytest.raises(DataMissing, match=r"folder:x: .* from outliers of kind noise; a GAN on them cannot"):
        classifier_note("folder:x", blind)
    blind.true_positive["noise"] = 1.0
    assert classifier_note("folder:x", blind) == "the frozen classifier is right on 50.0% of the held-out images"
