"""How is an option declared? Once: as a field of a frozen record, from which the command line and Python take theirs.

    workers: Annotated[int | None, Option("worker processes", least=1)] = None

A field without an `Option` is for Python alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_args, get_type_hints

from bench.errors import UsageError


@dataclass(frozen=True)
class Option:
    """What the command line needs to know of an option, beside the field's name, type, and default.

    Attributes:
        help: what it does, in which unit, and what its default means where the value does not say so.
        least: the smallest number that can be meant.
        kind: the type on the command line, where Python takes more types.
        flag: its name on the command line, where it differs from the field's.
        positional: whether it is an argument, without a flag.
        parse: what makes the value of the words of the command line.
    """

    help: str
    least: float | None = None
    kind: Any = None
    flag: str = ""
    positional: bool = False
    parse: Callable[[Any], Any] = lambda value: tuple(value) if isinstance(value, list) else value


Device = Annotated[str, Option("auto, cpu, cuda, or cuda:N; auto takes CUDA where there is one")]


@dataclass(frozen=True)
class Declared:
    """An option as its record declares it: its field's name, its type and flag on the command line, its default."""

    name: str
    kind: Any
    flag: str
    default: Any
    option: Option


def declared(record: Any) -> Iterator[Declared]:
    """The options of a record, or of its class, as declared; positional ones first."""
    hints = get_type_hints(record if isinstance(record, type) else type(record), include_extras=True)
    for field in sorted(fields(record), key=lambda field: bool(field.kw_only)):
        for option in (one for one in get_args(hints[field.name]) if isinstance(one, Option)):
            flag = option.flag or f"--{field.name.replace('_', '-')}"
            yield Declared(field.name, option.kind or get_args(hints[field.name])[0], flag, field.default, option)


def validate(record: Any) -> None:
    """Whether the numbers of a record can be meant.

    Raises:
        UsageError: no worker, no time, ...
    """
    for one in declared(record):
        value, least = getattr(record, one.name), one.option.least
        if least is not None and value is not None and not value >= least:  # NaN included
            raise UsageError(f"{one.flag} {value}: at least {least}")
