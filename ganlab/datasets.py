"""Which real images are there, where do they come from, and may they be used? Tensors in memory, with credits.

`digits` and `photographs` come with scikit-learn and scikit-image and need no network; `fashion-mnist` is found where
a package manager, torchvision, or `fetch` put it; `gaussian` is drawn. To add a data set, write a function that returns
`LabelledImages` or `Photographs` and add a line to `DATASETS`.
"""

import difflib
import gzip
import hashlib
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import pooch
import skimage.data
import sklearn.datasets
import torch
from sklearn.model_selection import train_test_split
from torch import Generator, Tensor

DATA_FOLDER_VARIABLE = "GANLAB_DATA"  # the environment variable that says where data sets lie and are fetched to
FETCH_COMMAND = "run `python -m bench data fetch {}`"
DIGITS_TRAIN = 898  # half of the 1,797: the read-outs need as many held-out images as they can get

FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

TEST_PHOTOGRAPHS = ("camera", "chelsea", "flower", "rocket")
VALIDATION_PHOTOGRAPHS = ("coffee",)
TRAINING_PHOTOGRAPHS = (
    *("astronaut", "china", "motorcycle_left", "brick", "grass"),
    *("gravel", "coins", "moon", "immunohistochemistry"),
)
PHOTOGRAPH_CREDITS = (
    "astronaut: Eileen Collins, NASA Great Images database, public domain (scikit-image)",
    "brick: CC0Textures Bricks25, CC0 (scikit-image)",
    "camera: Lav Varshney, CC0 (scikit-image)",
    "chelsea: Stefan van der Walt, CC0 (scikit-image)",
    "china: danielbuechele on Flickr, CC BY 2.0 (scikit-learn)",
    "coffee: Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0 (scikit-image)",
    "coins: Brooklyn Museum Collection, no known copyright restrictions (scikit-image)",
    "flower: vultilion on Flickr, CC BY 2.0 (scikit-learn)",
    "grass: linolafett on DeviantArt, CC0 (scikit-image)",
    "gravel: CC0Textures Gravel04, CC0 (scikit-image)",
    "immunohistochemistry: Center for Microscopy and Molecular Imaging, no known copyright restrictions (scikit-image)",
    "moon: distributed with scikit-image, which states no source or licence",
    "motorcycle_left: Middlebury stereo benchmark, Scharstein et al. (GCPR 2014), no licence stated (scikit-image)",
    "rocket: SpaceX, public domain (scikit-image)",
)


class DataMissing(Exception):
    """A data set is not on this machine, or a file of it is not the published one. One line: what, where, remedy."""


class UnknownDataset(KeyError):
    """No data set of this name; the message lists the nearest names, or all."""

    def __init__(self, name: str) -> None:
        near = difflib.get_close_matches(name, DATASETS, cutoff=0.5) or list(DATASETS)
        super().__init__(f"no data set named {name!r}; did you mean {' or '.join(near)}?")

    def __str__(self) -> str:  # KeyError would show the message's repr
        return self.args[0]


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
    """

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    credits: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Photographs:
    """Photographs in three disjoint sets, by name: (3, height, width) float32, 8-bit values / 255, grey ones repeated.

    Attributes:
        name: its name in suites and CSV.
        train: what networks see.
        validation: what learning rates are tuned on.
        test: what is reported, once.
        credits: author and licence, one line per photograph.
    """

    name: str
    train: dict[str, Tensor]
    validation: dict[str, Tensor]
    test: dict[str, Tensor]
    credits: tuple[str, ...]


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


Data = LabelledImages | Photographs | GaussianSamples


def data_folder() -> Path:
    """Where data sets lie and are fetched to: `GANLAB_DATA`, or the user's cache folder."""
    return Path(os.environ.get(DATA_FOLDER_VARIABLE) or pooch.os_cache("ganlab"))


def digits() -> LabelledImages:
    """The 8x8 digits of scikit-learn (test part of UCI Optdigits): 898 for training, 899 held out, at random.

    Not stratified: equal class counts would put the two parts closer together than independent samples are, and the
    real-against-real floor of the Fréchet distance with them (0.25 instead of 0.55 on average over 40 splits).
    """
    bunch = sklearn.datasets.load_digits()
    images = torch.from_numpy(bunch.images / 16).float()[:, None]
    labels = torch.from_numpy(bunch.target).long()
    train, test = train_test_split(np.arange(len(labels)), train_size=DIGITS_TRAIN, random_state=0)
    return LabelledImages(
        name="digits",
        train=images[train],
        train_labels=labels[train],
        test=images[test],
        test_labels=labels[test],
        classes=tuple(str(digit) for digit in bunch.target_names),
        credits=(
            "Optdigits: E. Alpaydin, C. Kaynak (1998), UCI Machine Learning Repository, CC BY 4.0 (scikit-learn)",
        ),
    )


def _photograph(name: str) -> Tensor:
    """One photograph (3, height, width) by its name in science.md section 7."""
    if name in ("china", "flower"):
        pixels = sklearn.datasets.load_sample_image(f"{name}.jpg")
    elif name == "motorcycle_left":
        pixels = skimage.data.stereo_motorcycle()[0]
    else:
        pixels = getattr(skimage.data, name)()
    pixels = np.atleast_3d(pixels)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div(255).expand(3, -1, -1).clone()


def photographs() -> Photographs:
    """Fourteen photographs that come with scikit-image and scikit-learn, split as in science.md section 7."""
    train, validation, test = (
        {name: _photograph(name) for name in names}
        for names in (TRAINING_PHOTOGRAPHS, VALIDATION_PHOTOGRAPHS, TEST_PHOTOGRAPHS)
    )
    return Photographs("photographs", train, validation, test, PHOTOGRAPH_CREDITS)


@dataclass(frozen=True)
class IdxFile:
    """One file of a data set in the idx format of MNIST: its name, its shape, and what it must contain.

    Attributes:
        name: without `.gz`.
        shape: of the array of unsigned bytes it holds.
        gz_sha256: of the file as published, with `.gz`; what a download is checked against.
        sha256: of the content; the same in recompressed copies.
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
    """Where the four files of Fashion-MNIST may lie, in the order they are looked for."""
    torchvision_roots = (data_folder(), Path("data"), Path.home() / "data")
    return [
        data_folder() / "fashion-mnist",
        *(root / "FashionMNIST" / "raw" for root in torchvision_roots),
        FASHION_DEBIAN_FOLDER,
    ]


def _idx_path(folder: Path, file: IdxFile) -> Path | None:
    """The file in `folder`, plain or with `.gz`; None where there is neither."""
    return next((path for path in (folder / file.name, folder / f"{file.name}.gz") if path.is_file()), None)


def fashion_mnist_folder() -> Path | None:
    """The first folder that holds all four files of Fashion-MNIST; None where none does."""
    return next((folder for folder in _fashion_folders() if all(_idx_path(folder, f) for f in FASHION_FILES)), None)


def parse_idx(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The array of unsigned bytes in `content`, the idx format of MNIST.

    Two zero bytes, the type (8: unsigned byte), the number of dimensions, each size as a big-endian 32-bit integer,
    and then the values. LeCun, Cortes, Burges, "The MNIST database" (1998).

    Raises:
        ValueError: the header does not say unsigned bytes of this `shape`, or their number differs.

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
        DataMissing: unreadable, truncated, or another file than the published one.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != file.sha256:
            raise ValueError(f"its content has SHA-256 {found[:12]}..., the published one {file.sha256[:12]}...")
        return torch.from_numpy(parse_idx(content, file.shape).copy())
    except (OSError, EOFError, zlib.error, ValueError) as error:
        remedy = f"remove it, and then {FETCH_COMMAND.format('fashion-mnist')}"
        raise DataMissing(f"fashion-mnist: cannot use {path} ({error}); {remedy}") from error


def fashion_mnist() -> LabelledImages:
    """28x28 grey pictures of clothes, 60,000 for training, 10,000 held out. Xiao, Rasul, Vollgraf (2017).

    Raises:
        DataMissing: not on this machine, or a damaged file.
    """
    folder = fashion_mnist_folder()
    if folder is None:
        remedy = f"{FETCH_COMMAND.format('fashion-mnist')}, or install Debian's package dataset-fashion-mnist"
        raise DataMissing(
            f"fashion-mnist is not on this machine: {remedy}, or set {DATA_FOLDER_VARIABLE} to a folder that holds "
            f"torchvision's FashionMNIST/raw"
        )
    train, train_labels, test, test_labels = (_read_idx(_idx_path(folder, file), file) for file in FASHION_FILES)
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
    """Download the four files (30 MB) into `data_folder()`, checked against their SHA-256; the folder they lie in.

    Raises:
        DataMissing: no network, or the server sends other files.
    """
    folder = data_folder() / "fashion-mnist"
    for file in FASHION_FILES:
        url = f"{FASHION_URL}{file.name}.gz"
        try:
            pooch.retrieve(url, known_hash=f"sha256:{file.gz_sha256}", fname=f"{file.name}.gz", path=folder)
        except (OSError, ValueError) as error:  # the network, the disk; another hash
            raise DataMissing(f"fashion-mnist: cannot fetch {url} into {folder} ({error})") from error
    return folder


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


@cache
def load(name: str) -> Data:
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


@cache
def fingerprint(data: Data) -> str:
    """SHA-256 (hex) over the names, labels, and values of a data set; equal on every machine. Credits do not count."""
    digest = hashlib.sha256()
    for field in fields(data):
        if field.name == "credits":
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
