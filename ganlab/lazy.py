"""How can a module be imported without loading PyTorch? Lazy imports: PyTorch is loaded when it is first used.

Listing losses, tasks, and data sets then takes no time. Type checkers read ordinary imports:

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
    """Bind names in a namespace to modules, such as `nn` to `torch.nn`; each is imported when an attribute is used."""
    for name, module in modules.items():
        namespace[name] = _Unimported(namespace, name, module)


class _Unimported:
    """A placeholder for a module; when an attribute of it is used, the module replaces it in the namespace."""

    def __init__(self, namespace: dict[str, Any], name: str, module: str):
        self._binding = namespace, name, module

    def __getattr__(self, attribute: str) -> Any:
        namespace, name, module = self._binding
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
