"""How are weights updated? By Adam or plain SGD; on a CPU all weights are one tensor.

In networks as small as these, a tenth of a step is Python's overhead per parameter. Flattened into one parameter, one
call updates all weights and one call clears all gradients; the arithmetic is the same.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

ALIGNED = 16  # float32 values in a cache line; each parameter starts at a cache line


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters to train; a user's network may also have frozen ones."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def build_optimizer(
    name: str, network: nn.Module, lr: float, betas: tuple[float, float], also: nn.Module | None = None
) -> torch.optim.Optimizer:
    """Fused Adam with `betas`, or plain SGD, of the trainable parameters of a network and of a loss with parameters
    (`also`); on a GPU its step can be captured."""
    parameters = [*trainable(network), *(trainable(also) if also else ())]
    flat = flattened(parameters)
    if flat is not None:
        return Adam([flat], lr, betas=betas, fused=True) if name == "adam" else SGD([flat], lr)
    on_gpu, fused = parameters[0].is_cuda, all(map(is_dense, parameters))  # fused kernels do not check for dense memory
    if name == "adam":
        return torch.optim.Adam(parameters, lr, betas=betas, fused=fused, capturable=on_gpu)
    return torch.optim.SGD(parameters, lr, fused=fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float | Tensor) -> None:
    """Set the learning rate of the next step: a number, or a tensor () that a captured step reads."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def flattened(parameters: Sequence[nn.Parameter]) -> nn.Parameter | None:
    """One flat parameter whose memory then holds these parameters and their gradients, each aligned to a cache line.

    None where that does not apply: on a GPU, where optimizers take many parameters at once; for types other than
    float32; for memory that is shared or not dense. A parameter without a gradient in a step then has a gradient of 0:
    Adam moves it by its momentum, whereas PyTorch's Adam skips it.
    """
    storages = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    if not all(map(is_movable, parameters)) or len(storages) < len(parameters):
        return None
    sizes = [-(-parameter.numel() // ALIGNED) * ALIGNED for parameter in parameters]
    flat = nn.Parameter(torch.zeros(sum(sizes)))
    flat.grad = torch.zeros_like(flat)
    for parameter, *parts in zip(parameters, flat.data.split(sizes), flat.grad.split(sizes), strict=True):
        shape, strides = parameter.shape, parameter.stride()
        values, gradient = (part[: parameter.numel()].as_strided(shape, strides) for part in parts)
        parameter.data, parameter.grad = values.copy_(parameter.data), gradient
    return flat


def is_movable(parameter: nn.Parameter) -> bool:
    """Whether the memory of a flat parameter can hold this parameter."""
    return parameter.device.type == "cpu" and parameter.dtype == torch.float32 and is_dense(parameter)


def is_dense(parameter: nn.Parameter) -> bool:
    """Whether a parameter is non-overlapping and dense: its elements fill a block of memory, in any order."""
    return torch.empty_like(parameter).stride() == parameter.stride()


class FlatOptimizer(torch.optim.Optimizer):
    """An optimizer of one flat parameter. Its gradient is cleared in place, because parameters hold views of it."""

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Clear the gradient."""
        self.param_groups[0]["params"][0].grad.zero_()


Step = Callable[..., None]


def unhooked(step: Step) -> Step:
    """`step` without gradients, and without PyTorch's hooks and profiler marks."""
    step = torch.no_grad()(step)
    vars(step)["hooked"] = True  # if a later PyTorch ignores this, steps are slower but still correct
    return step


class Adam(FlatOptimizer, torch.optim.Adam):
    """Adam (Kingma, Ba, ICLR 2015)."""

    @unhooked
    def step(self) -> None:  # type: ignore[override]  # it takes no closure
        """One update, by the kernel of PyTorch's fused Adam; calling it through PyTorch costs a small step 4 %."""
        (group,) = self.param_groups
        (flat,) = group["params"]
        if flat not in self.state:
            super().step()  # creates the state
            return
        state, (beta1, beta2) = self.state[flat], group["betas"]
        mean, square, steps = state["exp_avg"], state["exp_avg_sq"], state["step"]
        steps += 1
        rest: dict[str, Any] = {"weight_decay": 0, "eps": group["eps"], "amsgrad": False, "maximize": False}
        torch._fused_adam_(
            [flat], [flat.grad], [mean], [square], [], [steps], lr=group["lr"], beta1=beta1, beta2=beta2, **rest
        )


class SGD(FlatOptimizer, torch.optim.SGD):
    """Stochastic gradient descent, without momentum."""

    @unhooked
    def step(self) -> None:  # type: ignore[override]  # it takes no closure
        """One update."""
        (group,) = self.param_groups
        (flat,) = group["params"]
        flat.sub_(flat.grad, alpha=float(group["lr"]))
