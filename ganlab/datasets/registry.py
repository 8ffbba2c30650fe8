"""Which data sets are there, where are they stored, and which tasks can use them?"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar, overload

from ganlab.datasets import folder_classes, folder_frames, folder_photographs, folders
from ganlab.datasets.embedded import digits, photographs
from ganlab.datasets.fashion import fashion_mnist, fashion_mnist_folder, fetch_fashion_mnist
from ganlab.datasets.kinds import Data, DataMissing, Frames, GaussianSamples, LabelledImages, Photographs, StereoScenes
from ganlab.datasets.scenes import motion
from ganlab.datasets.stereo import stereo
from ganlab.errors import UserError

Kind = TypeVar("Kind", bound=Data)
FolderData = Photographs | LabelledImages | Frames


class UnknownDataset(UserError, KeyError):
    """No data set of this name; the message lists the nearest names, or all."""

    def __init__(self, name: str) -> None:
        near = difflib.get_close_matches(name, DATASETS, cutoff=0.5) or list(DATASETS)
        super().__init__(f"no data set named {name!r}; did you mean {' or '.join(near)}?")

    def __str__(self) -> str:  # KeyError would show the message's repr
        return str(self.args[0])


@dataclass(frozen=True)
class Dataset:
    """One line of the registry.

    Attributes:
        description: one line for people.
        kind: its kind, which decides which tasks can train on it.
        load: reads it into memory.
        location: its folder; None if it is not on this machine.
        fetch: downloads it and returns its folder; None if it comes with a package.
    """

    description: str
    kind: type[Data]
    load: Callable[[], Data]
    location: Callable[[], Path | None]
    fetch: Callable[[], Path] | None = None


def _bundled(package: str, folder: str) -> Path | None:
    """The folder of data in an installed package; the package is not imported, since that takes seconds."""
    spec = find_spec(package)
    return Path(spec.origin).parent / folder if spec and spec.origin else None


_scikit_learn, _scikit_image = partial(_bundled, "sklearn", "datasets"), partial(_bundled, "skimage", "data")
_this_package = partial(_bundled, "ganlab", "datasets")


DATASETS: dict[str, Dataset] = {
    "digits": Dataset("8x8 handwritten digits, 898 + 899, for a first look", LabelledImages, digits, _scikit_learn),
    "fashion-mnist": Dataset(
        "28x28 pictures of clothes, 60,000 + 10,000",
        LabelledImages,
        fashion_mnist,
        fashion_mnist_folder,
        fetch_fashion_mnist,
    ),
    "photographs": Dataset(
        "14 photographs: 2 to tune; 12 take turns, 8 to train + 4 to test", Photographs, photographs, _scikit_image
    ),
    "stereo": Dataset(
        "84 rendered scenes and 4 measured tiles with disparity, which take turns", StereoScenes, stereo, _scikit_image
    ),
    "motion": Dataset(
        "a camera moving over the photographs, 32 + 8 + 16 times 3 frames", Frames, motion, _scikit_image
    ),
    "gaussian": Dataset(
        "50,000 samples of N(0, I) in 100 dimensions, drawn by seed", GaussianSamples, GaussianSamples, _this_package
    ),
}


@dataclass(frozen=True)
class Reader:
    """One way to read a folder of a user's images.

    Attributes:
        use: the kind of content and the tasks, for people.
        read: returns the data of a data set's name, and the skipped files, with reasons.
    """

    use: str
    read: Callable[[str], tuple[FolderData, dict[str, str]]]


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
    """Whether a name refers to a folder of images, as in `folder:PATH`; the folder need not exist."""
    return name.startswith(folders.PREFIX)


def known(name: str) -> bool:
    """Whether a name refers to a registered data set or a folder; the data need not be on this machine."""
    return is_folder(name) or name in DATASETS


def kinds(name: str) -> tuple[type[Data], ...]:
    """The kinds of data that a data set can be read as; they decide which tasks can train on it. A folder has several.

    Raises:
        UnknownDataset: no such name.
    """
    return tuple(READERS) if is_folder(name) else (_dataset(name).kind,)


@overload
def load(name: str, kind: type[Kind]) -> Kind: ...
@overload
def load(name: str, kind: None = None) -> Data: ...
def load(name: str, kind: type[Kind] | None = None) -> Kind | Data:
    """The data set, read once per process. Treat its tensors as read-only.

    Args:
        name: as in suites.
        kind: the kind of data that is returned. A folder needs it; a registered data set has one kind.

    Raises:
        UnknownDataset: no such name.
        DataMissing: it is not on this machine, it is not of this kind, or a folder cannot be read as this kind.
    """
    if is_folder(name):
        return read_folder(name, _reader(name, kind))[0]
    data = _load(name)
    if kind is not None and not isinstance(data, kind):
        raise DataMissing(f"{name}: it holds {type(data).__name__}, not {kind.__name__}; choose another data set")
    return data


@cache
def _load(name: str) -> Data:
    return _dataset(name).load()


def _reader(name: str, kind: type[object] | None) -> Reader:
    """The reader of a folder as a kind of data.

    Raises:
        DataMissing: a folder cannot be read as this kind.
    """
    for readable, reader in READERS.items():
        if readable is kind:
            return reader
    uses = "; ".join(reader.use for reader in READERS.values())
    raise DataMissing(f"{name}: a folder can be read as {uses}, and as nothing else")


@cache
def read_folder(name: str, reader: Reader) -> tuple[FolderData, dict[str, str]]:
    """A folder read by one of `READERS`, once per process, and the skipped files, with reasons.

    Raises:
        DataMissing: it cannot be read in this way.
    """
    return reader.read(name)


@dataclass(frozen=True)
class FolderCheck:
    """What a folder of a user's images can be used for; the keys are the `use` of each of `READERS`.

    Attributes:
        fits: what it can be read as, with notes on its content.
        refused: what it cannot be read as, and why.
        skipped: for each use, the files that are not used, and why: an image may be too small for one use only.
    """

    fits: dict[str, tuple[str, ...]]
    refused: dict[str, str]
    skipped: dict[str, dict[str, str]]

    def lines(self) -> Iterator[str]:
        """The same as lines for a terminal."""
        for reader in READERS.values():
            use = reader.use
            if use in self.refused:
                yield f"{use}: no; {self.refused[use]}"
            yield from (f"{use}: {note}" for note in self.fits.get(use, ()))
            yield from (f"{use}: skipped: {file}: {reason}" for file, reason in self.skipped[use].items())


def check_folder(name: str) -> FolderCheck:
    """What a folder can be read as and what it holds, kind by kind, and every skipped file with its reason.

    Raises:
        DataMissing: there is no such folder.
    """
    folders.folders_of(name)
    check = FolderCheck({}, {}, {})
    for reader in READERS.values():
        try:
            data, skipped = read_folder(name, reader)
        except DataMissing as error:
            check.refused[reader.use] = str(error).removeprefix(f"{name}: ")
            skipped = error.skipped
        else:
            check.fits[reader.use] = data.notes
        labelled: dict[str, str] = {}
        for file, reason in skipped.items():
            labelled[folders.label(file, labelled)] = reason
        check.skipped[reader.use] = labelled
    return check


def location(name: str) -> Path | None:
    """The folder of a data set, without loading it; None if it is not on this machine.

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
    """Whether a data set is on this machine; nothing is loaded or checked.

    Raises:
        UnknownDataset: no such name.
    """
    return location(name) is not None


def fetch(name: str) -> Path:
    """Download a data set and return its folder; data from a package, and folders, need no download.

    Raises:
        UnknownDataset: no such name.
        DataMissing: the download failed or is not the published file, or there is no such folder or package.
    """
    if is_folder(name):
        return folders.folders_of(name)[0]
    dataset = _dataset(name)
    folder = dataset.fetch() if dataset.fetch else dataset.location()
    if folder is None:
        raise DataMissing(f"{name}: the package it comes with is not installed; install the requirements of ganlab")
    return folder
