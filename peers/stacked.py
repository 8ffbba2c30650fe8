"""Many cells as one: would a GPU rather train replicas of a network in batched kernels than cells on streams?

The step is the task's own. What changes is what it is given: the batches of all cells, one after the other, and in the
place of each network all its replicas, each of which sees the part of its cell.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from ganlab.optimizers import build_optimizer
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
        parameters, buffers = stack_module_state(list(networks))
        self.names, self.buffered = list(parameters), buffers
        self.stacked = nn.ParameterList(parameters.values())
        for layer in networks[0].modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_forward_pre_hook(in_single_precision)

    def forward(self, batch: Tensor) -> Tensor:
        """The outputs, in the order of the batch."""
        parameters = dict(zip(self.names, (Multiplied.apply(part, self.count) for part in self.stacked), strict=True))
        network = self.shape[0]

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], part: Tensor) -> Tensor:
            return functional_call(network, (parameters, buffers), (part,))

        return torch.vmap(one)(parameters, self.buffered, batch.unflatten(0, (self.count, -1))).flatten(0, 1)


def in_single_precision(layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Its statistics are in single precision; batched, its kernels do not take them beside bfloat16."""
    return tuple(part.float() for part in inputs)


class Multiplied(torch.autograd.Function):
    """A tensor, whose gradient is multiplied by a number."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, tensor: Tensor, factor: int) -> Tensor:
        """The tensor itself."""
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient, multiplied."""
        return gradient * ctx.factor, None


class Stacked:
    """Cells that differ in their seed alone, as one task that takes steps. What it logs are means over the cells.

    Args:
        experiment: of the first; the others have the next seeds. Its real images or targets are clean: all share them.
        cells: how many.
    """

    def __init__(self, experiment: Experiment, device: torch.device, cells: int):
        seeds = range(experiment.seed, experiment.seed + cells)
        self.cells = [TASKS[experiment.task](experiment.model_copy(update={"seed": seed}), device) for seed in seeds]
        self.whole = self.cells[0]
        self.device, self.logged = device, self.whole.logged
        self.images_per_step = sum(cell.images_per_step for cell in self.cells)
        for optimizer, network in NETWORKS.items():
            if hasattr(self.whole, optimizer):
                replicas = Replicas([getattr(cell, network) for cell in self.cells])
                betas = getattr(self.whole, optimizer).defaults.get("betas")
                setattr(self.whole, network, replicas)
                setattr(self.whole, optimizer, build_optimizer(experiment.optimizer, replicas, experiment.lr, betas))
        self.set_learning_rate, self.advance = self.whole.set_learning_rate, self.whole.advance

    def draw(self, index: int) -> tuple[Tensor, ...]:
        """What step `index` is given, on the host: the draws of all cells, one after the other."""
        return tuple(torch.cat(parts) for parts in zip(*(cell.draw(index) for cell in self.cells), strict=True))

    def step(self, index: int) -> Tensor:
        """One step of each."""
        return self.advance(to_device(self.draw(index), self.device))
