"""How is a GAN trained on small grey images, and how is it evaluated?

The procedure is the document's (science.md section 1): labels real = 1 and fake = 0, two optimizers, first a step of
the generator, then a step of the discriminator on (real + fake) / 2. Objectives of scores (`ganlab.objectives`) take
the same steps. Outliers corrupt the real images (`noise`) or the discriminator's labels (`flip`); metrics compare with
held-out clean real images, by a frozen classifier (section 6).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from ganlab import metrics, seeds
from ganlab.datasets import LabelledImages, load
from ganlab.lazy import lazily, without_gradients
from ganlab.losses import find_loss, predict
from ganlab.objectives import CLIP, FAKE, GAMMA, REAL
from ganlab.outliers import CLEAN, contaminate, flip_labels
from ganlab.records import DiscriminatorNorm, FrozenRecord
from ganlab.tasks.experiment import Experiment, Mark, Readouts, on_host, to_device, unmarked
from ganlab.tasks.real_images import held_out_images

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ganlab import networks, optimizers
else:
    lazily(globals(), torch="torch", nn="torch.nn", networks="ganlab.networks", optimizers="ganlab.optimizers")

BETAS = (0.5, 0.999)
GRID = 8  # rows and columns of the sample grid
DEAD_GAP = 0.01  # with a smaller difference of mean outputs D does not separate real from fake, science.md section 3
DEAD_SLOPE = 0.01  # with a smaller mean p (1 - p) D is saturated: its gradient has vanished
DEAD_SPREAD = 0.1  # gap of mean scores over their standard deviation; below it D is nearly at chance (AUC 0.53)
PROBE_ACCURACY = 0.75  # above it a probe separates real from generated (0.5 is chance)


class Settings(FrozenRecord):
    """`width`: feature maps of the first layer; `latent`: dimensions of z; `discriminator_norm`: batch, none, spectral;
    `evaluation_images`: how many generated and real images the metrics compare (fewer where the data set has fewer);
    `d_lr_ratio`: D's learning rate over G's, which is the experiment's `lr`: the strength of D;
    `clip` bounds D's weights under `wasserstein`, `gamma` weighs the gradient penalties of `relativistic`; `network`: a
    reference to a user's `build(role, **sizes)`, roles generator and discriminator."""

    width: Annotated[int, Field(ge=1)] = 16
    latent: Annotated[int, Field(ge=1)] = 32
    discriminator_norm: DiscriminatorNorm = "batch"
    evaluation_images: Annotated[int, Field(ge=20)] = 2000
    d_lr_ratio: Annotated[float, Field(gt=0)] = 1.0
    clip: Annotated[float, Field(gt=0)] = CLIP
    gamma: Annotated[float, Field(ge=0)] = GAMMA
    network: str | None = None


def is_dead(recent: dict[str, float], separable: Callable[[], float], threshold: float = PROBE_ACCURACY) -> bool:
    """Whether D is dead rather than in equilibrium (science.md section 3).

    A D without a sigmoid cannot saturate, and its scores have no unit: the gap is measured in standard deviations.

    Args:
        recent: means over the last interval: `mean_d_real`, `mean_d_fake`, and p (1 - p) as `slope_real`, `slope_fake`;
            for scores, their standard deviations as `spread_real`, `spread_fake` instead.
        separable: accuracy of a new probe on real against generated; called only where D's gap is small.
        threshold: the accuracy above which the probe separates them.
    """
    gap = abs(recent["mean_d_real"] - recent["mean_d_fake"])
    if "spread_real" in recent:
        return gap <= DEAD_SPREAD * max(recent["spread_real"], recent["spread_fake"]) and separable() > threshold
    if gap >= DEAD_GAP:
        return False
    if max(recent["slope_real"], recent["slope_fake"]) < DEAD_SLOPE:
        return True
    return separable() > threshold


def probe_accuracy(real: Tensor, generated: Tensor) -> float:
    """Held-out accuracy of logistic regression on features (n, d): trained on even rows, tested on odd ones."""
    from sklearn.linear_model import LogisticRegression

    x = torch.cat([real, generated]).double().numpy()
    y = np.repeat([1, 0], [len(real), len(generated)])
    scale = x[::2].std(0) + 1e-6
    probe = LogisticRegression(max_iter=300).fit(x[::2] / scale, y[::2])
    return float(probe.score(x[1::2] / scale, y[1::2]))


def build_networks(size: int, settings: Settings, seed: int) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator for grey images of `size` x `size` pixels: the shipped ones, or the user's."""
    generator, discriminator = networks.build_gan(
        size, settings.latent, settings.width, settings.discriminator_norm, seed
    )
    if settings.network is None:
        return generator, discriminator
    sizes = {"size": size, **settings.model_dump(include={"latent", "width", "discriminator_norm"})}
    images, latents, logits = (2, 1, size, size), (2, settings.latent), (2,)
    users_generator = networks.user_network(settings.network, "generator", latents, images, seed, **sizes)
    users_discriminator = networks.user_network(settings.network, "discriminator", images, logits, seed, **sizes)
    return (
        generator if users_generator is None else users_generator,
        discriminator if users_discriminator is None else users_discriminator,
    )


class Gan:
    """One training of the generator and the discriminator on small grey images."""

    name = "gan"
    corrupts = ("real", "label")
    data_kind = LabelledImages
    Settings = Settings
    default_scale = None
    default_value_range = None
    columns = (
        *("frechet", "frechet_floor", "kid", "density", "coverage", "classes", "outlier_share", "g_loss", "d_loss"),
        *("real_loss", "fake_loss", "mean_d_real", "mean_d_fake", "dead_discriminator", "procedure_ok"),
    )
    extra_state = ("latest", "procedure_ok")

    def __init__(self, experiment: Experiment, device: torch.device) -> None:
        settings = Settings(**experiment.settings)
        self.experiment, self.device, self.latent = experiment, device, settings.latent
        self.flip_rate = experiment.rate if experiment.outlier == "flip" else 0.0
        self.loss = find_loss(experiment.loss).fresh()
        self.loss_module = self.loss.module  # a user's may have buffers
        if self.loss_module is not None:
            self.loss_module.to(device)
        self.objective = self.loss.adversarial(experiment.head, settings.clip, settings.gamma)
        halves = ("real_loss", "fake_loss") if self.objective.halves else ()
        certainty = ("spread_real", "spread_fake") if self.loss.objective else ("slope_real", "slope_fake")
        self.logged = ("g_loss", "d_loss", *halves, "mean_d_real", "mean_d_fake", *certainty)
        self.real_images = held_out_images(experiment.dataset, settings.evaluation_images)
        self.classifier, self.held_out = self.real_images.classifier, self.real_images.reported
        self.count, self.floor = len(self.held_out), self.real_images.floor
        data = load(experiment.dataset, self.data_kind)
        contamination = seeds.generator(experiment.seed, "contamination")
        real = contaminate(data.train, experiment.outlier, experiment.rate, contamination)
        self.real = real.to(device)
        pair = build_networks(data.train.shape[-1], settings, experiment.seed)
        self.generator, self.discriminator = (networks.channels_last(network, device) for network in pair)
        self.g_optimizer = optimizers.build_optimizer(experiment.optimizer, self.generator, experiment.lr, BETAS)
        self.d_optimizer = optimizers.build_optimizer(experiment.optimizer, self.discriminator, experiment.lr, BETAS)
        self.d_lr_ratio = settings.d_lr_ratio
        self.set_learning_rate(experiment.lr)
        self.latest: dict[str, float] = {}
        self.procedure_ok = True
        self.evaluation_inputs: dict[int, Tensor] = {}  # latents by their count

    @property
    def images_per_step(self) -> int:
        """Real images per step; the number of generated images is the same."""
        return self.experiment.batch_size

    def set_learning_rate(self, lr: float | Tensor) -> None:
        """The learning rate of G's next step; D's is `d_lr_ratio` times as large."""
        optimizers.set_learning_rate(self.g_optimizer, lr)
        optimizers.set_learning_rate(self.d_optimizer, self.d_lr_ratio * lr)

    def draw(self, index: int) -> tuple[Tensor, ...]:
        """The random inputs of step `index`, on the host: indices of real images (n,), latents (n, latent), and D's
        labels for real and fake (n,), flipped at the flip rate. They depend only on seed and index."""
        n, draw = self.experiment.batch_size, seeds.generator(self.experiment.seed, "batch", index)
        chosen = torch.randint(len(self.real), (n,), generator=draw)
        latents = torch.randn(n, self.latent, generator=draw)
        real_label, fake_label = torch.full((n,), REAL), torch.full((n,), FAKE)
        if self.flip_rate:
            real_label, fake_label = (flip_labels(label, self.flip_rate, draw) for label in (real_label, fake_label))
        return chosen, latents, real_label, fake_label

    def step(self, index: int, mark: Mark = unmarked) -> Tensor:
        """One step of G, then one of D; returns the values named in `logged`, on the device. `mark` ends each phase.

        The first step of a training is checked by `checked_step`.
        """
        if index == 0 and mark is unmarked:
            return self.checked_step(index)
        return self.advance(to_device(self.draw(index), self.device), mark)

    def advance(self, drawn: tuple[Tensor, ...], mark: Mark = unmarked) -> Tensor:
        """The step on the random inputs of `draw`."""
        chosen, latents, real_label, fake_label = drawn
        objective, real_logit = self.objective, None
        real = self.real[chosen].mul_(2).sub_(1).requires_grad_(objective.gamma > 0)  # the networks work on [-1, 1]
        mark("data")

        with self.autocast():
            fake = self.generator(latents)
        fake_logit = self.discriminate(fake)
        if objective.pairs:
            real_logit = self.discriminate(real)
        mark("g_forward")
        g_loss = objective.g_loss(fake_logit, real_logit)
        mark("g_loss")
        self.g_optimizer.zero_grad()
        g_loss.backward(inputs=optimizers.trainable(self.generator), retain_graph=True)  # no gradients for D
        mark("g_backward")
        self.g_optimizer.step()
        mark("g_optimizer")

        if real_logit is None:
            real_logit = self.discriminate(real)
        mark("d_forward")
        logits = torch.stack([real_logit, fake_logit])  # D's weights have not changed since
        d_loss, halves = objective.d_loss(logits, torch.stack([real_label, fake_label]))
        penalised = d_loss  # d_loss is logged without penalties, for the comparison with its equilibrium
        if objective.gamma:
            penalised = d_loss + objective.penalty(real_logit, real) + objective.penalty(fake_logit, fake)
        mark("d_loss")
        self.d_optimizer.zero_grad()
        penalised.backward(inputs=optimizers.trainable(self.discriminator))  # no gradients for G
        mark("d_backward")
        self.d_optimizer.step()
        objective.constrain(self.discriminator)
        mark("d_optimizer")

        with torch.no_grad():
            means = [predict(logit, self.experiment.head).mean() for logit in (real_logit, fake_logit)]
            return torch.stack([g_loss, d_loss, *halves, *means, *self.certainty(real_logit, fake_logit)])

    def discriminate(self, images: Tensor) -> Tensor:
        """The discriminator's logits (n,) of images (n, 1, size, size) in [-1, 1], in single precision."""
        with self.autocast():
            logit = self.discriminator(images)
        return logit.float()

    def certainty(self, *logits: Tensor) -> list[Tensor]:
        """Mean p (1 - p) of D on a real and on a generated batch, or its scores' standard deviation (`is_dead`)."""
        if self.loss.objective:
            return [score.std() for score in logits]
        return [(p * (1 - p)).mean() for p in (logit.sigmoid() for logit in logits)]

    def checked_step(self, index: int) -> Tensor:
        """A step that also checks the procedure; the result is column `procedure_ok`.

        Each optimizer's step moves the weights of its own network, and changes neither weights nor gradients of the
        other; d_loss is the mean of its halves, if it has any.
        """
        networks = {"g": self.generator, "d": self.discriminator}
        copies: dict[tuple[str, str], list[Tensor | None]] = {}  # of weights and gradients, by phase and network

        def copy(phase: str) -> None:
            for name, network in networks.items():
                parts = [part for weight in network.parameters() for part in (weight, weight.grad)]
                copies[phase, name] = [None if part is None else part.detach().clone() for part in parts]

        def same(name: str, before: str, after: str) -> bool:
            pairs = zip(copies[before, name], copies[after, name], strict=True)
            return all(a is b is None or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)

        def moved(name: str, before: str, after: str) -> bool:
            weights = zip(copies[before, name][::2], copies[after, name][::2], strict=True)
            return not all(torch.equal(a, b) for a, b in weights if a is not None and b is not None)

        logged = self.step(index, copy)
        values = dict(zip(self.logged, logged.tolist(), strict=True))
        self.procedure_ok &= same("d", "data", "g_optimizer") and moved("g", "data", "g_optimizer")
        self.procedure_ok &= same("g", "g_optimizer", "d_optimizer") and moved("d", "g_optimizer", "d_optimizer")
        if self.objective.halves:
            d_loss, mean = values["d_loss"], (values["real_loss"] + values["fake_loss"]) / 2
            self.procedure_ok &= abs(d_loss - mean) <= 1e-6 * max(1.0, abs(d_loss))
        return logged

    def autocast(self) -> torch.autocast:
        """bfloat16 in networks where `precision` is bf16."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.experiment.precision == "bf16")

    @without_gradients
    def generate(self, count: int) -> Tensor:
        """`count` generated images (count, 1, size, size) in [0, 1], from the same latents at every call."""
        if count not in self.evaluation_inputs:
            draw = seeds.generator(self.experiment.seed, "evaluation")
            self.evaluation_inputs[count] = torch.randn(count, self.latent, generator=draw).to(self.device)
        self.generator.eval()
        images = torch.cat([self.generator(part) for part in self.evaluation_inputs[count].split(500)])
        self.generator.train()
        return (images + 1) / 2

    @without_gradients
    def snapshot(self, last: bool = True) -> dict[str, Tensor]:
        """What `evaluate` needs, and after the last step `conclude`, on the device."""
        generated = self.generate(self.count)
        features, labels = self.classifier.read(generated)
        tensors = {"finite": generated.isfinite().all(), "features": features, "labels": labels}
        return tensors | ({"grid": self.generate(GRID**2)[:, 0]} if last else {})

    def evaluate(
        self, step: int, recent: dict[str, float], snapshot: dict[str, Tensor] | None = None
    ) -> dict[str, float]:
        """A point on each curve: generated against held-out clean real images, at equal counts.

        Raises:
            FloatingPointError: the generator has diverged.
        """
        snapshot = snapshot or on_host(self.snapshot(last=False))
        if not snapshot["finite"]:
            raise FloatingPointError("generated images are not finite")
        features, labels = snapshot["features"], snapshot["labels"]
        density, coverage = metrics.density_coverage(self.held_out, features)
        dead = is_dead(recent, lambda: probe_accuracy(self.held_out, features))
        point = {
            "frechet": metrics.frechet_distance(features, self.held_out),
            "kid": metrics.kernel_distance(features, self.held_out),
            "density": density,
            "coverage": coverage,
            "classes": metrics.classes_covered(labels, len(self.classifier.classes), self.count),
            "dead_discriminator": float(dead),
        }
        if step == self.experiment.steps:
            point["val_frechet"] = metrics.frechet_distance(features, self.real_images.validation)
        kind = self.experiment.outlier
        if kind != "flip":  # flips corrupt labels, not images
            rates = self.classifier.true_positive
            true_positive = next(iter(rates.values())) if kind == CLEAN else rates[kind]
            share = float((labels == len(self.classifier.classes)).float().mean())
            point["outlier_share"] = metrics.corrected_share(share, self.classifier.false_positive, true_positive)
        self.latest = recent | point
        return point

    def conclude(self, snapshot: dict[str, Tensor] | None = None) -> Readouts:
        """The last point of every curve, the real-against-real distance, and a grid of samples."""
        snapshot = snapshot or on_host(self.snapshot())
        values = {column: self.latest.get(column) for column in self.columns}
        values |= {"frechet_floor": self.floor, "procedure_ok": float(self.procedure_ok)}
        size = snapshot["grid"].shape[-1]
        grid = snapshot["grid"].reshape(GRID, GRID, size, size).permute(0, 2, 1, 3).reshape(GRID * size, GRID * size)
        picture = (255 * grid.clamp(0, 1)).round().byte().numpy()
        return Readouts(values, picture=picture, layout={"kind": "gan", "rows": GRID, "columns": GRID, "tile": size})
