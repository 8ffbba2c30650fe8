"""Which networks are trained? A DCGAN-style generator and discriminator, EDSR-style residual networks, or the user's.

Every builder takes a seed: the same seed gives the same initial weights for every loss.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganlab.plugins import PluginError, describe, load_plugin
from ganlab.records import DiscriminatorNorm
from ganlab.residual import ResidualBlock
from ganlab.seeds import seeded_weights

Network = TypeVar("Network", bound=nn.Module)
ROLES = {  # the input and output of a user's network in each role, with a batch of n, in training and evaluation
    "generator": "latents (n, latent) to grey images (n, 1, size, size) in [-1, 1]",
    "discriminator": "grey images (n, 1, size, size) in [-1, 1] to logits (n,)",
    "super-resolver": "low resolution (n, 3, h, w) in [0, 1] to logits (n, 3, scale h, scale w), any h and w",
    "depth": "left and right view (n, 6, h, w) in [0, 1] to logits (n, 1, h, w), h and w even",
    "interpolator": "two frames in one tensor (n, 6, h, w) in [0, 1] to logits (n, 3, h, w), h and w even",
    "restorer": "corrupted images (n, 3, h, w) in [0, 1] to logits (n, 3, h, w), h and w even",
}
LARGER = {  # rows and columns added to a training patch, to try a network on a larger image such as a test image
    "super-resolver": (5, 11),
    "depth": (4, 12),
    "interpolator": (2, 6),
    "restorer": (2, 6),
}


def channels_last(network: Network, device: torch.device | None = None) -> Network:
    """The network in channels-last memory, on a device (None: its current one)."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in the stubs


def _dcgan_weights(network: nn.Module) -> None:
    """Normal weights of standard deviation 0.02 in convolutions (Radford et al., "DCGAN", ICLR 2016, section 3)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)


class Generator(nn.Module):
    """Latents (batch, latent) to grey images (batch, 1, size, size) in [-1, 1], by transposed convolutions.

    Feature maps start at a quarter of the size (28: 7 - 14 - 28); for size 8 at a half (4 - 8), because from 2x2
    the generator collapses to a few modes of the digits.
    """

    def __init__(self, size: int, latent: int, width: int):
        super().__init__()
        self.latent = latent
        self.start = size // 2 if size <= 8 else size // 4
        self.project = nn.Linear(latent, 2 * width * self.start**2, bias=False)  # batch normalisation has a bias
        last = nn.Conv2d(width, 1, 3, padding=1) if size <= 8 else nn.ConvTranspose2d(width, 1, 4, 2, 1)
        self.upsample = nn.Sequential(
            nn.BatchNorm2d(2 * width),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            last,
            nn.Tanh(),
        )

    def forward(self, latents: Tensor) -> Tensor:
        features = self.project(latents).unflatten(1, (self.start, self.start, -1)).permute(0, 3, 1, 2)
        return self.upsample(features)


class Shift(nn.Module):
    """The generator of the location GAN: latents (batch, dimension) to latents + theta_hat."""

    def __init__(self, start: Tensor):
        super().__init__()
        self.theta_hat = nn.Parameter(start.clone())

    def forward(self, latents: Tensor) -> Tensor:
        return latents + self.theta_hat


class FlattenPixels(nn.Module):
    """Images (batch, channels, h, w) to vectors (batch, h w channels): a view, not a copy, in channels-last memory.

    `nn.Flatten` returns a gradient in the other layout, which makes every layer before it slow.
    """

    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 2, 3, 1).flatten(1)


def discriminator(size: int, width: int, norm: DiscriminatorNorm) -> nn.Module:
    """Grey images (batch, 1, size, size) in [-1, 1] to logits (batch,), by strided convolutions.

    Batch normalisation (DCGAN) always uses the statistics of the current batch. It keeps no running statistics, so a
    forward pass changes no state. `spectral` bounds each layer's gain (Miyato et al., ICLR 2018).
    """

    def constrain(layer: nn.Module) -> nn.Module:
        return spectral_norm(layer) if norm == "spectral" else layer

    normalise = nn.BatchNorm2d(2 * width, track_running_stats=False) if norm == "batch" else nn.Identity()
    first = nn.Conv2d(1, width, 3, padding=1) if size <= 8 else nn.Conv2d(1, width, 4, 2, 1)
    end = size // 2 if size <= 8 else size // 4
    return nn.Sequential(
        constrain(first),
        nn.LeakyReLU(0.2, inplace=True),
        constrain(nn.Conv2d(width, 2 * width, 4, 2, 1, bias=norm != "batch")),
        normalise,
        nn.LeakyReLU(0.2, inplace=True),
        FlattenPixels(),
        constrain(nn.Linear(2 * width * end**2, 1)),
        nn.Flatten(0),
    )


def build_gan(size: int, latent: int, width: int, norm: DiscriminatorNorm, seed: int) -> tuple[Generator, nn.Module]:
    """The generator and the discriminator for grey images of `size` x `size` pixels (8, or a multiple of 4)."""
    with seeded_weights(seed, "gan weights"):
        pair = Generator(size, latent, width), discriminator(size, width, norm)
        for network in pair:
            _dcgan_weights(network)
    return pair


@cache  # unbounded: a captured step reads the weights at their address
def bicubic_weights(size: int, scale: int, device: torch.device) -> Tensor:
    """The matrix (scale size, size) that upscales a row of `size` pixels, with the kernel of `downscale`."""
    impulses = torch.eye(size)[None, None]
    weights = F.interpolate(impulses, scale_factor=(scale, 1), mode="bicubic", align_corners=False, antialias=True)
    return weights[0, 0].to(device)


def upscale(low: Tensor, scale: int) -> Tensor:
    """Bicubic upscaling (batch, channels, h, w) -> (batch, channels, scale h, scale w), kernel a = -0.5, unclipped.

    Two products with small matrices, for rows and columns: several times faster than `F.interpolate`.
    """
    rows, columns = (bicubic_weights(size, scale, low.device) for size in low.shape[-2:])
    with torch.autocast(low.device.type, enabled=False):
        large = rows @ (low @ columns.mT)
    # Channels last, like the tensor added to it. `torch.vmap` does not support `memory_format`.
    return large.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def downscale(image: Tensor, scale: int) -> Tensor:
    """The low resolution of an image (channels, h, w) in [0, 1]: bicubic with antialiasing, rounded to 8 bits.

    The kernel (a = -0.5, widened by `scale`) is that of MATLAB's imresize, which published benchmarks use. `h` and `w`
    must be multiples of `scale`.
    """
    low = F.interpolate(image[None], scale_factor=1 / scale, mode="bicubic", align_corners=False, antialias=True)[0]
    return (255 * low.clamp(0, 1)).round() / 255


# The least distance of a first guess from black and white behind a sigmoid, so that its logit is finite and its slope
# p (1 - p) does not vanish. Half a grey level (1/510) is too small: dark pixels then hardly change, and under impulse
# 0.2 L2 ends 1.2 dB above its prediction and BCE 0.8 below, after any number of steps. 0.05 costs 0.3 dB on clean
# targets, 0.01 nothing.
MARGIN = 0.01


def corrected(guess: Tensor, correction: Tensor, head: str) -> Tensor:
    """The logits of a first guess in [0, 1] plus a network's correction of the same shape.

    Behind a sigmoid the guess becomes its logit, and the correction is multiplied by 4, the inverse of the sigmoid's
    largest slope: steps then have the same size under both heads.
    """
    if head == "raw":
        return guess + correction
    return torch.logit(guess.clamp(MARGIN, 1 - MARGIN)) + 4 * correction


def zero_convolution(takes: int, gives: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size and starts at zero."""
    layer = nn.Conv2d(takes, gives, 3, padding=1)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class SuperResolver(nn.Module):
    """Low resolution (batch, 3, h, w) in [0, 1] to logits (batch, 3, scale h, scale w), starting at bicubic.

    Residual blocks, pixel shuffle, and a global bicubic skip; the last layer starts at zero, so the untrained
    network's prediction is the bicubic image (up to `MARGIN`).
    """

    def __init__(self, channels: int, blocks: int, scale: int, head: str):
        super().__init__()
        self.scale, self.head = scale, head
        self.encode = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.decode = zero_convolution(channels, 3 * scale**2)

    def forward(self, low: Tensor) -> Tensor:
        bicubic = upscale(low, self.scale)
        features = self.encode(low - 0.5)
        correction = F.pixel_shuffle(self.decode(features + self.blocks(features)), self.scale).to(bicubic.dtype)
        return corrected(bicubic, correction, self.head)


def build_super_resolver(channels: int, blocks: int, scale: int, head: str, seed: int) -> SuperResolver:
    """The super-resolution network; the weights depend on the seed and the sizes, not on the head."""
    with seeded_weights(seed, "super-resolver weights"):
        return SuperResolver(channels, blocks, scale, head)


class Corrector(nn.Module):
    """Images (batch, takes, h, w) in [0, 1] to logits (batch, gives, h, w), starting at a first guess.

    `guess` computes it from the input, in [0, 1] and in the shape of the logits. Residual blocks correct it at a
    resolution `shrink` times lower, with `shrink`^2 times as many channels: this is cheap and widens the receptive
    field. Sides must be multiples of `shrink`. The last layer starts at zero, so the untrained network gives the guess
    (up to `MARGIN`).
    """

    def __init__(
        self,
        takes: int,
        gives: int,
        channels: int,
        blocks: int,
        shrink: int,
        head: str,
        guess: Callable[[Tensor], Tensor],
    ):
        super().__init__()
        self.shrink, self.head, self.guess = shrink, head, guess
        self.encode = nn.Conv2d(takes * shrink**2, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.decode = zero_convolution(channels, gives * shrink**2)

    def forward(self, given: Tensor) -> Tensor:
        guess = self.guess(given)
        features = self.encode(F.pixel_unshuffle(given - 0.5, self.shrink))
        correction = F.pixel_shuffle(self.decode(features + self.blocks(features)), self.shrink).to(guess.dtype)
        return corrected(guess, correction, self.head)


def build_corrector(role: str, seed: int, **sizes: Any) -> Corrector:
    """The network of a reconstruction that keeps the resolution; the weights depend on seed, role, and sizes."""
    with seeded_weights(seed, f"{role} weights"):
        return Corrector(**sizes)


def user_network(
    reference: str, role: str, takes: Sequence[int], gives: Sequence[int], seed: int, **sizes: Any
) -> nn.Module | None:
    """The network that the user's `build(role, **sizes)` returns for a role of `ROLES`; None means the shipped one.

    Its weights depend only on the seed and the role. It is tried on zeros in training and evaluation mode, on patches
    and on larger images.

    Args:
        reference: `package.module:build`.
        role: one of `ROLES`.
        takes, gives: shapes of an input and of its output, batch first (at least 2, for batch normalisation).
        seed: of the weights.
        sizes: the arguments of the shipped network; `build` may use them or accept them as `**sizes`.

    Raises:
        PluginError: there is no such function, it fails, or its network does not meet the role.
    """
    first, second = (_built(reference, role, takes, gives, seed, sizes) for _ in range(2))
    if first is None or second is None:
        return None
    if not all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)):
        raise PluginError(
            f"{reference}: two {role}s of one seed start from different weights; draw them from PyTorch, "
            "as its layers and torch.nn.init do"
        )
    return first


def _built(
    reference: str, role: str, takes: Sequence[int], gives: Sequence[int], seed: int, sizes: dict[str, Any]
) -> nn.Module | None:
    """The user's network, after trying it; see `user_network`."""
    build = load_plugin(reference)
    with seeded_weights(seed, f"{role} weights"):
        try:
            network = build(role, **sizes)
        except Exception as error:
            call = ", ".join([repr(role), *(f"{name}={value!r}" for name, value in sizes.items())])
            raise PluginError(f"{reference}: build({call}) fails: {describe(error)}") from error
        if network is None:
            return None
        if not isinstance(network, nn.Module) or not any(weight.requires_grad for weight in network.parameters()):
            returned = type(network).__name__
            if isinstance(network, nn.Module):
                frozen = any(True for _ in network.parameters())
                returned = "a module all of whose parameters are frozen" if frozen else "a module without parameters"
            raise PluginError(
                f"{reference}: build({role!r}, ...) gives {returned}; return a torch.nn.Module that "
                "can be trained, or None for the shipped one"
            )
        _try(network.eval(), reference, role, takes, gives)  # initialises lazy layers too
        if role in LARGER:
            scale = gives[-1] // takes[-1]
            larger = [side + more for side, more in zip(takes[-2:], LARGER[role], strict=True)]
            _try(network, reference, role, (1, takes[1], *larger), (1, gives[1], *(scale * side for side in larger)))
        state = [*network.parameters(), *network.buffers()]
        before = [tensor.detach().clone() for tensor in state]
        logits = _try(network.train(), reference, role, takes, gives)
        if not logits.requires_grad:
            raise PluginError(f"{reference}: what its {role} gives depends on no parameter, so it cannot be trained")
        with torch.no_grad():
            for tensor, value in zip(state, before, strict=True):  # undoes the update of batch normalisation by zeros
                tensor.copy_(value)
    return network


def _try(network: nn.Module, reference: str, role: str, takes: Sequence[int], gives: Sequence[int]) -> Tensor:
    """The output of a user's network for zeros; it must be finite and of the shape `gives`."""
    must = f"a {role} maps {ROLES[role]}: here {tuple(takes)} to {tuple(gives)}"
    mode = "training" if network.training else "evaluation"
    try:
        output = network(torch.zeros(*takes))
    except Exception as error:
        raise PluginError(f"{reference}: {must}; in {mode} it fails: {describe(error)}") from error
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if shape != tuple(gives):
        raise PluginError(f"{reference}: {must}, but in {mode} it gives {shape}")
    if not output.is_floating_point() or not output.isfinite().all():
        raise PluginError(f"{reference}: {must}, but in {mode} zeros give {output.dtype} that is not finite")
    return output
