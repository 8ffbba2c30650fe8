"""Are the images the expected ones, and is a missing or damaged file one clear line?"""

import gzip
import hashlib
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from sklearn.datasets import load_digits, load_sample_image

from ganlab import datasets
from ganlab.datasets import DATASETS, DataMissing, IdxFile, fashion

needs_fashion = pytest.mark.skipif(
    not datasets.available("fashion-mnist"), reason="Fashion-MNIST is not on this machine"
)


@pytest.fixture
def tiny_fashion(monkeypatch, tmp_path):
    """Fashion-MNIST of 4 + 2 images of 28x28, its content by file name; nothing of it on disk yet."""
    rng = np.random.default_rng(0)
    shapes = {"train-images": (4, 28, 28), "train-labels": (4,), "t10k-images": (2, 28, 28), "t10k-labels": (2,)}
    contents, files = {}, []
    for name, shape in shapes.items():
        values = rng.integers(0, 256 if len(shape) == 3 else 10, shape, dtype=np.uint8)
        content = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes() + values.tobytes()
        contents[name] = content
        packed = gzip.compress(content, mtime=0)
        files.append(IdxFile(name, shape, hashlib.sha256(packed).hexdigest(), hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(fashion, "FASHION_FILES", tuple(files))
    monkeypatch.setattr(fashion, "FASHION_DEBIAN_FOLDER", tmp_path / "nowhere")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GANLAB_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return contents


def write(folder: Path, contents: dict[str, bytes], packed: bool) -> None:
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)


def test_digits_are_scikit_learns_and_each_is_used_once():
    data = datasets.load("digits")
    assert data.train.shape == (898, 1, 8, 8)
    assert data.test.shape == (899, 1, 8, 8)
    ours = torch.cat([data.train, data.test]).flatten(1) * 16
    everything = np.column_stack([ours.numpy(), torch.cat([data.train_labels, data.test_labels]).numpy()])
    bunch = load_digits()
    original = np.column_stack([bunch.data, bunch.target])
    assert sorted(map(tuple, everything)) == sorted(map(tuple, original))
    # Drawn at random: each part holds about half of the 174 to 183 digits of a class, within four standard deviations
    for labels in (data.train_labels, data.test_labels):
        assert labels.dtype == torch.int64
        assert torch.bincount(labels).min() >= 90 - 4 * 6.7
        assert torch.bincount(labels).max() <= 90 + 4 * 6.7


@pytest.mark.parametrize("name", ["photographs", "motion"])
def test_in_three_seeds_each_photograph_is_tested_once_and_never_trained_on_meanwhile(name):
    data = datasets.load(name)
    source = (lambda image: image) if name == "photographs" else (lambda image: image.rpartition("-")[0])
    tested = []
    for seed in (7, 8, 9):
        split = data.turn(seed)
        parts = [set(map(source, getattr(split, part))) for part in ("train", "validation", "test")]
        assert [len(part) for part in parts] == [8, 2, 4]
        assert len(set.union(*parts)) == 14
        assert parts[1] == {"coffee", "astronaut"}
        assert split.fold(seed) == seed % 3
        tested += parts[2]
        assert all(split.test[image] is (data.train | data.test)[image] for image in split.test)  # shared, not copied
    assert len(set(tested)) == len(tested) == 12


def test_the_split_turns_with_the_seed_alone():
    data = datasets.load("photographs")
    assert [set(data.turn(seed).test) for seed in (0, 3)] == [{"camera", "china", "brick", "immunohistochemistry"}] * 2
    assert set(data.turn(1).test) == {"chelsea", "motorcycle_left", "grass", "coins"}
    assert list(data.turn(2).turn(0).train) == list(data.turn(0).train)


def test_a_fixed_split_does_not_turn():
    data = datasets.load("photographs")
    fixed = replace(data, folds=())
    assert fixed.turn(1) is fixed
    assert fixed.fold(1) == 0
    assert datasets.fingerprint(fixed) != datasets.fingerprint(data)


def test_photographs_hold_eight_bits():
    data = datasets.load("photographs")
    for name, image in (data.train | data.validation | data.test).items():
        assert image.shape[0] == 3, name
        assert image.dtype == torch.float32
        assert torch.equal((image * 255).round() / 255, image), name  # 8-bit values
        assert 0 <= image.min() < image.max() <= 1


def test_photographs_are_the_originals():
    data = datasets.load("photographs")
    flower = torch.from_numpy(load_sample_image("flower.jpg").copy())
    assert torch.equal((data.train["flower"] * 255).round().byte(), flower.permute(2, 0, 1))
    camera = torch.from_numpy(skimage.data.camera())
    assert torch.equal((data.test["camera"] * 255).round().byte(), camera.expand(3, -1, -1))


def test_every_photograph_has_one_credit():
    data = datasets.load("photographs")
    credited = [credit.split(":")[0] for credit in data.credits]
    assert sorted(credited) == sorted(data.train | data.validation | data.test)
    assert "CC BY 2.0" in next(credit for credit in data.credits if credit.startswith("china"))


@needs_fashion
def test_fashion_mnist():
    data = datasets.load("fashion-mnist")
    assert data.train.shape == (60_000, 1, 28, 28)
    assert data.test.shape == (10_000, 1, 28, 28)
    assert torch.bincount(data.train_labels).tolist() == [6000] * 10
    assert data.classes[data.train_labels[0]] == "Ankle boot"  # the first picture of Figure 1 of its README
    assert float(data.train.mean()) == pytest.approx(0.2860, abs=1e-4)  # the mean everyone normalises with
    assert float(data.train.max()) == 1


def test_fingerprints_do_not_change():
    # Written down once: a change of values, labels, names, or of the split makes old results incomparable.
    assert datasets.fingerprint(datasets.load("digits"))[:16] == "b68489f11e2e1b40"
    assert datasets.fingerprint(datasets.load("photographs"))[:16] == "230caea03c60d56f"


@pytest.mark.parametrize("field", ["train", "train_labels", "classes"])
def test_fingerprint_sees_every_part(field):
    data = datasets.load("digits")
    value = getattr(data, field)
    changed = ("zero", *value[1:]) if field == "classes" else torch.cat([value[:1] + 1, value[1:]])
    other = datasets.LabelledImages(**{**vars(data), field: changed})
    assert datasets.fingerprint(other) != datasets.fingerprint(data)


def test_fingerprint_ignores_credits():
    data = datasets.load("digits")
    assert datasets.fingerprint(datasets.LabelledImages(**{**vars(data), "credits": ()})) == datasets.fingerprint(data)


def test_registry():
    assert set(DATASETS) == {"digits", "fashion-mnist", "photographs", "stereo", "motion", "gaussian"}
    assert all("\n" not in dataset.description for dataset in DATASETS.values())
    assert datasets.available("digits")
    assert datasets.available("photographs")
    assert datasets.load("digits") is datasets.load("digits")
    assert datasets.fetch("digits") == datasets.location("digits")


@pytest.mark.parametrize("function", [datasets.load, datasets.available, datasets.fetch])
def test_unknown_name_lists_the_nearest(function):
    with pytest.raises(KeyError) as caught:
        function("fashion_mnist")
    assert str(caught.value) == "no data set named 'fashion_mnist'; did you mean fashion-mnist?"
    with pytest.raises(KeyError, match="digits or fashion-mnist or photographs"):
        function("xyz")


def test_fashion_missing_says_how_to_get_it(tiny_fashion):
    assert not datasets.available("fashion-mnist")
    with pytest.raises(DataMissing) as caught:
        datasets.fashion_mnist()
    message = str(caught.value)
    assert "\n" not in message
    for remedy in ("python -m bench data fetch fashion-mnist", "dataset-fashion-mnist", "GANLAB_DATA"):
        assert remedy in message


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    "folder", ["data/fashion-mnist", "data/FashionMNIST/raw", "home/data/FashionMNIST/raw", "nowhere"]
)
def test_fashion_is_read_from_other_tools_folders(tiny_fashion, tmp_path, folder, packed):
    write(tmp_path / folder, tiny_fashion, packed)
    assert datasets.location("fashion-mnist").resolve() == tmp_path / folder
    data = datasets.fashion_mnist()
    pixels = torch.frombuffer(bytearray(tiny_fashion["train-images"][16:]), dtype=torch.uint8)  # 4 + 3 x 4 header bytes
    assert torch.equal(data.train.flatten(), pixels / 255)
    assert data.test_labels.tolist() == list(tiny_fashion["t10k-labels"][8:])


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed, content: packed[:-20],  # truncated
        lambda packed, content: gzip.compress(content[:-1] + b"\xff"),  # another file
        lambda packed, content: b"<html>not found</html>",
        lambda packed, content: b"",
    ],
)
def test_a_damaged_file_is_named(tiny_fashion, tmp_path, damage):
    folder = tmp_path / "data" / "fashion-mnist"
    write(folder, tiny_fashion, packed=True)
    path = folder / "t10k-images.gz"
    path.write_bytes(damage(path.read_bytes(), tiny_fashion["t10k-images"]))
    with pytest.raises(DataMissing, match=r"cannot use .*t10k-images\.gz .*remove it") as caught:
        datasets.fashion_mnist()
    assert "\n" not in str(caught.value)


def test_parse_idx_refuses_other_headers_and_lengths():
    good = bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9])
    assert datasets.parse_idx(good, (2,)).tolist() == [7, 9]
    with pytest.raises(ValueError, match="shape"):
        datasets.parse_idx(good, (3,))
    with pytest.raises(ValueError, match="unsigned bytes"):
        datasets.parse_idx(b"\x00\x00\x0d" + good[3:], (2,))  # 0x0d: floats
    with pytest.raises(ValueError, match="holds 1 values"):
        datasets.parse_idx(good[:-1], (2,))


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A loopback server of the folder `served`, in place of the publisher's."""
    (tmp_path / "served").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served")) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        monkeypatch.setattr(fashion, "FASHION_URL", f"http://127.0.0.1:{httpd.server_port}/")
        yield tmp_path / "served"
        httpd.shutdown()


def test_fetch_then_load(tiny_fashion, server, tmp_path):
    for name, content in tiny_fashion.items():
        (server / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
    assert datasets.fetch("fashion-mnist") == tmp_path / "data" / "fashion-mnist"
    assert datasets.location("fashion-mnist") == tmp_path / "data" / "fashion-mnist"
    assert len(datasets.fashion_mnist().train) == 4


def test_fetch_refuses_another_file(tiny_fashion, server):
    for name in tiny_fashion:
        (server / f"{name}.gz").write_bytes(b"something else")
    with pytest.raises(DataMissing, match=r"cannot fetch http.*train-images\.gz"):
        datasets.fetch("fashion-mnist")
    assert not datasets.available("fashion-mnist")


def test_fetch_names_what_the_server_lacks(tiny_fashion, server):
    with pytest.raises(DataMissing, match=r"cannot fetch .*404"):
        datasets.fetch("fashion-mnist")
