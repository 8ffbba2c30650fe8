"""Many cells as one: would a GPU rather train replicas of a network in batched kernels than cells on streams?

The step is the task's own. What changes is what it is given: the batches of all cells, one after the other, and in the
place of each network all its replicas, each of which sees the part of its cell.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from ganlab.optimizers import build_optimizer
from ganlab.outliers import CLEAN
from ganlab.tasks import TASKS, Experiment
from ganlab.tasks.experiment import to_device

NETWORKS = {"optimizer": "network", "g_optimizer": "generator", "d_optimizer": "discriminator"}  # what each moves


class Replicas(nn.Module):
    """Networks of one shape as one network: the i-th part of a batch goes through the i-th of them.

    A gradient of the mean over a whole batch arrives as that of the mean over its part: what each gets alone.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.count, self.shape = len(networks), [networks[0]]  # in a list it is no part of this one
        parameters, self.buffered = stack_module_state(list(networks))
        self.names, self.stacked = list(parameters), nn.ParameterList(parameters.values())
        for part in self.stacked:
            part.register_hook(partial(torch.mul, other=self.count))
        for layer in networks[0].modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_forward_pre_hook(as_batched_statistics_need_it)

    def forward(self, batch: Tensor) -> Tensor:
        """The outputs, in the order of the batch."""
        network = self.shape[0]

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], part: Tensor) -> Tensor:
            return functional_call(network, (parameters, buffers), (part,))

        parameters = dict(zip(self.names, self.stacked, strict=True))
        return torch.vmap(one)(parameters, self.buffered, batch.unflatten(0, (self.count, -1))).flatten(0, 1)


def as_batched_statistics_need_it(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """In single precision, as the running statistics are, and in the one layout that cuDNN's batch normalisation can
    ask for within `vmap`."""
    return tuple(part.float().contiguous() for part in inputs)


class Stacked:
    """Cells that differ in their seed alone, as one task that takes steps. What it logs are means over the cells.

    Args:
        experiment: of the first; the others have the next seeds. It has no outliers: all train on the first one's data.
        members: how many.

    Raises:
        ValueError: it has outliers, which each seed draws for itself.
    """

    def __init__(self, experiment: Experiment, device: torch.device, members: int):
        if experiment.outlier != CLEAN:
            raise ValueError(f"stacked cells share their data, but outliers ({experiment.outlier}) depend on the seed")
        build = TASKS[experiment.task]
        seeds = range(experiment.seed + 1, experiment.seed + members)
        self.whole = build(experiment, device)
        others = [build(experiment.model_copy(update={"seed": seed}), torch.device("cpu")) for seed in seeds]
        self.members = [self.whole, *others]  # who draw; the others hold no data on a GPU
        self.device, self.logged = device, self.whole.logged
        self.images_per_step = sum(member.images_per_step for member in self.members)
        for optimizer, network in NETWORKS.items():
            if hasattr(self.whole, optimizer):
                replicas = Replicas([getattr(member, network).to(device) for member in self.members])
                betas = getattr(self.whole, optimizer).defaults.get("betas")
                setattr(self.whole, network, replicas)
                setattr(self.whole, optimizer, build_optimizer(experiment.optimizer, replicas, experiment.lr, betas))
        self.set_learning_rate, self.advance = self.whole.set_learning_rate, self.whole.advance

    def draw(self, index: int) -> tuple[Tensor, ...]:
        """What step `index` is given, on the host: the draws of all cells, one after the other."""
        return tuple(torch.cat(parts) for parts in zip(*(member.draw(index) for member in self.members), strict=True))

    def step(self, index: int) -> Tensor:
        """One step of each."""
        return self.advance(to_device(self.draw(index), self.device))
