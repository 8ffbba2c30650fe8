"""How does a folder of a user's photographs become a data set? Or two folders: one to train on, one for tests."""

from __future__ import annotations

import hashlib
from collections import ChainMap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ganlab.datasets.folders import (
    TEST,
    VALIDATION,
    Folder,
    folders_of,
    hash_fraction,
    label,
    natural,
    reasons,
    scan,
    skipped_note,
)
from ganlab.datasets.images import Unreadable, centre, read_rgb, size_of, tensor_of
from ganlab.datasets.kinds import DataMissing, Photographs

if TYPE_CHECKING:
    from torch import Tensor

VALIDATION_OF_TRAIN = 0.05  # share of the training folder, if there is a separate test folder
SMALLEST = 68  # pixels per side: crops in figures need 64, after the cut to a multiple of the scale
STEP = 12  # images are cut to a multiple of it; the scales 2, 3, and 4 divide it
SMALLEST_CUT = -(-SMALLEST // STEP) * STEP  # 72: images are not cut to less; then budgets limit their number
# Every worker keeps images as 32-bit floats, and several copies of training images: the budgets, in pixels, limit that.
MOST_TRAINING = 500
TRAINING_PIXELS = 24_000_000  # stacked, so padded to one size: 288 MB
VALIDATION_PIXELS, TEST_PIXELS = 500_000, 1_500_000  # about twice as many as the bundled photographs have
TEST_FOLDER_PIXELS = 16_000_000  # BSD100 fits whole
NEEDED = {"train": 3, "validation": 1, "test": 1}


def photographs(name: str) -> tuple[Photographs, dict[str, str]]:
    """One folder, or one for training and one for tests, as photographs; and the skipped files, with reasons.

    Large photographs are cut to their centre, to one size per part, so that the part stays within its pixel budget.

    Raises:
        DataMissing: there is no such folder, or it has too few photographs.
    """
    train, *test = map(scan, folders_of(name))
    if test:
        validates = {file: hash_fraction(file) < VALIDATION_OF_TRAIN for file in train.names}
        if not any(validates.values()) and len(validates) > NEEDED["train"]:
            validates[min(validates, key=hash_fraction)] = True
        parts = {"test": (test[0], test[0].names, TEST_FOLDER_PIXELS)}
    else:
        tests = [file for file in train.names if hash_fraction(file) < TEST]
        validates = {
            file: fraction < TEST + VALIDATION for file in train.names if (fraction := hash_fraction(file)) >= TEST
        }
        parts = {"test": (train, tests, TEST_PIXELS)}
    parts["validation"] = (train, [file for file, chosen in validates.items() if chosen], VALIDATION_PIXELS)
    parts["train"] = (train, [file for file, chosen in validates.items() if not chosen], TRAINING_PIXELS)
    images: dict[str, dict[str, Tensor]] = {part: {} for part in parts}
    taken = ChainMap(*images.values())  # names are unique over all parts; test images are named first
    notes: list[str] = []
    seen: dict[bytes, str] = {}  # the part by digest
    for part, (folder, files, budget) in parts.items():
        pictures, note, digests = read_part(folder, files, budget, part == "train", seen)
        for file, picture in pictures.items():
            images[part][label(file, taken)] = picture
        seen |= dict.fromkeys(digests, part)
        notes += [f"{part}: {note}"] if note else []
    skipped = dict(train.skipped)
    for folder in test:
        skipped |= {f"{folder.path.name}/{file}": reason for file, reason in folder.skipped.items()}
    others = sum(folder.others for folder in (train, *test))
    refuse_few(name, {part: len(images[part]) for part in NEEDED}, bool(test), skipped, others)
    counts = f"{len(images['train'])} photographs for training, {len(images['validation'])} for validation, "
    notes = [f"{counts}{len(images['test'])} for tests", *notes, *skipped_note(name, skipped)]
    return Photographs(name, images["train"], images["validation"], images["test"], (), tuple(notes)), skipped


def read_part(
    folder: Folder, files: list[str], budget: int, stacked: bool, seen: dict[bytes, str]
) -> tuple[dict[str, Tensor], str, set[bytes]]:
    """The photographs of a part by file, a note on what was cut (or ""), and the digests of their pixels.

    Args:
        files: candidates.
        budget: of pixels, in total.
        stacked: whether they are padded to the size of the largest.
        seen: digests of the parts read before; a photograph among them is skipped.
    """
    most = min(budget // SMALLEST_CUT**2, MOST_TRAINING if stacked else len(files))
    chosen = sorted(sorted(files, key=hash_fraction)[:most], key=natural)
    sizes = dict(folder.each(chosen, large_enough))
    side = largest_side(list(sizes.values()), budget, stacked)
    images: dict[str, Tensor] = {}
    digests: set[bytes] = set()
    cut = 0
    for file, pixels in folder.each(sorted(sizes, key=natural), read_rgb):
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        if digest in seen:
            folder.skipped[file] = f"the same picture as one of the {seen[digest]} part"
            continue
        digests.add(digest)
        inner = centre(pixels, side, side)
        cut += inner.shape != pixels.shape
        images[file] = tensor_of(inner)
    notes = [f"{cut} are cut to the {side} x {side} pixels in their middle"] if cut else []
    if len(chosen) < len(files):
        notes.append(f"{len(chosen)} of {len(files)} are used")
    return images, "; ".join(notes), digests


def large_enough(path: Path) -> tuple[int, int]:
    """Height and width of a photograph.

    Raises:
        Unreadable: it cannot be read, or is too small.
    """
    height, width = size_of(path)
    if min(height, width) < SMALLEST:
        raise Unreadable(f"{width} x {height} pixels, at least {SMALLEST} x {SMALLEST} are needed")
    return height, width


def largest_side(sizes: list[tuple[int, int]], budget: int, stacked: bool) -> int:
    """The side to cut images (height, width) to, so that they stay within a budget of pixels; a multiple of `STEP`.

    >>> largest_side([(1000, 1000)] * 4, budget=10**6, stacked=False)
    492
    """
    longest = max((max(size) for size in sizes), default=0)
    for side in range(-(-longest // STEP) * STEP, SMALLEST + STEP, -STEP):
        cut = np.minimum(sizes, side)
        if (len(cut) * cut.max(axis=0).prod() if stacked else cut.prod(axis=1).sum()) <= budget:
            return side
    return SMALLEST_CUT


def refuse_few(name: str, counts: dict[str, int], two: bool, skipped: dict[str, str], others: int) -> None:
    """Check that each part has enough photographs; `two`: there are two folders, not one that was split.

    Raises:
        DataMissing: one of the parts has too few.
    """
    if all(counts[part] >= needed for part, needed in NEEDED.items()):
        return
    present = f"{counts['train']} for training, {counts['validation']} for validation, {counts['test']} for tests"
    needed = f"{NEEDED['train']}, {NEEDED['validation']}, and {NEEDED['test']} are needed"
    remedy = "add some"
    if not two:
        enough = "split by a hash of their names, 30 are enough nearly always"
        remedy = f"{enough}; or name a folder to train on and one for tests with --train and --test"
    causes = reasons(skipped, others)
    raise DataMissing(f"{name}: too few photographs ({present}; {needed}): {remedy}{causes}", skipped)
