"""How does a verb take its options from the record that declares them?"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING
from typing import Annotated, Any, TypeVar

import typer

from bench.plan.options import Option, options_of

Record = TypeVar("Record")


def takes(record: type[Record]) -> Callable[[Callable[[Record], None]], Callable[..., None]]:
    """Make a function of a record a function whose signature typer reads: a parameter for each option of the record."""
    options = list(options_of(record))

    def decorate(function: Callable[[Record], None]) -> Callable[..., None]:
        def callback(**given: Any) -> None:
            function(record(**{one.name: one.parse(given[one.name]) for one in options if given[one.name] is not None}))

        callback.__name__, callback.__doc__ = function.__name__, function.__doc__
        callback.__signature__ = inspect.Signature(list(map(parameter, options)))  # type: ignore[attr-defined]
        return callback

    return decorate


def parameter(option: Option) -> inspect.Parameter:
    """An option as typer takes it."""
    flags, make = ((), typer.Argument) if option.positional else ((option.flag,), typer.Option)
    default = inspect.Parameter.empty if option.default is MISSING else option.default
    if isinstance(default, tuple):  # typer has a list, or None where nothing is the default
        default = list(default) or None
    kind = option.kind | None if default is None else option.kind
    shown = make(*flags, help=option.help, min=option.least)
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, shown]
    )
