"""How does a function take its options from the record that declares them?"""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar, get_type_hints

from bench.plan.options import options_of

P = ParamSpec("P")
Record = TypeVar("Record")
Result = TypeVar("Result")


def takes(record: Callable[P, Record]) -> Callable[[Callable[[Record], Result]], Callable[P, Result]]:
    """Turn a function of a record into a function of the record's options, with their defaults and help."""

    def decorate(function: Callable[[Record], Result]) -> Callable[P, Result]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            return function(record(*args, **kwargs))

        hints = get_type_hints(record)
        parameters = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in inspect.signature(record).parameters.values()
        ]
        returns = inspect.signature(function).return_annotation
        call.__signature__ = inspect.Signature(parameters, return_annotation=returns)  # type: ignore[attr-defined]
        lines = [f"    {option.name}: {option.help}." for option in options_of(record)]
        call.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Args:", *lines])
        return call

    return decorate
