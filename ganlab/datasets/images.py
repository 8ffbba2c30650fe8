"""How is an untrusted image file read? By few decoders, within limits, never through a link, always as 8-bit pixels.

A bad file gives a short reason, which is shown with its name; it never ends a run.
"""

from __future__ import annotations

import errno
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")  # the only decoders that are tried
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp")
MOST_PIXELS = 50_000_000  # per file; a file of a few bytes may claim to hold billions
MOST_BYTES = 2**29
ORIENTATION = 0x0112  # EXIF tag; values from 5 on turn the picture by 90 degrees
LONGEST_REASON = 120  # letters
DRAFT = 4  # a JPEG is decoded at no more than about this many times the requested size


class Unreadable(Exception):
    """A file that cannot be used; the message is a short reason."""


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A picture; only its header has been read.

    Raises:
        Unreadable: it is no regular file, is too large, or has another format; or the code in the `with` block fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        link = error.errno == errno.ELOOP
        raise Unreadable("a link, which is not followed" if link else error.strerror or str(error)) from None
    with open(descriptor, "rb") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of unusual files
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("not a regular file")
        if not 0 < status.st_size <= MOST_BYTES:
            raise Unreadable(f"larger than {MOST_BYTES // 2**20} MiB" if status.st_size else "empty")
        try:
            with Image.open(stream, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise Unreadable(f"{image.width} x {image.height} pixels, more than {MOST_PIXELS // 10**6} million")
                yield image
        except Unreadable:
            raise
        except Image.DecompressionBombError:
            raise Unreadable(f"more than {MOST_PIXELS // 10**6} million pixels") from None
        except UnidentifiedImageError:
            raise Unreadable("damaged, or none of " + ", ".join(FORMATS)) from None
        except Exception as error:  # Pillow raises many kinds of errors for broken files
            text = " ".join(f"{error or type(error).__name__}".split())
            text = "".join(letter if letter.isprintable() else "?" for letter in text)
            raise Unreadable(f"cannot be decoded: {text[:LONGEST_REASON]}") from None


def size_of(path: Path) -> tuple[int, int]:
    """Height and width in pixels of an upright picture, from its header.

    Raises:
        Unreadable: see `opened`.
    """
    with opened(path) as image:
        width, height = image.size
        with suppress(Exception):  # damaged EXIF is ignored
            if image.format != "TIFF" and image.getexif().get(ORIENTATION, 1) >= 5:  # Pillow turns TIFF by itself
                return width, height
        return height, width


def read_rgb(path: Path) -> np.ndarray:
    """The pixels of an upright picture, uint8 (height, width, 3).

    Raises:
        Unreadable: see `opened`; or its values have an unknown range.
    """
    with opened(path) as image:
        return np.asarray(upright(image).convert("RGB"))


def read_grey_square(path: Path, side: int) -> np.ndarray:
    """The central square of an upright picture, grey, resized with antialiasing: uint8 (side, side).

    Raises:
        Unreadable: see `read_rgb`.
    """
    with opened(path) as image:
        image.draft(None, (DRAFT * side, DRAFT * side))
        grey = upright(image).convert("L")
        inner = min(grey.size)
        left, top = (grey.width - inner) // 2, (grey.height - inner) // 2
        square = grey.crop((left, top, left + inner, top + inner))
        return np.asarray(square.resize((side, side), Image.Resampling.BICUBIC))


def upright(image: Image.Image) -> Image.Image:
    """A picture with 8 bits per value, turned by its EXIF orientation, with a white background if it is transparent.

    Raises:
        Unreadable: its values have an unknown range.
    """
    image.load()
    with suppress(Exception):  # damaged EXIF is ignored
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray(((255 * values + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise Unreadable("32 bits to a value, of unknown range; save it with 8 or 16")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image


def centre(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The centre of an image (height, width, ...), cut to at most `height` and `width` pixels."""
    top, left = (max(0, (side - most) // 2) for side, most in zip(pixels.shape, (height, width), strict=False))
    return pixels[top : top + height, left : left + width]


def tensor_of(pixels: np.ndarray) -> Tensor:
    """uint8 (height, width, 3) as float32 (3, height, width) in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div_(255)
