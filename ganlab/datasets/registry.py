"""Which data sets are there by name, where do they lie, and which task can read them?"""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import skimage.data
import sklearn.datasets

from ganlab.datasets import folder_classes, folder_frames, folder_photographs, folders
from ganlab.datasets.embedded import digits, photographs
from ganlab.datasets.fashion import fashion_mnist, fashion_mnist_folder, fetch_fashion_mnist
from ganlab.datasets.kinds import DataMissing, GaussianSamples, LabelledImages, Photographs
from ganlab.datasets.scenes import Frames, StereoPair, motion, stereo
from ganlab.errors import UserError

Data = LabelledImages | Photographs | StereoPair | Frames | GaussianSamples


class UnknownDataset(UserError, KeyError):
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
        "a camera moving over the photographs, 36 + 4 + 8 times 3 frames",
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


@dataclass(frozen=True)
class Reader:
    """One way to read a folder of anybody's images.

    Attributes:
        words: what it is read as, and for which tasks, as people say it.
        read: what it makes of a data set's name: the data, and the files that were skipped, with reasons.
    """

    words: str
    read: Callable[[str], tuple[Data, dict[str, str]]]


READERS: dict[type[Data], Reader] = {
    Photographs: Reader("photographs, for sr and restoration", folder_photographs.photographs),
    LabelledImages: Reader("small grey images, for gan", folder_classes.labelled_images),
    Frames: Reader("frames of videos, for interpolation", folder_frames.frames),
}


def _dataset(name: str) -> Dataset:
    if name not in DATASETS:
        raise UnknownDataset(name)
    return DATASETS[name]


def is_folder(name: str) -> bool:
    """Whether a name is that of a folder of images, as in `folder:PATH`; it need not be there."""
    return name.startswith(folders.PREFIX)


def known(name: str) -> bool:
    """Whether `load` can make sense of a name; whether the data are on this machine is another question."""
    return is_folder(name) or name in DATASETS


def kinds(name: str) -> tuple[type[Data], ...]:
    """What a data set can be read as, and so which tasks can train on it: a folder can be several.

    Raises:
        UnknownDataset: no such name.
    """
    return tuple(READERS) if is_folder(name) else (_dataset(name).kind,)


def load(name: str, kind: type[Data] | None = None) -> Data:
    """The data set, read once per process. Treat its tensors as read-only.

    Args:
        name: as in suites.
        kind: what a folder is to be read as; other names need none.

    Raises:
        UnknownDataset: no such name.
        DataMissing: it is not on this machine, or a folder cannot be read as that.
    """
    if is_folder(name):
        return read_folder(name, kind)[0]
    return _load(name)


@cache
def _load(name: str) -> Data:
    return _dataset(name).load()


@cache
def read_folder(name: str, kind: type[Data] | None) -> tuple[Data, dict[str, str]]:
    """A folder read as data of a kind, once per process, and the files that were skipped, with reasons.

    Raises:
        DataMissing: it cannot be read as that.
    """
    if kind not in READERS:
        can = "; ".join(reader.words for reader in READERS.values())
        raise DataMissing(f"{name}: a folder can be read as {can}, and as nothing else")
    return READERS[kind].read(name)


@dataclass(frozen=True)
class FolderCheck:
    """What a folder of anybody's images is good for, by the words of its `READERS`.

    Attributes:
        fits: what it can be read as, and what is in it then.
        refused: what it cannot be read as, and why.
        skipped: for each of both, the files that are not used, and why: what is too small for one may do for another.
    """

    fits: dict[str, tuple[str, ...]]
    refused: dict[str, str]
    skipped: dict[str, dict[str, str]]

    def lines(self) -> Iterator[str]:
        """The same for a terminal."""
        for reader in READERS.values():
            words = reader.words
            if words in self.refused:
                yield f"{words}: no; {self.refused[words]}"
            yield from (f"{words}: {note}" for note in self.fits.get(words, ()))
            yield from (f"{words}: skipped: {file}: {reason}" for file, reason in self.skipped[words].items())


def check_folder(name: str) -> FolderCheck:
    """What a folder can be read as and what is in it, kind by kind, and every file that is skipped with its reason.

    Raises:
        DataMissing: there is no such folder.
    """
    folders.folders_of(name)
    found = FolderCheck({}, {}, {})
    for kind, reader in READERS.items():
        try:
            data, skipped = read_folder(name, kind)
        except DataMissing as error:
            found.refused[reader.words] = str(error).removeprefix(f"{name}: ")
            skipped = error.skipped
        else:
            found.fits[reader.words] = data.notes
        own = found.skipped[reader.words] = {}
        for file, reason in skipped.items():
            own[folders.label(file, own)] = reason
    return found


def location(name: str) -> Path | None:
    """The folder a data set lies in, found without loading it; None where it is not on this machine.

    Raises:
        UnknownDataset: no such name.
    """
    if is_folder(name):
        try:
            return folders.folders_of(name)[0]
        except DataMissing:
            return None
    return _dataset(name).location()


def available(name: str) -> bool:
    """Whether `load` will find the data set; nothing is loaded or checked.

    Raises:
        UnknownDataset: no such name.
    """
    return location(name) is not None


def fetch(name: str) -> Path:
    """Download a data set and return its folder; one that comes with a package is already there, as is a folder.

    Raises:
        UnknownDataset: no such name.
        DataMissing: the download failed, or is not the published file; or there is no such folder.
    """
    if is_folder(name):
        return folders.folders_of(name)[0]
    dataset = _dataset(name)
    return dataset.fetch() if dataset.fetch else dataset.location()
