"""Is a folder recognised by its name, are its uses reported, and do its file names fit tables?"""

import os

import numpy as np
import pytest

from bench.store.validation import is_dataset, is_name
from ganlab import datasets
from ganlab.datasets import DataMissing, Frames, LabelledImages, Photographs, folder_classes, folders
from ganlab.tasks import TASKS
from tests.support.folder_data import fill, noise, photographs, save

pytestmark = pytest.mark.usefixtures("fresh_folders")


def test_the_split_has_its_shares():
    places = [folders.hash_fraction(f"{k}.png") for k in range(4000)]
    assert np.mean(np.array(places) < folders.TEST) == pytest.approx(0.25, abs=0.03)  # four standard deviations
    assert folders.hash_fraction("caf\u00e9.png") == folders.hash_fraction("cafe\u0301.png")  # on Linux and on macOS


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{0}/none", "there is no folder"),
        ("", "there is no folder 'without a name'"),
        ("{0}::{0}/none", "there is no folder"),
        ("{0}::{0}", "one folder lies in the other"),
        ("{0}::{0}/sub", "one folder lies in the other"),
        ("a::b::c", "that is 3 folders"),
        ("{0}", "too few photographs (0 for training, 0 for validation, 0 for tests; 3, 1, and 1 are needed)"),
        ("{0}/a$b", "there is no folder"),
        ("{0}/" + 900 * "a", "cannot name a data set"),
        ("{0}/a\nb", "cannot name a data set"),
    ],
)
def test_a_missing_folder_or_too_few_images_is_one_line(tmp_path, name, message):
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataMissing) as caught:
        photographs(name.format(tmp_path))
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("folder", ["a$b", "100 % [old], (new) é 写真", "'q' \"d\" & <b> = {x}|y", 180 * "a"])
def test_any_printable_path_names_a_data_set(tmp_path, folder):
    names = [f"folder:{tmp_path / folder}", f"folder:{tmp_path / folder}::{tmp_path / 'more' / folder}"]
    for place in (tmp_path, tmp_path / "more"):
        fill(place / folder, [f"{place.name}{k}.png" for k in range(30)])
    for name in names:
        assert datasets.load(name, Photographs).name == name
        assert is_dataset(name)


def test_folder_names_pass_the_validation_of_files():
    longest = f"folder:{'a' * (folders.LONGEST_DATASET - len('folder:'))}"
    assert folders.names_folder(longest)
    assert not folders.names_folder(f"{longest}a")
    assert is_dataset(f"{longest} (LabelledImages)")  # as the manifest tells apart what one is read as


def test_names_unfit_for_tables_are_replaced_and_stay_unique(tmp_path):
    odd = ["a$.png", "a_.png", "a\t.png", 250 * "x" + ".png", os.fsdecode(b"caf\xe9.png")]
    labels = []
    for name in odd:
        labels.append(folders.label(name, labels))
    assert len(set(labels)) == len(odd)
    for label in labels:
        assert label.isprintable()
        assert "$" not in label
        assert len(label) <= folders.LONGEST_NAME
        label.encode()
        assert is_name(label)


@pytest.mark.parametrize("letters", [1, 176, 179, 180, 181, 400])
def test_a_name_that_is_taken_gets_a_number(letters):
    labels = []
    for _ in range(12):
        labels.append(folders.label("x" * letters, labels))
    assert len(set(labels)) == 12
    assert max(map(len, labels)) <= folders.LONGEST_NAME
    assert labels[0] == folders.label("x" * letters)
    assert [label[-4:] for label in labels[1:]] == [f"x ({k})"[-4:] for k in range(2, 13)]


def test_a_folder_is_read_once_and_identified_by_its_content(tmp_path):
    fill(tmp_path, [f"{k}.png" for k in range(30)])
    name = f"folder:{tmp_path}"
    first = datasets.load(name, Photographs)
    assert datasets.load(name, Photographs) is first
    assert datasets.known(name)
    assert datasets.available(name)
    assert datasets.location(name) == datasets.fetch(name) == tmp_path
    assert not datasets.available("folder:/no/such")
    fill(tmp_path, ["0.png"])
    datasets.registry.read_folder.cache_clear()
    assert datasets.fingerprint(datasets.load(name, Photographs)) != datasets.fingerprint(first)


def test_a_folder_needs_a_kind_and_lists_its_kinds(tmp_path):
    for kind in (None, datasets.StereoScenes):
        with pytest.raises(DataMissing, match=r"can be read as photographs, for .*; frames of videos, .* nothing else"):
            datasets.load(f"folder:{tmp_path}", kind)
    assert datasets.kinds("folder:x") == (Photographs, LabelledImages, Frames)
    assert datasets.kinds("digits") == (LabelledImages,)


def test_uses_of_a_folder_are_listed_with_their_tasks():
    for kind, reader in datasets.registry.READERS.items():
        tasks = [name for name, task in TASKS.items() if task.data_kind is kind]
        assert reader.use.endswith(f", for {' and '.join(tasks)}")


def test_check_says_what_a_folder_is_good_for(tmp_path):
    fill(tmp_path, [f"{k}.png" for k in range(30)])
    lines = list(datasets.check_folder(f"folder:{tmp_path}").lines())
    assert lines[0].startswith("photographs, for sr and restoration: ")
    assert any(line.startswith("small grey images, for gan: no; 30 images are too few") for line in lines)
    with pytest.raises(DataMissing):
        datasets.check_folder(f"folder:{tmp_path}/none")
    (tmp_path / "empty").mkdir()
    nothing = datasets.check_folder(f"folder:{tmp_path}/empty")
    assert (len(nothing.refused), nothing.fits) == (3, {})


def test_check_names_what_each_use_skips(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_classes, "NEEDED_GREY", 5)
    fill(tmp_path, [f"{k}.png" for k in range(30)])
    for side in (6, 20):
        save(tmp_path / f"side {side}.png", noise(side, side))
    found = datasets.check_folder(f"folder:{tmp_path}")
    assert found.refused == {}
    assert list(found.skipped.values()) == [
        {f"side {side}.png": f"{side} x {side} pixels, at least 68 x 68 are needed" for side in (6, 20)},
        {"side 6.png": "6 x 6 pixels, at least 8 x 8 are needed"},  # a GAN trains on the other
        {},  # no clip reaches that far
    ]
    assert [line for line in found.lines() if line.startswith("small grey images, for gan: skipped")] == [
        "small grey images, for gan: skipped: side 6.png: 6 x 6 pixels, at least 8 x 8 are needed"
    ]


def test_check_names_what_a_refused_use_skips(tmp_path):
    fill(tmp_path, ["0.png"])
    (tmp_path / "torn.png").write_bytes(b"torn")
    found = datasets.check_folder(f"folder:{tmp_path}")
    assert list(found.refused) == list(found.skipped) == [reader.use for reader in datasets.registry.READERS.values()]
    for words, skipped in found.skipped.items():
        assert list(skipped) == ["torn.png"]
        assert f"{words}: skipped: torn.png: {skipped['torn.png']}" in found.lines()
