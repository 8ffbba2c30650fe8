"""Does the table of sr-eval match published ones, and is an untrusted run directory rejected with one line?"""

import csv
import hashlib
import io
import json
import math
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bench.cli.main
from bench.api import sr_eval
from bench.plan.reading import read_suite
from bench.running.work import train_cells
from bench.store import StoreError
from bench.store.weights import MOST_BYTES, packed, restore
from bench.training.weights import weights_of
from ganlab import metrics
from ganlab.datasets import DataMissing, Photographs, fingerprint, load
from ganlab.networks import build_super_resolver, downscale, upscale
from tests.support.fake_runs import fake_run

PICTURES = "100 $ pictures [new], é"  # a folder may be called anything printable
SUITE = """
title = "one super-resolver"
timing = { rounds = 0 }
[[matrix]]
task = "sr"
dataset = "photographs"
loss = "l1"
head = "raw"
lr = 3e-3
steps = 4
evaluations = 1
batch_size = 4
seeds = 2
scale = [2, 3, 4]
settings = { channels = 4, blocks = 1, patch = 8 }
"""


@pytest.fixture
def command(monkeypatch, capsys):
    """command("sr-eval", ...) -> exit code, standard output, standard error."""

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            bench.cli.main.main()
        return (caught.value.code or 0, *capsys.readouterr())

    return call


# MATLAB's imresize, from its definition ------------------------------------------------------------------------------


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys (1981) with a = -1/2."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0))


def imresize(pixels: np.ndarray, factor: float) -> np.ndarray:
    """`imresize(pixels, factor, "bicubic")` of (height, width, ...): each axis by itself, symmetric padding.

    Where it shrinks, the kernel is widened by 1 / factor and lowered by as much: that is the antialiasing.
    """
    stretch = min(1.0, factor)
    for axis in (0, 1):
        size = pixels.shape[axis]
        centres = np.arange(1, math.ceil(size * factor) + 1) / factor + (1 - 1 / factor) / 2
        first = np.floor(centres - 2 / stretch)
        positions = first[:, None] + np.arange(math.ceil(4 / stretch) + 2)
        weights = stretch * cubic(stretch * (centres[:, None] - positions))
        weights /= weights.sum(axis=1, keepdims=True)
        mirrored = np.concatenate([np.arange(size), np.arange(size)[::-1]])
        rows = np.moveaxis(pixels, axis, 0)[mirrored[(positions.astype(int) - 1) % (2 * size)]]
        pixels = np.moveaxis(np.einsum("op,op...->o...", weights, rows), 0, axis)
    return pixels


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    return np.round(255 * np.clip(pixels, 0, 1)) / 255


def test_this_imresize_is_the_published_one():
    # imresize(0:4, 2, "bicubic") by hand: new centres lie a quarter to either side of the old ones. The first sees
    # 1, 0 | 0, 1 (mirrored before the bar) at distances 7/4, 3/4, 1/4, 5/4, and k(7/4) + k(5/4) = -3/128 - 9/128.
    ramp = imresize(np.arange(5.0)[None], 2)[0]
    assert ramp[0] == pytest.approx(-12 / 128, abs=1e-12)
    assert ramp[4:6] == pytest.approx([1.75, 2.25])  # a ramp stays one where no end is near
    assert imresize(np.arange(40.0)[None], 0.5)[0, 5:15] == pytest.approx(np.arange(10.5, 30, 2))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_kernel_is_that_of_matlab(scale):
    image = load("photographs").train["chelsea"][:, : 72 * scale, : 75 * scale]
    ours = downscale(image, scale)
    theirs = imresize(image.permute(1, 2, 0).double().numpy(), 1 / scale)
    low = torch.from_numpy(eight_bits(theirs)).permute(2, 0, 1)
    # Inside, what differs is the rounding of a value halfway between two grey levels. At the border MATLAB mirrors the
    # image, and PyTorch gives the weight of what is missing to the rest: a difference within 2 pixels of the edge.
    assert (ours - low)[:, 2:-2, 2:-2].abs().max() <= 1.01 / 255
    assert ((ours - low).abs() > 0.5 / 255).double()[:, 2:-2, 2:-2].mean() < 1e-3
    assert 0 < (ours - low).abs().max() < 20 / 255
    high = torch.from_numpy(imresize(low.permute(1, 2, 0).numpy(), scale)).permute(2, 0, 1)
    inner = upscale(low.float()[None], scale)[0] - high
    assert inner[:, 2 * scale : -2 * scale, 2 * scale : -2 * scale].abs().max() < 1e-5


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_borders_cost_less_than_a_hundredth_of_a_decibel(scale):
    # Measured on the twelve that are tested, whole: at most 0.0020 dB. This crop is smaller, so its border is longer.
    image = load("photographs").train["flower"][:, 100 : 100 + 240, 200 : 200 + 240]
    low = eight_bits(imresize(image.permute(1, 2, 0).double().numpy(), 1 / scale))
    high = torch.from_numpy(eight_bits(imresize(low, scale))).permute(2, 0, 1).float()
    theirs = metrics.psnr_db(*(metrics.luma(metrics.crop_border(x, scale)) for x in (high, image)))
    ours = sr_eval.scores(image, scale)["bicubic_psnr_y_db"]
    assert ours == pytest.approx(theirs, abs=0.01)


# The table -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tested(tmp_path) -> Path:
    """A folder with pictures of odd sizes, and one that cannot be read."""
    folder = tmp_path / "tested"
    folder.mkdir()
    for name, (height, width) in {"b 10": (61, 47), "b 9": (48, 60)}.items():
        image = load("photographs").train["flower"][:, 100 : 100 + height, 300 : 300 + width]
        pixels = (255 * image).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"nothing")
    return folder


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_table_has_what_the_protocol_says(command, tested, tmp_path, scale):
    code, out, err = command("sr-eval", "--test", tested, "--scale", scale, "--out", tmp_path / "t.csv")
    assert code == 0
    assert err == "skipped: broken.png: damaged, or none of PNG, JPEG, BMP, TIFF, WEBP\n"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert [row["image"] for row in rows] == ["b 9.png", "b 10.png", "mean"]  # as people count
    pixels = np.asarray(Image.open(tested / "b 10.png")).astype(float) / 255
    pixels = pixels[: 61 // scale * scale, : 47 // scale * scale]
    target = torch.from_numpy(pixels).permute(2, 0, 1).float()
    prediction = (255 * upscale(downscale(target, scale)[None], scale)[0].clamp(0, 1)).round() / 255
    inner = (slice(None), slice(scale, -scale), slice(scale, -scale))
    error = (prediction - target)[inner].double()
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64) / 255
    error_y = (error * weights[:, None, None]).sum(0)
    assert float(rows[1]["bicubic_psnr_db"]) == pytest.approx(-10 * math.log10(error.square().mean()), abs=1e-4)
    assert float(rows[1]["bicubic_psnr_y_db"]) == pytest.approx(-10 * math.log10(error_y.square().mean()), abs=1e-4)
    mean = (float(rows[0]["bicubic_ssim"]) + float(rows[1]["bicubic_ssim"])) / 2
    assert float(rows[2]["bicubic_ssim"]) == pytest.approx(mean)
    lines = out.splitlines()
    assert lines[3].split()[0] == "mean"
    assert f"{float(rows[2]['bicubic_psnr_y_db']):.2f}" in lines[3]
    assert lines[4].startswith(f"x{scale}, 2 images")


def test_a_table_that_cannot_be_written_is_one_line(command, tested, tmp_path):
    (tmp_path / "file").write_text("precious")
    for out, message in (
        (tmp_path, "that is a folder; name a file, as "),
        ("", "--out .: that is a folder"),
        (tmp_path / "file" / "t.csv", "see that it can be written and try again"),
    ):
        code, _, err = command("sr-eval", "--test", tested, "--out", out)
        assert code == 2
        assert message in err.splitlines()[-1]
    assert (tmp_path / "file").read_text() == "precious"


def test_the_score_of_grey_images_has_a_note(tmp_path):
    grey = (255 * load("photographs").test["camera"][0, :64, 100:164]).round().byte().numpy()
    Image.fromarray(grey).save(tmp_path / "grey.png")
    table = sr_eval.evaluate(tmp_path, 2)
    (row,) = table.rows
    assert row["bicubic_psnr_y_db"] - row["bicubic_psnr_db"] == pytest.approx(1.3219, abs=1e-4)  # 20 lg(255 / 219)
    assert [*table.lines()][-1] == "1 are grey: papers that take grey values for Y state 1.32 dB less for them"


def test_what_cannot_be_measured_is_one_line(command, tmp_path):
    code, _, err = command("sr-eval", "--test", tmp_path / "none")
    assert (code, err.count("\n")) == (2, 1)
    assert "there is no such folder" in err
    Image.new("RGB", (15, 15)).save(tmp_path / "a.png")
    code, _, err = command("sr-eval", "--test", tmp_path, "--scale", 4)
    assert (code, err.count("\n")) == (2, 1)
    assert "a.png (15 x 15 pixels, at least 23 x 23 are needed)" in err


def test_a_test_image_that_is_too_large_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sr_eval, "MOST_PIXELS", 2000)
    for name, side in (("large", 50), ("small", 40)):
        Image.new("RGB", (side, side)).save(tmp_path / f"{name}.png")
    table = sr_eval.evaluate(tmp_path, 2)
    assert [row["image"] for row in table.rows] == ["small.png"]
    assert "50 x 50 pixels, more than" in table.skipped["large.png"]


# A trained cell ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of super-resolvers at scales 2, 3, and 4 on a folder of small pictures; what it told is in `told`."""
    home = tmp_path_factory.mktemp("home")
    (home / PICTURES).mkdir()
    flower = (255 * load("photographs").train["flower"]).round().byte().permute(1, 2, 0).numpy()
    for k in range(30):
        Image.fromarray(flower[80 + 3 * k :, 100 + 5 * k :][:72, :80]).save(home / PICTURES / f"{k}.png")
    (home / PICTURES / "broken.png").write_bytes(b"nothing")
    (home / "one.toml").write_text(SUITE.replace('"photographs"', f'"folder:{home / PICTURES}"'))
    counts, notes = fake_run(home / "run", read_suite(str(home / "one.toml")), all_work=train_cells)
    assert counts == {"done": 6}
    (home / "told").write_text("\n".join(notes))
    return home / "run"


@pytest.fixture
def copied(run, tmp_path) -> Path:
    """A copy of the run, to be altered."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def cells(run: Path) -> dict[int, dict[str, str]]:
    """The cells that show samples, by scale."""
    with open(run / "cells.csv", newline="") as file:
        return {int(row["scale"]): row for row in csv.DictReader(file) if row["seed"] == "0"}


def test_a_run_on_a_folder_reports_used_and_skipped_files(run):
    folder = f"folder:{run.parent / PICTURES}"
    told = (run.parent / "told").read_text().splitlines()
    assert f"{folder}: 14 photographs for training, 6 for validation, 10 for tests" in told  # by their names alone
    assert f"{folder}: 1 skipped: broken.png (damaged, or none of PNG, JPEG, BMP, TIFF, WEBP)" in told


def test_shown_cells_leave_weights_that_are_listed(run):
    manifest = json.loads((run / "manifest.json").read_text())
    shown = {row["cell_id"] for row in cells(run).values()}
    assert len(shown) == 3
    assert {file.stem for file in (run / "weights").iterdir()} == set(manifest["weights"]) == shown
    assert all(file.stat().st_size < 20_000 for file in (run / "weights").iterdir())
    folder = f"folder:{run.parent / PICTURES}"
    assert manifest["data"] == {folder: fingerprint(load(folder, Photographs))}


def test_a_run_that_goes_on_still_lists_the_weights_it_left(copied, run):
    fake_run(copied, read_suite(str(run.parent / "one.toml")), all_work=lambda *_: pytest.fail("trained again"))
    before, after = (json.loads((path / "manifest.json").read_text())["weights"] for path in (run, copied))
    assert after == before != {}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_cell_scores_what_its_run_says(command, run, tmp_path, scale):
    # The folder of the cell's own test images gives the run's own numbers, so the weights are the cell's.
    data = load(f"folder:{run.parent / PICTURES}", Photographs)
    (tmp_path / "same").mkdir()
    for name in data.test:
        shutil.copy(run.parent / PICTURES / name, tmp_path / "same")
    cell = cells(run)[scale]
    for where in (f"{run}/{cell['cell_id']}", f"{run}:{cell['cell_id']}"):
        code, out, err = command("sr-eval", "--test", tmp_path / "same", "--cell", where, "--out", tmp_path / "t.csv")
        assert (code, err) == (0, "")
    *rows, mean = csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text()))
    assert len(rows) == len(data.test)
    for column in ("psnr_y_db", "psnr_db", "ssim", "bicubic_psnr_y_db"):
        assert float(mean[column]) == pytest.approx(float(cell[column]), abs=1e-4), column
    assert f"x{scale}, " in out
    assert "trained: l1 raw, clean targets, on folder:" in out


def test_an_unknown_cell_is_one_line_with_known_cells(command, run, tmp_path):
    cell = cells(run)[2]["cell_id"]
    for where, more, message in (
        (f"{run}/000000000000", (), f"has no cell '000000000000'; it has weights of {cell} (l1 raw, clean targets"),
        (f"{run}/{cell}", ("--scale", 3), "was trained for x2; leave --scale out"),
        (f"{run}/{cell}", ("--network", "mine:build"), "was trained with the shipped network; leave --network out"),
        (f"{tmp_path}/{cell}", (), "is not a run directory"),
        (cell, (), "is not a run directory"),
        (run, (), f"name one of its cells, as {run}/CELL_ID; it has weights of {cell} (l1 raw, clean targets"),
        (f"{run}/", (), f"name one of its cells, as {run}/CELL_ID; "),
    ):
        code, _, err = command("sr-eval", "--test", tmp_path, "--cell", where, *more)
        assert (code, err.count("\n")) == (2, 1)
        assert message in err


def test_in_a_run_directory_a_cell_is_named_by_itself(run, monkeypatch):
    monkeypatch.chdir(run)
    assert sr_eval.trained_cell(cells(run)[3]["cell_id"]).scale == 3


def rewrite(run: Path, name: str, change) -> None:
    """Change a file of a run directory, CSV by rows, JSON as a dictionary."""
    file = run / name
    if name.endswith(".json"):
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))
        return
    with open(file, newline="") as stream:
        rows = list(csv.DictReader(stream))
    change(rows)
    with open(file, "w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("settings", '{"channels": 4, "blocks": 1, "patch": 8, "network": "os:abort"}', "name it with --network"),
        ("settings", '{"channels": 100000, "blocks": 1, "patch": 8}', "larger than any network"),
        ("settings", '{"channels": 1, "blocks": 1000000000, "patch": 8}', "larger than any network"),
        ("settings", '{"channels": "x"}', "none of a super-resolution cell"),
        ("settings", '{"channels": 8, "blocks": 1, "patch": 8}', "does not hold the weights of this cell's network"),
        ("scale", "7", "none of a super-resolution cell"),
        ("status", "crashed", "read-outs, but its cell is not done"),
    ],
)
def test_untrusted_cell_settings_are_checked_before_use(command, copied, column, value, message):
    cell = cells(copied)[2]["cell_id"]

    def change(rows):
        next(row for row in rows if row["cell_id"] == cell)[column] = value

    rewrite(copied, "cells.csv", change)
    code, _, err = command("sr-eval", "--test", copied.parent, "--cell", f"{copied}/{cell}")
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


def test_weights_that_are_not_listed_missing_or_changed_are_refused(command, copied):
    cell = cells(copied)[2]["cell_id"]
    file = copied / "weights" / f"{cell}.npz"

    def refused(message: str) -> None:
        code, _, err = command("sr-eval", "--test", copied.parent, "--cell", f"{copied}/{cell}")
        assert (code, err.count("\n")) == (2, 1)
        assert message in err

    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"x")
    refused("is not as the run wrote it")
    file.unlink()
    refused("cannot be read: No such file")
    file.symlink_to("/etc/passwd")
    refused("is a link")
    file.unlink()
    file.write_bytes(content)
    rewrite(copied, "manifest.json", lambda manifest: manifest.pop("weights"))
    refused("is not listed in manifest.json")


# Files of weights ----------------------------------------------------------------------------------------------------


def network(channels: int = 4) -> torch.nn.Module:
    return build_super_resolver(channels, 1, 2, "raw", seed=1)


def test_weights_are_restored_bit_for_bit(tmp_path):
    source, target = network(), build_super_resolver(4, 1, 2, "raw", seed=2)
    content = packed(weights_of(source))
    assert content == packed(weights_of(source))
    (tmp_path / "w.npz").write_bytes(content)
    restore(target, tmp_path / "w.npz", sha256(content))
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))
    with np.load(tmp_path / "w.npz", allow_pickle=False) as arrays:  # anybody can read them
        assert np.array_equal(arrays["encode.bias"], source.encode.bias.detach().numpy())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def npz(**changes) -> bytes:
    """The weights of the network with some arrays replaced; None takes one out."""
    arrays = {name: value.copy() for name, value in weights_of(network()).items()}
    arrays = {name: value for name, value in (arrays | changes).items() if value is not None}
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def zipped(name: str, content: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """The weights of the network with one file of the archive replaced by these bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(npz())) as source, zipfile.ZipFile(out, "w", method) as archive:
        for entry in source.infolist():
            archive.writestr(entry.filename, content if entry.filename == name else source.read(entry))
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a zip file"),
        (npz()[:-40], "not a zip file"),
        (npz(**{"encode.bias": None}), "it names 7 tensors, the network has 8"),
        (npz(more=np.zeros(3)), "it names 9 tensors, the network has 8"),
        (npz(**{"encode.bias": np.zeros(5, np.float32)}), r"encode.bias is float32 \(5,\), not \(4,\)"),
        (npz(**{"encode.bias": np.full(4, np.nan, np.float32)}), "encode.bias is not finite"),
        (npz(**{"encode.bias": np.array(["a", "b", "c", "d"])}), "encode.bias is <U1"),
        (npz(**{"encode.bias": np.array([print, 1, 2, 3], dtype=object)}), "allow_pickle=False"),
        (zipped("encode.bias.npy", bytes(10**6), zipfile.ZIP_DEFLATED), "1000000 bytes, too many for its shape"),
        (
            zipped(
                "encode.bias.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (10**12,)}"
            ),
            "does not hold",
        ),
    ],
)
def test_untrusted_weights_are_rejected(tmp_path, content, message):
    (tmp_path / "w.npz").write_bytes(content)
    target = network()
    before = weights_of(target)
    with pytest.raises(StoreError, match=message) as caught:
        restore(target, tmp_path / "w.npz", sha256(content))
    assert str(caught.value).isprintable()
    assert all(np.array_equal(before[name], value) for name, value in weights_of(target).items())


def test_weights_too_large_to_pass_on_are_not_kept():
    assert weights_of(torch.nn.Linear(1, MOST_BYTES // 4)) == {}
    assert weights_of(None) == {}


def test_unusable_folders_are_reported_before_any_work(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataMissing, match="no image that can be measured"):
        sr_eval.evaluate(tmp_path / "empty", 2)
    for arguments, message in (
        (("run", "set5", "--train", "none", "--test", "empty"), "there is no folder 'none'"),
        (("run", "set5", "--data", "folder:empty"), "too few photographs"),
        (("run", "set5", "--set", "dataset=folder:empty"), "too few photographs"),
        (("data", "check", "empty"), "name a folder, as in `python -m bench data check folder:PATH`"),
        (("data", "check", "folder:none"), "there is no folder 'none'"),
        (("data", "check", "folder:empty"), "folder:empty fits no task: too few photographs"),
    ):
        code, _, err = command(*arguments)
        assert (code, err.count("\n")) == (2, 1), arguments
        assert message in err
    assert not (tmp_path / "results").exists()
