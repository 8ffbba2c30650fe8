"""How does a folder of a user's video frames become a data set of clips?"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ganlab.datasets.folders import (
    TEST,
    VALIDATION,
    Folder,
    hash_fraction,
    label,
    only_folder,
    reasons,
    scan,
    skipped_note,
)
from ganlab.datasets.images import Unreadable, centre, read_rgb, tensor_of
from ganlab.datasets.kinds import DataMissing, Frames

if TYPE_CHECKING:
    from torch import Tensor

CLIP, STRIDE = 5, 8  # frames of a clip, and from one start to the next: the gap separates the parts
LONG = 3 * STRIDE + CLIP  # a sequence of this many frames gives each of the three parts a clip
USES = (
    "train",
    "test",
    "train",
    "validation",
    "train",
    "train",
    "test",
    "train",
)  # parts of the clips of a sequence, in turn
LARGEST_FRAME, FRAME_MULTIPLE, SMALLEST_FRAME = 256, 8, 64  # pixels
MOST_FRAMES = 300  # in each part


def frames(name: str) -> tuple[Frames, dict[str, str]]:
    """A folder of consecutive frames, or sub-folders of them, in natural order; and the skipped files, with reasons.

    A sequence of at least `LONG` frames is cut into clips, which go to the three parts in turn. The hash of its
    sub-folder's name assigns a shorter sequence to one part as a whole. A skipped file ends a clip. Frames are cut to
    their centre.

    Raises:
        DataMissing: there is no such folder, or it has too few frames.
    """
    import torch

    folder = scan(only_folder(name, "frame interpolation"))
    sequences: dict[str, list[str]] = {}
    for file in folder.names:
        sequences.setdefault(file.rpartition("/")[0], []).append(file)
    parts: dict[str, dict[str, Tensor]] = {"train": {}, "validation": {}, "test": {}}
    taken = ChainMap(*parts.values())  # names are unique over all parts
    counts, unused = dict.fromkeys(parts, 0), 0
    for sequence, files in sequences.items():
        for number, (part, clip) in enumerate(clips(sequence, files)):
            if counts[part] >= MOST_FRAMES:
                unused += len(clip)
                continue
            for readable in consecutive(folder, clip):
                title = label(f"{sequence or folder.path.name}-{number + 1}", taken)
                parts[part][title] = torch.stack([tensor_of(frame) for frame in readable])
                counts[part] += len(readable)
    if not all(parts.values()):
        clip_counts = ", ".join(f"{len(clips_of)} for {part}" for part, clips_of in parts.items())
        raise DataMissing(
            f"{name}: too few frames for clips in all three parts ({clip_counts}); {LONG} consecutive "
            f"frames of one size and at least {SMALLEST_FRAME} x {SMALLEST_FRAME} pixels are enough"
            f"{reasons(folder.skipped, folder.others)}",
            folder.skipped,
        )
    clip_counts = f"{len(parts['train'])} clips for training, {len(parts['validation'])} for validation"
    notes = [f"{clip_counts}, {len(parts['test'])} for tests, at most {LARGEST_FRAME} x {LARGEST_FRAME} pixels of each"]
    if unused:
        used = sum(counts.values())
        notes.append(f"{used:,} of {used + unused:,} frames in clips are used; a part is full at {MOST_FRAMES}")
    notes += skipped_note(name, folder.skipped)
    return Frames(name, parts["train"], parts["validation"], parts["test"], (), tuple(notes)), folder.skipped


def clips(sequence: str, files: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The clips of a sequence: for each, its part and its files."""
    if len(files) >= LONG:
        for number, start in enumerate(range(0, len(files) - CLIP + 1, STRIDE)):
            yield USES[number % len(USES)], files[start : start + CLIP]
    else:
        fraction = hash_fraction(sequence)
        yield "test" if fraction < TEST else "validation" if fraction < TEST + VALIDATION else "train", files


def consecutive(folder: Folder, files: list[str]) -> Iterator[list[np.ndarray]]:
    """The frames of a clip, cut to their centre; a new clip begins after a skipped file or a change of frame size."""
    clip: list[np.ndarray] = []
    for file in files:
        frame = next((pixels for _, pixels in folder.each([file], one_frame)), None)
        if clip and (frame is None or frame.shape != clip[0].shape):
            if len(clip) >= 3:
                yield clip
            clip = []
        if frame is not None:
            clip.append(frame)
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
        raise Unreadable(
            f"{pixels.shape[1]} x {pixels.shape[0]} pixels, at least {SMALLEST_FRAME} x {SMALLEST_FRAME} are needed"
        )
    return centre(pixels, height, width)
