"""What kinds of data are there? Tensors in memory with credits, and a hash of their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Self

import numpy as np

from ganlab.errors import UserError

if TYPE_CHECKING:
    from torch import Generator, Tensor


class DataMissing(UserError):
    """A data set is not on this machine, one of its files is not the published one, or it does not fit a task.

    Attributes:
        skipped: for a folder with too few files, the files that are not used, and why.
    """

    def __init__(self, message: str, skipped: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.skipped = skipped or {}


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """A data set of small grey images with classes.

    Attributes:
        name: its name in suites and CSV.
        train: (n, 1, height, width) float32, values in [0, 1].
        train_labels: (n,) int64, indices into `classes`.
        test: held-out images, like `train`.
        test_labels: (m,) int64.
        classes: their names.
        credits: author and licence, one line each.
        notes: facts that a user must know, one line each, such as skipped files.
    """

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    credits: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Split:
    """Images in three disjoint sets, by name; `turn` gives the sets of a seed.

    Attributes:
        name: its name in suites and CSV.
        train: to train on.
        validation: to tune learning rates on.
        test: for the reported results only.
        credits: author and licence, one line each.
        notes: facts that a user must know, one line each, such as skipped files.
        folds: names of the images that take turns in the test set, fold by fold: all of `train` and `test`. Empty if
            the split is fixed. Validation images never take a turn: learning rates are tuned on them, so a test on them
            would be a test on tuned data.
    """

    name: str
    train: dict[str, Tensor]
    validation: dict[str, Tensor]
    test: dict[str, Tensor]
    credits: tuple[str, ...]
    notes: tuple[str, ...] = ()
    folds: tuple[tuple[str, ...], ...] = ()

    def fold(self, seed: int) -> int:
        """The index in `folds` of the fold that a seed tests; 0 if the split is fixed."""
        return seed % len(self.folds) if self.folds else 0

    def turn(self, seed: int) -> Self:
        """The split of a seed, the same for every loss: one fold is for tests, the others are for training.

        Images are shared, not copied. Data whose split is fixed return themselves.
        """
        if not self.folds:
            return self
        tested = self.folds[self.fold(seed)]
        images = self.train | self.test
        train = {name: images[name] for fold in self.folds if fold is not tested for name in fold}
        return replace(self, train=train, test={name: images[name] for name in tested})


@dataclass(frozen=True, eq=False)
class Photographs(Split):
    """Photographs: (3, height, width) float32, 8-bit values / 255, grey ones repeated."""


@dataclass(frozen=True, eq=False)
class StereoScenes(Split):
    """Rectified stereo pairs with their disparity: (7, height, width) float32, even sides.

    Channels 0 to 2 are the left view, 3 to 5 the right view, 8-bit values / 255. Channel 6 is the disparity in px: the
    right view shows at column x - disparity what the left view shows at x. It is large for near points, and NaN where
    it is unknown or the right view does not show the point.

    Attributes:
        largest: a bound of all disparities, px, as the calibration of a stereo rig states it.
    """

    largest: float = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class Frames(Split):
    """Sequences of frames: (t, 3, height, width) float32, t >= 3, 8-bit values / 255."""


@dataclass(frozen=True, eq=False)
class GaussianSamples:
    """A distribution instead of images: each seed draws a data set from N(0, I). Its mean is known.

    This is the setting of the demo of Gao, Liu, Yao, Zhu, "Robust Estimation and Generative Adversarial Networks" (ICLR
    2019).

    Attributes:
        name: its name in suites and CSV.
        dimension: p, of one sample.
        count: n, samples in one data set.
        credits: none, since samples are drawn.
    """

    name: str = "gaussian"
    dimension: int = 100
    count: int = 50_000
    credits: tuple[str, ...] = ()

    def draw(self, generator: Generator) -> Tensor:
        """One data set, (count, dimension) float32."""
        import torch

        return torch.randn(self.count, self.dimension, generator=generator)


Data = LabelledImages | Photographs | StereoScenes | Frames | GaussianSamples


@cache
def fingerprint(data: Data) -> str:
    """SHA-256 (hex) over the names, labels, and values of a data set; equal on every machine.

    Credits and notes are excluded.
    """
    from torch import Tensor

    digest = hashlib.sha256()
    for attribute in fields(data):
        if attribute.name in ("credits", "notes"):
            continue
        value = getattr(data, attribute.name)
        for name, part in value.items() if isinstance(value, dict) else [("", value)]:
            digest.update(f"{attribute.name}/{name}:".encode())
            if isinstance(part, Tensor):
                array = part.numpy()
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
            else:
                digest.update(repr(part).encode())
    return digest.hexdigest()
