"""Which scenes are there beside plain photographs: one whose depth was measured, and ones in which the camera moves?

Both are made from what scikit-image and scikit-learn bring along, so they are small: one stereo pair, of whose left
photograph some tiles are for training and others for tests, and camera movements over fourteen photographs.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from torch import Tensor

from ganlab import seeds
from ganlab.datasets.embedded import photographs

ROWS, COLUMNS = 4, 6  # tiles of the stereo pair
MARGIN = 8  # pixels left out on every side of a tile: 16 between a tile to train on and one to test on
MULTIPLE = 8  # sides of tiles and frames are multiples of it, for networks that work at a lower resolution

FRAMES = 3  # of a rendered sequence
PATHS = {"train": 4, "validation": 4, "test": 2}  # camera movements over each photograph
LARGEST_FRAME = 160  # pixels, each side
SUPERSAMPLING = 2  # photograph's pixels to one of a frame, in each direction; they are averaged
ROOM = 14  # of the photograph's pixels beyond a frame on each side, so that no movement shows its border
SPEEDS = (0.5, 2.0)  # pan, pixels of a frame from one frame to the next: half a pixel to four between the outer two
LARGEST_ZOOM, LARGEST_TURN = 0.01, math.radians(0.5)  # per frame


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: Tensor) -> Tensor:
        """This part of an image (..., height, width)."""
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True, eq=False)
class StereoPair:
    """The left photograph of a stereo pair with its disparity, and which parts of it are for what.

    Attributes:
        name: its name in suites and CSV.
        left: (3, height, width) float32, 8-bit values / 255.
        disparity: (height, width) float32, pixels between a point's places in the two photographs: large where it is
            near. NaN where nobody knows, most of all where the right camera does not see the point.
        train: what networks see, by name.
        validation: what learning rates are tuned on.
        test: what is reported, once.
        credits: author and licence.
    """

    name: str
    left: Tensor
    disparity: Tensor
    train: dict[str, Box]
    validation: dict[str, Box]
    test: dict[str, Box]
    credits: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Frames:
    """Sequences of frames in three disjoint sets, by name: (t, 3, height, width) float32, t >= 3, 8-bit values / 255.

    Attributes:
        name: its name in suites and CSV.
        train: what networks see.
        validation: what learning rates are tuned on.
        test: what is reported, once.
        credits: author and licence, one line for each source.
        notes: what who trains on it must be told, one line each: files that were skipped, say.
    """

    name: str
    train: dict[str, Tensor]
    validation: dict[str, Tensor]
    test: dict[str, Tensor]
    credits: tuple[str, ...]
    notes: tuple[str, ...] = ()


def stereo() -> StereoPair:
    """The motorcycle of the Middlebury benchmark with its measured disparity, a quarter of its size, in 24 tiles.

    One photograph: 15 tiles are for training, 3 for validation, 6 for tests, and a margin lies between them. Every tile
    to test on has tiles to train on beside it, so what is tested is the same scene a little further on, not another
    one. Scharstein et al., "High-resolution stereo datasets with subpixel-accurate ground truth" (GCPR 2014).
    """
    pixels, _, disparity = skimage.data.stereo_motorcycle()
    left = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float() / 255
    measured = torch.from_numpy(disparity.astype(np.float32))
    parts: dict[str, dict[str, Box]] = {"train": {}, "validation": {}, "test": {}}
    pitches = (measured.shape[0] // ROWS, measured.shape[1] // COLUMNS)
    sides = [(pitch - 2 * MARGIN) // MULTIPLE * MULTIPLE for pitch in pitches]
    for row in range(ROWS):
        for column in range(COLUMNS):
            kind = ("train", "test", "train", "validation", "train", "test", "train", "train")[(column + 2 * row) % 8]
            corner = (row * pitches[0] + MARGIN, column * pitches[1] + MARGIN)
            parts[kind][f"tile-{row + 1}-{column + 1}"] = Box(*corner, *sides)
    return StereoPair(
        name="stereo",
        left=left,
        disparity=measured.where(measured.isfinite(), torch.nan),
        **parts,
        credits=(
            "motorcycle: Middlebury stereo benchmark, Scharstein et al. (GCPR 2014), no licence stated (scikit-image)",
        ),
    )


@dataclass(frozen=True)
class CameraPath:
    """A camera that pans, zooms, and turns over a photograph, each at a constant speed.

    Attributes:
        centre: where it looks at time 0: y and x in the photograph's pixels.
        pan: how far it moves from one frame to the next: y and x in pixels of a frame.
        zoom: by which factor, less 1, things grow from one frame to the next.
        turn: by which angle it turns from one frame to the next, radians.
    """

    centre: tuple[float, float]
    pan: tuple[float, float]
    zoom: float
    turn: float

    def places(self, time: float, offsets: Tensor) -> Tensor:
        """Where offsets from a frame's centre (..., 2), y and x in its pixels, lie in the photograph at a time."""
        cosine, sine = math.cos(self.turn * time), math.sin(self.turn * time)
        turned = offsets @ offsets.new_tensor([[cosine, sine], [-sine, cosine]])
        moved = turned / (1 + self.zoom) ** time + offsets.new_tensor(self.pan) * time
        return offsets.new_tensor(self.centre) + SUPERSAMPLING * moved


def draw_path(name: str, photograph: tuple[int, int], frame: tuple[int, int]) -> CameraPath:
    """The camera path of this name over a photograph (height, width) for frames (height, width): the same for ever."""
    draw = seeds.generator(0, f"camera path {name}")
    y, x, direction, speed, zoom, turn = torch.rand(6, generator=draw, dtype=torch.float64).tolist()
    half = [SUPERSAMPLING * side / 2 + ROOM for side in frame]
    centre = [h + at * (side - 2 * h) for h, at, side in zip(half, (y, x), photograph, strict=True)]
    speed = SPEEDS[0] + speed * (SPEEDS[1] - SPEEDS[0])
    pan = speed * math.sin(2 * math.pi * direction), speed * math.cos(2 * math.pi * direction)
    return CameraPath(tuple(centre), pan, (2 * zoom - 1) * LARGEST_ZOOM, (2 * turn - 1) * LARGEST_TURN)


def render(photograph: Tensor, path: CameraPath, time: float, frame: tuple[int, int]) -> Tensor:
    """What the camera sees of a photograph (3, height, width) at a time: (3, *frame), 8-bit values / 255.

    Bicubic at four points of each of the frame's pixels, which are averaged: what is finer than the frame is gone. In
    double precision, so that every machine rounds to the same 8 bits.
    """
    ys, xs = (
        (torch.arange(SUPERSAMPLING * side, dtype=torch.float64) + 0.5) / SUPERSAMPLING - side / 2 for side in frame
    )
    places = path.places(time, torch.stack(torch.meshgrid(ys, xs, indexing="ij"), dim=-1))
    sides = places.new_tensor(photograph.shape[1:])
    grid = (2 * places / sides - 1).flip(-1)[None]  # as `grid_sample` counts: x first, the image is [-1, 1]
    seen = F.grid_sample(photograph[None].double(), grid, mode="bicubic", align_corners=False)
    return (255 * F.avg_pool2d(seen, SUPERSAMPLING)[0].clamp(0, 1)).round().float() / 255


def motion() -> Frames:
    """Short sequences that a moving camera takes of the bundled photographs, split as they are.

    Only the camera moves and nothing hides anything else, so real video is harder: a first look at the task.
    """
    source, parts = photographs(), {}
    for part, paths in PATHS.items():
        parts[part] = {}
        for name, photograph in getattr(source, part).items():
            sides = tuple(photograph.shape[1:])
            frame = tuple(
                min((side - 2 * ROOM) // SUPERSAMPLING, LARGEST_FRAME) // MULTIPLE * MULTIPLE for side in sides
            )
            for number in range(1, paths + 1):
                path = draw_path(f"{name}-{number}", sides, frame)
                times = [index - (FRAMES - 1) / 2 for index in range(FRAMES)]
                parts[part][f"{name}-{number}"] = torch.stack([render(photograph, path, t, frame) for t in times])
    return Frames("motion", **parts, credits=source.credits)
