"""How does a folder of anybody's video frames become a data set of clips?"""

from collections import ChainMap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ganlab.datasets.folders import TEST, VALIDATION, Folder, label, only_folder, place_of, reasons, scan, skipped_note
from ganlab.datasets.images import Unreadable, centre, read_rgb, tensor_of
from ganlab.datasets.kinds import DataMissing
from ganlab.datasets.scenes import Frames

CLIP, STRIDE = 5, 8  # frames of a clip, and from one to the next: those between would be neighbours of both
LONG = 3 * STRIDE + CLIP  # frames in which all three parts have a clip
TURNS = ("train", "test", "train", "validation", "train", "train", "test", "train")  # of the clips of a sequence
LARGEST_FRAME, FRAME_MULTIPLE, SMALLEST_FRAME = 256, 8, 64  # pixels
MOST_FRAMES = 300  # in each part


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
    taken = ChainMap(*parts.values())  # by all parts: one name is one clip
    counts, left = dict.fromkeys(parts, 0), 0
    for place, files in sequences.items():
        for number, (part, clip) in enumerate(clips(place, files)):
            if counts[part] >= MOST_FRAMES:
                left += len(clip)
                continue
            for own in consecutive(folder, clip):
                title = label(f"{place or folder.path.name}-{number + 1}", taken)
                parts[part][title] = torch.stack([tensor_of(frame) for frame in own])
                counts[part] += len(own)
    if not all(parts.values()):
        found = ", ".join(f"{len(own)} for {part}" for part, own in parts.items())
        raise DataMissing(
            f"{name}: too few frames for clips in all three parts ({found}); {LONG} consecutive "
            f"frames of one size and at least {SMALLEST_FRAME} x {SMALLEST_FRAME} pixels are enough"
            f"{reasons(folder.skipped, folder.others)}",
            folder.skipped,
        )
    clip_counts = f"{len(parts['train'])} clips for training, {len(parts['validation'])} for validation"
    notes = [f"{clip_counts}, {len(parts['test'])} for tests, at most {LARGEST_FRAME} x {LARGEST_FRAME} pixels of each"]
    if left:
        used = sum(counts.values())
        notes.append(f"{used:,} of {used + left:,} frames in clips are used; a part is full at {MOST_FRAMES}")
    notes = (*notes, *skipped_note(name, folder.skipped))
    return Frames(name, **parts, credits=(), notes=notes), folder.skipped


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
        raise Unreadable(
            f"{pixels.shape[1]} x {pixels.shape[0]} pixels, at least {SMALLEST_FRAME} x {SMALLEST_FRAME} are needed"
        )
    return centre(pixels, height, width)
