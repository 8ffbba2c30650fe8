"""What is a reconstruction trained on? Patches of pairs of images; one tensor holds all images, of mixed sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ganlab.lazy import lazily

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    lazily(globals(), torch="torch")


class Pair(NamedTuple):
    """A network's input and its target.

    Attributes:
        given: (channels, height, width), values in [0, 1].
        target: (channels, scale height, scale width), values in [0, 1].
        known: mask of the known pixels of the target, (1, scale height, scale width); None: all are known.
    """

    given: Tensor
    target: Tensor
    known: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of a data set in three disjoint sets, by name. Hashed by identity, so that results can be cached."""

    train: dict[str, Pair]
    validation: dict[str, Pair]
    test: dict[str, Pair]


def stack(images: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Images (channels, height, width) of mixed sizes as one tensor (n, max height, max width, channels), zero-padded,
    and their sizes (n, 2)."""
    sizes = torch.tensor([image.shape[1:] for image in images])
    packed = torch.zeros(len(images), *sizes.amax(0).tolist(), images[0].shape[0])
    for slot, image in zip(packed, images, strict=True):
        slot[: image.shape[1], : image.shape[2]] = image.permute(1, 2, 0)
    return packed, sizes


def gather_patches(images: Tensor, index: Tensor, corner: Tensor, side: int) -> Tensor:
    """Square patches of `images` (m, height, width, channels) at `index` (n,) and `corner` (n, 2).

    Returns (n, channels, side, side), in channels-last memory like the images.
    """
    windows = images.unfold(1, side, 1).unfold(2, side, 1)  # (m, top, left, channels, side, side), a view
    return windows[index, corner[:, 0], corner[:, 1]]


def fit(image: Tensor, multiple: int) -> Tensor:
    """`image` (..., height, width) with its sides cut to multiples of a number."""
    return image[..., : image.shape[-2] // multiple * multiple, : image.shape[-1] // multiple * multiple]
