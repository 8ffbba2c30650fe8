"""How does a GAN estimate the mean of contaminated samples? Its true value is known (science.md section 4).

Real samples are (1 - e) N(theta, I) + e Q; the generator is z + theta_hat with z ~ N(0, I); the discriminator is small.
Under `bce` this is the JS-GAN and under `l1` the TV-GAN of Gao, Liu, Yao, Zhu, "Robust Estimation and Generative
Adversarial Networks" (ICLR 2019), whose demo sets the defaults; `l2` is not in the paper. theta is 0, as in the demo:
no step depends on it, and a shift of samples, outliers, and start by one vector shifts theta_hat by the same vector.

The demo's order of steps differs from the document's: several steps of the discriminator, then one of the generator on
new latents. Its learning rates, 0.2 for D and 0.02 for G, are for the sum of D's two losses; for their mean D's rate is
0.4.
Objectives of scores (`ganlab.objectives`) take the same steps.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ganlab import seeds
from ganlab.datasets import GaussianSamples, load
from ganlab.lazy import lazily, without_gradients
from ganlab.losses import find_loss, predict
from ganlab.objectives import CLIP, FAKE, GAMMA, REAL
from ganlab.outliers import contaminate
from ganlab.records import FrozenRecord
from ganlab.seeds import seeded_weights
from ganlab.tasks.experiment import Experiment, Mark, Readouts, on_host, to_device, unmarked
from ganlab.tasks.gan import BETAS, is_dead, probe_accuracy

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    from ganlab import networks, optimizers
else:
    lazily(
        globals(),
        torch="torch",
        F="torch.nn.functional",
        nn="torch.nn",
        networks="ganlab.networks",
        optimizers="ganlab.optimizers",
    )

PROBE_ACCURACY = 0.55  # at theta_hat = theta the best D reaches (1 + e) / 2: it only recognises the outliers
PROBE_SAMPLES = 4000  # real, and as many generated: 20 training samples of the probe for each of 100 coordinates


class Settings(FrozenRecord):
    """`hidden`: units of D's hidden layer; `d_steps`: D's steps before each of G's; `d_lr_ratio`: D's learning rate
    over G's, which is the experiment's `lr`; `d_init`: of D's weights, PyTorch's default or Xavier's, normal, with
    biases 0 (Glorot, Bengio, AISTATS 2010), the choice of the demo's authors; `average_last`: theta_hat is averaged
    over this last share of the steps; `clip` bounds D's weights under `wasserstein`, `gamma` weighs the gradient
    penalties of `relativistic`."""

    hidden: Annotated[int, Field(ge=1)] = 20
    d_steps: Annotated[int, Field(ge=1)] = 5
    d_lr_ratio: Annotated[float, Field(gt=0)] = 20.0
    d_init: Literal["default", "xavier"] = "default"
    average_last: Annotated[float, Field(gt=0, le=1)] = 1 / 6
    clip: Annotated[float, Field(gt=0)] = CLIP
    gamma: Annotated[float, Field(ge=0)] = GAMMA


class Location:
    """One training of theta_hat and the discriminator. A step is `d_steps` steps of D and then one of G."""

    name = "location"
    corrupts = ("sample",)
    data_kind = GaussianSamples
    Settings = Settings
    default_scale = None
    default_value_range = None
    columns = (
        *("location_error", "median_error", "mean_error", "oracle_error"),
        *("g_loss", "d_loss", "real_loss", "fake_loss", "dead_discriminator"),
    )
    logged = ("g_loss", "d_loss")
    extra_state = ("total", "averaged", "latest")

    def __init__(self, experiment: Experiment, device: torch.device):
        settings = Settings(**experiment.settings)
        self.experiment, self.device, self.d_steps = experiment, device, settings.d_steps
        self.d_lr_ratio = settings.d_lr_ratio
        self.averaged_from = round((1 - settings.average_last) * experiment.steps)
        self.loss = find_loss(experiment.loss).fresh()
        self.loss_module = self.loss.module  # a user's may have buffers
        if self.loss_module is not None:
            self.loss_module.to(device)
        self.objective = self.loss.adversarial(experiment.head, settings.clip, settings.gamma)
        self.data = load(experiment.dataset, self.data_kind)
        self.batches_per_epoch = self.data.count // experiment.batch_size  # an epoch omits the remainder
        if not self.batches_per_epoch:
            raise ValueError(
                f"batch_size = {experiment.batch_size} is more than the {self.data.count} samples there are"
            )

        clean, real = self.samples("data")
        median = real.median(dim=0).values
        kept = (real == clean).all(dim=1)
        self.yardsticks = {
            "median_error": float(median.norm()),
            "mean_error": float(real.mean(dim=0).norm()),
            "oracle_error": float(clean[kept].mean(dim=0).norm()),  # the mean of the uncorrupted samples
        }
        self.real = real.to(device)
        self.epoch, self.order = -1, torch.empty(0, dtype=torch.long)  # the current epoch, and its permutation
        self.generator = networks.Shift(median).to(device)
        with seeded_weights(experiment.seed, "location weights"):
            self.discriminator = nn.Sequential(
                nn.Linear(self.data.dimension, settings.hidden),
                nn.LeakyReLU(0.2),
                nn.Linear(settings.hidden, 1),
                nn.Flatten(0),
            ).to(device)
            if settings.d_init == "xavier":
                for values in self.discriminator.parameters():
                    nn.init.xavier_normal_(values) if values.ndim == 2 else nn.init.zeros_(values)
        self.g_optimizer = optimizers.build_optimizer(experiment.optimizer, self.generator, experiment.lr, BETAS)
        self.d_optimizer = optimizers.build_optimizer(experiment.optimizer, self.discriminator, experiment.lr, BETAS)
        self.set_learning_rate(experiment.lr)
        self.labels = torch.tensor([[REAL], [FAKE]], device=device).repeat(1, experiment.batch_size)
        self.total = torch.zeros(self.data.dimension, device=device)  # of theta_hat, over the averaged steps so far
        self.averaged = torch.zeros((), device=device)  # the number of these steps
        self.latest: dict[str, float] = {}

    @property
    def images_per_step(self) -> int:
        """Real samples per step; as many samples are generated for D, and one more batch for G."""
        return self.d_steps * self.experiment.batch_size

    def set_learning_rate(self, lr: float | Tensor) -> None:
        """The learning rate of G's next step; D's is `d_lr_ratio` times as large."""
        optimizers.set_learning_rate(self.g_optimizer, lr)
        optimizers.set_learning_rate(self.d_optimizer, self.d_lr_ratio * lr)

    def samples(self, purpose: str) -> tuple[Tensor, Tensor]:
        """The data set of a seed and a purpose, before and after contamination, (count, dimension) each."""
        clean = self.data.draw(seeds.generator(self.experiment.seed, purpose))
        contamination = seeds.generator(self.experiment.seed, f"{purpose} contamination")
        return clean, contaminate(clean, self.experiment.outlier, self.experiment.rate, contamination)

    def rows(self, d_step: int) -> Tensor:
        """Indices (batch,) of the real samples of D's step `d_step`: each epoch uses a new permutation."""
        epoch, position = divmod(d_step, self.batches_per_epoch)
        if epoch != self.epoch:
            draw = seeds.generator(self.experiment.seed, "epoch", epoch)
            self.epoch, self.order = epoch, torch.randperm(self.data.count, generator=draw)
        return self.order[position * self.experiment.batch_size :][: self.experiment.batch_size]

    def draw(self, index: int) -> tuple[Tensor, ...]:
        """The random inputs of step `index`, on the host: indices of real samples (d_steps, batch), latents
        (d_steps + 1, batch, dimension), and its weight in the average of theta_hat (1 or 0). They depend only on
        seed and index."""
        rows = torch.stack([self.rows(index * self.d_steps + k) for k in range(self.d_steps)])
        draw = seeds.generator(self.experiment.seed, "latents", index)
        shape = (self.d_steps + 1, self.experiment.batch_size, self.data.dimension)
        return rows, torch.randn(shape, generator=draw), torch.tensor(float(index >= self.averaged_from))

    def discriminate(self, samples: Tensor) -> Tensor:
        """The discriminator's logits (n,) of samples (n, dimension), in single precision."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.experiment.precision == "bf16"):
            logit = self.discriminator(samples)
        return logit.float()

    def step(self, index: int, mark: Mark = unmarked) -> Tensor:
        """`d_steps` steps of D, then one of G; returns the last of each loss, on the device. `mark` ends each phase."""
        return self.advance(to_device(self.draw(index), self.device), mark)

    def advance(self, drawn: tuple[Tensor, ...], mark: Mark = unmarked) -> Tensor:
        """The steps on the random inputs of `draw`."""
        rows, latents, weight = drawn
        objective, real = self.objective, F.embedding(rows, self.real)  # three times as fast as indexing
        mark("data")

        for k in range(self.d_steps):
            fake = self.generator(latents[k]).detach()
            samples = torch.cat([real[k], fake]).requires_grad_(objective.gamma > 0)
            logit = self.discriminate(samples)
            mark("d_forward")
            d_loss, _ = objective.d_loss(logit.view(2, -1), self.labels)
            # R1 and R2 at once: the mean over both batches is half of their sum
            penalised = d_loss + 2 * objective.penalty(logit, samples) if objective.gamma else d_loss
            mark("d_loss")
            self.d_optimizer.zero_grad()
            penalised.backward()
            mark("d_backward")
            self.d_optimizer.step()
            objective.constrain(self.discriminator)
            mark("d_optimizer")

        fake_logit = self.discriminate(self.generator(latents[-1]))
        real_logit = self.discriminate(real[-1]) if objective.pairs else None
        mark("g_forward")
        g_loss = objective.g_loss(fake_logit, real_logit)
        mark("g_loss")
        self.g_optimizer.zero_grad()
        g_loss.backward(inputs=optimizers.trainable(self.generator))  # no gradients for D
        mark("g_backward")
        self.g_optimizer.step()
        mark("g_optimizer")

        with torch.no_grad():
            self.total += weight * self.generator.theta_hat
            self.averaged += weight
            return torch.stack([g_loss, d_loss])

    @cached_property
    def fresh(self) -> tuple[Tensor, Tensor]:
        """Held-out real samples and latents, (count, dimension) each, the same at every evaluation."""
        _, real = self.samples("evaluation")
        latents = self.data.draw(seeds.generator(self.experiment.seed, "evaluation latents"))
        return real.to(self.device), latents.to(self.device)

    def estimate(self) -> Tensor:
        """theta_hat (dimension,): its average over the averaged steps so far; before them, its current value."""
        return torch.where(self.averaged > 0, self.total / self.averaged, self.generator.theta_hat.detach())

    @without_gradients
    def snapshot(self, last: bool = True) -> dict[str, Tensor]:
        """What `evaluate` needs, on the device: the estimate, and D on new samples."""
        real, latents = self.fresh
        estimate = self.estimate()
        fake = estimate + latents
        real_logit, fake_logit = self.discriminate(real), self.discriminate(fake)
        objective, head = self.objective, self.experiment.head
        if objective.pairs:
            g_losses, d_losses = objective.generator(real_logit, fake_logit), objective.pairs(real_logit, fake_logit)
            means = {"g_loss": g_losses, "d_loss": d_losses}
        else:
            means = {
                "g_loss": objective.generator(fake_logit),
                "real_loss": objective.sample_loss(real_logit, torch.full_like(real_logit, REAL)),
                "fake_loss": objective.sample_loss(fake_logit, torch.full_like(fake_logit, FAKE)),
            }
        means |= {"mean_d_real": predict(real_logit, head), "mean_d_fake": predict(fake_logit, head)}
        for name, logit in (("real", real_logit), ("fake", fake_logit)):
            if self.loss.objective:
                means[f"spread_{name}"] = logit.std()
            else:
                means[f"slope_{name}"] = logit.sigmoid() * (1 - logit.sigmoid())
        means = {name: values.double().mean() for name, values in means.items()}
        return means | {"error": estimate.norm(), "real": real[:PROBE_SAMPLES], "fake": fake[:PROBE_SAMPLES]}

    def evaluate(
        self, step: int, recent: dict[str, float], snapshot: dict[str, Tensor] | None = None
    ) -> dict[str, float]:
        """A point on each curve: the estimate, and the losses on new samples, which estimate population values."""
        tensors = snapshot or on_host(self.snapshot(last=False))
        point = {name: float(value) for name, value in tensors.items() if not value.ndim}
        dead = is_dead(point, lambda: probe_accuracy(tensors["real"], tensors["fake"]), PROBE_ACCURACY)
        if self.objective.halves:
            point["d_loss"] = (point["real_loss"] + point["fake_loss"]) / 2
        point["location_error"] = point.pop("error")  # theta is 0
        point["dead_discriminator"] = float(dead)
        self.latest = point
        return point

    def conclude(self, snapshot: dict[str, Tensor] | None = None) -> Readouts:
        """The last point of every curve, and the errors of median, mean, and oracle on the same data set."""
        return Readouts({column: (self.latest | self.yardsticks).get(column) for column in self.columns})
