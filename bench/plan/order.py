"""Which options does `run` have? They are the same on the command line and in Python."""

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from bench.errors import UsageError
from bench.plan.options import Device, Option, options_of
from ganlab.errors import no_such

if TYPE_CHECKING:  # imported where they are used: the command line imports this file to show its help
    from bench.plan.additions import Additions
    from bench.plan.cell import Cell

PathOrName = str | Path
UserCode = str | Callable[..., Any]  # `package.module:MyLoss`, or the object itself


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """`key=value` pairs as a dictionary; a value that is not valid TOML is a text."""
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


@dataclass(frozen=True)
class Order:
    """The options of `run`. With `quiet` no progress is shown."""

    suite: Annotated[PathOrName, Option("a shipped suite, or a suite file (.toml)", positional=True)] = "quick"
    _: KW_ONLY
    out: Annotated[PathOrName | None, Option("run directory [default: results/<suite>]", kind=Path)] = None
    device: Device = "auto"
    workers: Annotated[
        int | None, Option("worker processes [default: one per core; 4 on a GPU; on ray what the cluster has]", least=1)
    ] = None
    pack: Annotated[
        int | None, Option("cells that a worker trains together [default: 1; 8 on a local GPU]", least=1)
    ] = None
    minutes: Annotated[
        float | None,
        Option("stop training after this time; the same command resumes the run [default: no limit]", least=0.05),
    ] = None
    executor: Annotated[str, Option("local: processes on this machine; ray: an existing Ray cluster (RAY_ADDRESS)")] = (
        "local"
    )
    memory_mib: Annotated[
        float | None,
        Option("memory limit of a worker in MiB; a cell above it ends as oom [default: an equal share]", least=1),
    ] = None
    fresh: Annotated[bool, Option("start over; an earlier run directory is set aside, not deleted")] = False
    only: Annotated[str, Option("run only these cells: 'task=sr,loss=l1|l2'; the others stay pending")] = ""
    override: Annotated[
        Mapping[str, Any] | None,
        Option(
            "key=value for every block of the suite; repeatable", kind=list[str], flag="--set", parse=parse_overrides
        ),
    ] = None
    loss: Annotated[
        UserCode | Iterable[UserCode],
        Option(
            "a loss to add to every block where it applies: a name, or your own as mymodule:MyLoss; repeatable",
            kind=list[str],
        ),
    ] = ()
    data: Annotated[
        PathOrName | None, Option("the data set of every block that can read it: a name, or yours as folder:PATH")
    ] = None
    train: Annotated[PathOrName | None, Option("a folder of photographs to train on; goes with --test")] = None
    test: Annotated[PathOrName | None, Option("a folder of photographs to test on; goes with --train")] = None
    network: Annotated[
        UserCode | None, Option("your own networks, as mymodule:build; see ganlab/networks.py for what they map")
    ] = None
    quiet: bool = False

    @cached_property  # cached: an iterator can be read only once
    def losses(self) -> tuple[str, ...]:
        """The losses to add to the suite: names, and references to user code."""
        if isinstance(self.loss, str) or callable(self.loss) or not isinstance(self.loss, Iterable):
            return (reference_to(self.loss),)
        return tuple(map(reference_to, self.loss))

    def arguments(self) -> list[str]:
        """The equivalent arguments of `python -m bench`."""
        words = ["run", str(self.suite)]
        for option in options_of(self):
            value, flag = getattr(self, option.name), option.flag
            if option.name == "override":
                pairs = (f"{key}={_as_toml(replacement)}" for key, replacement in (value or {}).items())
                words += [word for pair in pairs for word in (flag, pair)]
            elif option.name == "loss":
                words += [word for name in self.losses for word in (flag, name)]
            elif value is True:
                words.append(flag)
            elif value != option.default and not option.positional:
                words += [flag, _as_word(option.name, value)]
        return words

    def additions(self) -> "Additions":
        """The user's additions to the suite.

        Raises:
            UsageError: the options contradict each other.
        """
        from bench.plan.additions import Additions
        from ganlab.datasets.folders import PREFIX, SEPARATOR

        if self.data and (self.train or self.test):
            raise UsageError("--data splits one folder, --train and --test name two: give the one or the others")
        if bool(self.train) != bool(self.test):
            raise UsageError("--train and --test go together; --data folder:PATH splits one folder")
        data = dataset_name(self.data) if self.data else None
        dataset = f"{PREFIX}{self.train}{SEPARATOR}{self.test}" if self.train else data
        network = reference_to(self.network) if self.network else None
        return Additions(tuple(dict.fromkeys(self.losses)), dataset, network)


# From Python


def reference_to(user_code: str | Callable[..., Any]) -> str:
    """The reference to a function or class of the user; a text is returned unchanged.

    Raises:
        UsageError: a worker process cannot import it.
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
    from ganlab.plugins import load_plugin

    if load_plugin(f"{module}:{name}") is not user_code:
        raise UsageError(f"{module}:{name} is not what was passed: it was defined anew since; import it again")
    return f"{module}:{name}"


def dataset_name(data: str | Path) -> str:
    """The name of a data set; a Path is a folder of images.

    >>> dataset_name("digits"), dataset_name(Path("photos"))
    ('digits', 'folder:photos')
    """
    from ganlab.datasets.folders import PREFIX

    return f"{PREFIX}{data}" if isinstance(data, Path) else data


# From the command line


def parse_filter(text: str) -> dict[str, set[str]]:
    """`task=sr,loss=l1` as {"task": {"sr"}, "loss": {"l1"}}; several values of a key are separated by `|`."""
    from bench.plan.cell import Cell

    wanted = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--only {pair!r}: expected key=value, as in --only 'task=sr,loss=l1'")
        if key not in Cell.model_fields:
            raise UsageError(f"--only: {no_such('key', key, Cell.model_fields)}")
        wanted[key] = set(value.split("|"))
    return wanted


def matches(cell: "Cell", wanted: dict[str, set[str]]) -> bool:
    """Whether a cell has one of the wanted values for each key; numbers are compared by value."""

    def same(value: Any, text: str) -> bool:
        try:
            return float(text) == float(value)
        except (TypeError, ValueError):
            return text.lower() == str(value).lower()

    return all(any(same(getattr(cell, key), text) for text in values) for key, values in wanted.items())


def _as_word(name: str, value: Any) -> str:
    """The value of an option as a word of the command line."""
    if name == "data":
        return dataset_name(value)
    if name == "network":
        return reference_to(value)
    return _as_toml(value) if isinstance(value, Real) else str(value)


def _as_toml(value: Any) -> str:
    """A value as `parse_overrides` reads it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{key}" = {_as_toml(item)}' for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_as_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Real):  # also NumPy's
        return str(int(value)) if isinstance(value, Integral) else repr(float(value))
    return json.dumps(str(value), ensure_ascii=False)
