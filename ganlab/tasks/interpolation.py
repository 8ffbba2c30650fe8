"""How is the frame between two frames of a video interpolated, under corrupted targets?

The input is the previous and the next frame, six channels; the output is the frame between them. The network starts at
the average of the two, as super-resolution starts at bicubic, and works at half the resolution. It is scored on whole
frames of held-out sequences, mainly by PSNR on Y, and compared with the average.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from ganlab.datasets import Frames, load
from ganlab.lazy import lazily
from ganlab.tasks import reconstruction
from ganlab.tasks.correction import Correction
from ganlab.tasks.patches import Pair, Pairs, fit

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    lazily(globals(), torch="torch")

SHRINK = 2
MOST_TRAINED, MOST_TESTED = 40, 8  # middle frames of one sequence, evenly spaced: videos are long


class Settings(reconstruction.Settings):
    """Sizes of the network (`channels`, residual `blocks`) and of a training patch (`patch`, pixels, an even number);
    `network`: a user's interpolator, `package.module:build`."""

    patch: Annotated[int, Field(ge=2, multiple_of=2)] = 32


Outer = dict[tuple[str, int], "Tensor"]  # the two frames around a frame: by sequence and index


def triplets(sequences: dict[str, Tensor], apart: int, most: int, outer: Outer) -> dict[str, Pair]:
    """Two frames of a sequence as one image of six channels, and the frame between them, by name of the sequence.

    Args:
        sequences: (t, 3, height, width) each, t >= 3; sides are cut to even numbers.
        apart: distance between neighbouring middle frames, in frames.
        most: how many middle frames of one sequence are used, evenly spaced. If there are several, the name of each
            contains its index.
        outer: images of six channels that were made before; new ones are added.
    """
    pairs = {}
    for name, frames in sequences.items():
        frames = fit(frames, SHRINK)
        middles = range(1, len(frames) - 1, apart)
        for index in np.linspace(0, len(middles) - 1, min(most, len(middles))).round().astype(int):
            middle = middles[index]
            label = name if len(middles) == 1 else f"{name}@{middle}"
            if (name, middle) not in outer:
                outer[name, middle] = torch.cat([frames[middle - 1], frames[middle + 1]])
            pairs[label] = Pair(outer[name, middle], frames[middle])
    return pairs


@lru_cache(maxsize=4)
def outer_frames(dataset: str) -> Outer:
    """The inputs of a data set made so far: its splits share them."""
    return {}


@lru_cache(maxsize=6)
def frame_pairs(dataset: str, fold: int) -> Pairs:
    """The pairs in the split of a fold.

    For training every middle frame; for tests every second one, so that two share at most an outer frame.
    """
    data, outer = load(dataset, Frames).turn(fold), outer_frames(dataset)
    held_out = (triplets(part, apart=2, most=MOST_TESTED, outer=outer) for part in (data.validation, data.test))
    return Pairs(triplets(data.train, apart=1, most=MOST_TRAINED, outer=outer), *held_out)


def average(given: Tensor) -> Tensor:
    """The average (batch, 3, height, width) of two frames in one tensor (batch, 6, height, width)."""
    return (given[:, :3] + given[:, 3:]) / 2


class Interpolation(Correction):
    """One training of the interpolator on sequences of frames."""

    name = "interpolation"
    role = "interpolator"
    data_kind = Frames
    Settings = Settings
    baseline_name = "average"
    shrink = SHRINK

    def load_pairs(self) -> Pairs:
        """Outer and middle frames."""
        return frame_pairs(self.experiment.dataset, self.fold)

    def guess(self) -> Callable[[Tensor], Tensor]:
        """The average of the two frames."""
        return average
