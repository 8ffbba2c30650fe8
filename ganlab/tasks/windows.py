"""Which part of which test images is shown in pictures? Where there is most to reconstruct: the busiest windows."""

from functools import lru_cache

import torch
from torch import Tensor

from ganlab.metrics import luma
from ganlab.tasks.patches import Pairs

WINDOWS = 2  # how many test images are shown


@lru_cache(maxsize=4)
def shown_windows(pairs: Pairs, side: int) -> dict[str, tuple[int, int]]:
    """The busiest test images that are large enough, and where their busiest window lies: top and left by name."""
    targets = {name: pair.target for name, pair in pairs.test.items() if min(pair.target.shape[-2:]) >= side}
    found = {name: busiest_window(target.expand(3, -1, -1), side) for name, target in targets.items()}
    names = sorted(found, key=lambda name: -found[name][2])[:WINDOWS]
    return {name: found[name][:2] for name in names}


def busiest_window(image: Tensor, side: int) -> tuple[int, int, float]:
    """Top and left of the `side` x `side` window with the most edge energy in `image` (3, height, width), and it."""
    y = luma(image)
    energy = y.diff(dim=0)[:, 1:].square() + y.diff(dim=1)[1:].square()
    sums = torch.nn.functional.avg_pool2d(energy[None, None], side - 1, stride=4)[0, 0]
    index = int(sums.argmax())
    return 4 * (index // sums.shape[1]), 4 * (index % sums.shape[1]), float(sums.max())
