"""What is to be run? The same order from a command line and from Python, each said in the other's words."""

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.plan.additions import Additions
from bench.plan.cell import Cell
from ganlab.datasets.folders import PREFIX, SEPARATOR
from ganlab.plugins import load_plugin
from ganlab.tasks.experiment import no_such

LEAST = {"workers": 1, "pack": 1, "memory_mib": 1, "minutes": 0.05}  # of the options that are numbers


@dataclass(frozen=True)
class Order:
    """What is to be run; see `bench.api.run`."""

    suite: str = "quick"
    out: Path | None = None
    device: str = "auto"
    workers: int | None = None
    pack: int | None = None
    minutes: float | None = None
    executor: str = "local"
    memory_mib: float | None = None
    fresh: bool = False
    only: str = ""
    override: Mapping[str, Any] | None = None
    loss: tuple[str, ...] = ()
    data: str | None = None
    train: str | None = None
    test: str | None = None
    network: str | None = None

    def arguments(self) -> list[str]:
        """The same on the command line, after `python -m bench`."""
        words = ["run", self.suite]
        for field in fields(self)[1:]:
            value, option = getattr(self, field.name), f"--{field.name.replace('_', '-')}"
            if value is True:
                words.append(option)
            elif field.name == "override":
                words += [word for key, own in (value or {}).items() for word in ("--set", f"{key}={_as_toml(own)}")]
            elif field.name == "loss":
                words += [word for name in value for word in (option, name)]
            elif value != field.default:
                words += [option, _as_toml(value) if isinstance(value, Real) else str(value)]
        return words

    def validate_numbers(self) -> None:
        """Whether its numbers can be meant.

        Raises:
            UsageError: no worker, no time, ...
        """
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:  # NaN included
                raise UsageError(f"--{name.replace('_', '-')} {value}: at least {least}")

    def additions(self) -> Additions:
        """What the user adds to the suite.

        Raises:
            UsageError: it contradicts itself.
        """
        if self.data and (self.train or self.test):
            raise UsageError("--data splits one folder, --train and --test name two: give the one or the others")
        if bool(self.train) != bool(self.test):
            raise UsageError("--train and --test go together; --data folder:PATH splits one folder")
        dataset = f"{PREFIX}{self.train}{SEPARATOR}{self.test}" if self.train else self.data
        return Additions(tuple(dict.fromkeys(self.loss)), dataset, self.network)


# From Python


def reference_to(user_code: str | Callable[..., Any]) -> str:
    """The reference to a function or class of the user's, or the name that was given instead.

    Raises:
        UsageError: a worker process could not import it.
    """
    if isinstance(user_code, str):
        return user_code
    module, name = getattr(user_code, "__module__", None), getattr(user_code, "__qualname__", None)
    if not module or not name:
        raise UsageError(
            f"{user_code!r} is neither a function nor a class: pass what makes it, or a reference package.module:MyLoss"
        )
    if module == "__main__" or "<" in name:
        where = "inside a function" if "<" in name else "in a notebook or in the script that runs"
        raise UsageError(
            f"{name} is defined {where}, where worker processes cannot import it: put it into a file of "
            "its own, my_losses.py say, and pass my_losses.MyLoss or 'my_losses:MyLoss'"
        )
    if load_plugin(f"{module}:{name}") is not user_code:
        raise UsageError(f"{module}:{name} is not what was passed: it was defined anew since; import it again")
    return f"{module}:{name}"


def dataset_name(data: str | Path) -> str:
    """The name of a data set; a Path is a folder of images.

    >>> dataset_name("digits"), dataset_name(Path("photos"))
    ('digits', 'folder:photos')
    """
    return f"{PREFIX}{data}" if isinstance(data, Path) else data


# From the command line


def parse_filter(text: str) -> dict[str, set[str]]:
    """`task=sr,loss=l1` as {"task": {"sr"}, "loss": {"l1"}}; several values of a key are joined by `|`."""
    wanted = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--only {pair!r}: expected key=value, as in --only 'task=sr,loss=l1'")
        if key not in Cell.model_fields:
            raise UsageError(f"--only: {no_such('key', key, Cell.model_fields)}")
        wanted[key] = set(value.split("|"))
    return wanted


def matches(cell: Cell, wanted: dict[str, set[str]]) -> bool:
    """Whether a cell has one of the wanted values for each key; numbers match however they are written."""

    def same(value: Any, text: str) -> bool:
        try:
            return float(text) == float(value)
        except (TypeError, ValueError):
            return text.lower() == str(value).lower()

    return all(any(same(getattr(cell, key), text) for text in values) for key, values in wanted.items())


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """`key=value` pairs, the value read as TOML (and as text where it is none)."""
    overrides = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair!r}: expected key=value, as in --set steps=100")
        try:
            overrides[key] = tomllib.loads(f"value = {value}")["value"]
        except (ValueError, RecursionError):
            overrides[key] = value
    return overrides


def _as_toml(value: Any) -> str:
    """A value as `parse_overrides` reads it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{key}" = {_as_toml(own)}' for key, own in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_as_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Real):  # NumPy's, too
        return str(int(value)) if isinstance(value, Integral) else repr(float(value))
    return json.dumps(str(value), ensure_ascii=False)
