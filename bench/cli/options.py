"""How does a verb take its options from the record that declares them?"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING
from typing import Annotated, Any, TypeVar

import typer

from bench.plan.options import Option, options_of

Record = TypeVar("Record")


def takes(record: type[Record]) -> Callable[[Callable[[Record], None]], Callable[..., None]]:
    """Turn a function of a record into a function that typer can read: it has a parameter for each option."""
    options = list(options_of(record))

    def decorate(function: Callable[[Record], None]) -> Callable[..., None]:
        def callback(**values: Any) -> None:
            given = [option for option in options if values[option.name] is not None]
            function(record(**{option.name: option.parse(values[option.name]) for option in given}))

        callback.__name__, callback.__doc__ = function.__name__, function.__doc__
        callback.__signature__ = inspect.Signature(list(map(parameter, options)))  # type: ignore[attr-defined]
        return callback

    return decorate


def parameter(option: Option) -> inspect.Parameter:
    """An option as a parameter for typer."""
    flags, make = ((), typer.Argument) if option.positional else ((option.flag,), typer.Option)
    default = inspect.Parameter.empty if option.default is MISSING else option.default
    if isinstance(default, tuple):  # typer expects a list, or None for an empty default
        default = list(default) or None
    kind = option.kind | None if default is None else option.kind
    declared = make(*flags, help=option.help, min=option.least)
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declared]
    )
