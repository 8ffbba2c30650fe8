"""Which sequences of frames are there? Those of a camera that moves over the bundled photographs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganlab import seeds
from ganlab.datasets.embedded import photographs
from ganlab.datasets.kinds import Frames

if TYPE_CHECKING:
    from torch import Tensor

MULTIPLE = 8  # sides of frames are multiples of it, for networks that work at a lower resolution
FRAMES = 3  # of a rendered sequence
PATHS = 4  # camera movements over each photograph
LARGEST_FRAME = 160  # pixels, each side
SUPERSAMPLING = 2  # pixels of the photograph per pixel of a frame, in each direction; they are averaged
ROOM = 14  # pixels of the photograph around a frame, so that no movement shows its border
SPEEDS = (0.5, 2.0)  # pan, pixels of a frame from one frame to the next: half a pixel to four between the outer two
LARGEST_ZOOM, LARGEST_TURN = 0.01, math.radians(0.5)  # per frame


@dataclass(frozen=True)
class CameraPath:
    """A camera that pans, zooms, and turns over a photograph, each at a constant speed.

    Attributes:
        centre: of the view at time 0: y and x in the photograph's pixels.
        pan: its movement from one frame to the next: y and x in pixels of a frame.
        zoom: the growth of objects from one frame to the next: the factor minus 1.
        turn: its rotation from one frame to the next, radians.
    """

    centre: tuple[float, float]
    pan: tuple[float, float]
    zoom: float
    turn: float

    def positions(self, time: float, offsets: Tensor) -> Tensor:
        """Positions in the photograph, at a time, of offsets (..., 2) from a frame's centre: y and x in pixels."""
        cosine, sine = math.cos(self.turn * time), math.sin(self.turn * time)
        turned = offsets @ offsets.new_tensor([[cosine, sine], [-sine, cosine]])
        moved = turned / (1 + self.zoom) ** time + offsets.new_tensor(self.pan) * time
        return offsets.new_tensor(self.centre) + SUPERSAMPLING * moved


def draw_path(name: str, photograph: tuple[int, int], frame: tuple[int, int]) -> CameraPath:
    """The camera path over a photograph (height, width) for frames (height, width); it depends only on the name."""
    import torch

    draw = seeds.generator(0, f"camera path {name}")
    y, x, direction, speed, zoom, turn = torch.rand(6, generator=draw, dtype=torch.float64).tolist()
    half_height, half_width = (SUPERSAMPLING * side / 2 + ROOM for side in frame)
    height, width = photograph
    centre = half_height + y * (height - 2 * half_height), half_width + x * (width - 2 * half_width)
    speed = SPEEDS[0] + speed * (SPEEDS[1] - SPEEDS[0])
    pan = speed * math.sin(2 * math.pi * direction), speed * math.cos(2 * math.pi * direction)
    return CameraPath(centre, pan, (2 * zoom - 1) * LARGEST_ZOOM, (2 * turn - 1) * LARGEST_TURN)


def render(photograph: Tensor, path: CameraPath, time: float, frame: tuple[int, int]) -> Tensor:
    """The camera's view of a photograph (3, height, width) at a time: (3, *frame), 8-bit values / 255.

    Each pixel is the average of four bicubic samples, which reduces aliasing. Double precision makes every machine
    round to the same 8 bits.
    """
    import torch
    import torch.nn.functional as F

    ys, xs = (
        (torch.arange(SUPERSAMPLING * side, dtype=torch.float64) + 0.5) / SUPERSAMPLING - side / 2 for side in frame
    )
    positions = path.positions(time, torch.stack(torch.meshgrid(ys, xs, indexing="ij"), dim=-1))
    sides = positions.new_tensor(photograph.shape[1:])
    grid = (2 * positions / sides - 1).flip(-1)[None]  # coordinates of `grid_sample`: x first, the image is [-1, 1]
    samples = F.grid_sample(photograph[None].double(), grid, mode="bicubic", align_corners=False)
    return (255 * F.avg_pool2d(samples, SUPERSAMPLING)[0].clamp(0, 1)).round().float() / 255


def motion() -> Frames:
    """Short sequences of a camera that moves over the bundled photographs, which take turns as they do.

    Only the camera moves and nothing is occluded: real video is harder.
    """
    source = photographs()
    train, validation, test = (filmed(part, PATHS) for part in (source.train, source.validation, source.test))
    folds = tuple(tuple(sequence_names(fold, PATHS)) for fold in source.folds)
    return Frames("motion", train, validation, test, source.credits, folds=folds)


def sequence_names(photographs: Iterable[str], paths: int) -> Iterator[str]:
    """The names of the sequences along `paths` camera paths over each photograph."""
    return (f"{name}-{number}" for name in photographs for number in range(1, paths + 1))


def filmed(photographs: dict[str, Tensor], paths: int) -> dict[str, Tensor]:
    """Sequences (`FRAMES`, 3, height, width) along `paths` camera paths over each photograph, by name."""
    import torch

    times = [index - (FRAMES - 1) / 2 for index in range(FRAMES)]
    sequences: dict[str, Tensor] = {}
    for name, photograph in photographs.items():
        _, height, width = photograph.shape
        frame = frame_side(height), frame_side(width)
        for sequence in sequence_names([name], paths):
            path = draw_path(sequence, (height, width), frame)
            sequences[sequence] = torch.stack([render(photograph, path, time, frame) for time in times])
    return sequences


def frame_side(side: int) -> int:
    """The side of a frame, pixels, over a photograph of this side."""
    return min((side - 2 * ROOM) // SUPERSAMPLING, LARGEST_FRAME) // MULTIPLE * MULTIPLE
