"""What would a user write instead? The pattern of the widely copied PyTorch GAN scripts, and the usual SR loop.

Single precision, default memory layout, a `DataLoader` whose data set transforms sample by sample, plain Adam, every
gradient of every backward pass, and numbers read back and formatted at each step. The networks are those of the
harness.
"""

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ganlab.datasets import LabelledImages, Photographs, load
from ganlab.networks import build_gan, build_super_resolver
from ganlab.residual import ResidualBlock
from ganlab.tasks import Experiment, gan, super_resolution
from ganlab.tasks.patches import fit
from tools.peers.trainer import Trainer

CRITERIA = {"bce": nn.BCELoss, "l1": nn.L1Loss, "l2": nn.MSELoss}
PATCHES_PER_PHOTOGRAPH = 1000  # defines an epoch of the SR loop: there are few photographs and many patches
SCREEN = open(os.devnull, "w")  # noqa: SIM115 - lines are formatted and written; the terminal's speed is not measured
Transform = Callable[[Any], Any]


def to_bytes(image: Tensor) -> np.ndarray:
    """An image (channels, height, width) in [0, 1] as 8-bit pixels (height, width, channels)."""
    return (255 * image).round().byte().permute(1, 2, 0).numpy()


def resize(size: int) -> Transform:
    """An image resized so that the shorter side is `size` pixels; unchanged if it already is."""

    def transform(image: Image.Image) -> Image.Image:
        shorter = min(image.size)
        if shorter == size:
            return image
        width, height = (round(side * size / shorter) for side in image.size)
        return image.resize((width, height), Image.Resampling.BILINEAR)

    return transform


def to_tensor(image: Image.Image | np.ndarray) -> Tensor:
    """8-bit pixels (height, width) or (height, width, channels) as a tensor (channels, height, width) in [0, 1]."""
    pixels = np.array(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div(255)


def normalise(mean: float, deviation: float) -> Transform:
    """(x - mean) / deviation."""

    def transform(image: Tensor) -> Tensor:
        shift, scale = torch.as_tensor([mean]).view(-1, 1, 1), torch.as_tensor([deviation]).view(-1, 1, 1)
        return image.sub(shift).div_(scale)

    return transform


class GreyImages(Dataset):
    """Grey images with labels, transformed on access."""

    def __init__(self, images: Tensor, labels: Tensor, transforms: list[Transform]):
        self.images = [to_bytes(image)[:, :, 0] for image in images]
        self.labels, self.transforms = labels.tolist(), transforms

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image: Any = Image.fromarray(self.images[index])
        for transform in self.transforms:
            image = transform(image)
        return image, self.labels[index]


class RandomPatches(Dataset):
    """Pairs of low and high resolution (channels, p, p) and (channels, scale p, scale p), cut at random positions."""

    def __init__(self, lows: list[Tensor], highs: list[Tensor], patch: int, scale: int):
        self.lows, self.highs = [to_bytes(low) for low in lows], [to_bytes(high) for high in highs]
        self.patch, self.scale = patch, scale

    def __len__(self) -> int:
        return PATCHES_PER_PHOTOGRAPH * len(self.lows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        which, p, scale = index % len(self.lows), self.patch, self.scale
        low, high = self.lows[which], self.highs[which]
        top, left = (random.randint(0, side - p) for side in low.shape[:2])
        low = low[top : top + p, left : left + p]
        high = high[scale * top : scale * (top + p), scale * left : scale * (left + p)]
        return to_tensor(low), to_tensor(high)


def batches(dataset: Dataset, batch_size: int, loader_workers: int) -> Iterator[Any]:
    """Shuffled batches, epoch after epoch; a smaller last batch is dropped, so every step does equal work."""
    loader = DataLoader(
        dataset,
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=loader_workers,
        pin_memory=loader_workers > 0,
        persistent_workers=loader_workers > 0,
    )
    while True:
        yield from loader


class UsualGan(Trainer):
    """The widely copied script: G's step, then D's on the real images and, once more, on the generated ones."""

    def __init__(self, experiment: Experiment, device: torch.device, loader_workers: int = 0):
        settings = gan.Settings(**experiment.settings)
        data = load(experiment.dataset, LabelledImages)
        size = data.train.shape[-1]
        dataset = GreyImages(data.train, data.train_labels, [resize(size), to_tensor, normalise(0.5, 0.5)])
        self.batches = batches(dataset, experiment.batch_size, loader_workers)
        self.generator, self.discriminator = (
            network.to(device)
            for network in build_gan(
                size, settings.latent, settings.width, settings.discriminator_norm, experiment.seed
            )
        )
        self.criterion = CRITERIA[experiment.loss]().to(device)
        self.networks = [self.generator, self.discriminator]
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), lr=experiment.lr, betas=gan.BETAS)
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=experiment.lr, betas=gan.BETAS)
        self.device, self.latent, self.images_per_step = device, settings.latent, experiment.batch_size

    def step(self) -> None:
        """One batch from the loader, one step of each network, one line on the screen."""
        images, _ = next(self.batches)
        latents = torch.from_numpy(np.random.normal(0, 1, (len(images), self.latent))).float().to(self.device)
        g_loss, d_loss = self.train(images.to(self.device), latents)
        print(f"[D loss: {d_loss:f}] [G loss: {g_loss:f}]", file=SCREEN)

    def train(self, real: Tensor, latents: Tensor) -> tuple[float, float]:
        """G's and D's loss on real images (batch, 1, size, size) in [-1, 1] and latents (batch, latent)."""
        valid, fake = torch.ones(len(real), device=self.device), torch.zeros(len(real), device=self.device)

        self.g_optimizer.zero_grad()
        generated = self.generator(latents)
        g_loss = self.criterion(torch.sigmoid(self.discriminator(generated)), valid)
        g_loss.backward()
        self.g_optimizer.step()

        self.d_optimizer.zero_grad()
        real_loss = self.criterion(torch.sigmoid(self.discriminator(real)), valid)
        fake_loss = self.criterion(torch.sigmoid(self.discriminator(generated.detach())), fake)
        d_loss = (real_loss + fake_loss) / 2
        d_loss.backward()
        self.d_optimizer.step()
        return g_loss.item(), d_loss.item()


class UsualSuperResolution(Trainer):
    """The usual SR loop on pixels in [0, 1]."""

    def __init__(self, experiment: Experiment, device: torch.device, loader_workers: int = 0):
        settings = super_resolution.Settings(**experiment.settings)
        scale = experiment.scale
        assert scale is not None  # every super-resolver has one
        data = load(experiment.dataset, Photographs).turn(experiment.seed)
        low = super_resolution.low_resolutions(experiment.dataset, scale)
        highs = [fit(image, scale) for image in data.train.values()]
        dataset = RandomPatches([low[name] for name in data.train], highs, settings.patch, scale)
        self.batches = batches(dataset, experiment.batch_size, loader_workers)
        self.model = build_super_resolver(
            settings.channels, settings.blocks, scale, experiment.head, experiment.seed
        ).to(device)
        for block in self.model.modules():
            if isinstance(block, ResidualBlock):
                block.fuses = False  # users write separate layers
        self.networks = [self.model]
        self.criterion = CRITERIA[experiment.loss]().to(device)
        self.sigmoid = experiment.head == "sigmoid"
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=experiment.lr)
        self.device, self.images_per_step = device, experiment.batch_size

    def step(self) -> None:
        """One batch from the loader, one step, one line on the screen."""
        low, high = next(self.batches)
        loss = self.train(low.to(self.device), high.to(self.device))
        print(f"loss: {loss:f}", file=SCREEN)

    def train(self, low: Tensor, high: Tensor) -> float:
        """The loss on low resolutions (batch, 3, p, p) and targets (batch, 3, scale p, scale p) in [0, 1]."""
        self.optimizer.zero_grad()
        output = self.model(low)
        loss = self.criterion(torch.sigmoid(output) if self.sigmoid else output, high)
        loss.backward()
        self.optimizer.step()
        return loss.item()


USUAL = {"gan": UsualGan, "sr": UsualSuperResolution}
