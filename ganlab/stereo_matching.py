"""How is disparity found in two views? By block matching, and by a small network with a cost volume."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganlab.networks import corrected, zero_convolution
from ganlab.residual import ResidualBlock
from ganlab.seeds import seeded_weights

WINDOW = 7  # px, the side of a block
SHRINK = 2  # the network works at half the resolution
SHARPNESS = 10.0  # of the soft-argmin when training starts: correlations lie in [-1, 1]


def shifted(view: Tensor, disparity: int) -> Tensor:
    """`view` (..., width) moved right by a whole disparity, so that matching points coincide; zeros come in."""
    return F.pad(view, (disparity, 0))[..., : view.shape[-1]]


def block_matching(given: Tensor, largest: float) -> Tensor:
    """Disparity over the largest, (batch, 1, height, width), by winner-takes-all over whole disparities: no training.

    `given` (batch, 6, height, width) is the left and the right view. A disparity costs the sum of absolute differences
    over blocks of 7 x 7 pixels; one that points beyond the right view is not considered.
    """
    left, right = given[:, :3], given[:, 3:]
    columns = torch.arange(given.shape[-1], device=given.device)
    costs = []
    for disparity in range(int(largest) + 1):
        difference = (left - shifted(right, disparity)).abs().mean(1)
        block = F.avg_pool2d(difference, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)
        costs.append(block.masked_fill(columns < disparity, torch.inf))
    return torch.stack(costs, dim=1).argmin(1, keepdim=True) / largest


def correlations(left: Tensor, right: Tensor, levels: int) -> Tensor:
    """The cost volume (batch, levels, h, w): the product of left features at x and right ones at x - level, summed over
    the channels of (batch, channels, h, w); 0 where x < level.

    All pairs of a row are multiplied at once, which is several times faster than a product for each level.
    """
    pairs = torch.einsum("bchx,bchy->bhxy", left, right)
    columns = torch.arange(left.shape[-1], device=left.device)
    there = columns[:, None] - torch.arange(levels, device=left.device)
    band = pairs.gather(3, there.clamp(min=0).expand(*pairs.shape[:2], -1, -1))
    return band.mul(there >= 0).permute(0, 3, 1, 2)


class StereoMatcher(nn.Module):
    """Left and right view (batch, 6, h, w) in [0, 1] to logits of disparity over the largest, (batch, 1, h, w).

    Both views pass through the same layers at half the resolution. Their correlations over all whole disparities at
    that resolution are the cost volume, which residual blocks aggregate together with the left features. The result is
    the soft-argmin of the volume plus a correction for each pixel, which starts at zero. As in Kendall et al., "End-to-
    End Learning of Geometry and Context for Deep Stereo Regression" (ICCV 2017), but with a volume of correlations, as
    in Mayer et al. (CVPR 2016, "DispNetC"), and convolutions in two dimensions.
    """

    def __init__(self, channels: int, blocks: int, largest: float, head: str):
        super().__init__()
        self.head = head
        self.levels = int(-(-largest // SHRINK)) + 1
        self.unit = SHRINK / largest  # the disparity of one level over the largest
        self.describe = nn.Sequential(
            nn.Conv2d(3 * SHRINK**2, channels, 3, padding=1),
            ResidualBlock(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.aggregate = nn.Sequential(
            nn.Conv2d(self.levels + channels, channels, 3, padding=1), *(ResidualBlock(channels) for _ in range(blocks))
        )
        self.refine_volume = zero_convolution(channels, self.levels)
        self.decode = zero_convolution(channels, SHRINK**2)

    def forward(self, given: Tensor) -> Tensor:
        views = F.pixel_unshuffle(torch.cat([given[:, :3], given[:, 3:]]) - 0.5, SHRINK)
        left, right = self.describe(views).chunk(2)
        volume = correlations(F.normalize(left, dim=1), F.normalize(right, dim=1), self.levels)
        features = self.aggregate(torch.cat([volume, left], dim=1))
        matched = torch.softmax(SHARPNESS * (volume + self.refine_volume(features)), dim=1)
        levels = self.unit * torch.arange(self.levels, dtype=matched.dtype, device=matched.device)
        coarse = torch.einsum("bdhw,d->bhw", matched, levels)[:, None]
        guess = F.interpolate(coarse, scale_factor=SHRINK, mode="nearest")
        return corrected(guess, F.pixel_shuffle(self.decode(features), SHRINK).to(guess.dtype), self.head)


def build_stereo_matcher(channels: int, blocks: int, largest: float, head: str, seed: int) -> StereoMatcher:
    """The network of depth; the weights depend on the seed and the sizes, not on the head."""
    with seeded_weights(seed, "depth weights"):
        return StereoMatcher(channels, blocks, largest, head)
