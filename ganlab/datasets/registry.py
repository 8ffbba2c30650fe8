"""Which data sets are there by name, where do they lie, and which task can read them?"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import skimage.data
import sklearn.datasets

from ganlab.datasets.embedded import digits, photographs
from ganlab.datasets.fashion import fashion_mnist, fashion_mnist_folder, fetch_fashion_mnist
from ganlab.datasets.kinds import GaussianSamples, LabelledImages, Photographs
from ganlab.datasets.scenes import Frames, StereoPair, motion, stereo

Data = LabelledImages | Photographs | StereoPair | Frames | GaussianSamples


class UnknownDataset(KeyError):
    """No data set of this name; the message lists the nearest names, or all."""

    def __init__(self, name: str) -> None:
        near = difflib.get_close_matches(name, DATASETS, cutoff=0.5) or list(DATASETS)
        super().__init__(f"no data set named {name!r}; did you mean {' or '.join(near)}?")

    def __str__(self) -> str:  # KeyError would show the message's repr
        return self.args[0]


@dataclass(frozen=True)
class Dataset:
    """One line of the registry.

    Attributes:
        description: one line for people.
        kind: what it is, and so which tasks can train on it.
        load: reads it into memory.
        location: the folder it lies in; None where it is not on this machine.
        fetch: downloads it; None where it comes with a package.
    """

    description: str
    kind: type[Data]
    load: Callable[[], Data]
    location: Callable[[], Path | None]
    fetch: Callable[[], Path] | None = None


DATASETS: dict[str, Dataset] = {
    "digits": Dataset(
        "8x8 handwritten digits, 898 + 899, for a first look",
        LabelledImages,
        digits,
        lambda: Path(sklearn.datasets.__file__).parent,
    ),
    "fashion-mnist": Dataset(
        "28x28 pictures of clothes, 60,000 + 10,000",
        LabelledImages,
        fashion_mnist,
        fashion_mnist_folder,
        fetch_fashion_mnist,
    ),
    "photographs": Dataset(
        "14 photographs, 9 to train + 1 to tune + 4 to test",
        Photographs,
        photographs,
        lambda: Path(skimage.data.__file__).parent,
    ),
    "stereo": Dataset(
        "a photograph with measured disparity, 15 + 3 + 6 tiles of 104x104",
        StereoPair,
        stereo,
        lambda: Path(skimage.data.__file__).parent,
    ),
    "motion": Dataset(
        "a camera moving over the photographs, 36 + 2 + 8 times 3 frames",
        Frames,
        motion,
        lambda: Path(skimage.data.__file__).parent,
    ),
    "gaussian": Dataset(
        "50,000 samples of N(0, I) in 100 dimensions, drawn by seed",
        GaussianSamples,
        GaussianSamples,
        lambda: Path(__file__).parent,
    ),
}


def _dataset(name: str) -> Dataset:
    if name not in DATASETS:
        raise UnknownDataset(name)
    return DATASETS[name]


def known(name: str) -> bool:
    """Whether `load` can make sense of the name; whether the data are on this machine is another question."""
    return name in DATASETS


@cache
def load(name: str, kind: type[Data] | None = None) -> Data:
    """The data set, read once per process. Treat its tensors as read-only.

    Raises:
        UnknownDataset: no such name.
        DataMissing: it is not on this machine.
    """
    return _dataset(name).load()


def location(name: str) -> Path | None:
    """The folder a data set lies in, found without loading it; None where it is not on this machine.

    Raises:
        UnknownDataset: no such name.
    """
    return _dataset(name).location()


def available(name: str) -> bool:
    """Whether `load` will find the data set; nothing is loaded or checked.

    Raises:
        UnknownDataset: no such name.
    """
    return location(name) is not None


def fetch(name: str) -> Path:
    """Download a data set and return its folder; one that comes with a package is already there.

    Raises:
        UnknownDataset: no such name.
        DataMissing: the download failed, or is not the published file.
    """
    dataset = _dataset(name)
    return dataset.fetch() if dataset.fetch else dataset.location()
