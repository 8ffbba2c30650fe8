"""How does a folder of a user's images become a data set of small grey images with classes, for a GAN?"""

from pathlib import Path

import numpy as np

from ganlab.datasets.folders import hash_fraction, label, natural, only_folder, reasons, scan, skipped_note
from ganlab.datasets.images import Unreadable, read_grey_square, size_of
from ganlab.datasets.kinds import DataMissing, LabelledImages

GREY_SIDE, SMALLEST_GREY = 28, 8  # pixels
HELD_OUT = 0.5  # the metrics compare equal counts of generated and held-out images
NEEDED_GREY = 150  # images in each half: the metrics need means and covariances of 64 features
ENOUGH_GREY = 400  # images; after the split by a hash, each half then nearly always has `NEEDED_GREY`
NEEDED_OF_CLASS = 20
MOST_GREY = 20_000


def labelled_images(name: str) -> tuple[LabelledImages, dict[str, str]]:
    """A folder as 28x28 grey images, half of them held out; and the files that were skipped, with reasons.

    Sub-folders are classes if there are at least two; otherwise there is one class. Each image is cut to its central
    square.

    Raises:
        DataMissing: there is no such folder, or it or a class has too few images.
    """
    import torch

    folder = scan(only_folder(name, "a GAN"))
    class_of = {file: file.partition("/")[0] if "/" in file else "" for file in folder.names}
    classes = sorted(set(class_of.values()) - {""}, key=natural)
    if len(classes) < 2:
        classes, class_of = ["image"], dict.fromkeys(folder.names, "image")
    folder.skipped |= {
        file: "in no sub-folder, so of no class" for file, class_name in class_of.items() if not class_name
    }
    candidates = [file for file, class_name in class_of.items() if class_name]
    nearest = sorted(candidates, key=lambda file: abs(hash_fraction(file) - HELD_OUT))  # cuts both halves alike
    pixels = dict(folder.each(sorted(nearest[:MOST_GREY], key=hash_fraction), small_grey))
    test_files = [file for file in pixels if hash_fraction(file) < HELD_OUT]
    train_files = [file for file in pixels if hash_fraction(file) >= HELD_OUT]
    causes = reasons(folder.skipped, folder.others)
    if min(len(test_files), len(train_files)) < NEEDED_GREY:
        few = f"{len(pixels)} images are too few for a GAN and its read-outs; at least {ENOUGH_GREY} are needed"
        raise DataMissing(f"{name}: {few}{causes}", folder.skipped)
    counts = {name: sum(class_of[file] == name for file in pixels) for name in classes}
    smallest = min(classes, key=counts.__getitem__)
    if counts[smallest] < NEEDED_OF_CLASS:
        few = f"the class {label(smallest)} has {counts[smallest]} images, at least {NEEDED_OF_CLASS} are needed"
        raise DataMissing(f"{name}: {few}: add some, or move it out{causes}", folder.skipped)

    def images(files: list[str]) -> torch.Tensor:
        return torch.from_numpy(np.stack([pixels[file] for file in files]))[:, None].float().div_(255)

    def labels(files: list[str]) -> torch.Tensor:
        return torch.tensor([classes.index(class_of[file]) for file in files])

    grouping = f"in {len(classes)} classes" if len(classes) > 1 else "in one class"
    notes = [f"{len(train_files)} images to train on and {len(test_files)} held out, {grouping}, as 28x28 grey squares"]
    if len(candidates) > MOST_GREY:
        notes.append(f"{MOST_GREY:,} of {len(candidates):,} images are used")
    if len(classes) == 1:
        notes.append(
            "without classes the classifier only tells images from outliers: Fréchet distances are coarse, "
            "sub-folders as classes make them finer"
        )
    data = LabelledImages(
        name,
        train=images(train_files),
        train_labels=labels(train_files),
        test=images(test_files),
        test_labels=labels(test_files),
        classes=tuple(map(label, classes)),
        credits=(),
        notes=(*notes, *skipped_note(name, folder.skipped)),
    )
    return data, folder.skipped


def small_grey(path: Path) -> np.ndarray:
    """An image as uint8 (28, 28).

    Raises:
        Unreadable: it cannot be read, or is too small.
    """
    height, width = size_of(path)
    if min(height, width) < SMALLEST_GREY:
        raise Unreadable(f"{width} x {height} pixels, at least {SMALLEST_GREY} x {SMALLEST_GREY} are needed")
    return read_grey_square(path, GREY_SIDE)
