"""How are weights updated? By Adam or plain SGD, on a CPU all of them as one tensor.

In a step of networks as small as these, a tenth of the time goes into Python's way to the arithmetic, parameter by
parameter. Flattened into one they are updated, and their gradients cleared, by one call each; the arithmetic is the
same.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

ALIGNED = 16  # float32 in a cache line, at whose start each parameter begins


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that ask to be trained; a user's own network may have frozen others."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def build_optimizer(
    name: str, network: nn.Module, lr: float, betas: tuple[float, float], also: nn.Module | None = None
) -> torch.optim.Optimizer:
    """Adam with `betas`, or plain SGD, fused, over what can be trained of a network and of a loss that has parameters
    (`also`); on a GPU its step can be captured."""
    parameters = [*trainable(network), *(trainable(also) if also else ())]
    whole = flattened(parameters)
    if whole is not None:
        return Adam([whole], lr, betas=betas, fused=True) if name == "adam" else SGD([whole], lr)
    on_gpu, fused = parameters[0].is_cuda, all(map(is_dense, parameters))  # fused ones take memory for dense, unasked
    if name == "adam":
        return torch.optim.Adam(parameters, lr, betas=betas, fused=fused, capturable=on_gpu)
    return torch.optim.SGD(parameters, lr, fused=fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float | Tensor) -> None:
    """The learning rate of the next step: a number, or a tensor () that a captured step reads."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def flattened(parameters: Sequence[nn.Parameter]) -> nn.Parameter | None:
    """One flat parameter in whose memory these and their gradients lie from now on, each at the start of a cache line.

    None where they cannot be laid so: on a GPU, whose optimizers take many at once; other types than float32; memory
    that is shared or not dense. One that gets no gradient in a step has one of 0 here: Adam moves it by its momentum,
    where on its own it would be skipped.
    """
    if not all(map(movable, parameters)) or len({p.untyped_storage().data_ptr() for p in parameters}) < len(parameters):
        return None
    sizes = [-(-parameter.numel() // ALIGNED) * ALIGNED for parameter in parameters]
    whole = nn.Parameter(torch.zeros(sum(sizes)))
    whole.grad = torch.zeros_like(whole)
    for parameter, *parts in zip(parameters, whole.data.split(sizes), whole.grad.split(sizes), strict=True):
        own, gradient = (part[: parameter.numel()].as_strided(parameter.shape, parameter.stride()) for part in parts)
        parameter.data, parameter.grad = own.copy_(parameter.data), gradient
    return whole


def movable(parameter: nn.Parameter) -> bool:
    """Whether a parameter can lie in a part of another tensor's memory."""
    return parameter.device.type == "cpu" and parameter.dtype == torch.float32 and is_dense(parameter)


def is_dense(parameter: nn.Parameter) -> bool:
    """Whether a parameter is non-overlapping and dense: its elements fill a piece of memory, in whatever order."""
    return torch.empty_like(parameter).stride() == parameter.stride()


class OfWhole(torch.optim.Optimizer):
    """An optimizer of one flat parameter. Its gradient is cleared where it lies: others look at parts of it."""

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Clear the gradient."""
        self.param_groups[0]["params"][0].grad.zero_()


def straight(step: Callable) -> Callable:
    """`step` without gradients, and without the hooks and profiler marks that PyTorch would wrap it in."""
    step = torch.no_grad()(step)
    step.hooked = True  # where PyTorch should forget the mark, it is slower and no less right
    return step


class Adam(OfWhole, torch.optim.Adam):
    """Adam (Kingma, Ba, ICLR 2015)."""

    @straight
    def step(self) -> None:
        """One update, by what a fused Adam of PyTorch comes to in the end; its way there costs a small step 4 %."""
        (group,) = self.param_groups
        (whole,) = group["params"]
        if whole not in self.state:
            super().step()  # makes the state
            return
        state, (beta1, beta2) = self.state[whole], group["betas"]
        state["step"] += 1
        torch._fused_adam_(
            [whole],
            [whole.grad],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=0,
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )


class SGD(OfWhole, torch.optim.SGD):
    """Stochastic gradient descent, without momentum."""

    @straight
    def step(self) -> None:
        """One update."""
        (group,) = self.param_groups
        (whole,) = group["params"]
        whole.sub_(whole.grad, alpha=float(group["lr"]))
