"""How does a folder of anybody's images become a data set? `folder:PATH`, or `folder:TRAIN::TEST` for photographs.

A file goes to training, validation, or test by a hash of its name, so that adding a file moves no other. What cannot
be used is named and skipped; a folder that holds too little is refused in one line that says what it takes.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ganlab.datasets.images import FORMATS, SUFFIXES, Unreadable, read_grey_square, read_rgb, size_of
from ganlab.datasets.kinds import DataMissing, LabelledImages, Photographs
from ganlab.datasets.scenes import Frames

PREFIX, SEPARATOR = "folder:", "::"
LONGEST_NAME = 180  # letters of a data set's or an image's name: it stands in tables and figures
MOST_FILES = 100_000
SKIPPED_NAMED = 5  # of the files that are skipped, which are all counted

# Photographs. Images are kept as 32-bit floats, a training several times over, in every worker: hence budgets.
VALIDATION, TEST = 0.15, 0.25  # shares of one folder
VALIDATION_OF_TRAIN = 0.05  # where there is a test folder of its own: every training image counts
SMALLEST = 68  # pixels, each side: the crops of the figures need 64, after a cut to a multiple of the scale
STEP = 12  # images are cut to a multiple of it: whole at scales 2, 3, and 4
MOST_TRAINING = 500
TRAINING_PIXELS = 24_000_000  # padded to one size, as they are stacked: 288 MB
VALIDATION_PIXELS, TEST_PIXELS = 500_000, 1_500_000  # about twice as many as the bundled photographs have
TEST_FOLDER_PIXELS = 16_000_000  # BSD100 fits whole
NEEDED = {"train": 3, "validation": 1, "test": 1}

# Small grey images.
GREY_SIDE, SMALLEST_GREY = 28, 8  # pixels
HELD_OUT = 0.5  # as many as there are to train on: read-outs compare equal counts
NEEDED_GREY = 150  # in each half: the read-outs rest on means and covariances of 64 features
ENOUGH_GREY = 400  # images, of which a hash gives each half that many nearly always
NEEDED_OF_CLASS = 20
MOST_GREY = 20_000

# Frames.
CLIP, STRIDE = 5, 8  # frames of a clip, and from one to the next: those between would be neighbours of both
LONG = 3 * STRIDE + CLIP  # frames in which all three parts have a clip
TURNS = ("train", "test", "train", "validation", "train", "train", "test", "train")  # of the clips of a sequence
LARGEST_FRAME, FRAME_MULTIPLE, SMALLEST_FRAME = 256, 8, 64  # pixels
MOST_FRAMES = 300  # in each part

T = TypeVar("T")


@dataclass
class Folder:
    """The image files in a folder and its sub-folders.

    Attributes:
        path: where it lies.
        names: paths relative to it, with `/`, in natural order; what is hidden or of another suffix is left out.
        skipped: the files that are not used, and why.
        others: how many files have another suffix.
    """

    path: Path
    names: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    others: int = 0

    def each(self, names: Iterable[str], read: Callable[[Path], T]) -> Iterator[tuple[str, T]]:
        """What `read` makes of each of these files, by name; the ones it cannot read are skipped."""
        for name in names:
            try:
                yield name, read(self.path / name)
            except Unreadable as error:
                self.skipped[name] = str(error)


def folders_of(name: str) -> tuple[Path, ...]:
    """The one folder or the two (training, test) of a data set's name.

    Raises:
        DataMissing: no folder there, or a name that cannot stand in a table.
    """
    if len(name) > LONGEST_NAME or not name.isprintable() or "$" in name:
        raise DataMissing(f"{ascii(name)[:300]} cannot name a data set: at most {LONGEST_NAME} printable letters, and "
                          "no $; rename the folder, or start from a folder nearer to it")  # fmt: skip
    parts = name.removeprefix(PREFIX).split(SEPARATOR)
    if len(parts) > 2:
        raise DataMissing(f"{name}: that is {len(parts)} folders; name one, or one to train on and one for tests")
    paths = tuple(Path(part).expanduser() for part in parts)
    for part, path in zip(parts, paths, strict=True):
        if not part or not path.is_dir():
            raise DataMissing(f"{name}: there is no folder {part or 'without a name'!r}; name one that exists, as in "
                              f"{PREFIX}PATH or {PREFIX}TRAIN{SEPARATOR}TEST")  # fmt: skip
    whole = [path.resolve() for path in paths]
    if len(whole) == 2 and (whole[0].is_relative_to(whole[1]) or whole[1].is_relative_to(whole[0])):
        raise DataMissing(f"{name}: one folder lies in the other, so networks would be tested on what they were "
                          "trained on; move them apart")  # fmt: skip
    return paths


def only_folder(name: str, use: str) -> Path:
    """The folder of a data set that has to be in one.

    Raises:
        DataMissing: no folder there, or two.
    """
    first, *more = folders_of(name)
    if more:
        raise DataMissing(f"{name}: two folders are for photographs; {use} takes one, which it splits: {PREFIX}PATH")
    return first


def scan(path: Path) -> Folder:
    """The image files in a folder and its sub-folders; links are not followed.

    Raises:
        DataMissing: too many files.
    """
    found = Folder(path)

    def unreadable(error: OSError) -> None:
        found.skipped[relative(error.filename)] = error.strerror

    def relative(file: str) -> str:
        return Path(os.path.relpath(file, path)).as_posix()

    for place, folders, files in os.walk(path, onerror=unreadable):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(place, name)):
                found.skipped[relative(os.path.join(place, name))] = "a link, which is not followed"
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            file = relative(os.path.join(place, name))
            if name.startswith(".") or file in found.skipped:
                continue
            if name.lower().endswith(SUFFIXES):
                found.names.append(file)
            else:
                found.others += 1
        if len(found.names) > MOST_FILES:
            raise DataMissing(f"{path} holds more than {MOST_FILES:,} images; name a smaller folder")
    found.names.sort(key=natural)
    return found


def natural(name: str) -> list[tuple[int, str]]:
    """A key to sort names by as people do: numbers by their size.

    >>> sorted(["frame10.png", "frame9.png"], key=natural)
    ['frame9.png', 'frame10.png']
    """
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(int(part[:300]) if part.isdecimal() else -1, part) for part in parts] + [(-1, name)]


def place_of(name: str) -> float:
    """Where a name's hash lies between 0 and 1: the same for ever, whatever the other files are."""
    spelled = unicodedata.normalize("NFC", name).encode("utf-8", "backslashreplace")  # macOS spells é in two letters
    return int.from_bytes(hashlib.sha256(spelled).digest()[:8], "big") / 2**64


def label(name: str, taken: Iterable[str] = ()) -> str:
    """A file's name as it can stand in tables and figures, different from those that are taken."""
    text = "".join(letter if letter.isprintable() and letter != "$" else "_" for letter in name)
    text = text if len(text) <= LONGEST_NAME else f"...{text[3 - LONGEST_NAME :]}"
    while text in taken:
        text = f"{text[: LONGEST_NAME - 1]}'"
    return text


# Photographs ---------------------------------------------------------------------------------------------------------


def photographs(name: str) -> tuple[Photographs, dict[str, str]]:
    """A folder, or one to train on and one for tests, as photographs; and what was skipped, with reasons.

    Large ones are cut to their centre, all of a part to one size, so that the part keeps its budget of pixels.

    Raises:
        DataMissing: no folder, or too few photographs in it.
    """
    train, *test = map(scan, folders_of(name))
    if test:
        of_train = {file: place_of(file) < VALIDATION_OF_TRAIN for file in train.names}
        if not any(of_train.values()) and len(of_train) > NEEDED["train"]:
            of_train[min(of_train, key=place_of)] = True
        parts = {"test": (test[0], test[0].names, TEST_FOLDER_PIXELS)}
    else:
        outside = [file for file in train.names if place_of(file) >= TEST]
        of_train = {file: place_of(file) < TEST + VALIDATION for file in outside}
        parts = {"test": (train, sorted(set(train.names) - set(outside), key=natural), TEST_PIXELS)}
    parts["validation"] = (train, [file for file, chosen in of_train.items() if chosen], VALIDATION_PIXELS)
    parts["train"] = (train, [file for file, chosen in of_train.items() if not chosen], TRAINING_PIXELS)
    images: dict[str, dict[str, Tensor]] = {}
    notes, seen = [], {}
    for part, (folder, files, budget) in parts.items():
        images[part], note, digests = read_part(folder, files, budget, part == "train", seen)
        seen |= dict.fromkeys(digests, part)
        notes += [f"{part}: {note}"] if note else []
    skipped = dict(train.skipped)
    for folder in test:
        skipped |= {f"{folder.path.name}/{file}": reason for file, reason in folder.skipped.items()}
    refuse_few(name, {part: len(images[part]) for part in NEEDED}, bool(test), skipped, train.others)
    counts = f"{len(images['train'])} photographs for training, {len(images['validation'])} for validation, "
    notes = [f"{counts}{len(images['test'])} for tests", *notes, *skipped_note(name, skipped)]
    return Photographs(name, images["train"], images["validation"], images["test"], (), tuple(notes)), skipped


def read_part(
    folder: Folder, files: list[str], budget: int, stacked: bool, seen: dict[bytes, str]
) -> tuple[dict[str, Tensor], str, set[bytes]]:
    """The photographs of a part by label, what was cut off (or ""), and the digests of their pixels.

    Args:
        files: candidates.
        budget: pixels of all of them together.
        stacked: whether they are padded to the size of the largest.
        seen: digests of the parts read before; a photograph that is there too is skipped.
    """
    chosen = sorted(files, key=place_of)[:MOST_TRAINING] if stacked else files
    sizes = dict(folder.each(chosen, large_enough))
    side = largest_side(list(sizes.values()), budget, stacked)
    images: dict[str, Tensor] = {}
    digests, cut = set(), 0
    for file, pixels in folder.each(sorted(sizes, key=natural), read_rgb):
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        if digest in seen:
            folder.skipped[file] = f"the same picture as one of the {seen[digest]} part"
            continue
        digests.add(digest)
        inner = centre(pixels, side, side)
        cut += inner.shape != pixels.shape
        images[label(file, images)] = tensor_of(inner)
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
    """The side to cut images (height, width) to, so that they keep a budget of pixels; a multiple of `STEP`.

    >>> largest_side([(1000, 1000)] * 4, budget=10**6, stacked=False)
    492
    """
    longest = max((max(size) for size in sizes), default=0)
    for side in range(-(-longest // STEP) * STEP, SMALLEST + STEP, -STEP):
        cut = np.minimum(sizes, side)
        if (len(cut) * cut.max(axis=0).prod() if stacked else cut.prod(axis=1).sum()) <= budget:
            return side
    return -(-SMALLEST // STEP) * STEP


def centre(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of an image (height, width, ...), at most so high and wide."""
    top, left = (max(0, (own - most) // 2) for own, most in zip(pixels.shape, (height, width), strict=False))
    return pixels[top : top + height, left : left + width]


def tensor_of(pixels: np.ndarray) -> Tensor:
    """uint8 (height, width, 3) as float32 (3, height, width) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div_(255)


def refuse_few(name: str, counts: dict[str, int], two: bool, skipped: dict[str, str], others: int) -> None:
    """Whether there are enough photographs.

    Raises:
        DataMissing: too few in one of the parts.
    """
    if all(counts[part] >= needed for part, needed in NEEDED.items()):
        return
    found = f"{counts['train']} for training, {counts['validation']} for validation, {counts['test']} for tests"
    needed = f"{NEEDED['train']}, {NEEDED['validation']}, and {NEEDED['test']} are needed"
    remedy = "add some" if two else (
        "split by a hash of their names, 30 are enough nearly always; or name a folder to train on and one for tests "
        "with --train and --test"
    )  # fmt: skip
    raise DataMissing(f"{name}: too few photographs ({found}; {needed}): {remedy}{reasons(skipped, others)}")


def reasons(skipped: dict[str, str], others: int = 0) -> str:
    """Why a folder has fewer images than files, as the end of a line; "" where it has not."""
    parts = [listed(skipped)] if skipped else []
    if others:
        parts.append(f"{others} files have another suffix than those of {', '.join(FORMATS)}")
    return f" ({'; '.join(parts)})" if parts else ""


def listed(skipped: dict[str, str]) -> str:
    """How many files were skipped, and the first of them with their reasons."""
    first = [f"{label(file)} ({reason})" for file, reason in list(skipped.items())[:SKIPPED_NAMED]]
    more = [f"and {len(skipped) - len(first)} more"] if len(skipped) > len(first) else []
    return f"{len(skipped)} skipped: {', '.join([*first, *more])}"


def skipped_note(name: str, skipped: dict[str, str]) -> list[str]:
    """The line on skipped files for who runs a suite; none where there is none."""
    more = f"; `python -m bench data check {name}` lists all" if len(skipped) > SKIPPED_NAMED else ""
    return [listed(skipped) + more] if skipped else []


# Small grey images with classes --------------------------------------------------------------------------------------


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
    candidates = sorted((file for file, own in top.items() if own), key=place_of)
    pixels = dict(folder.each(candidates[:MOST_GREY], small_grey))
    counts = {own: sum(top[file] == own for file in pixels) for own in classes}
    held_out = {file for file in pixels if place_of(file) < HELD_OUT}
    if min(len(held_out), len(pixels) - len(held_out)) < NEEDED_GREY:
        raise DataMissing(
            f"{name}: {len(pixels)} images are too few for a GAN and its read-outs; at least "
            f"{ENOUGH_GREY} are needed{reasons(folder.skipped, folder.others)}"
        )
    fewest = min(classes, key=counts.__getitem__)
    if counts[fewest] < NEEDED_OF_CLASS:
        raise DataMissing(
            f"{name}: the class {label(fewest)} has {counts[fewest]} images, at least {NEEDED_OF_CLASS} "
            f"are needed: add some, or move it out{reasons(folder.skipped, folder.others)}"
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
        notes.append("without classes the classifier only tells images from outliers: Fréchet distances are coarse, "
                     "sub-folders as classes make them finer")  # fmt: skip
    data = LabelledImages(name, **parts, classes=tuple(map(label, classes)), credits=(),
                          notes=(*notes, *skipped_note(name, folder.skipped)))  # fmt: skip
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


# Frames --------------------------------------------------------------------------------------------------------------


def frames(name: str) -> tuple[Frames, dict[str, str]]:
    """A folder of consecutive frames, or sub-folders of them, in natural order; and what was skipped, with reasons.

    A sequence long enough is cut into clips, which take turns in the three parts; a shorter one goes whole to the part
    that its sub-folder's name hashes to. A file that is skipped ends a clip. Frames are cut to their centre.

    Raises:
        DataMissing: no folder, or too few frames in it.
    """
    folder = scan(only_folder(name, "frame interpolation"))
    sequences: dict[str, list[str]] = {}
    for file in folder.names:
        sequences.setdefault(file.rpartition("/")[0], []).append(file)
    parts: dict[str, dict[str, Tensor]] = {"train": {}, "validation": {}, "test": {}}
    counts = dict.fromkeys(parts, 0)
    for place, files in sequences.items():
        for number, (part, clip) in enumerate(clips(place, files)):
            if counts[part] >= MOST_FRAMES:
                continue
            for own in consecutive(folder, clip):
                title = label(f"{place or folder.path.name}-{number + 1}", parts[part])
                parts[part][title] = torch.stack([tensor_of(frame) for frame in own])
                counts[part] += len(own)
    if not all(parts.values()):
        found = ", ".join(f"{len(own)} for {part}" for part, own in parts.items())
        raise DataMissing(f"{name}: too few frames for clips in all three parts ({found}); {LONG} consecutive "
                          f"frames of one size and at least {SMALLEST_FRAME} x {SMALLEST_FRAME} pixels are enough"
                          f"{reasons(folder.skipped, folder.others)}")  # fmt: skip
    clip_counts = f"{len(parts['train'])} clips for training, {len(parts['validation'])} for validation"
    notes = [f"{clip_counts}, {len(parts['test'])} for tests, at most {LARGEST_FRAME} x {LARGEST_FRAME} pixels of each",
             *skipped_note(name, folder.skipped)]  # fmt: skip
    return Frames(name, **parts, credits=(), notes=tuple(notes)), folder.skipped


def clips(place: str, files: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The clips of a sequence, and the part that each is for."""
    if len(files) >= LONG:
        for number, start in enumerate(range(0, len(files) - CLIP + 1, STRIDE)):
            yield TURNS[number % len(TURNS)], files[start : start + CLIP]
    else:
        at = place_of(place)
        yield "test" if at < TEST else "validation" if at < TEST + VALIDATION else "train", files


def consecutive(folder: Folder, files: list[str]) -> Iterator[list[np.ndarray]]:
    """The frames of a clip, cut to their centre; where a file is skipped or of another size a new clip begins."""
    clip: list[np.ndarray] = []
    for file in files:
        frame = next((own for _, own in folder.each([file], one_frame)), None)
        if clip and (frame is None or frame.shape != clip[0].shape):
            if len(clip) >= 3:
                yield clip
            clip = []
        clip += [frame] if frame is not None else []
    if len(clip) >= 3:
        yield clip


def one_frame(path: Path) -> np.ndarray:
    """A frame's centre, uint8 (height, width, 3), its sides multiples of 8.

    Raises:
        Unreadable: it cannot be read, or is too small.
    """
    pixels = read_rgb(path)
    height, width = (min(side, LARGEST_FRAME) // FRAME_MULTIPLE * FRAME_MULTIPLE for side in pixels.shape[:2])
    if min(height, width) < SMALLEST_FRAME:
        raise Unreadable(f"{pixels.shape[1]} x {pixels.shape[0]} pixels, at least {SMALLEST_FRAME} x {SMALLEST_FRAME} "
                         "are needed")  # fmt: skip
    return centre(pixels, height, width)


READERS = {Photographs: photographs, LabelledImages: labelled_images, Frames: frames}
