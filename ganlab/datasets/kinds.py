"""What kinds of data are there? Tensors in memory with credits, and the hash of what is in them."""

import hashlib
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from ganlab.errors import UserError


class DataMissing(UserError):
    """A data set is not on this machine, or a file of it is not the published one. One line: what, where, remedy.

    Attributes:
        skipped: of a folder that holds too little, the files that are not used, and why.
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
        notes: what who trains on it must be told, one line each: files that were skipped, say.
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
class Photographs:
    """Photographs in three disjoint sets, by name: (3, height, width) float32, 8-bit values / 255, grey ones repeated.

    Attributes:
        name: its name in suites and CSV.
        train: what networks see.
        validation: what learning rates are tuned on.
        test: what is reported, once.
        credits: author and licence, one line per photograph.
        notes: what who trains on it must be told, one line each: files that were skipped, say.
    """

    name: str
    train: dict[str, Tensor]
    validation: dict[str, Tensor]
    test: dict[str, Tensor]
    credits: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class GaussianSamples:
    """A distribution instead of images: N(0, I), of which each seed draws its own data set. The mean is known.

    The setting of the demo of Gao, Liu, Yao, Zhu, "Robust Estimation and Generative Adversarial Networks" (ICLR 2019).

    Attributes:
        name: its name in suites and CSV.
        dimension: p, of one sample.
        count: n, samples in one data set.
        credits: nobody; nothing was taken from anywhere.
    """

    name: str = "gaussian"
    dimension: int = 100
    count: int = 50_000
    credits: tuple[str, ...] = ()

    def draw(self, generator: Generator) -> Tensor:
        """One data set, (count, dimension) float32."""
        return torch.randn(self.count, self.dimension, generator=generator)


@cache
def fingerprint(data: Any) -> str:
    """SHA-256 (hex) over the names, labels, and values of a data set; equal on every machine.

    Credits and notes do not count.
    """
    digest = hashlib.sha256()
    for field in fields(data):
        if field.name in ("credits", "notes"):
            continue
        value = getattr(data, field.name)
        for name, part in value.items() if isinstance(value, dict) else [("", value)]:
            digest.update(f"{field.name}/{name}:".encode())
            if isinstance(part, Tensor):
                array = part.numpy()
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")))
            else:
                digest.update(repr(part).encode())
    return digest.hexdigest()
