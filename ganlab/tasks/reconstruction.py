"""How is a network trained to reconstruct images from corrupted targets, and how is it tested?

Super-resolution, depth, interpolation, and restoration share this file: patches of training images with outliers in
their targets, the training step, and scores on clean test images. Weights, batches, and corruption depend only on the
seed, so losses are compared in pairs. The file of each task defines its inputs, outputs, network, and scores. Protocol:
science.md sections 5 and 7.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from ganlab import metrics, seeds
from ganlab.datasets import Frames, Photographs, StereoScenes, load
from ganlab.lazy import lazily, without_gradients
from ganlab.losses import find_loss, predict
from ganlab.outliers import CLEAN, OUTLIERS, corrupt_target, pull_mse
from ganlab.records import FrozenRecord
from ganlab.tasks.experiment import Experiment, Mark, PictureLayout, Readouts, on_host, to_device, unmarked
from ganlab.tasks.patches import Pair, Pairs, gather_patches, stack
from ganlab.tasks.windows import shown_windows
from ganlab.theory import clipping_mse, cross_terms, median_levels

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ganlab import networks, optimizers
else:
    lazily(globals(), torch="torch", networks="ganlab.networks", optimizers="ganlab.optimizers")

SCORES = ("psnr_db", "psnr_y_db", "ssim", "mae", "bce_excess", "bias_mse", "wobble_db")


class Settings(FrozenRecord):
    """Sizes of the network (`channels`, residual `blocks`) and of a training patch (`patch`, pixels of the input);
    `network`: a user's network, `package.module:build`."""

    channels: Annotated[int, Field(ge=1)] = 16
    blocks: Annotated[int, Field(ge=0)] = 3
    patch: Annotated[int, Field(ge=2)] = 32
    network: str | None = None


class Reconstruction:
    """One training of a network on pairs of images; a task is a subclass of it."""

    name: str
    data_kind: type[Photographs | Frames | StereoScenes]
    settings: Settings
    Settings = Settings
    role: str  # of its network, in `ganlab.networks.ROLES`
    corrupts = ("target",)
    pixels = "pixels"  # the unit of an input's side, in messages
    default_scale: int | None = None
    default_value_range = 1
    columns: tuple[str, ...] = (*SCORES, "baseline_psnr_db", "baseline_psnr_y_db")
    main_metric = "psnr_y_db"  # used to compare losses and to tune learning rates
    logged = ("train_loss",)
    extra_state = ("validation_curve",)
    redraws_inputs = False  # whether `redraw` also applies to inputs, even if targets are clean
    baseline_name = "baseline"  # in pictures
    window = 64  # side of the crops shown in pictures, pixels

    def __init__(self, experiment: Experiment, device: torch.device):
        self.settings = self.Settings(**experiment.settings)
        self.experiment, self.device, self.patch = experiment, device, self.settings.patch
        self.scale, self.value_range = experiment.scale or 1, experiment.value_range or 1
        self.loss = find_loss(experiment.loss).fresh()
        self.loss_module = self.loss.module
        self.pairs = self.load_pairs()

        train = self.pairs.train.values()
        self.clean_targets = [pair.target for pair in train]
        corruption = seeds.generator(experiment.seed, "target corruption")
        fixed = CLEAN if experiment.redraw or experiment.expected else experiment.outlier
        targets = [self.corrupt(image, fixed, corruption) for image in self.clean_targets]
        law = OUTLIERS[experiment.outlier].law if experiment.expected else None
        self.law = law(self.clean_targets) if law else None
        self.host_targets = stack(targets)[0]  # `redraw` corrupts patches of them on the host
        self.train_targets = self.host_targets.to(device)
        self.host_inputs, self.sizes = stack(self.training_inputs())
        if self.patch > self.sizes.min():
            raise ValueError(
                f"settings.patch = {self.patch} does not fit the smallest training image, "
                f"{self.sizes.min()} {self.pixels} wide"
            )
        self.train_inputs = self.host_inputs.to(device)
        masks = [pair.known for pair in train if pair.known is not None]
        self.train_known = stack(masks)[0].to(device) if masks else None

        self.network = networks.channels_last(self.build_network(), device)
        if self.loss_module is not None:
            self.loss_module.to(device)
        self.optimizer = optimizers.build_optimizer(
            experiment.optimizer, self.network, experiment.lr, betas=(0.9, 0.999), also=self.loss_module
        )
        self.validation_curve: list[float] = []
        self.evaluation_inputs: dict[str, Tensor] = {}  # on the device, by name

    # Defined by each task

    def load_pairs(self) -> Pairs:
        """The pairs of the experiment's data set in the split of its seed; one object for all cells of a fold."""
        raise NotImplementedError

    def baseline(self, name: str) -> Tensor:
        """The untrained reconstruction of a test image, by name, in the shape of its target."""
        raise NotImplementedError

    def shipped_network(self) -> torch.nn.Module:
        """The network, unless the user provides one."""
        raise NotImplementedError

    def training_inputs(self) -> list[Tensor]:
        """The network's input (channels, height, width) of each training image."""
        return [pair.given for pair in self.pairs.train.values()]

    @property
    def fold(self) -> int:
        """The fold of images that this seed tests."""
        return load(self.experiment.dataset, self.data_kind).fold(self.experiment.seed)

    @property
    def border(self) -> int:
        """Pixels of a test image that are not scored, on each side."""
        return 0

    # Training

    def build_network(self) -> torch.nn.Module:
        """The user's network or the shipped one; its weights depend on the seed and the sizes, not on the head."""
        network = None
        if self.settings.network:
            example = next(iter(self.pairs.train.values()))
            takes = (2, len(example.given), self.patch, self.patch)
            gives = (2, len(example.target), self.scale * self.patch, self.scale * self.patch)
            sizes = self.settings.model_dump(include={"channels", "blocks"})
            sizes |= {"scale": self.scale, "head": self.experiment.head}
            network = networks.user_network(
                self.settings.network, self.role, takes, gives, self.experiment.seed, **sizes
            )
        return network or self.shipped_network()

    @property
    def images_per_step(self) -> int:
        """Training patches per step."""
        return self.experiment.batch_size

    def set_learning_rate(self, lr: float | Tensor) -> None:
        """The learning rate of the next step."""
        optimizers.set_learning_rate(self.optimizer, lr)

    def draw(self, index: int) -> tuple[Tensor, ...]:
        """The random inputs of step `index`, on the host: indices of images (batch,) and corners in inputs (batch, 2)
        of its patches, and with `redraw` the corrupted targets. They depend only on seed and index."""
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
        """The drawn patches: inputs (batch, channels, p, p), targets (batch, channels, scale p, scale p)."""
        image, corner, *redrawn = drawn
        given = gather_patches(self.train_inputs, image, corner, self.patch)
        if redrawn:
            return given, redrawn[0]
        return given, gather_patches(self.train_targets, image, self.scale * corner, self.scale * self.patch)

    def corrupt(self, target: Tensor, kind: str, draw: torch.Generator) -> Tensor:
        """A training target (channels, height, width) with outliers of `kind` at the experiment's rate."""
        others = [image for image in self.clean_targets if image is not target]
        return corrupt_target(target, kind, self.experiment.rate, draw, others)

    def step(self, index: int, mark: Mark = unmarked) -> Tensor:
        """One training step; returns the values named in `logged`, on the device. `mark` is called after each phase."""
        return self.advance(to_device(self.draw(index), self.device), mark)

    def advance(self, drawn: tuple[Tensor, ...], mark: Mark = unmarked) -> Tensor:
        """The step on the random inputs of `draw`."""
        given, target = self.batch(drawn)
        mark("data")
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.experiment.precision == "bf16"):
            logit = self.network(given).float()  # a user's network may return bfloat16
        mark("forward")
        loss = self.mean(self.losses(logit, target), drawn)
        mark("loss")
        self.optimizer.zero_grad()
        loss.backward()
        mark("backward")
        self.optimizer.step()
        mark("optimizer")
        return loss.detach()[None]

    def losses(self, logit: Tensor, target: Tensor) -> Tensor:
        """The elementwise losses (batch, channels, height, width); with `expected`, their means over the outliers."""
        if self.law is None:
            return self.loss(logit, target, self.experiment.head, self.value_range)
        values, weights = self.law.outcomes(target, self.experiment.rate)
        logits = logit.expand(values.shape).flatten(0, 1)  # one call, so that a loss with a state changes it once
        losses = self.loss(logits, values.flatten(0, 1), self.experiment.head, self.value_range)
        return torch.einsum("k,kbchw->bchw", weights, losses.view(values.shape))

    def mean(self, losses: Tensor, drawn: tuple[Tensor, ...]) -> Tensor:
        """The mean of elementwise losses (batch, channels, scale p, scale p) over the pixels whose target is known."""
        if self.train_known is None:
            return losses.mean()
        image, corner = drawn[:2]
        known = gather_patches(self.train_known, image, self.scale * corner, self.scale * self.patch)
        return (losses * known).sum() / known.sum().clamp(min=1)

    # Read-outs

    @without_gradients
    def reconstruct(self, name: str) -> Tensor:
        """The prediction for a validation or test image, by name, in the shape of its target, on the device."""
        if name not in self.evaluation_inputs:
            given = (self.pairs.validation.get(name) or self.pairs.test[name]).given
            self.evaluation_inputs[name] = given[None].to(self.device, memory_format=torch.channels_last)
        self.network.eval()  # a user's network may have batch normalisation or dropout
        logit = self.network(self.evaluation_inputs[name]).float()
        self.network.train()
        return self.finish(predict(logit, self.experiment.head)[0])

    def finish(self, prediction: Tensor) -> Tensor:
        """The scored form of a prediction: clipped to [0, 1] and rounded to 8 bits, as in an image file."""
        return eight_bit(prediction)

    def snapshot(self, last: bool = True) -> dict[str, Tensor]:
        """What `evaluate` needs, and after the last step `conclude`: predictions by name, on the device."""
        names = (*self.pairs.validation, *(self.pairs.test if last else ()))
        return {name: self.reconstruct(name) for name in names}

    def evaluate(
        self, step: int, recent: dict[str, float], snapshot: dict[str, Tensor] | None = None
    ) -> dict[str, float]:
        """A point on each validation curve: the mean of the main metric, in dB, over the validation images."""
        snapshot = snapshot or on_host(self.snapshot(last=False))
        scores = [self.main_score(snapshot[name], pair) for name, pair in self.pairs.validation.items()]
        self.validation_curve.append(float(np.mean(scores)))
        return {f"val_{self.main_metric}": self.validation_curve[-1]}

    def main_score(self, prediction: Tensor, pair: Pair) -> float:
        """The main metric of one image."""
        return psnr_y_db(prediction, pair.target, self.border)

    def conclude(self, snapshot: dict[str, Tensor] | None = None) -> Readouts:
        """Scores of each test image, and crops of the two images with the most detail."""
        snapshot = snapshot or on_host(self.snapshot())
        predictions = {name: snapshot[name] for name in self.pairs.test}
        scores = {name: self.score(name, prediction) for name, prediction in predictions.items()}
        rows = list(scores.values())
        mean = {column: float(np.mean(np.array([row[column] for row in rows], float))) for column in rows[0]}
        tail = self.validation_curve[-max(2, math.ceil(len(self.validation_curve) / 5)) :]
        values: dict[str, float | None] = {column: mean[column] for column in self.columns if column in mean}
        values |= {"bias_mse": mean["pull_mse"], "wobble_db": float(np.std(tail))}
        images = [
            {"image": name, **{column: value for column, value in row.items() if column != "bce_excess"}}
            for name, row in scores.items()
        ]
        return Readouts(values, images, *self.crops(predictions))

    @cached_property
    def median_levels(self) -> list[tuple[float, float]]:
        """The levels to which a median-seeker's prediction is clipped, by channel (`ganlab.theory.median_levels`)."""
        return median_levels(self.experiment.outlier, self.experiment.rate, self.clean_targets)

    def score(self, name: str, prediction: Tensor) -> dict[str, float | None]:
        """Every metric of one test image, `border` pixels cropped from each side.

        `ssim` is computed on Y. `pull_mse` is e^2 mean((x - mu)^2): the squared bias of a mean-seeker that predicts the
        pixels exactly under clean training; with a clean MSE of C its MSE is C + pull_mse - e^2 C. `clipping_mse` is
        the squared bias of such a median-seeker.
        """
        target = self.pairs.test[name].target
        p, t = (metrics.crop_border(image, self.border) for image in (prediction, target))
        pull, pull_y = pull_mse(t, self.experiment.outlier, self.experiment.rate, self.clean_targets)
        clipping, clipping_y = clipping_mse(t, self.median_levels)
        return {
            "psnr_db": metrics.psnr_db(p, t),
            "psnr_y_db": metrics.psnr_db(metrics.luma(p), metrics.luma(t)),
            "ssim": metrics.ssim(p, t),
            "mae": metrics.mae(p, t),
            "bce_excess": metrics.bce_excess(p, t),
            "pull_mse": pull,
            "pull_mse_y": pull_y,
            "clipping_mse": clipping,
            "clipping_mse_y": clipping_y,
            **self.cross(p, t),
            **self.baseline_score(self.baseline(name), target),
        }

    def cross(self, prediction: Tensor, target: Tensor) -> dict[str, float]:
        """What the theory of mean-seekers needs of a clean prediction (`theory.cross_terms`); empty under outliers."""
        if self.experiment.outlier != CLEAN:
            return {}
        black, white = cross_terms(prediction, target)
        if len(target) != 3 or target.ndim != 3:
            return {"cross_black": black, "cross_white": white}
        black_y, white_y = cross_terms(metrics.luma(prediction), metrics.luma(target))
        return {"cross_black": black, "cross_white": white, "cross_black_y": black_y, "cross_white_y": white_y}

    def baseline_score(self, baseline: Tensor, target: Tensor) -> dict[str, float]:
        """The baseline's scores by column, computed like those of predictions."""
        b, t = (metrics.crop_border(image, self.border) for image in (baseline, target))
        return {
            "baseline_psnr_db": metrics.psnr_db(b, t),
            "baseline_psnr_y_db": metrics.psnr_db(metrics.luma(b), metrics.luma(t)),
        }

    def crops(self, predictions: dict[str, Tensor]) -> tuple[np.ndarray | None, PictureLayout]:
        """Target, baseline, and prediction side by side, a row for each of the test images with the most detail."""
        side, rows = self.window, []
        shown = shown_windows(self.pairs, side)
        for name, (top, left) in shown.items():
            pair = self.pairs.test[name]
            tiles = [pair.target, self.baseline(name), predictions[name]]
            if pair.known is not None:
                tiles = [tile * pair.known for tile in tiles]  # pixels that are not scored are black
            crops = [tile[:, top : top + side, left : left + side].expand(3, -1, -1) for tile in tiles]
            rows.append(torch.cat(crops, dim=2))
        if not rows:
            return None, {}
        picture = (255 * torch.cat(rows, dim=1)).round().byte().permute(1, 2, 0).numpy()
        columns = ["target", self.baseline_name, "prediction"]
        return picture, {"kind": self.name, "images": list(shown), "columns": columns, "tile": side}


def eight_bit(image: Tensor) -> Tensor:
    """`image` clipped to [0, 1] and rounded to 8 bits."""
    return (255 * image.clamp(0, 1)).round() / 255


def psnr_y_db(prediction: Tensor, target: Tensor, border: int) -> float:
    """PSNR in dB on Y of BT.601, `border` pixels cropped from each side; images (3, height, width) in [0, 1]."""
    return metrics.psnr_db(*(metrics.luma(metrics.crop_border(image, border)) for image in (prediction, target)))
