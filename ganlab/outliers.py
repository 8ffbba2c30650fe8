"""Which outliers can strike, what do they do, and where do they pull a loss?

Four places can be corrupted: a super-resolution `target`, the GAN's `real` images, its discriminator's `label`s, or the
location GAN's real `sample`s. A kind is one function and one line in `OUTLIERS`. Corruption is drawn from a generator
derived from the seed alone, so every loss of a seed meets the same outliers (paired comparison), and it is fixed: a
data set that contains outliers.
Definitions: science.md sections 4 to 6.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor


def _hit(target: Tensor, rate: float, generator: Generator) -> Tensor:
    """Which pixels are struck, (1, height, width): one draw per pixel, for all channels alike."""
    return torch.rand(1, *target.shape[-2:], generator=generator) < rate


def impulse(target: Tensor, rate: float, generator: Generator) -> Tensor:
    """With probability `rate` a pixel of `target` (channels, height, width) becomes a grey drawn from U[0, 1]."""
    hit = _hit(target, rate, generator)
    return torch.where(hit, torch.rand(hit.shape, generator=generator), target)


def salt(target: Tensor, rate: float, generator: Generator) -> Tensor:
    """With probability `rate` a pixel of `target` (channels, height, width) becomes white: a one-sided outlier."""
    return torch.where(_hit(target, rate, generator), torch.ones(()), target)


def salt_pepper(target: Tensor, rate: float, generator: Generator) -> Tensor:
    """With probability `rate` a pixel of `target` (channels, height, width) becomes black or white, evenly."""
    hit = _hit(target, rate, generator)
    return torch.where(hit, (torch.rand(hit.shape, generator=generator) < 0.5).float(), target)


def jitter(target: Tensor, rate: float, generator: Generator) -> Tensor:
    """x + u min(x, 1 - x) with u ~ U[-rate, rate] at each pixel: zero mean, stays in [0, 1]. The control."""
    u = (2 * torch.rand(1, *target.shape[-2:], generator=generator) - 1) * rate
    return target + u * torch.minimum(target, 1 - target)


def noise(images: Tensor, generator: Generator) -> Tensor:
    """Uniform pixels in the shape of `images` (n, channels, height, width)."""
    return torch.rand(images.shape, generator=generator)


def far(samples: Tensor, generator: Generator) -> Tensor:
    """N(5, I) in the shape of `samples` (n, dimension): 5 sqrt(dimension) away, every one can be told."""
    return 5 + torch.randn(samples.shape, generator=generator)


def near(samples: Tensor, generator: Generator) -> Tensor:
    """N(0.5, I) in the shape of `samples` (n, dimension): in 100 dimensions 5 away, so the two clouds touch."""
    return 0.5 + torch.randn(samples.shape, generator=generator)


@dataclass(frozen=True)
class OutlierKind:
    """One kind of outlier.

    Attributes:
        name: its name in suites and CSV.
        strikes: what it corrupts.
        effect: one clause for people.
        draw: for targets (target, rate, generator) -> target; for real images and samples (them, generator) ->
            replacements; None for labels, whose flips `flip_labels` draws afresh at each step.
        mean: the mean mu of a corrupted pixel or of an outlier's coordinates, towards which a mean-seeking loss is
            pulled; None where the corruption leaves the mean alone.
    """

    name: str
    strikes: Literal["target", "real", "label", "sample"]
    effect: str
    draw: Callable[..., Tensor] | None = None
    mean: float | None = None


OUTLIERS: dict[str, OutlierKind] = {
    kind.name: kind
    for kind in (
        OutlierKind("impulse", "target", "pixels become a random grey", impulse, mean=0.5),
        OutlierKind("salt", "target", "pixels become white", salt, mean=1.0),
        OutlierKind("salt-pepper", "target", "pixels become black or white", salt_pepper, mean=0.5),
        OutlierKind("jitter", "target", "zero-mean noise on every pixel (control)", jitter),
        OutlierKind("noise", "real", "real images become uniform noise", noise),
        OutlierKind("flip", "label", "the discriminator's labels are flipped"),
        OutlierKind("far", "sample", "samples move to N(5, I)", far, mean=5.0),
        OutlierKind("near", "sample", "samples move to N(0.5, I)", near, mean=0.5),
    )
}
CLEAN = "clean"  # the name of "no outliers" in suites and CSV; its rate is 0


def corrupt_target(target: Tensor, kind: str, rate: float, generator: Generator) -> Tensor:
    """`target` (channels, height, width), values in [0, 1], with outliers of `kind` at `rate`; unchanged for `clean`.

    Raises:
        KeyError: no such kind, or one that does not strike targets.
    """
    if kind == CLEAN:
        return target
    if OUTLIERS[kind].strikes != "target":
        raise KeyError(f"outlier kind {kind} strikes the {OUTLIERS[kind].strikes}, not targets")
    return OUTLIERS[kind].draw(target, rate, generator)


def contaminate(images: Tensor, kind: str, rate: float, generator: Generator) -> Tensor:
    """Real images or samples (n, ...) of which exactly round(rate n) are outliers of `kind`."""
    if kind == CLEAN or OUTLIERS[kind].strikes not in ("real", "sample"):
        return images
    chosen = torch.randperm(len(images), generator=generator)[: round(rate * len(images))]
    mixed = images.clone()
    mixed[chosen] = OUTLIERS[kind].draw(images[chosen], generator)
    return mixed


def flip_labels(labels: Tensor, rate: float, generator: Generator) -> Tensor:
    """0/1 `labels` (n,) of which each is flipped independently with probability `rate` (science.md section 3)."""
    flips = (torch.rand(labels.shape, generator=generator) < rate).to(labels.device)
    return torch.where(flips, 1 - labels, labels)


def pull_mse(clean: Tensor, kind: str, rate: float) -> tuple[float, float]:
    """rate^2 mean((x - mu)^2) of one clean image, for RGB and for Y: what pulls a mean-seeking loss off its target.

    The prediction for that image is MSE = (1 - rate^2) C + pull, with C its MSE under clean training
    (science.md section 5). Zero for `clean` and for kinds that leave the mean alone.

    Args:
        clean: one test image (3, height, width) in [0, 1], cropped as for the metrics.
        kind: an outlier kind that strikes targets.
        rate: its rate.
    """
    mean = None if kind == CLEAN else OUTLIERS[kind].mean
    if mean is None:
        return 0.0, 0.0
    from ganlab.metrics import luma  # metrics imports nothing of outliers

    luma_mean = (16 + 219 * mean) / 255
    return (
        rate**2 * float((clean - mean).square().mean()),
        rate**2 * float((luma(clean) - luma_mean).square().mean()),
    )
