"""How does a folder of anybody's images become a data set of small grey images with classes, as a GAN trains on?"""

from pathlib import Path

import numpy as np
import torch

from ganlab.datasets.folders import label, natural, only_folder, place_of, reasons, scan, skipped_note
from ganlab.datasets.images import Unreadable, read_grey_square, size_of
from ganlab.datasets.kinds import DataMissing, LabelledImages

GREY_SIDE, SMALLEST_GREY = 28, 8  # pixels
HELD_OUT = 0.5  # as many as there are to train on: read-outs compare equal counts
NEEDED_GREY = 150  # in each half: the read-outs rest on means and covariances of 64 features
ENOUGH_GREY = 400  # images, of which a hash gives each half that many nearly always
NEEDED_OF_CLASS = 20
MOST_GREY = 20_000


def labelled_images(name: str) -> tuple[LabelledImages, dict[str, str]]:
    """A folder as 28x28 grey images, half of them held out; and what was skipped, with reasons.

    Sub-folders are classes where there are at least two; else there is one class. Of each image the central square.

    Raises:
        DataMissing: no folder, or too few images in it or in a class.
    """
    folder = scan(only_folder(name, "a GAN"))
    top = {file: file.partition("/")[0] if "/" in file else "" for file in folder.names}
    classes = sorted(set(top.values()) - {""}, key=natural)
    if len(classes) < 2:
        classes, top = ["image"], dict.fromkeys(folder.names, "image")
    for file in (file for file, own in top.items() if not own):
        folder.skipped[file] = "in no sub-folder, so of no class"
    candidates = [file for file, own in top.items() if own]
    nearest = sorted(candidates, key=lambda file: abs(place_of(file) - HELD_OUT))  # so both halves are cut alike
    pixels = dict(folder.each(sorted(nearest[:MOST_GREY], key=place_of), small_grey))
    counts = {own: sum(top[file] == own for file in pixels) for own in classes}
    held_out = {file for file in pixels if place_of(file) < HELD_OUT}
    if min(len(held_out), len(pixels) - len(held_out)) < NEEDED_GREY:
        raise DataMissing(
            f"{name}: {len(pixels)} images are too few for a GAN and its read-outs; at least "
            f"{ENOUGH_GREY} are needed{reasons(folder.skipped, folder.others)}",
            folder.skipped,
        )
    fewest = min(classes, key=counts.__getitem__)
    if counts[fewest] < NEEDED_OF_CLASS:
        raise DataMissing(
            f"{name}: the class {label(fewest)} has {counts[fewest]} images, at least {NEEDED_OF_CLASS} "
            f"are needed: add some, or move it out{reasons(folder.skipped, folder.others)}",
            folder.skipped,
        )
    parts = {}
    for part, is_part in (("train", False), ("test", True)):
        files = [file for file in pixels if (file in held_out) == is_part]
        parts[part] = torch.from_numpy(np.stack([pixels[file] for file in files]))[:, None].float().div_(255)
        parts[f"{part}_labels"] = torch.tensor([classes.index(top[file]) for file in files])
    of = f"in {len(classes)} classes" if len(classes) > 1 else "in one class"
    notes = [f"{len(parts['train'])} images to train on and {len(parts['test'])} held out, {of}, as 28x28 grey squares"]
    if len(candidates) > MOST_GREY:
        notes.append(f"{MOST_GREY:,} of {len(candidates):,} images are used")
    if len(classes) == 1:
        notes.append(
            "without classes the classifier only tells images from outliers: Fréchet distances are coarse, "
            "sub-folders as classes make them finer"
        )
    data = LabelledImages(
        name,
        **parts,
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
