"""Which parts of which test images do pictures show? The windows with the most edges."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ganlab.lazy import lazily
from ganlab.metrics import luma
from ganlab.tasks.patches import Pairs

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    lazily(globals(), torch="torch")

WINDOWS = 2  # how many test images are shown


@lru_cache(maxsize=8)
def shown_windows(pairs: Pairs, side: int) -> dict[str, tuple[int, int]]:
    """Top and left of the busiest window of the busiest test images that are large enough, by name."""
    targets = {name: pair.target for name, pair in pairs.test.items() if min(pair.target.shape[-2:]) >= side}
    windows = {name: busiest_window(target.expand(3, -1, -1), side) for name, target in targets.items()}
    names = sorted(windows, key=lambda name: -windows[name][2])[:WINDOWS]
    return {name: windows[name][:2] for name in names}


def busiest_window(image: Tensor, side: int) -> tuple[int, int, float]:
    """The `side` x `side` window of `image` (3, height, width) with the most edge energy: top, left, and the energy."""
    y = luma(image)
    energy = y.diff(dim=0)[:, 1:].square() + y.diff(dim=1)[1:].square()
    sums = torch.nn.functional.avg_pool2d(energy[None, None], side - 1, stride=4)[0, 0]
    index = int(sums.argmax())
    return 4 * (index // sums.shape[1]), 4 * (index % sums.shape[1]), float(sums.max())
