"""Is any folder of images a data set: every format and mode as the same pixels, what is broken named, never a crash?"""

import os
import struct
import warnings
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.runner import judged
from ganlab import classifiers, datasets
from ganlab.datasets import DataMissing, Frames, LabelledImages, Photographs, folders, images
from ganlab.datasets.images import Unreadable, read_grey_square, read_rgb, size_of
from ganlab.tasks import TASKS, Experiment

DRAW = np.random.default_rng(0)
SCENE = DRAW.integers(0, 256, (24, 40, 3), dtype=np.uint8)  # noise: nothing about it is symmetric


@pytest.fixture(autouse=True)
def fresh_process():
    """Forget the folders that were read."""
    datasets.registry.read_folder.cache_clear()


def save(path: Path, pixels: np.ndarray, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)
    return path


def noise(*shape: int) -> np.ndarray:
    return DRAW.integers(0, 256, shape, dtype=np.uint8)


def fill(folder: Path, names, height: int = 80, width: int = 72) -> None:
    """A different picture under each name."""
    for name in names:
        save(folder / name, noise(height, width, 3))


def photographs(path: Path | str) -> Photographs:
    return datasets.load(f"folder:{path}", Photographs)


def names_of(data: Photographs | Frames) -> dict[str, str]:
    return {name: part for part in ("train", "validation", "test") for name in getattr(data, part)}


# One file ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp", "A.PNG"])
def test_what_is_saved_without_loss_is_read_back(tmp_path, name):
    how = {"lossless": True} if name.endswith("webp") else {}
    path = save(tmp_path / name, SCENE, **how)
    assert np.array_equal(read_rgb(path), SCENE)
    assert size_of(path) == (24, 40)


def test_jpeg_is_read_nearly(tmp_path):
    smooth = np.linspace(0, 255, 24 * 40).reshape(24, 40).astype(np.uint8)
    read = read_rgb(save(tmp_path / "a.jpg", smooth, quality=95))
    assert np.abs(read.astype(int) - smooth[:, :, None]).max() <= 4


def test_grey_is_repeated_and_sixteen_bits_become_eight(tmp_path):
    grey = SCENE[:, :, 0]
    assert np.array_equal(read_rgb(save(tmp_path / "8.png", grey)), np.repeat(grey[:, :, None], 3, 2))
    # 257 v is the 16-bit value of the 8-bit v, for 257 x 255 = 65535; 128 more is still nearer to v than to v + 1
    for name in ("16.png", "16.tif"):
        for off in (0, 128, -128):
            wide = np.clip(257 * grey.astype(int) + off, 0, 65535).astype(np.uint16)
            assert np.array_equal(read_rgb(save(tmp_path / name, wide))[:, :, 0], grey), (name, off)


def test_sixteen_bit_colour_keeps_its_high_byte(tmp_path):
    # Pillow writes no 16-bit colour; this is the PNG specification by hand: colour type 2, bit depth 16, filter 0.
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in SCENE.astype(np.uint16) * 257)
    header = struct.pack(">IIBBBBB", 40, 24, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    assert np.array_equal(read_rgb(tmp_path / "a.png"), SCENE)


def test_what_is_transparent_becomes_white(tmp_path):
    alpha = np.full((24, 40, 1), 255, np.uint8)
    alpha[:12] = 0
    read = read_rgb(save(tmp_path / "a.png", np.concatenate([SCENE, alpha], axis=2)))
    assert (read[:12] == 255).all()
    assert np.array_equal(read[12:], SCENE[12:])


def test_a_palette_is_looked_up_with_its_transparent_colour(tmp_path):
    picture = Image.fromarray(np.arange(24 * 40, dtype=np.uint8).reshape(24, 40) % 3, "P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.png", transparency=1)
    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]])
    assert np.array_equal(read_rgb(tmp_path / "a.png"), colours[np.asarray(picture)])
    colours[1] = 255
    assert np.array_equal(read_rgb(tmp_path / "b.png"), colours[np.asarray(picture)])


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize(("orientation", "turned"), [
    (1, lambda a: a), (2, lambda a: a[:, ::-1]), (3, lambda a: a[::-1, ::-1]), (4, lambda a: a[::-1]),
    (5, lambda a: a.transpose(1, 0, 2)), (6, lambda a: np.rot90(a, -1)),
    (7, lambda a: np.rot90(a, 2).transpose(1, 0, 2)), (8, lambda a: np.rot90(a)),
])  # fmt: skip
def test_exif_orientation_is_undone(tmp_path, name, orientation, turned):
    blocks = np.kron(np.arange(6).reshape(2, 3), np.ones((8, 8)))[:, :, None].repeat(3, 2) * 40  # JPEG keeps them
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    how = {"jpg": {"quality": 95}, "webp": {"lossless": True}}.get(name[2:], {})
    path = save(tmp_path / name, blocks.astype(np.uint8), exif=exif, **how)
    read = read_rgb(path)
    assert size_of(path) == read.shape[:2]
    assert read.shape == turned(blocks).shape
    assert np.abs(read - turned(blocks)).max() <= 4


@pytest.mark.parametrize(("content", "reason"), [
    (b"", "empty"),
    (b"not a picture", "damaged, or none of PNG"),
    (b"GIF89a" + bytes(40), "damaged, or none of PNG"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "damaged, or none of PNG"),  # would start Ghostscript
])  # fmt: skip
def test_what_is_no_picture_of_an_allowed_format_is_named(tmp_path, content, reason):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(Unreadable, match=reason):
        read_rgb(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.webp"])
def test_a_truncated_file_is_no_picture(tmp_path, name):
    content = save(tmp_path / name, noise(64, 64, 3)).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(Unreadable):
        read_rgb(tmp_path / name)


def test_a_file_that_claims_to_be_huge_is_not_decoded(tmp_path):
    def claiming(width: int, height: int) -> Path:
        header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
        data = b"IDAT" + zlib.compress(b"")
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", len(data) - 4) + data
                                         + struct.pack(">I", zlib.crc32(data)))  # fmt: skip
        return tmp_path / "a.png"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for width, height in ((10_000, 10_000), (100_000, 100_000)):  # above Pillow's warning, above its limit
            with pytest.raises(Unreadable, match=r"more than 50 million"):
                read_rgb(claiming(width, height))


def test_values_of_unknown_range_are_not_guessed(tmp_path):
    with pytest.raises(Unreadable, match="32 bits to a value"):
        read_rgb(save(tmp_path / "a.tif", np.ones((8, 8), np.float32)))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.webp"])
def test_whatever_is_in_a_file_it_is_read_or_named(tmp_path_factory, name):
    content = save(tmp_path_factory.mktemp("valid") / name, SCENE[:16, :16]).read_bytes()
    path = tmp_path_factory.mktemp("bent") / name

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(st.data())
    def check(data):
        bent = bytearray(content)
        for _ in range(data.draw(st.integers(1, 4))):
            bent[data.draw(st.integers(0, len(bent) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(bent[: data.draw(st.integers(0, len(bent)))] if data.draw(st.booleans()) else bent)
        folder = folders.Folder(path.parent)
        for _, read in folder.each([name], read_rgb):
            assert (read.ndim, read.shape[2], read.dtype) == (3, 3, np.uint8)
        for reason in folder.skipped.values():
            assert reason.isprintable()
            assert len(reason) < 200

    check()


def test_a_grey_square_is_the_antialiased_centre(tmp_path):
    # A checkerboard of single pixels is grey when it is made smaller with antialiasing, black or white without.
    board = (np.indices((112, 200)).sum(0) % 2 * 255).astype(np.uint8)
    board[:, :44] = board[:, -44:] = 0  # beside the centre
    read = read_grey_square(save(tmp_path / "a.png", board), 28)
    assert read.shape == (28, 28)
    assert np.abs(read.astype(int) - 127).max() <= 3
    small = noise(28, 28)
    assert np.array_equal(read_grey_square(save(tmp_path / "b.png", small), 28), small)


# Photographs ---------------------------------------------------------------------------------------------------------


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
    assert data.notes[0] == (f"{len(data.train)} photographs for training, {len(data.validation)} for validation, "
                             f"{len(data.test)} for tests")  # fmt: skip


def test_adding_a_file_moves_no_other(tmp_path):
    fill(tmp_path, [f"{k}.png" for k in range(30)])
    before = names_of(photographs(tmp_path))
    fill(tmp_path, ["new.png", "0-first.png", "zz/last.jpg"])
    datasets.registry.read_folder.cache_clear()
    after = names_of(photographs(tmp_path))
    assert before.items() <= after.items()
    assert len(after) == 33


def test_the_split_has_its_shares():
    places = [folders.place_of(f"{k}.png") for k in range(4000)]
    assert np.mean(np.array(places) < folders.TEST) == pytest.approx(0.25, abs=0.03)  # four standard deviations
    assert folders.place_of("caf\u00e9.png") == folders.place_of("cafe\u0301.png")  # as Linux and macOS spell it


def test_two_folders_one_to_train_on_and_one_for_tests(tmp_path):
    fill(tmp_path / "train", [f"{k}.png" for k in range(5)])
    fill(tmp_path / "test", ["butterfly.png"])
    data = photographs(f"{tmp_path / 'train'}::{tmp_path / 'test'}")
    assert list(data.test) == ["butterfly.png"]
    assert len(data.validation) == 1  # one is taken even where no hash falls to it
    assert set(data.train | data.validation) == {f"{k}.png" for k in range(5)}


@pytest.mark.parametrize(("name", "message"), [
    ("{0}/none", "there is no folder"),
    ("", "there is no folder 'without a name'"),
    ("{0}::{0}/none", "there is no folder"),
    ("{0}::{0}", "one folder lies in the other"),
    ("{0}::{0}/sub", "one folder lies in the other"),
    ("a::b::c", "that is 3 folders"),
    ("{0}", "too few photographs (0 for training, 0 for validation, 0 for tests; 3, 1, and 1 are needed)"),
    ("{0}/a$b", "cannot name a data set"),
    ("{0}/" + 200 * "a", "cannot name a data set"),
    ("{0}/a\nb", "cannot name a data set"),
])  # fmt: skip
def test_what_a_folder_lacks_is_one_line(tmp_path, name, message):
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataMissing) as caught:
        photographs(name.format(tmp_path))
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_too_few_says_what_to_do_and_what_was_skipped(tmp_path):
    fill(tmp_path, ["a.png", "b.png"])
    (tmp_path / "c.png").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataMissing, match=r"30 are enough.* --train and --test \(1 skipped: c.png .*; 1 files have"):
        photographs(tmp_path)


def test_what_is_skipped_is_named_and_the_rest_is_used(tmp_path, tmp_path_factory):
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
    lines = [line for line in datasets.check_folder(f"folder:{tmp_path}") if line.startswith("skipped")]
    for part in (
        "tiny.png: 90 x 20 pixels, at least 68 x 68 are needed",
        "torn.png: ",
        "link.png: a link, which",
        "folder: a link, which",
        "loop: a link, which",
        "pipe.png: not a regular file",
        "bad_name.png: dam",
    ):
        assert any(line.startswith(f"skipped: {part}") for line in lines), part  # fmt: skip


def test_a_picture_that_is_for_tests_is_not_trained_on_under_another_name(tmp_path):
    fill(tmp_path, [f"{k}.png" for k in range(30)])
    before = photographs(tmp_path)
    tested = next(iter(before.test))
    name = next(name for name in (f"copy{k}.bmp" for k in range(99)) if folders.place_of(name) > 0.5)
    Image.open(tmp_path / tested).save(tmp_path / name)
    datasets.registry.read_folder.cache_clear()
    data = photographs(tmp_path)
    assert names_of(data) == names_of(before)
    assert f"1 skipped: {name} (the same picture as one of the test part)" in data.notes


def test_large_photographs_are_cut_to_their_centre(tmp_path, monkeypatch):
    # 14 of 30 fall to training, whatever they show. Of a side of 108 they would be 14 x 100 x 108 pixels.
    monkeypatch.setattr(folders, "TRAINING_PIXELS", 14 * 96**2)
    fill(tmp_path, [f"{k}.png" for k in range(30)], 100, 130)
    data = photographs(tmp_path)
    name, image = next(iter(data.train.items()))
    inner = np.asarray(Image.open(tmp_path / name))[2:98, 17:113]
    assert np.array_equal((255 * image).round().byte().permute(1, 2, 0).numpy(), inner)
    assert "train: 14 are cut to the 96 x 96 pixels in their middle" in data.notes
    assert next(iter(data.test.values())).shape == (3, 100, 130)  # their budget is their own


def test_one_panorama_does_not_make_the_stack_of_the_others_large():
    sizes = [(100, 100)] * 499 + [(3000, 12_000)]
    side = folders.largest_side(sizes, folders.TRAINING_PIXELS, stacked=True)
    assert 500 * side**2 <= folders.TRAINING_PIXELS
    assert folders.largest_side([(68, 68)] * 10**5, 1, stacked=True) == 72  # never below what is needed
    assert folders.largest_side([], 1, stacked=False) == 72


def test_names_that_tables_cannot_hold_are_spelled_otherwise_and_stay_apart(tmp_path):
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


# Small grey images ---------------------------------------------------------------------------------------------------


def class_folder(root: Path, classes: dict[str, int]) -> None:
    """So many images of each class; their mean grey tells it."""
    for place, (name, count) in enumerate(classes.items()):
        for k in range(count):
            save(root / name / f"{k}.png", np.clip(noise(12, 16) // 8 + 60 * place, 0, 255).astype(np.uint8))


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


@pytest.mark.parametrize(("classes", "message"), [
    ({"a": 20, "b": 20}, "40 images are too few for a GAN and its read-outs; at least 400 are needed"),
    ({"a": 395, "b": 6}, "the class b has 6 images, at least 20 are needed"),
])  # fmt: skip
def test_too_few_small_images_are_refused(tmp_path, classes, message):
    class_folder(tmp_path, classes)
    with pytest.raises(DataMissing, match=message):
        datasets.load(f"folder:{tmp_path}", LabelledImages)


# Frames --------------------------------------------------------------------------------------------------------------


def test_frames_come_in_natural_order_and_clips_take_turns(tmp_path):
    for k in range(40):
        save(tmp_path / f"shot {k}.png", np.full((70, 64, 3), k, np.uint8))
    data = datasets.load(f"folder:{tmp_path}", Frames)
    clips = {name: (part, (255 * getattr(data, part)[name][:, 0, 0, 0]).round().int().tolist())
             for name, part in names_of(data).items()}  # fmt: skip
    # Clips of 5 every 8 frames: the three between are left out, so that no part has a neighbour in another
    name = tmp_path.name
    assert clips == {
        f"{name}-1": ("train", [0, 1, 2, 3, 4]),
        f"{name}-2": ("test", [8, 9, 10, 11, 12]),
        f"{name}-3": ("train", [16, 17, 18, 19, 20]),
        f"{name}-4": ("validation", [24, 25, 26, 27, 28]),
        f"{name}-5": ("train", [32, 33, 34, 35, 36]),
    }
    assert all(clip.shape == (5, 3, 64, 64) for clip in data.train.values())  # sides are multiples of 8


def test_a_frame_that_is_skipped_ends_a_clip(tmp_path):
    for k in range(40):
        save(tmp_path / f"{k}.png", np.full((64, 64, 3), k, np.uint8))
    (tmp_path / "3.png").write_bytes(b"torn")  # leaves 0 to 2 of the first clip
    save(tmp_path / "18.png", noise(80, 64, 3))  # of another size: leaves too little of the third on either side
    data = datasets.load(f"folder:{tmp_path}", Frames)
    assert sorted(len(clip) for clip in data.train.values()) == [3, 5]


def test_short_sub_folders_are_clips_of_their_own(tmp_path):
    for shot in range(30):
        for k in range(3):
            save(tmp_path / f"{shot}" / f"{k}.png", np.full((64, 64, 3), shot, np.uint8))
    data = datasets.load(f"folder:{tmp_path}", Frames)
    assert len(names_of(data)) == 30
    assert all(part for part in (data.train, data.validation, data.test))
    with pytest.raises(DataMissing, match="two folders are for photographs"):
        datasets.load(f"folder:{tmp_path / '0'}::{tmp_path / '1'}", Frames)


# Every task that can train on a folder -------------------------------------------------------------------------------


def train_on(folder: Path, task: str, **settings) -> dict[str, float | None]:
    """The read-outs of two steps."""
    units = {"scale": TASKS[task].default_scale, "value_range": TASKS[task].default_value_range}
    experiment = Experiment(
        task=task, dataset=f"folder:{folder}", loss="l1", lr=1e-3, seed=0, batch_size=4, steps=2, evaluations=1,
        settings=settings, **units,
    )  # fmt: skip
    training = TASKS[task](experiment, torch.device("cpu"))
    logged = torch.stack([training.step(index) for index in range(2)])
    training.evaluate(2, dict(zip(training.logged, logged.mean(0).tolist(), strict=True)))
    return training.conclude().values


@pytest.mark.parametrize("task", ["sr", "restoration"])
def test_networks_are_trained_on_a_folder_of_photographs(tmp_path, task):
    fill(tmp_path, [f"{k}.png" for k in range(30)])
    values = train_on(tmp_path, task, channels=4, blocks=1, patch=8)
    assert 8 < values["psnr_db"] < 15  # noise: no network of two steps knows it, and none is far from its mean


def test_networks_are_trained_on_a_folder_of_frames(tmp_path):
    scene = noise(64, 160, 3)
    for k in range(40):
        save(tmp_path / f"{k}.png", scene[:, k : k + 72])
    values = train_on(tmp_path, "interpolation", channels=4, blocks=1, patch=16)
    # The average of the outer frames is off by pixels of uniform noise: E((a + b) / 2 - c)^2 = 3/2 of 1/12
    assert values["baseline_psnr_db"] == pytest.approx(-10 * np.log10(3 / 24), abs=0.2)


def test_gans_are_trained_on_a_folder_with_a_classifier_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(classifiers, "STEPS", 25)  # enough to tell noise from pictures, and no more
    monkeypatch.setenv("GANLAB_CACHE", str(tmp_path / "cache"))
    class_folder(tmp_path / "images", {"cat": 200, "dog": 200})
    values = train_on(tmp_path / "images", "gan", width=4, latent=4, evaluation_images=150)
    assert values["frechet"] > values["frechet_floor"] > 0
    (cached,) = (tmp_path / "cache").iterdir()
    assert cached.name.startswith("classifier-")


def test_images_that_look_like_noise_cannot_be_read_out():
    blind = SimpleNamespace(accuracy=0.5, false_positive=0.3, true_positive={"noise": 0.2, "inverted": 0.9})
    with pytest.raises(DataMissing, match=r"folder:x: .* from outliers of kind noise; a GAN on them cannot"):
        judged("folder:x", blind)
    blind.true_positive["noise"] = 1.0
    assert judged("folder:x", blind) == "the frozen classifier names 50.0% of the held-out images rightly"


# By name -------------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_once_and_seen_by_its_content(tmp_path):
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


def test_a_folder_needs_a_kind_and_knows_which(tmp_path):
    with pytest.raises(DataMissing, match="cannot be read as nothing in particular; there are Photographs, Labelled"):
        datasets.load(f"folder:{tmp_path}")
    with pytest.raises(DataMissing, match="cannot be read as StereoPair"):
        datasets.load(f"folder:{tmp_path}", datasets.StereoPair)
    assert datasets.kinds("folder:x") == (Photographs, LabelledImages, Frames)
    assert datasets.kinds("digits") == (LabelledImages,)


def test_check_says_what_a_folder_is_good_for(tmp_path):
    fill(tmp_path, [f"{k}.png" for k in range(30)])
    lines = list(datasets.check_folder(f"folder:{tmp_path}"))
    assert lines[0].startswith("Photographs: ")
    assert any(line.startswith("LabelledImages: no; 30 images are too few") for line in lines)
    with pytest.raises(DataMissing):
        list(datasets.check_folder(f"folder:{tmp_path}/none"))
