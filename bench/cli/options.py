"""How does a verb take its options from the record that declares them?"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING
from typing import Annotated, Any, TypeVar

import typer

from bench.plan.options import Declared, declared

Record = TypeVar("Record")


def takes(record: type[Record]) -> Callable[[Callable[[Record], None]], Callable[..., None]]:
    """Make a function of a record a function whose signature typer reads: a parameter for each option of the record."""
    options = list(declared(record))

    def decorate(function: Callable[[Record], None]) -> Callable[..., None]:
        def callback(**words: Any) -> None:
            given = {one.name: one.option.parse(words[one.name]) for one in options if words[one.name] is not None}
            function(record(**given))

        callback.__name__, callback.__doc__ = function.__name__, function.__doc__
        callback.__signature__ = inspect.Signature(list(map(parameter, options)))  # type: ignore[attr-defined]
        return callback

    return decorate


def parameter(one: Declared) -> inspect.Parameter:
    """An option as typer takes it."""
    make = typer.Argument if one.option.positional else typer.Option
    flags = () if one.option.positional else (one.flag,)
    shown = make(*flags, help=one.option.help, min=one.option.least)
    default = inspect.Parameter.empty if one.default is MISSING else one.default
    if isinstance(default, tuple):  # typer has a list, or None where nothing is the default
        default = list(default) or None
    kind = one.kind | None if default is None else one.kind
    return inspect.Parameter(
        one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, shown]
    )
