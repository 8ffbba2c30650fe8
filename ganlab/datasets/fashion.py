"""Where is Fashion-MNIST on this machine, is it the published one, and how is it fetched?"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ganlab.datasets.kinds import DataMissing, LabelledImages

if TYPE_CHECKING:
    from torch import Tensor

DATA_FOLDER_VARIABLE = "GANLAB_DATA"  # environment variable: the folder of data sets
FETCH_COMMAND = "run `python -m bench data fetch {}`"
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def data_folder() -> Path:
    """Where data sets are stored: `GANLAB_DATA`, or the user's cache folder."""
    import pooch

    return Path(os.environ.get(DATA_FOLDER_VARIABLE) or pooch.os_cache("ganlab"))


@dataclass(frozen=True)
class IdxFile:
    """One file of a data set in the idx format of MNIST: its name, its shape, and what it must contain.

    Attributes:
        name: without `.gz`.
        shape: of the array of unsigned bytes it holds.
        gz_sha256: of the published file, with `.gz`; downloads are checked against it.
        sha256: of the content; it is the same in recompressed copies.
    """

    name: str
    shape: tuple[int, ...]
    gz_sha256: str
    sha256: str


FASHION_FILES = (  # train images and labels, test images and labels
    IdxFile(
        "train-images-idx3-ubyte",
        (60_000, 28, 28),
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    IdxFile(
        "train-labels-idx1-ubyte",
        (60_000,),
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    IdxFile(
        "t10k-images-idx3-ubyte",
        (10_000, 28, 28),
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    IdxFile(
        "t10k-labels-idx1-ubyte",
        (10_000,),
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)


def _fashion_folders() -> list[Path]:
    """Folders that may hold the four files of Fashion-MNIST, in search order."""
    torchvision_roots = (data_folder(), Path("data"), Path.home() / "data")
    return [
        data_folder() / "fashion-mnist",
        *(root / "FashionMNIST" / "raw" for root in torchvision_roots),
        FASHION_DEBIAN_FOLDER,
    ]


def _idx_paths(folder: Path) -> list[Path] | None:
    """The four files in `folder`, each plain or with `.gz`; None if one is missing."""
    choices = [(folder / file.name, folder / f"{file.name}.gz") for file in FASHION_FILES]
    paths = [path for names in choices if (path := next(filter(Path.is_file, names), None))]
    return paths if len(paths) == len(FASHION_FILES) else None


def fashion_mnist_folder() -> Path | None:
    """The first folder that holds all four files of Fashion-MNIST; None if there is none."""
    return next(filter(_idx_paths, _fashion_folders()), None)


def parse_idx(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The array of unsigned bytes in `content`, the idx format of MNIST.

    Two zero bytes, the type (8: unsigned byte), the number of dimensions, each size as a big-endian 32-bit integer,
    and then the values. LeCun, Cortes, Burges, "The MNIST database" (1998).

    Raises:
        ValueError: the header does not match unsigned bytes of this `shape`, or the number of values differs.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), shape=(2,))
    array([7, 9], dtype=uint8)
    """
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
    if not content.startswith(header):
        raise ValueError(f"not an idx file of unsigned bytes of shape {shape}")
    values = np.frombuffer(content, np.uint8, offset=len(header))
    if values.size != np.prod(shape):
        raise ValueError(f"idx file of shape {shape} holds {values.size} values")
    return values.reshape(shape)


def _read_idx(path: Path, file: IdxFile) -> Tensor:
    """The checked content of one file as uint8.

    Raises:
        DataMissing: the file is unreadable, truncated, or not the published one.
    """
    import torch

    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != file.sha256:
            raise ValueError(f"its content has SHA-256 {sha256[:12]}..., the published one {file.sha256[:12]}...")
        return torch.from_numpy(parse_idx(content, file.shape).copy())
    except (OSError, EOFError, zlib.error, ValueError) as error:
        remedy = f"remove it, and then {FETCH_COMMAND.format('fashion-mnist')}"
        raise DataMissing(f"fashion-mnist: cannot use {path} ({error}); {remedy}") from error


def fashion_mnist() -> LabelledImages:
    """28x28 grey pictures of clothes, 60,000 for training, 10,000 held out. Xiao, Rasul, Vollgraf (2017).

    Raises:
        DataMissing: it is not on this machine, or a file is damaged.
    """
    paths = next(filter(None, map(_idx_paths, _fashion_folders())), None)
    if paths is None:
        remedy = f"{FETCH_COMMAND.format('fashion-mnist')}, or install Debian's package dataset-fashion-mnist"
        raise DataMissing(
            f"fashion-mnist is not on this machine: {remedy}, or set {DATA_FOLDER_VARIABLE} to a folder that holds "
            f"torchvision's FashionMNIST/raw"
        )
    train, train_labels, test, test_labels = map(_read_idx, paths, FASHION_FILES)
    return LabelledImages(
        name="fashion-mnist",
        train=train[:, None].float().div_(255),
        train_labels=train_labels.long(),
        test=test[:, None].float().div_(255),
        test_labels=test_labels.long(),
        classes=FASHION_CLASSES,
        credits=("Fashion-MNIST: (c) 2017 Zalando SE, MIT licence, https://github.com/zalandoresearch/fashion-mnist",),
    )


def fetch_fashion_mnist() -> Path:
    """Download the four files (30 MB) into `data_folder()`, check their SHA-256, and return the folder.

    Raises:
        DataMissing: there is no network, or the server sends other files.
    """
    import pooch

    folder = data_folder() / "fashion-mnist"
    for file in FASHION_FILES:
        url = f"{FASHION_URL}{file.name}.gz"
        try:
            pooch.retrieve(url, known_hash=f"sha256:{file.gz_sha256}", fname=f"{file.name}.gz", path=folder)
        except (OSError, ValueError) as error:  # network or disk error; wrong hash
            raise DataMissing(f"fashion-mnist: cannot fetch {url} into {folder} ({error})") from error
    return folder
