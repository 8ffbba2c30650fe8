"""Is a GPU faster with replicas of a network in batched kernels than with cells on streams?

The step is that of the task. Only its inputs change: the concatenated batches of all cells, and in place of each
network all its replicas; each replica gets the part of its cell.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from ganlab.datasets import load
from ganlab.datasets.kinds import Split
from ganlab.optimizers import build_optimizer
from ganlab.outliers import CLEAN
from ganlab.tasks import TASKS, Experiment
from ganlab.tasks.experiment import to_device

NETWORKS = {
    "optimizer": "network",
    "g_optimizer": "generator",
    "d_optimizer": "discriminator",
}  # the network that each optimizer updates


class Replicas(nn.Module):
    """Networks of one shape as one network: the i-th part of a batch goes through the i-th network.

    Gradients of the mean over the whole batch are scaled to those of the mean over each part, as in separate training.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.count, self.shape = len(networks), [networks[0]]  # in a list, so that it is not a submodule
        parameters, self.buffered = stack_module_state(list(networks))
        self.names, self.stacked = list(parameters), nn.ParameterList(parameters.values())
        for part in self.stacked:
            part.register_hook(partial(torch.mul, other=self.count))
        for layer in networks[0].modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_forward_pre_hook(prepare_batch_norm_input)

    def forward(self, batch: Tensor) -> Tensor:
        """The outputs, in the order of the batch."""
        network = self.shape[0]

        def apply_one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], part: Tensor) -> Tensor:
            return functional_call(network, (parameters, buffers), (part,))

        parameters = dict(zip(self.names, self.stacked, strict=True))
        return torch.vmap(apply_one)(parameters, self.buffered, batch.unflatten(0, (self.count, -1))).flatten(0, 1)


def prepare_batch_norm_input(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The inputs in single precision, like the running statistics, and in the only layout that cuDNN's batch
    normalisation accepts within `vmap`."""
    return tuple(part.float().contiguous() for part in inputs)


def seeds_of_one_fold(experiment: Experiment, members: int) -> list[int]:
    """The experiment's seed, and the next ones that are trained on the same images."""
    data = load(experiment.dataset, TASKS[experiment.task].data_kind)
    turns = len(data.folds) or 1 if isinstance(data, Split) else 1
    return [experiment.seed + turns * number for number in range(members)]


class Stacked:
    """Cells that differ only in their seed, as one task. It logs means over the cells.

    Args:
        experiment: of the first cell; the others have the next seeds of its fold. Without outliers all cells train on
            the data of the first.
        members: the number of cells.

    Raises:
        ValueError: it has outliers; they depend on the seed.
    """

    def __init__(self, experiment: Experiment, device: torch.device, members: int):
        if experiment.outlier != CLEAN:
            raise ValueError(f"stacked cells share their data, but outliers ({experiment.outlier}) depend on the seed")
        build = TASKS[experiment.task]
        seeds = seeds_of_one_fold(experiment, members)[1:]
        self.whole = build(experiment, device)
        others = [build(experiment.model_copy(update={"seed": seed}), torch.device("cpu")) for seed in seeds]
        self.members = [self.whole, *others]  # they draw inputs; only the first has data on a GPU
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
        """The random inputs of step `index`, on the host: the draws of all cells, concatenated."""
        return tuple(torch.cat(parts) for parts in zip(*(member.draw(index) for member in self.members), strict=True))

    def step(self, index: int) -> Tensor:
        """One step of every cell."""
        return self.advance(to_device(self.draw(index), self.device))
