"""Is any folder of photographs a data set: exact pixels, a stable split, unusable files named?"""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from bench.api.sr_eval import scores
from ganlab import datasets
from ganlab.datasets import DataMissing, folder_photographs, folders
from ganlab.datasets.images import read_rgb, tensor_of
from tests.support.folder_data import fill, names_of, noise, photographs, save, train_on

pytestmark = pytest.mark.usefixtures("fresh_folders")


def test_photographs_are_the_files_pixels(tmp_path):
    fill(tmp_path, [f"{k}.png" for k in range(24)])
    fill(tmp_path, [f"sub/folder/{k}.png" for k in range(6)], 75, 90)
    data = photographs(tmp_path)
    assert len(names_of(data)) == 30
    for part in (data.train, data.validation, data.test):
        for name, image in part.items():
            pixels = np.asarray(Image.open(tmp_path / name))
            assert torch.equal((255 * image).round().byte().permute(1, 2, 0), torch.from_numpy(pixels.copy()))
            assert (image.dtype, image.is_contiguous()) == (torch.float32, True)
    assert data.name == f"folder:{tmp_path}"
    assert data.notes[0] == (
        f"{len(data.train)} photographs for training, {len(data.validation)} for validation, {len(data.test)} for tests"
    )


def test_adding_a_file_moves_no_other(tmp_path):
    fill(tmp_path, [f"{k}.png" for k in range(30)])
    before = names_of(photographs(tmp_path))
    fill(tmp_path, ["new.png", "0-first.png", "zz/last.jpg"])
    datasets.registry.read_folder.cache_clear()
    after = names_of(photographs(tmp_path))
    assert before.items() <= after.items()
    assert len(after) == 33


def test_two_folders_one_to_train_on_and_one_for_tests(tmp_path):
    fill(tmp_path / "train", [f"{k}.png" for k in range(5)])
    fill(tmp_path / "test", ["butterfly.png"])
    data = photographs(f"{tmp_path / 'train'}::{tmp_path / 'test'}")
    assert list(data.test) == ["butterfly.png"]
    assert len(data.validation) == 1  # one is taken even where no hash falls to it
    assert set(data.train | data.validation) == {f"{k}.png" for k in range(5)}


def test_too_few_says_what_to_do_and_what_was_skipped(tmp_path):
    fill(tmp_path, ["a.png", "b.png"])
    (tmp_path / "c.png").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataMissing, match=r"30 are enough.* --train and --test \(1 skipped: c.png .*; 1 files have"):
        photographs(tmp_path)


def test_files_of_other_suffixes_are_counted_in_both_folders(tmp_path):
    fill(tmp_path / "train", ["a.png"])
    for name in ("train/a.txt", "test/b.gif", "test/c.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("nothing")
    with pytest.raises(DataMissing, match="3 files have another suffix"):
        photographs(f"{tmp_path / 'train'}::{tmp_path / 'test'}")


def test_skipped_files_are_named_and_the_rest_is_used(tmp_path, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    fill(elsewhere, ["secret.png"])
    fill(tmp_path, [f"{k}.png" for k in range(30)])
    whole = names_of(photographs(tmp_path))
    save(tmp_path / "tiny.png", noise(20, 90, 3))
    (tmp_path / "torn.png").write_bytes((tmp_path / "0.png").read_bytes()[:500])
    (tmp_path / "link.png").symlink_to(elsewhere / "secret.png")
    (tmp_path / "folder").symlink_to(elsewhere)
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")  # whoever opens it to read would wait for ever
    (tmp_path / "bad\nname.png").write_bytes(b"x")
    (tmp_path / ".hidden.png").write_bytes(b"x")
    datasets.registry.read_folder.cache_clear()
    data = photographs(tmp_path)
    assert names_of(data) == whole
    (note,) = (note for note in data.notes if "skipped" in note)
    assert note.startswith("7 skipped: ")
    assert note.isprintable()
    lines = list(datasets.check_folder(f"folder:{tmp_path}").lines())
    for part in (
        "tiny.png: 90 x 20 pixels, at least 68 x 68 are needed",
        "torn.png: ",
        "link.png: a link, which",
        "folder: a link, which",
        "loop: a link, which",
        "pipe.png: not a regular file",
        "bad_name.png: dam",
    ):
        assert any(line.startswith(f"photographs, for sr and restoration: skipped: {part}") for line in lines), part


def test_a_picture_that_is_for_tests_is_not_trained_on_under_another_name(tmp_path):
    fill(tmp_path, [f"{k}.png" for k in range(30)])
    before = photographs(tmp_path)
    tested = next(iter(before.test))
    name = next(name for name in (f"copy{k}.bmp" for k in range(99)) if folders.hash_fraction(name) > 0.5)
    Image.open(tmp_path / tested).save(tmp_path / name)
    datasets.registry.read_folder.cache_clear()
    data = photographs(tmp_path)
    assert names_of(data) == names_of(before)
    assert f"1 skipped: {name} (the same picture as one of the test part)" in data.notes


def test_large_photographs_are_cut_to_their_centre(tmp_path, monkeypatch):
    # 14 of 30 fall to training, whatever they show. Of a side of 108 they would be 14 x 100 x 108 pixels.
    monkeypatch.setattr(folder_photographs, "TRAINING_PIXELS", 14 * 96**2)
    fill(tmp_path, [f"{k}.png" for k in range(30)], 100, 130)
    data = photographs(tmp_path)
    name, image = next(iter(data.train.items()))
    inner = np.asarray(Image.open(tmp_path / name))[2:98, 17:113]
    assert np.array_equal((255 * image).round().byte().permute(1, 2, 0).numpy(), inner)
    assert "train: 14 are cut to the 96 x 96 pixels in their middle" in data.notes
    assert next(iter(data.test.values())).shape == (3, 100, 130)  # their budget is their own


def test_many_photographs_keep_the_budgets_of_every_part(tmp_path, monkeypatch):
    fill(tmp_path, [f"{k}.png" for k in range(40)])
    whole = photographs(tmp_path)
    datasets.registry.read_folder.cache_clear()
    least = folder_photographs.SMALLEST_CUT**2  # of one: no cut goes below it
    for part in ("TRAINING", "VALIDATION", "TEST"):
        monkeypatch.setattr(folder_photographs, f"{part}_PIXELS", 3 * least)
    data = photographs(tmp_path)
    for part in ("train", "validation", "test"):
        before, after = getattr(whole, part), getattr(data, part)
        assert list(after) == [name for name in before if name in sorted(before, key=folders.hash_fraction)[:3]]
        assert sum(image[0].numel() for image in after.values()) == 3 * least
        assert f"{part}: 3 are cut to the 72 x 72 pixels in their middle; 3 of {len(before)} are used" in data.notes


def test_one_panorama_does_not_make_the_stack_of_the_others_large():
    sizes = [(100, 100)] * 499 + [(3000, 12_000)]
    side = folder_photographs.largest_side(sizes, folder_photographs.TRAINING_PIXELS, stacked=True)
    assert 500 * side**2 <= folder_photographs.TRAINING_PIXELS
    assert folder_photographs.largest_side([(68, 68)] * 10**5, 1, stacked=True) == 72  # never below what is needed
    assert folder_photographs.largest_side([], 1, stacked=False) == 72


def test_images_of_one_name_in_two_folders_are_two_images(tmp_path):
    names = [f"{k}.png" for k in range(5)]
    fill(tmp_path / "train", names)
    fill(tmp_path / "test", names)
    data = photographs(f"{tmp_path / 'train'}::{tmp_path / 'test'}")
    assert list(data.test) == names  # those to test on keep their names
    assert sorted([*data.train, *data.validation]) == [f"{name} (2)" for name in names]
    for part, folder in ((data.test, "test"), (data.train | data.validation, "train")):
        for name, image in part.items():
            assert torch.equal(image, tensor_of(read_rgb(tmp_path / folder / name.removesuffix(" (2)"))))
    images = train_on(f"{tmp_path / 'train'}::{tmp_path / 'test'}", "sr", channels=4, blocks=1, patch=8).images
    assert [image["image"] for image in images] == names
    for image in images:  # each against its own low resolution
        own = scores(tensor_of(read_rgb(tmp_path / "test" / image["image"])), 2)
        assert image["bicubic_psnr_y_db"] == pytest.approx(own["bicubic_psnr_y_db"], abs=1e-6)
        assert image["psnr_y_db"] == pytest.approx(own["bicubic_psnr_y_db"], abs=1)  # where two steps have led


@pytest.mark.parametrize("task", ["sr", "restoration"])
def test_networks_are_trained_on_a_folder_of_photographs(tmp_path, task):
    fill(tmp_path, [f"{k}.png" for k in range(30)])
    values = train_on(tmp_path, task, channels=4, blocks=1, patch=8).values
    assert 8 < values["psnr_db"] < 15  # noise: no network of two steps knows it, and none is far from its mean
