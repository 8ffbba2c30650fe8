"""Which shapes cover an image as outliers: rectangles, words, and blobs, and how are they laid on it?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganlab.lazy import lazily

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor
else:
    lazily(globals(), torch="torch")

OVERLAY_SIDE = (4, 24)  # pixels: sides of a rectangle, and the height of letters
OVERLAY_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
BLOB_SIDE = (4, 20)  # pixels: axes of an ellipse


def cover(
    target: Tensor,
    rate: float,
    generator: Generator,
    stamp: Callable[[np.random.Generator], np.ndarray],
    colour: Callable[[np.random.Generator], np.ndarray | float],
) -> Tensor:
    """`target` (channels, height, width) under opaque stamps at random positions, one after another.

    The last stamp, which would exceed the share `rate`, is kept with the probability that makes the expected share
    `rate`; always keeping it would cover far more of a small patch.

    Args:
        stamp: draws a mask (height, width) bool.
        colour: draws the colour of a stamp: a value for each channel, or one for all.
    """
    height, width = target.shape[-2:]
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    canvas = target.permute(1, 2, 0).numpy().copy()
    covered, count = np.zeros((height, width), bool), 0
    wanted = rate * covered.size
    while count < wanted:
        mask = stamp(rng)
        top, left = (int(rng.integers(1 - size, side)) for size, side in zip(mask.shape, (height, width), strict=True))
        visible = mask[max(0, -top) : height - top, max(0, -left) : width - left]
        rows = slice(max(0, top), max(0, top) + visible.shape[0])
        columns = slice(max(0, left), max(0, left) + visible.shape[1])
        more = int((visible & ~covered[rows, columns]).sum())
        if count + more > wanted and rng.random() * more >= wanted - count:
            break
        canvas[rows, columns][visible] = colour(rng)
        count += more
        covered[rows, columns] |= visible
    return torch.from_numpy(canvas).permute(2, 0, 1).contiguous()


def rectangle(rng: np.random.Generator) -> np.ndarray:
    """A filled rectangle as a mask (height, width)."""
    return np.ones(rng.integers(*OVERLAY_SIDE, size=2), bool)


def word(rng: np.random.Generator) -> np.ndarray:
    """A random word as a mask (height, width); letters are opaque, without soft edges."""
    word = "".join(rng.choice(list(OVERLAY_LETTERS), size=rng.integers(2, 8)))
    font = ImageFont.load_default(size=int(rng.integers(OVERLAY_SIDE[0] + 4, OVERLAY_SIDE[1])))
    left, top, right, bottom = font.getbbox(word)
    page = Image.new("1", (int(right - left) + 1, int(bottom - top) + 1))
    ImageDraw.Draw(page).text((-left, -top), word, fill=1, font=font)
    return np.asarray(page)


def blob(rng: np.random.Generator) -> np.ndarray:
    """A filled ellipse at any angle as a mask (height, width)."""
    long, short = rng.integers(*BLOB_SIDE, size=2) / 2
    angle, reach = np.pi * rng.random(), int(max(long, short))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    return (u / long) ** 2 + (v / short) ** 2 <= 1
