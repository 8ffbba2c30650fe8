"""Is what a user refers to as a loss one? It is loaded and called.

Each element must get a value that depends on this element alone, and that autograd can trace back to its prediction; no
gradient is taken.
"""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ganlab.plugins import PluginError, load_plugin, one_line, place
from ganlab.seeds import seeded_weights

Elementwise = Callable[[Tensor, Tensor], Tensor]


def load(name: str, reference: str) -> Elementwise:
    """The function of (prediction, target) that a reference refers to, or the nn.Module of a class, built with
    reduction="none" where it takes one.

    Raises:
        PluginError: it cannot be loaded, or is something else.
    """
    found = load_plugin(reference)
    if inspect.isclass(found) and issubclass(found, nn.Module):
        try:
            takes = {"reduction": "none"} if "reduction" in inspect.signature(found).parameters else {}
            with seeded_weights(0, "loss weights"):
                return found(**takes)
        except Exception as error:
            raise PluginError(
                f"{name}: {reference} cannot be built without arguments: {one_line(error)} ({place(error)})"
            ) from error
    if inspect.isclass(found) or not callable(found):
        what = f"the class {found.__name__}" if inspect.isclass(found) else f"of type {type(found).__name__}"
        raise PluginError(
            f"{name}: {reference} is {what}; refer to a function of (prediction, target) or to an nn.Module class"
        )
    return found


def copy_of(name: str, module: nn.Module) -> nn.Module:
    """A loss as it was built, for one training.

    Raises:
        PluginError: it cannot be copied.
    """
    try:
        return copy.deepcopy(module)
    except Exception as error:
        raise PluginError(
            f"{name}: each training takes a copy of it, and copy.deepcopy fails: {one_line(error)}; keep "
            "out of its attributes what cannot be copied"
        ) from error


def examine(name: str, of: Elementwise) -> None:
    """Nothing, if the loss is elementwise and can be differentiated.

    Raises:
        PluginError: it is not.
    """
    for shape in ((6,), (2, 3, 2, 2)):  # outputs of a discriminator, images
        prediction, target = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
        values = values_of(name, of, prediction.requires_grad_(), target)
        if not values.requires_grad:
            raise PluginError(
                f"{name}: what it returns cannot be differentiated in the prediction; compute it by "
                "PyTorch's functions, without .detach(), .item(), or NumPy"
            )
        parts = zip(prediction.chunk(2), target.chunk(2), strict=True)
        apart = torch.cat([values_of(name, of, *part) for part in parts])
        if not torch.allclose(apart, values, rtol=1e-4, atol=1e-6, equal_nan=True):
            raise PluginError(
                f"{name}: it is not elementwise: the loss of an element changes with what stands beside "
                "it; return a value that depends on its own prediction and target alone"
            )


def call(name: str, of: Elementwise, prediction: Tensor, target: Tensor) -> Any:
    """What a user's loss returns.

    Raises:
        PluginError: it fails.
    """
    try:
        return of(prediction, target)
    except Exception as error:
        raise PluginError(
            f"{name}: called as loss(prediction, target) on tensors {tuple(prediction.shape)}, it fails: "
            f"{one_line(error)} ({place(error)})"
        ) from error


def values_of(name: str, of: Elementwise, prediction: Tensor, target: Tensor) -> Tensor:
    """What a user's loss returns, which is a value for each element.

    Raises:
        PluginError: it fails, or returns something else.
    """
    values = call(name, of, prediction, target)
    if not isinstance(values, Tensor) or values.shape != prediction.shape:
        got = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
        raise PluginError(
            f"{name}: tensors {tuple(prediction.shape)} give {got}; return a value for each "
            "element, without mean() or sum()"
        )
    return values
