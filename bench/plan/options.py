"""How is an option declared? Once, as a field of a frozen record. Command line and Python take it from there.

    workers: Annotated[int | None, Option("worker processes", least=1)] = None

A field without an `Option` is for Python only.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, get_args, get_type_hints

from bench.errors import UsageError

SAME_KIND = (bool, str, float, int | None, float | None)  # types that the command line parses; others are text


@dataclass(frozen=True)
class Option:
    """The declaration of an option; `options_of` fills in the rest from the field.

    Attributes:
        help: what it does, its unit, and the meaning of its default if the value does not show it.
        least: the smallest valid number.
        kind: its type on the command line.
        flag: its name on the command line.
        positional: whether it is an argument, without a flag.
        parse: converts the value from the command line.
        name, default: name and default of the field.
    """

    help: str
    least: float | None = None
    kind: Any = None
    flag: str = ""
    positional: bool = False
    parse: Callable[[Any], Any] = lambda value: tuple(value) if isinstance(value, list) else value
    name: str = ""
    default: Any = None


Device = Annotated[str, Option("auto, cpu, cuda, or cuda:N; auto takes CUDA where there is one")]


def options_of(record: Any) -> Iterator[Option]:
    """The options that a record, or its class, declares; positional parameters first."""
    hints = get_type_hints(record if isinstance(record, type) else type(record), include_extras=True)
    for field in sorted(fields(record), key=lambda field: bool(field.kw_only)):
        for option in (part for part in get_args(hints[field.name]) if isinstance(part, Option)):
            declared = get_args(hints[field.name])[0]
            kind = option.kind or (declared if declared in SAME_KIND else str)
            flag = option.flag or f"--{field.name.replace('_', '-')}"
            yield replace(option, kind=kind, flag=flag, name=field.name, default=field.default)


def validate(record: Any) -> None:
    """Check the numbers of a record.

    Raises:
        UsageError: a number is below the least valid number of its option, or NaN.
    """
    for option in options_of(record):
        value = getattr(record, option.name)
        if option.least is not None and value is not None and not value >= option.least:
            raise UsageError(f"{option.flag} {value}: at least {option.least}")
