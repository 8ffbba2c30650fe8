"""Are all formats and modes of image files read as the same pixels, and broken files named without a crash?"""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganlab.datasets import folders, images
from ganlab.datasets.images import Unreadable, read_grey_square, read_rgb, size_of
from tests.support.folder_data import noise, save

SCENE = noise(24, 40, 3)  # nothing about it is symmetric


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp", "A.PNG"])
def test_lossless_formats_are_read_back_exactly(tmp_path, name):
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


def test_transparent_pixels_become_white(tmp_path):
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
@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a)),
    ],
)
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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"not a picture", "damaged, or none of PNG"),
        (b"GIF89a" + bytes(40), "damaged, or none of PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "damaged, or none of PNG"),  # would start Ghostscript
    ],
)
def test_other_formats_are_named(tmp_path, content, reason):
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
        (tmp_path / "a.png").write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
        )
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
def test_any_file_is_read_or_named(tmp_path_factory, name):
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
