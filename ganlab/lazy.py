"""How can a module name what it computes with, yet be imported without it? PyTorch is imported when it is first used.

Whoever asks which losses, tasks, and data sets there are does not wait for it. A type checker reads ordinary imports:

    if TYPE_CHECKING:
        import torch
    else:
        lazily(globals(), torch="torch")
"""

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


def lazily(namespace: dict[str, Any], **modules: str) -> None:
    """Give modules names in a namespace, `torch.nn` say as `nn`; each is imported when an attribute of it is used."""
    for name, module in modules.items():
        namespace[name] = _Unimported(namespace, name, module)


class _Unimported:
    """Stands for a module until an attribute of it is used; then the module itself takes its place in the namespace."""

    def __init__(self, namespace: dict[str, Any], name: str, module: str):
        self._place = namespace, name, module

    def __getattr__(self, attribute: str) -> Any:
        namespace, name, module = self._place
        namespace[name] = import_module(module)
        return getattr(namespace[name], attribute)


def without_gradients(method: Method) -> Method:
    """`torch.no_grad()` for a method of a class that is defined before PyTorch is imported."""

    @functools.wraps(method)
    def call(*args: Any, **options: Any) -> Any:
        import torch

        with torch.no_grad():
            return method(*args, **options)

    return cast(Method, call)
