"""Which stereo scenes are there? Scenes rendered from photographs, and the measured motorcycle, with their disparity.

The bundled photographs are the textures of planes at known disparities, so no measurement is needed, and the scenes
turn with the split of the photographs. A rendered scene is a slanted background with two to four slanted shapes before
it. The sign is that of rectified pairs: what the left view shows at column x, the right view shows at x - disparity.
Pixels that the right view does not show have no disparity, as in measured data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ganlab import seeds
from ganlab.datasets.embedded import photographs
from ganlab.datasets.kinds import StereoScenes

if TYPE_CHECKING:
    from torch import Generator, Tensor

HEIGHT, WIDTH = 96, 128  # of a rendered scene
LARGEST = 20.0  # px: the motorcycle has 19.97 at a third of its size
SCENES = 6  # rendered for each photograph, which is their background
SUPERSAMPLING = 2  # samples per pixel in each direction, one photograph pixel apart; they are averaged
BACKGROUND, BACKGROUND_SLOPE = (4.0, 8.0), 0.03  # disparity at the centre of the view, px, and px per px
FOREGROUND, FOREGROUND_SLOPE = (7.0, 17.0), 0.05
HALF_WIDTH, HALF_HEIGHT = (10.0, 32.0), (10.0, 24.0)  # of a shape
GAIN, NOISE = 0.05, 2 / 255  # the right view is up to 5 % brighter or darker; standard deviation in each view
STEPS = 256  # disparities are multiples of 1/256 px, as in the files of KITTI

MEASURED = "motorcycle_left"  # the photograph whose tiles are scenes too
REDUCTION = 3  # of the motorcycle, each side
TILE_HEIGHT, TILE_WIDTH = 80, 120
CLEARLY_NEARER = 1.0  # px of the motorcycle: a larger disparity at the same place of the right view hides a point


@dataclass(frozen=True)
class Layer:
    """A textured plane, whole or cut to a shape; positions are columns x and rows y of the left view.

    Attributes:
        texture: photograph (3, height, width), double.
        origin: column and row of the texture at x = y = 0.
        plane: (a, b, c): the disparity at (x, y) is a + b x + c y px, b < 1.
        shape: "all", "rectangle", or "ellipse".
        centre: of the shape.
        half: half its width and height.
    """

    texture: Tensor
    origin: tuple[float, float]
    plane: tuple[float, float, float]
    shape: str = "all"
    centre: tuple[float, float] = (0.0, 0.0)
    half: tuple[float, float] = (1.0, 1.0)

    def disparity(self, x: Tensor, y: Tensor) -> Tensor:
        """The disparity in px at positions of the left view."""
        a, b, c = self.plane
        return a + b * x + c * y

    def left_column(self, x: Tensor, y: Tensor) -> Tensor:
        """The column in the left view of what the right view shows at (x, y): the solution of x_left - disparity = x"""
        a, b, c = self.plane
        return (x + a + c * y) / (1 - b)

    def covers(self, x: Tensor, y: Tensor) -> Tensor:
        """Whether the shape contains positions of the left view."""
        import torch

        across, down = (x - self.centre[0]) / self.half[0], (y - self.centre[1]) / self.half[1]
        if self.shape == "rectangle":
            return (across.abs() <= 1) & (down.abs() <= 1)
        return across**2 + down**2 <= 1 if self.shape == "ellipse" else torch.ones_like(x, dtype=torch.bool)

    def colours(self, x: Tensor, y: Tensor) -> Tensor:
        """The texture (3, *shape of x) at positions of the left view; beyond its border it is mirrored."""
        import torch
        import torch.nn.functional as F

        positions = torch.stack([self.origin[0] + SUPERSAMPLING * x, self.origin[1] + SUPERSAMPLING * y], dim=-1)
        sides = positions.new_tensor([self.texture.shape[2], self.texture.shape[1]])
        grid = ((2 * positions + 1) / sides - 1)[None]
        image = self.texture[None]
        return F.grid_sample(image, grid, mode="bicubic", padding_mode="reflection", align_corners=False)[0]


def nearest(layers: Sequence[Layer], columns: Sequence[Tensor], y: Tensor) -> Tensor:
    """The index of the front-most layer: of those that cover a position, the one of the largest disparity.

    `columns` are the positions in the left view, layer by layer.
    """
    import torch

    index = torch.zeros(columns[0].shape, dtype=torch.int64)
    most = torch.full(columns[0].shape, -torch.inf, dtype=torch.float64)
    for number, (layer, x) in enumerate(zip(layers, columns, strict=True)):  # several times faster than argmax
        disparity = layer.disparity(x, y)
        nearer = layer.covers(x, y) & (disparity > most)
        index[nearer], most = number, disparity.where(nearer, most)
    return index


def view(layers: Sequence[Layer], right: bool, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """What one of the cameras sees, (3, height, width), without noise: the average of four samples per pixel."""
    import torch
    import torch.nn.functional as F

    y, x = (
        (torch.arange(SUPERSAMPLING * side, dtype=torch.float64) + 0.5) / SUPERSAMPLING - 0.5
        for side in (height, width)
    )
    y, x = torch.meshgrid(y, x, indexing="ij")
    columns = [layer.left_column(x, y) if right else x for layer in layers]
    front = nearest(layers, columns, y)
    seen = torch.zeros(3, *x.shape, dtype=torch.float64)
    for index, (layer, column) in enumerate(zip(layers, columns, strict=True)):
        where = front == index
        seen[:, where] = layer.colours(column[where][None], y[where][None])[:, 0]
    return F.avg_pool2d(seen, SUPERSAMPLING).clamp(0, 1)


def visible_disparity(layers: Sequence[Layer], height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """The disparity (height, width) of the left view in px, NaN where the right view does not show the point."""
    import torch

    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in (height, width)), indexing="ij")
    front = nearest(layers, [x] * len(layers), y)
    disparity = torch.stack([layer.disparity(x, y) for layer in layers]).gather(0, front[None])[0]
    there = x - disparity
    seen = nearest(layers, [layer.left_column(there, y) for layer in layers], y)
    disparity = (STEPS * disparity).round() / STEPS
    return disparity.where((seen == front) & (there >= 0) & (there <= width - 1), torch.nan)


def draw_layers(textures: Sequence[Tensor], draw: Generator) -> list[Layer]:
    """A background textured by the first photograph, and two to four shapes, by any of them."""
    import torch

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=draw, dtype=torch.float64))

    def layer(texture: Tensor, disparity: tuple[float, float], slope: float, **shape: Any) -> Layer:
        x, y = shape.get("centre", ((WIDTH - 1) / 2, (HEIGHT - 1) / 2))
        b, c = between(-slope, slope), between(-slope, slope)
        room = (texture.shape[side] - SUPERSAMPLING * most for side, most in ((2, WIDTH + LARGEST), (1, HEIGHT)))
        origin = between(0, max(0, next(room))), between(0, max(0, next(room)))
        return Layer(texture, origin, (between(*disparity) - b * x - c * y, b, c), **shape)

    layers = [layer(textures[0], BACKGROUND, BACKGROUND_SLOPE)]
    for _ in range(2 + int(between(0, 3))):
        texture = textures[int(between(0, len(textures)))]
        shape = ("rectangle", "ellipse")[int(between(0, 2))]
        centre = between(LARGEST, WIDTH - 1), between(0, HEIGHT - 1)
        half = between(*HALF_WIDTH), between(*HALF_HEIGHT)
        layers.append(layer(texture, FOREGROUND, FOREGROUND_SLOPE, shape=shape, centre=centre, half=half))
    return layers


def photographed(seen: Tensor, gain: float, draw: Generator) -> Tensor:
    """A view as a camera stores it: with a gain and noise, in 8 bits.

    The noise is a sum of three uniform draws: unlike normal draws, it is the same on every machine.
    """
    import torch

    uniform = torch.rand(3, *seen.shape, generator=draw, dtype=torch.float64)
    noise = 2 * NOISE * (uniform.sum(0) - 1.5)  # the sum has a standard deviation of 1/2
    return (255 * (gain * seen + noise).clamp(0, 1)).round().float() / 255


def render(name: str, textures: Sequence[Tensor]) -> Tensor:
    """The scene of a name over photographs (3, height, width), double: (7, HEIGHT, WIDTH), see `StereoScenes`.

    Double precision, and 8 bits at the end, make it the same on every machine.
    """
    import torch

    draw = seeds.generator(0, f"stereo scene {name}")
    layers = draw_layers(textures, draw)
    gain = 1 + GAIN * (2 * float(torch.rand((), generator=draw, dtype=torch.float64)) - 1)
    left = photographed(view(layers, right=False), 1, draw)
    right = photographed(view(layers, right=True), gain, draw)
    return torch.cat([left, right, visible_disparity(layers).float()[None]])


def rendered(textures: dict[str, Tensor]) -> dict[str, Tensor]:
    """`SCENES` scenes before each of some photographs; only these photographs appear in them."""
    precise = {name: texture.double() for name, texture in textures.items()}
    scenes = {}
    for name, background in precise.items():
        others = [texture for other, texture in precise.items() if other != name]
        for number in range(1, SCENES + 1):
            scenes[f"{name}-{number}"] = render(f"{name}-{number}", [background, *others])
    return scenes


def hidden(disparity: np.ndarray) -> np.ndarray:
    """Where the right view does not show a point of the left one, (height, width): something nearer is before it, or
    it is beyond the border. Unknown (NaN) disparities hide nothing."""
    y, x = np.nonzero(np.isfinite(disparity))
    d = disparity[y, x]
    there = np.rint(x - d).astype(int)
    inside = there >= 0
    front = np.full(disparity.shape, -np.inf)
    np.maximum.at(front, (y[inside], there[inside]), d[inside])
    result = np.zeros(disparity.shape, bool)
    result[y, x] = ~inside | (front[y, there.clip(0)] > d + CLEARLY_NEARER)
    return result


def measured() -> dict[str, Tensor]:
    """The motorcycle of the Middlebury benchmark in four tiles, at a third of the size that scikit-image has.

    Colours are averaged over 3 x 3 pixels; the disparity is that of the middle one, since an average over an edge is
    the disparity of nothing. Scharstein et al., "High-resolution stereo datasets with subpixel-accurate ground truth"
    (GCPR 2014).
    """
    import skimage.data
    import torch
    import torch.nn.functional as F

    *views, disparity = skimage.data.stereo_motorcycle()
    disparity = np.where(np.isfinite(disparity) & ~hidden(disparity), disparity, np.nan)
    middle = disparity[REDUCTION // 2 :: REDUCTION, REDUCTION // 2 :: REDUCTION]
    known = torch.from_numpy(np.rint(STEPS * middle / REDUCTION) / STEPS).float()
    left, right = (
        F.avg_pool2d(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).double(), REDUCTION)
        for pixels in views
    )
    columns = torch.arange(TILE_WIDTH)
    tiles = {}
    for row in range(left.shape[1] // TILE_HEIGHT):
        for column in range(left.shape[2] // TILE_WIDTH):
            box = (
                ...,
                slice(row * TILE_HEIGHT, (row + 1) * TILE_HEIGHT),
                slice(column * TILE_WIDTH, (column + 1) * TILE_WIDTH),
            )
            colours = [pixels[box].round().float() / 255 for pixels in (left, right)]
            inside = known[box].where(columns >= known[box], torch.nan)  # the tile of the right view shows the point
            tiles[f"{MEASURED}-tile-{row + 1}-{column + 1}"] = torch.cat([*colours, inside[None]])
    return tiles


def stereo() -> StereoScenes:
    """Rendered scenes, six for each bundled photograph, and four tiles of the motorcycle; they turn as the photographs.

    A scene shows photographs of one fold only, and belongs to it.
    """
    source = photographs()
    every = source.train | source.test
    folds = []
    scenes: dict[str, Tensor] = {}
    for names in source.folds:
        fold = rendered({name: every[name] for name in names})
        if MEASURED in names:
            fold |= measured()
        folds.append(tuple(fold))
        scenes |= fold
    train = {name: scenes[name] for fold in folds[1:] for name in fold}
    test = {name: scenes[name] for name in folds[0]}
    return StereoScenes(
        "stereo", train, rendered(source.validation), test, source.credits, folds=tuple(folds), largest=LARGEST
    )
