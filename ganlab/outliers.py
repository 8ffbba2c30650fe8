"""Which kinds of outliers are there, what do they corrupt, and towards which mean do they pull a loss?

An outlier kind corrupts a reconstruction's `target`, the GAN's `real` images, its discriminator's `label`s, or the
location GAN's real `sample`s. A kind is one function and one line in `OUTLIERS`. Corruption is drawn from a generator
derived from the seed alone, so every loss of a seed sees the same outliers (paired comparison). It is drawn once: the
result is a data set that contains outliers. Definitions: science.md sections 4 to 6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from ganlab.datasets import Photographs, load
from ganlab.laws import Law, at, moved, of_images, uniform
from ganlab.lazy import lazily
from ganlab.metrics import luma
from ganlab.stamps import blob, cover, rectangle, word

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor
else:
    lazily(globals(), torch="torch")

CLEAN = "clean"  # the name of "no outliers" in suites and CSV; its rate is 0
TILE = 32  # pixels: side of the squares that a mismatch replaces


def _corrupted(target: Tensor, rate: float, generator: Generator) -> Tensor:
    """Which pixels are corrupted, (1, height, width) bool: one draw per pixel, the same for all channels."""
    return torch.rand(1, *target.shape[-2:], generator=generator) < rate


def impulse(target: Tensor, rate: float, generator: Generator) -> Tensor:
    """With probability `rate` a pixel of `target` (channels, height, width) becomes a grey drawn from U[0, 1]."""
    corrupted = _corrupted(target, rate, generator)
    return torch.where(corrupted, torch.rand(corrupted.shape, generator=generator), target)


def salt(target: Tensor, rate: float, generator: Generator) -> Tensor:
    """With probability `rate` a pixel of `target` (channels, height, width) becomes white: one-sided outliers."""
    return torch.where(_corrupted(target, rate, generator), torch.ones(()), target)


def salt_pepper(target: Tensor, rate: float, generator: Generator) -> Tensor:
    """With probability `rate` a pixel of `target` (channels, height, width) becomes black or white, equally often."""
    corrupted = _corrupted(target, rate, generator)
    return torch.where(corrupted, (torch.rand(corrupted.shape, generator=generator) < 0.5).float(), target)


def jitter(target: Tensor, rate: float, generator: Generator) -> Tensor:
    """x + u min(x, 1 - x) with u ~ U[-rate, rate] at each pixel: zero-mean noise within [0, 1], the control."""
    u = (2 * torch.rand(1, *target.shape[-2:], generator=generator) - 1) * rate
    return target + u * torch.minimum(target, 1 - target)


def overlay(target: Tensor, rate: float, generator: Generator) -> Tensor:
    """Opaque rectangles and words in random colours; the expected covered share is `rate`.

    Like the text of Noise2Noise (Lehtinen et al., ICML 2018, section 3.3), with rectangles added. Colours are uniform
    in [0, 1]^channels, so a covered pixel's mean is grey.
    """

    def stamp(rng: np.random.Generator) -> np.ndarray:
        return rectangle(rng) if rng.random() < 0.5 else word(rng)

    def colour(rng: np.random.Generator) -> np.ndarray:
        return rng.random(len(target), dtype=np.float32)

    return cover(target, rate, generator, stamp, colour)


def missing(target: Tensor, rate: float, generator: Generator) -> Tensor:
    """Blobs of the value 0; the expected covered share is `rate`.

    Disparity maps have holes where stereo matching fails, and file formats store holes as 0.
    """
    return cover(target, rate, generator, blob, lambda rng: 0.0)


def wrong_match(target: Tensor, rate: float, generator: Generator) -> Tensor:
    """Blobs, each of one value from U[0, 1]; the expected covered share is `rate`.

    Disparity maps have such patches where stereo matching confuses similar surfaces.
    """
    return cover(target, rate, generator, blob, lambda rng: rng.random(dtype=np.float32))


def mismatch(target: Tensor, rate: float, generator: Generator, donors: Sequence[Tensor]) -> Tensor:
    """With probability `rate` a square of `TILE` pixels of `target` becomes one of another image (wrong pairs).

    It works in squares, because with few photographs the share of mismatched whole photographs can take only a few
    values. A training patch of the size of a square has a completely wrong target if it lies on the grid, else a partly
    wrong one.
    """
    mismatched = target.clone()
    for top in range(0, target.shape[1], TILE):
        for left in range(0, target.shape[2], TILE):
            chance, which, down, right = torch.rand(4, generator=generator).tolist()
            if chance < rate:
                square = mismatched[:, top : top + TILE, left : left + TILE]
                donor = donors[int(which * len(donors))]
                _, h, w = square.shape
                y, x = int(down * (donor.shape[1] - h + 1)), int(right * (donor.shape[2] - w + 1))
                square.copy_(donor[:, y : y + h, x : x + w])
    return mismatched


def mean_colour(donors: Sequence[Tensor]) -> Tensor:
    """The mean colour (channels, 1, 1) of images (channels, height, width), every image with the same weight."""
    return torch.stack([donor.mean(dim=(1, 2), keepdim=True) for donor in donors]).mean(dim=0)


def noise(images: Tensor, generator: Generator) -> Tensor:
    """Uniform pixels in the shape of `images` (n, channels, height, width)."""
    return torch.rand(images.shape, generator=generator)


def inverted(images: Tensor, generator: Generator) -> Tensor:
    """1 - x: the negatives of `images` (n, channels, height, width) in [0, 1]."""
    return 1 - images


@cache
def grey_photographs() -> list[Tensor]:
    """Y of the bundled photographs that seed 0 trains on, (height, width) each; the same for every seed."""
    return [luma(image) for image in load("photographs", Photographs).train.values()]


def foreign(images: Tensor, generator: Generator) -> Tensor:
    """Grey crops of bundled photographs in the shape of `images` (n, 1, height, width).

    These photographs are on every machine, and do not look like digits or clothes. Crops of twice the side are
    downscaled by 2.
    """
    photographs = grey_photographs()
    n, _, height, width = images.shape
    which = torch.randint(len(photographs), (n,), generator=generator).tolist()
    crops = torch.empty(n, 1, 2 * height, 2 * width)
    for crop, index, (y, x) in zip(crops, which, torch.rand(n, 2, generator=generator).tolist(), strict=True):
        photograph = photographs[index]
        top, left = int(y * (photograph.shape[0] - 2 * height + 1)), int(x * (photograph.shape[1] - 2 * width + 1))
        crop[0] = photograph[top : top + 2 * height, left : left + 2 * width]
    return torch.nn.functional.avg_pool2d(crops, 2)


def flip_labels(labels: Tensor, rate: float, generator: Generator) -> Tensor:
    """0/1 `labels` (n,) of which each is flipped independently with probability `rate` (science.md section 3)."""
    flips = torch.rand(labels.shape, generator=generator) < rate
    return torch.where(flips, 1 - labels, labels)


def far(samples: Tensor, generator: Generator) -> Tensor:
    """N(5, I) in the shape of `samples` (n, dimension): 5 sqrt(dimension) away, so each can be recognised."""
    return 5 + torch.randn(samples.shape, generator=generator)


def near(samples: Tensor, generator: Generator) -> Tensor:
    """N(0.5, I) in the shape of `samples` (n, dimension): in 100 dimensions 5 away, so the clouds overlap slightly."""
    return 0.5 + torch.randn(samples.shape, generator=generator)


@dataclass(frozen=True)
class OutlierKind:
    """One kind of outlier.

    Attributes:
        name: its name in suites and CSV.
        corrupts: what it corrupts.
        effect: one clause for people.
        draw: for targets and labels (target, rate, generator) -> target; for real images and samples (images,
            generator) -> replacements.
        mean: the mean mu of a corrupted pixel or of an outlier's coordinates, towards which a mean-seeking loss is
            pulled: a number, or a function of the training images; None if the corruption does not change the mean.
        borrows: whether `draw` takes the other training images as a fourth argument.
        law: of a corrupted target pixel, from the training images; None for kinds that corrupt no targets.
    """

    name: str
    corrupts: Literal["target", "real", "label", "sample"]
    effect: str
    draw: Callable[..., Tensor]
    mean: float | Callable[[Sequence[Tensor]], Tensor] | None = None
    borrows: bool = False
    law: Callable[[Sequence[Tensor]], Law] | None = None


OUTLIERS: dict[str, OutlierKind] = {
    kind.name: kind
    for kind in (
        OutlierKind("impulse", "target", "pixels become a random grey", impulse, mean=0.5, law=uniform),
        OutlierKind("salt", "target", "pixels become white", salt, mean=1.0, law=at(1.0)),
        OutlierKind("salt-pepper", "target", "pixels become black or white", salt_pepper, mean=0.5, law=at(0.0, 1.0)),
        OutlierKind("overlay", "target", "rectangles and words in random colours", overlay, mean=0.5, law=uniform),
        OutlierKind("missing", "target", "blobs of the target are 0", missing, mean=0.0, law=at(0.0)),
        OutlierKind("wrong-match", "target", "blobs have a random value", wrong_match, mean=0.5, law=uniform),
        OutlierKind("mismatch", "target", "squares are of another image", mismatch, mean_colour, True, law=of_images),
        OutlierKind("jitter", "target", "zero-mean noise everywhere (control)", jitter, law=moved),
        OutlierKind("noise", "real", "real images become uniform noise", noise),
        OutlierKind("inverted", "real", "real images become their negatives", inverted),
        OutlierKind("foreign", "real", "real images become crops of photographs", foreign),
        OutlierKind("flip", "label", "the discriminator's labels are flipped", flip_labels),
        OutlierKind("far", "sample", "samples move to N(5, I)", far, mean=5.0),
        OutlierKind("near", "sample", "samples move to N(0.5, I)", near, mean=0.5),
    )
}


def corrupt_target(
    target: Tensor, kind: str, rate: float, generator: Generator, donors: Sequence[Tensor] = ()
) -> Tensor:
    """`target` (channels, height, width), values in [0, 1], with outliers of `kind` at `rate`; unchanged for `clean`.

    Args:
        target: one image; it is not changed.
        kind: a kind that corrupts targets, or `clean`.
        rate: expected share of corrupted pixels (for `jitter`: the strength).
        generator: the source of random numbers.
        donors: the training images, for kinds that borrow from them (`mismatch`).

    Raises:
        KeyError: no such kind, or one that does not corrupt targets.
    """
    if kind == CLEAN:
        return target
    if OUTLIERS[kind].corrupts != "target":
        raise KeyError(f"outlier kind {kind} corrupts the {OUTLIERS[kind].corrupts}, not targets")
    extra = (donors,) if OUTLIERS[kind].borrows else ()
    return OUTLIERS[kind].draw(target, rate, generator, *extra)


def contaminate(images: Tensor, kind: str, rate: float, generator: Generator) -> Tensor:
    """Real images or samples (n, ...) of which exactly round(rate n) are outliers of `kind`."""
    if kind == CLEAN or OUTLIERS[kind].corrupts not in ("real", "sample"):
        return images
    chosen = torch.randperm(len(images), generator=generator)[: round(rate * len(images))]
    mixed = images.clone()
    mixed[chosen] = OUTLIERS[kind].draw(images[chosen], generator)
    return mixed


def pull_mse(
    clean: Tensor, kind: str, rate: float, donors: Sequence[Tensor] = (), known: Tensor | None = None
) -> tuple[float, float | None]:
    """rate^2 mean((x - mu)^2) of one clean image, over its channels and for Y: the squared bias of a mean-seeker.

    The prediction for that image is MSE = (1 - rate^2) C + pull, with C its MSE under clean training
    (science.md section 5). Zero for `clean` and for kinds that do not change the mean.

    Args:
        clean: one test image (channels, height, width) in [0, 1], cropped as for the metrics.
        kind: an outlier kind that corrupts targets, or `clean`.
        rate: its rate.
        donors: the clean training images, where mu is their mean colour (`mismatch`).
        known: mask of the pixels that count, (1, height, width); None: all of them.

    Returns:
        Over all channels, and for Y; None for Y unless there are three channels.
    """
    mean = None if kind == CLEAN else OUTLIERS[kind].mean
    if mean is None:
        return 0.0, 0.0 if len(clean) == 3 else None
    mu = mean(donors) if callable(mean) else torch.full((len(clean), 1, 1), mean)
    squares = (clean - mu).square()
    pull = rate**2 * float(squares.mean() if known is None else squares[known.expand_as(squares)].mean())
    if len(clean) != 3:
        return pull, None
    return pull, rate**2 * float((luma(clean) - luma(mu)).square().mean())
