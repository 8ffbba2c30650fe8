"""Is a user's loss elementwise and differentiable? It is loaded, and called on random tensors.

The loss of an element must depend on that element alone, and autograd must be able to differentiate it in the
prediction. No gradient is computed.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from ganlab.lazy import lazily
from ganlab.plugins import PluginError, describe, error_summary, load_plugin
from ganlab.seeds import seeded_weights

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
else:
    lazily(globals(), torch="torch", nn="torch.nn")

Elementwise: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"


def load(name: str, reference: str) -> Elementwise:
    """The function of (prediction, target) that a reference refers to, or the nn.Module of a class, built with
    reduction="none" if it takes that argument.

    Raises:
        PluginError: it cannot be loaded, or is something else.
    """
    loss = load_plugin(reference)
    if inspect.isclass(loss) and issubclass(loss, nn.Module):
        try:
            arguments = {"reduction": "none"} if "reduction" in inspect.signature(loss).parameters else {}
            with seeded_weights(0, "loss weights"):
                return loss(**arguments)
        except Exception as error:
            raise PluginError(f"{name}: {reference} cannot be built without arguments: {describe(error)}") from error
    if inspect.isclass(loss) or not callable(loss):
        described = f"the class {loss.__name__}" if inspect.isclass(loss) else f"of type {type(loss).__name__}"
        raise PluginError(
            f"{name}: {reference} is {described}; refer to a function of (prediction, target) or to an nn.Module class"
        )
    return loss


def copy_of(name: str, module: nn.Module) -> nn.Module:
    """A copy of a newly built loss, for one training.

    Raises:
        PluginError: it cannot be copied.
    """
    try:
        return copy.deepcopy(module)
    except Exception as error:
        raise PluginError(
            f"{name}: each training takes a copy of it, and copy.deepcopy fails: {error_summary(error)}; keep "
            "out of its attributes what cannot be copied"
        ) from error


def examine(name: str, loss: Elementwise) -> None:
    """Check that a loss is elementwise and differentiable.

    Raises:
        PluginError: it is not.
    """
    for shape in ((6,), (2, 3, 2, 2)):  # outputs of a discriminator, images
        prediction, target = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
        values = values_of(name, loss, prediction.requires_grad_(), target)
        if not values.requires_grad:
            raise PluginError(
                f"{name}: what it returns cannot be differentiated in the prediction; compute it by "
                "PyTorch's functions, without .detach(), .item(), or NumPy"
            )
        halves = zip(prediction.chunk(2), target.chunk(2), strict=True)
        apart = torch.cat([values_of(name, loss, *half) for half in halves])
        if not torch.allclose(apart, values, rtol=1e-4, atol=1e-6, equal_nan=True):
            raise PluginError(
                f"{name}: it is not elementwise: the loss of an element changes with what stands beside "
                "it; return a value that depends on its own prediction and target alone"
            )


def call(name: str, loss: Elementwise, prediction: Tensor, target: Tensor) -> Any:
    """What a user's loss returns, of whatever type.

    Raises:
        PluginError: it fails.
    """
    try:
        return loss(prediction, target)
    except Exception as error:
        called = f"called as loss(prediction, target) on tensors {tuple(prediction.shape)}"
        raise PluginError(f"{name}: {called}, it fails: {describe(error)}") from error


def values_of(name: str, loss: Elementwise, prediction: Tensor, target: Tensor) -> Tensor:
    """A user's loss of each element, in the shape of `prediction`.

    Raises:
        PluginError: it fails, or returns something else.
    """
    values = call(name, loss, prediction, target)
    if not isinstance(values, torch.Tensor) or values.shape != prediction.shape:
        got = f"shape {tuple(values.shape)}" if isinstance(values, torch.Tensor) else f"a {type(values).__name__}"
        raise PluginError(
            f"{name}: tensors {tuple(prediction.shape)} give {got}; return a value for each "
            "element, without mean() or sum()"
        )
    return values
