"""How is super-resolution trained and tested under corrupted targets?

The network sees the low resolution; a share of its training targets is corrupted; the test photographs are clean.
Weights, batches, and corruption depend on the seed alone, so losses are compared in pairs. Protocol: science.md
sections 5 and 7.
"""

import math
from functools import lru_cache
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ganlab import metrics, seeds
from ganlab.datasets import Photographs, load
from ganlab.losses import find_loss, predict
from ganlab.networks import build_super_resolver, downscale, upscale
from ganlab.outliers import CLEAN, corrupt_target, pull_mse
from ganlab.tasks.experiment import (
    Experiment,
    Mark,
    Readouts,
    Record,
    build_optimizer,
    on_host,
    set_learning_rate,
    to_device,
    unmarked,
)

WINDOW = 64  # side of the crops shown in figures, pixels
WINDOWS = 2  # how many test images are shown


class Settings(Record):
    """Sizes of the network (`channels`, residual `blocks`) and of a training patch (`patch`, low-resolution pixels)."""

    channels: Annotated[int, Field(ge=1)] = 16
    blocks: Annotated[int, Field(ge=0)] = 3
    patch: Annotated[int, Field(ge=2)] = 16


def fit(image: Tensor, scale: int) -> Tensor:
    """`image` (channels, height, width) with its sides cut to multiples of `scale`."""
    return image[:, : image.shape[1] // scale * scale, : image.shape[2] // scale * scale]


def stack(images: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Images (channels, height, width) of mixed sizes as one tensor (n, max height, max width, channels), zero-padded,
    and their sizes (n, 2)."""
    sizes = torch.tensor([image.shape[1:] for image in images])
    packed = torch.zeros(len(images), *sizes.amax(0).tolist(), images[0].shape[0])
    for slot, image in zip(packed, images, strict=True):
        slot[: image.shape[1], : image.shape[2]] = image.permute(1, 2, 0)
    return packed, sizes


@lru_cache(maxsize=4)
def low_resolutions(dataset: str, scale: int) -> dict[str, Tensor]:
    """The low resolution of every photograph of a data set, by name; the same for all cells."""
    data = load(dataset)
    return {name: downscale(fit(image, scale), scale) for part in (data.train, data.validation, data.test)
            for name, image in part.items()}  # fmt: skip


def eight_bit(image: Tensor) -> Tensor:
    """`image` clipped to [0, 1] and rounded to 8 bits."""
    return (255 * image.clamp(0, 1)).round() / 255


@lru_cache(maxsize=4)
def bicubics(dataset: str, scale: int) -> dict[str, Tensor]:
    """The bicubic prediction of every test photograph of a data set, by name; the same for all cells."""
    low = low_resolutions(dataset, scale)
    return {name: eight_bit(upscale(low[name][None], scale)[0]) for name in load(dataset).test}


@lru_cache(maxsize=4)
def shown_windows(dataset: str, scale: int) -> dict[str, tuple[int, int]]:
    """The busiest test photographs of a data set, and where their busiest window lies: top and left by name."""
    found = {name: busiest_window(fit(image, scale), WINDOW) for name, image in load(dataset).test.items()}
    names = sorted(found, key=lambda name: -found[name][2])[:WINDOWS]
    return {name: found[name][:2] for name in names}


def psnr_y_db(prediction: Tensor, target: Tensor, border: int) -> float:
    """PSNR in dB on Y of BT.601, `border` pixels cropped from each side; images (3, height, width) in [0, 1]."""
    return metrics.psnr_db(*(metrics.luma(metrics.crop_border(image, border)) for image in (prediction, target)))


def busiest_window(image: Tensor, side: int) -> tuple[int, int, float]:
    """Top and left of the `side` x `side` window with the most edge energy in `image` (3, height, width), and it."""
    luma = metrics.luma(image)
    energy = luma.diff(dim=0)[:, 1:].square() + luma.diff(dim=1)[1:].square()
    sums = torch.nn.functional.avg_pool2d(energy[None, None], side - 1, stride=4)[0, 0]
    index = int(sums.argmax())
    return 4 * (index // sums.shape[1]), 4 * (index % sums.shape[1]), float(sums.max())


class SuperResolution:
    """One training of the super-resolver on photographs."""

    name = "sr"
    strikes = ("target",)
    data_kind = Photographs
    Settings = Settings
    default_scale = 2
    default_value_range = 1
    columns = (
        *("psnr_db", "psnr_y_db", "ssim", "ssim_rgb", "mae", "bce_excess"),
        *("bias_mse", "wobble_db", "bicubic_psnr_y_db"),
    )
    logged = ("train_loss",)
    extra_state = ("validation_curve",)

    def __init__(self, experiment: Experiment, device: torch.device):
        settings = Settings(**experiment.settings)
        self.experiment, self.device, self.patch, self.scale = experiment, device, settings.patch, experiment.scale
        self.loss = find_loss(experiment.loss)
        self.data: Photographs = load(experiment.dataset)
        self.low = low_resolutions(experiment.dataset, self.scale)

        self.clean_targets = [fit(image, self.scale) for image in self.data.train.values()]
        corruption = seeds.generator(experiment.seed, "target corruption")
        fixed = experiment.outlier if not experiment.redraw else CLEAN
        targets = [self.corrupt(image, fixed, corruption) for image in self.clean_targets]
        self.host_targets = stack(targets)[0]  # `redraw` corrupts patches of them on the host
        self.train_targets = self.host_targets.to(device)
        lows, self.sizes = stack([self.low[name] for name in self.data.train])
        if self.patch > self.sizes.min():
            raise ValueError(f"settings.patch = {self.patch} does not fit the smallest training image, "
                             f"{self.sizes.min()} low-resolution pixels wide")  # fmt: skip
        self.train_lows = lows.to(device)

        self.network = build_super_resolver(
            settings.channels, settings.blocks, self.scale, experiment.head, experiment.seed
        )
        self.network.to(device, memory_format=torch.channels_last)
        self.optimizer = build_optimizer(experiment.optimizer, self.network, experiment.lr, betas=(0.9, 0.999))
        self.validation_curve: list[float] = []
        self.looks: dict[str, Tensor] = {}  # low resolutions of the photographs that were looked at, on the device

    @property
    def images_per_step(self) -> int:
        """Training patches per step."""
        return self.experiment.batch_size

    def set_learning_rate(self, lr: float) -> None:
        """The learning rate of the next step."""
        set_learning_rate(self.optimizer, lr)

    def draw(self, index: int) -> tuple[Tensor, ...]:
        """What step `index` is given, on the host: from which images (batch,) and low-resolution corners (batch, 2) its
        patches come, and with `redraw` the corrupted targets. It depends on seed and index alone."""
        n, p = self.experiment.batch_size, self.patch
        draw = seeds.generator(self.experiment.seed, "batch", index)
        image = torch.randint(len(self.sizes), (n,), generator=draw)
        corner = (torch.rand(n, 2, generator=draw) * (self.sizes[image] - p + 1)).long()
        if not self.experiment.redraw:
            return image, corner
        clean = gather_patches(self.host_targets, image, self.scale * corner, self.scale * p)
        redrawn = torch.stack([self.corrupt(patch, self.experiment.outlier, draw) for patch in clean])
        return image, corner, redrawn.contiguous(memory_format=torch.channels_last)

    def batch(self, drawn: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The patches that were drawn: low resolution (batch, 3, p, p) and targets (batch, 3, scale p, scale p)."""
        image, corner, *redrawn = drawn
        low = gather_patches(self.train_lows, image, corner, self.patch)
        if redrawn:
            return low, redrawn[0]
        return low, gather_patches(self.train_targets, image, self.scale * corner, self.scale * self.patch)

    def corrupt(self, target: Tensor, kind: str, draw: torch.Generator) -> Tensor:
        """A training target (3, height, width) with outliers of `kind` at the experiment's rate."""
        others = [image for image in self.clean_targets if image is not target]
        return corrupt_target(target, kind, self.experiment.rate, draw, others)

    def step(self, index: int, mark: Mark = unmarked) -> Tensor:
        """One training step; returns the values named in `logged`, on the device. `mark` is called after each phase."""
        return self.advance(to_device(self.draw(index), self.device), mark)

    def advance(self, drawn: tuple[Tensor, ...], mark: Mark = unmarked) -> Tensor:
        """The step itself, on what `draw` drew."""
        low, target = self.batch(drawn)
        mark("data")
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.experiment.precision == "bf16"):
            logit = self.network(low)
        mark("forward")
        loss = self.loss(logit, target, self.experiment.head, self.experiment.value_range).mean()
        mark("loss")
        self.optimizer.zero_grad()
        loss.backward()
        mark("backward")
        self.optimizer.step()
        mark("optimizer")
        return loss.detach()[None]

    @torch.no_grad()
    def super_resolve(self, name: str) -> Tensor:
        """The prediction for a photograph of the data set, by name: (3, height, width) on the device, 8-bit values."""
        if name not in self.looks:
            self.looks[name] = self.low[name][None].to(self.device, memory_format=torch.channels_last)
        return eight_bit(predict(self.network(self.looks[name]), self.experiment.head)[0])

    def snapshot(self, last: bool = True) -> dict[str, Tensor]:
        """What `evaluate` looks at, and after the last step `conclude`: predictions by photograph, on the device."""
        return {name: self.super_resolve(name) for name in (*self.data.validation, *(self.data.test if last else ()))}

    def evaluate(self, step: int, recent: dict[str, float], seen: dict[str, Tensor] | None = None) -> dict[str, float]:
        """A point on each validation curve: mean PSNR in dB on Y over the validation photographs."""
        seen = seen or on_host(self.snapshot(last=False))
        scores = [psnr_y_db(seen[name], fit(image, self.scale), self.scale)
                  for name, image in self.data.validation.items()]  # fmt: skip
        self.validation_curve.append(float(np.mean(scores)))
        return {"val_psnr_y_db": self.validation_curve[-1]}

    def conclude(self, seen: dict[str, Tensor] | None = None) -> Readouts:
        """Scores on the test photographs, image by image, and crops of the two busiest of them."""
        seen = seen or on_host(self.snapshot())
        predictions = {name: seen[name] for name in self.data.test}
        images = [self.score(name, prediction) for name, prediction in predictions.items()]
        mean = {key: float(np.mean([image[key] for image in images])) for key in images[0] if key != "image"}
        tail = self.validation_curve[-max(2, math.ceil(len(self.validation_curve) / 5)) :]
        values = {column: mean[column] for column in self.columns if column in mean}
        values |= {"bias_mse": mean["pull_mse"], "wobble_db": float(np.std(tail))}
        for image in images:
            del image["bce_excess"]
        picture, layout = self.crops(predictions)
        return Readouts(values, images, picture, layout)

    def score(self, name: str, prediction: Tensor) -> dict[str, float | str]:
        """Every metric of one test photograph, `scale` pixels cropped from each border.

        `ssim` is taken on Y, `ssim_rgb` is the mean over the channels. `pull_mse` is e^2 mean((x - mu)^2): the squared
        bias of a mean-seeker that knows the pixel otherwise; one with a clean MSE of C is off by e^2 C less.
        """
        target = fit(self.data.test[name], self.scale)
        bicubic = bicubics(self.experiment.dataset, self.scale)[name]
        p, t = (metrics.crop_border(image, self.scale) for image in (prediction, target))
        pull, pull_y = pull_mse(t, self.experiment.outlier, self.experiment.rate, self.clean_targets)
        return {
            "image": name,
            "psnr_db": metrics.psnr_db(p, t),
            "psnr_y_db": metrics.psnr_db(metrics.luma(p), metrics.luma(t)),
            "ssim": metrics.ssim(p, t),
            "ssim_rgb": float(np.mean([metrics.ssim(*channel) for channel in zip(p, t, strict=True)])),
            "mae": metrics.mae(p, t),
            "bce_excess": metrics.bce_excess(p, t),
            "bicubic_psnr_y_db": psnr_y_db(bicubic, target, self.scale),
            "pull_mse": pull,
            "pull_mse_y": pull_y,
        }

    def crops(self, predictions: dict[str, Tensor]) -> tuple[np.ndarray, dict]:
        """Target, bicubic, and prediction side by side, a row for each of the busiest test photographs."""
        side, rows = WINDOW, []
        shown = shown_windows(self.experiment.dataset, self.scale)
        for name, (top, left) in shown.items():
            bicubic = bicubics(self.experiment.dataset, self.scale)[name]
            tiles = (fit(self.data.test[name], self.scale), bicubic, predictions[name])
            rows.append(torch.cat([tile[:, top : top + side, left : left + side] for tile in tiles], dim=2))
        picture = (255 * torch.cat(rows, dim=1)).round().byte().permute(1, 2, 0).numpy()
        columns = ["target", "bicubic", "prediction"]
        return picture, {"kind": "sr", "images": list(shown), "columns": columns, "tile": side}


def gather_patches(images: Tensor, index: Tensor, corner: Tensor, side: int) -> Tensor:
    """Square patches of `images` (m, height, width, channels) at `index` (n,) and `corner` (n, 2).

    Returns (n, channels, side, side), in channels-last memory as the images are.
    """
    windows = images.unfold(1, side, 1).unfold(2, side, 1)  # (m, top, left, channels, side, side), a view
    return windows[index, corner[:, 0], corner[:, 1]]
