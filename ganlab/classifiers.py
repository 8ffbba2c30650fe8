"""Which class does a generated image belong to, is it an outlier, and what are its features?

The metrics of image GANs use one frozen classifier per data set. It is trained once, always on the CPU and from one
seed, with one extra class for outliers. It is cached, and the manifest records its hash: a Fréchet distance is only
comparable with others measured in the same features. Definitions: science.md section 6.
"""

import copy
import functools
import hashlib
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ganlab import networks, outliers, seeds
from ganlab.datasets import LabelledImages, fingerprint
from ganlab.fingerprint import code_digest
from ganlab.networks import FlattenPixels, channels_last
from ganlab.outliers import OUTLIERS
from ganlab.seeds import seeded_weights

CACHE_FOLDER_VARIABLE = "GANLAB_CACHE"  # environment variable: the folder of trained classifiers
SEED = 0  # one classifier for all cells: it is a measuring instrument
FEATURES = 64  # few enough for a covariance from the 899 held-out digits
STEPS = 700
BATCH = 128  # real images per step
BATCH_OUTLIERS = 32  # outliers per step, equally many of each kind
LEARNING_RATE = 2e-3  # of Adam, decaying linearly to 0
SHIFT = 1  # pixels: training images are shifted by up to this much in each direction
EVALUATION_BATCH = 500


def default_cache() -> Path:
    """Where trained classifiers are kept: `GANLAB_CACHE`, or the user's cache folder."""
    import pooch

    return Path(os.environ.get(CACHE_FOLDER_VARIABLE) or pooch.os_cache("ganlab"))


def flat(images: Tensor, generator: Generator) -> Tensor:
    """One random grey per image, in the shape of `images` (n, channels, height, width), as collapsed GANs generate."""
    return torch.rand(len(images), 1, 1, 1, generator=generator).expand_as(images)


def blend(images: Tensor, generator: Generator) -> Tensor:
    """Noise blended with a flat grey, by a random amount per image, in the shape of `images`."""
    fade = torch.rand(len(images), 1, 1, 1, generator=generator)
    return torch.lerp(outliers.noise(images, generator), flat(images, generator), fade)


def real_outliers() -> dict[str, outliers.OutlierKind]:
    """The outlier kinds that replace real images; the outlier class must recognise them."""
    return {name: kind for name, kind in OUTLIERS.items() if kind.corrupts == "real"}


def draw_outliers(images: Tensor, generator: Generator) -> Tensor:
    """As many outliers as `images` (n, channels, height, width), in equal parts: each kind, flat greys, and blends."""
    draws = [*(kind.draw for kind in real_outliers().values()), flat, blend]
    return torch.cat([draw(part, generator) for draw, part in zip(draws, images.tensor_split(len(draws)), strict=True)])


def shift(images: Tensor, generator: Generator) -> Tensor:
    """Each of `images` (n, channels, height, width) shifted by up to `SHIFT` pixels in each direction, onto black."""
    n, _, height, width = images.shape
    down, right = torch.randint(2 * SHIFT + 1, (2, n), generator=generator)
    windows = F.pad(images, [SHIFT] * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(n), :, down, right]


def build(height: int, width: int, n_outputs: int) -> nn.Sequential:
    """The untrained network, (n, 1, height, width) -> (n, n_outputs) logits; all but its last layer give the features.

    Batch normalisation before the last ReLU keeps every feature active and of unit size, as the kernel of
    `ganlab.metrics.kernel_distance` assumes.
    """

    def convolution(channels_in: int, channels_out: int, stride: int) -> list[nn.Module]:
        layer = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        return [layer, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]

    pixels = -(-height // 4) * -(-width // 4)  # each stride of 2 rounds up
    network = nn.Sequential(
        *convolution(1, 16, stride=1),
        *convolution(16, 32, stride=2),
        *convolution(32, 64, stride=2),
        *(FlattenPixels(), nn.Linear(64 * pixels, FEATURES, bias=False), nn.BatchNorm1d(FEATURES)),
        nn.ReLU(inplace=True),
        nn.Linear(FEATURES, n_outputs),
    )
    return channels_last(network)


def frozen(network: nn.Sequential) -> nn.Sequential:
    """The network of `build`, trained or not, for evaluation only: batch normalisation is folded into the layer before
    it, which gives the same numbers up to rounding in half the time."""
    layers: list[nn.Module] = []
    for layer in network.eval():
        last = layers[-1] if layers else None
        if isinstance(layer, nn.BatchNorm2d) and isinstance(last, nn.Conv2d):
            layers[-1] = fuse_conv_bn_eval(last, layer)
        elif isinstance(layer, nn.BatchNorm1d) and isinstance(last, nn.Linear):
            layers[-1] = fuse_linear_bn_eval(last, layer)
        else:
            layers.append(layer)
    return nn.Sequential(*layers).eval().requires_grad_(False)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Inside, sums have one fixed order: results do not depend on how many threads the caller uses."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train(data: LabelledImages) -> nn.Sequential:
    """A network trained on `data` and outliers, in evaluation mode, frozen. The same bits on the same kind of CPU."""
    outlier_class = len(data.classes)
    with torch.enable_grad(), _one_thread():
        *_, height, width = data.train.shape
        with seeded_weights(SEED, "classifier weights"):
            network = build(height, width, outlier_class + 1)
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE, fused=True)
        decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=STEPS)
        for step in range(STEPS):
            generator = seeds.generator(SEED, "classifier batch", step)
            chosen = torch.randint(len(data.train), (BATCH,), generator=generator)
            images = data.train[chosen]
            outlying = draw_outliers(images[:BATCH_OUTLIERS], generator)
            labels = torch.cat([data.train_labels[chosen], torch.full((len(outlying),), outlier_class)])
            loss = F.cross_entropy(network(torch.cat([shift(images, generator), outlying])), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
    return frozen(network)


def weights_digest(network: nn.Module) -> str:
    """SHA-256 (hex) over the names and values of all weights."""
    digest = hashlib.sha256()
    for name, weight in network.state_dict().items():
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class FrozenClassifier:
    """A trained classifier with an outlier class, and its measured accuracy and rates.

    Attributes:
        dataset: the name of the data set it was trained on.
        network: logits of the classes and of "outlier"; on the CPU, in evaluation mode, without gradients.
        classes: names of the real classes; the index after the last one is the outlier class.
        accuracy: share of clean held-out images classified correctly.
        false_positive: share of clean held-out images called outlier.
        true_positive: per outlier kind, share of its outliers called outlier, drawn from the held-out images.
        digest: SHA-256 of the weights.
    """

    dataset: str
    network: nn.Sequential
    classes: tuple[str, ...]
    accuracy: float
    false_positive: float
    true_positive: dict[str, float]
    digest: str

    def features(self, images: Tensor) -> Tensor:
        """Penultimate activations (n, 64) float32 of `images` (n, 1, height, width) in [0, 1], on their device."""
        return _in_batches(_on(images.device, self.network)[:-1], images)

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, 64) and labels (n,) int64 of `images` (n, 1, height, width) in [0, 1] in one pass.

        A label of `len(classes)` means outlier.
        """
        features = self.features(images)
        return features, _in_batches(_on(images.device, self.network)[-1], features).argmax(1)

    def labels(self, images: Tensor) -> Tensor:
        """Class indices (n,) int64 of `images` (n, 1, height, width) in [0, 1]; `len(classes)` means outlier."""
        return self.read(images)[1]


@functools.lru_cache(maxsize=8)
def _on(device: torch.device, network: nn.Sequential) -> nn.Sequential:
    """The network on this device; for a GPU it is a copy: the original, whose hash is recorded, stays on the CPU."""
    return network if device.type == "cpu" else copy.deepcopy(network).to(device)


@torch.no_grad()
def _in_batches(network: nn.Module, images: Tensor) -> Tensor:
    """The network's output (n, ...) for `images`, on their common device."""
    with _one_thread():
        return torch.cat([network(batch) for batch in images.detach().float().split(EVALUATION_BATCH)])


def assess(network: nn.Sequential, data: LabelledImages) -> FrozenClassifier:
    """A trained network with its rates, measured on the held-out images and on outliers drawn from them."""
    outlier_class = len(data.classes)
    labels = _in_batches(network, data.test).argmax(1)

    def recognised(kind: outliers.OutlierKind) -> float:
        outlying = kind.draw(data.test, seeds.generator(SEED, f"classifier test {kind.name}"))
        return float((_in_batches(network, outlying).argmax(1) == outlier_class).double().mean())

    return FrozenClassifier(
        dataset=data.name,
        network=network,
        classes=data.classes,
        accuracy=float((labels == data.test_labels).double().mean()),
        false_positive=float((labels == outlier_class).double().mean()),
        true_positive={name: recognised(kind) for name, kind in real_outliers().items()},
        digest=weights_digest(network),
    )


def _cache_name(data: LabelledImages) -> str:
    """A file name that depends on everything the trained weights depend on: data, code, and torch."""
    made_by = (Path(str(module.__file__)) for module in (sys.modules[__name__], networks, outliers, seeds))
    key = code_digest(made_by, fingerprint(data), str(torch.__version__))
    plain = re.sub(r"[^\w.-]+", "-", data.name, flags=re.ASCII)[-50:]  # the name of a folder of images is its path
    return f"classifier-{plain}-{key[:16]}.pt"


def _restore(path: Path, data: LabelledImages) -> FrozenClassifier | None:
    """The classifier in a cache file; None where there is no file, or its weights do not match their digest."""
    try:
        record = torch.load(path, weights_only=True)
        *_, height, width = data.train.shape
        with torch.device("meta"):  # draws no initial weights, so the caller's random state stays unchanged
            network = frozen(build(height, width, len(data.classes) + 1))
        network.load_state_dict(record.pop("network"), assign=True)
        classifier = FrozenClassifier(network=network, **record)
    except Exception:  # a damaged file can fail in many ways; then train again
        return None
    return classifier if weights_digest(network) == classifier.digest else None


def _store(classifier: FrozenClassifier, path: Path) -> None:
    """Write a cache file atomically. Where the folder cannot be written, the next process trains again."""
    record = {field.name: getattr(classifier, field.name) for field in fields(classifier)}
    buffer = io.BytesIO()
    torch.save(record | {"network": classifier.network.state_dict()}, buffer)
    part = path.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(buffer.getvalue())
        os.replace(part, path)


@functools.cache
def frozen_classifier(data: LabelledImages, cache: Path | None = None) -> FrozenClassifier:
    """The classifier of a data set: from this process, from the cache, or trained now.

    Training takes about 5 s for images of 8x8 and 25 s for 28x28, on one thread.

    Args:
        data: the data set; its held-out images give the accuracy and the rates.
        cache: the folder where trained classifiers are kept; None: `default_cache()`.
    """
    path = (cache or default_cache()) / _cache_name(data)
    classifier = _restore(path, data)
    if classifier is None:
        classifier = assess(train(data), data)
        _store(classifier, path)
    return classifier
