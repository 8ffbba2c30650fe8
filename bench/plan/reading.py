"""How is a suite file read? It is completed by its defaults and checked; an error is one line."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import UserError
from bench.plan.block import Block
from bench.plan.defaults import inherited, with_defaults
from bench.plan.published import Published
from bench.plan.suite import Suite, Timing
from bench.store.validation import clipped, shown
from ganlab.errors import no_such
from ganlab.records import FrozenRecord
from ganlab.tasks.experiment import Precision

MOST_BYTES = 2**20  # largest suite file
MOST_PREFIXES = 10**7  # tomllib keeps every prefix of a dotted key
LONGEST_MESSAGE = 500  # characters
SUITES = resources.files("bench") / "suites"


class SuiteError(UserError):
    """A suite that cannot be run; the message is one line: file, key, the value, the valid values."""


def shipped() -> dict[str, Path]:
    """The suites that come with the project, by name."""
    return {Path(file.name).stem: Path(str(file)) for file in SUITES.iterdir() if file.name.endswith(".toml")}


def read_suite(name: str, overrides: dict[str, Any] | None = None, auto: Precision = "fp32") -> Suite:
    """The suite of this name or in this file, with `overrides` (key -> value) applied to every block.

    Args:
        auto: replaces `precision = "auto"`, see `bench.training.device.fast_precision`.

    Raises:
        SuiteError: no such suite, or an error in it.
    """
    file = Path(name) if name.endswith(".toml") or "/" in name else shipped().get(name)
    if file is None:
        raise SuiteError(no_such("suite", name, shipped()))
    written = _read_toml(file)
    try:
        content = with_defaults(written)
    except (ValueError, RecursionError) as error:
        raise SuiteError(f"{file}: {clipped(str(error), LONGEST_MESSAGE)}") from None
    if overrides and isinstance(content.get("matrix"), list):
        content["matrix"] = [block | overrides if isinstance(block, dict) else block for block in content["matrix"]]
    try:
        suite = Suite.model_validate({"name": file.stem} | content).settled(auto)
        suite.cells  # noqa: B018 - finds a cell that contradicts itself before any work
    except ValidationError as error:
        table = _table_of(error, written, overrides or {})
        raise SuiteError(f"{file}: {clipped(explain(error, table), LONGEST_MESSAGE)}") from None
    for number, block in enumerate(suite.matrix, 1):
        if next(block.cells(), None) is None:
            raise SuiteError(f"{file}: matrix {number}: declares no cell (an empty list, or no loss on these heads)")
    reasons = {number: entry.reason_against(suite.possible_cells) for number, entry in enumerate(suite.published, 1)}
    for number, reason in reasons.items():
        if reason and not overrides:
            raise SuiteError(f"{file}: published {number}.{clipped(reason, LONGEST_MESSAGE)}")
    measured = tuple(entry for number, entry in enumerate(suite.published, 1) if not reasons[number])
    return suite.model_copy(update={"published": measured}) if overrides else suite


def shipped_blocks() -> dict[str, list[dict[str, Any]]]:
    """The complete blocks of each suite that comes with the project, as in its file: fast, without checks."""
    return {name: with_defaults(_read_toml(file))["matrix"] for name, file in shipped().items()}


def _read_toml(file: Path) -> dict[str, Any]:
    """The content of a suite file.

    Raises:
        SuiteError: it cannot be read, is too long, or is no TOML.
    """
    try:
        with open(file, "rb") as stream:
            text = stream.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES or sum(line.count(b".") ** 2 for line in text.splitlines()) > MOST_PREFIXES:
            raise SuiteError(f"{file} is too long for a suite, which a person reads in a minute")
        return tomllib.loads(text.decode("utf-8-sig"))
    except FileNotFoundError:
        raise SuiteError(f"no suite file {file}; shipped suites: {', '.join(sorted(shipped()))}") from None
    except OSError as error:
        raise SuiteError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # invalid TOML or UTF-8, a number of thousands of digits, a million [
        raise SuiteError(f"{file} is not valid TOML: {clipped(str(error), LONGEST_MESSAGE)}") from None


def explain(error: ValidationError, table: str = "") -> str:
    """The first error of a suite in one line: the key, its value, and the valid values.

    Args:
        table: the table of defaults that contains the error; "" if it is elsewhere.
    """
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    keys = [part for part in first["loc"] if isinstance(part, str) and part.isidentifier()]
    where = ".".join(keys)
    match first["loc"]:
        case ("matrix" | "published" as part, int(index), *_):
            where = ".".join((table or f"{part} {index + 1}", *keys[1:]))
    prefix = f"{where}: " if where else ""
    if first["type"] == "extra_forbidden":
        parts: dict[str, type[FrozenRecord]] = {"matrix": Block, "timing": Timing, "published": Published}
        model = parts.get(keys[0], Suite) if len(keys) > 1 else Suite
        return prefix + no_such("key", first["loc"][-1], model.model_fields)
    if first["type"] == "missing":
        return f"{prefix}this key is required and missing"
    if first["type"] == "value_error":
        return prefix + message
    if first["type"] == "literal_error":
        valid = [part.strip(" '") for part in first["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return prefix + no_such("value", first["input"], valid)
    return f"{prefix}found {shown(first['input'])}; {message[0].lower()}{message[1:]}"


def _table_of(error: ValidationError, written: dict[str, Any], overrides: dict[str, Any]) -> str:
    """The table of defaults that contains the first error; "" if it is elsewhere."""
    match error.errors()[0]["loc"]:
        case ("matrix", int(index), str(key), *_) if key not in overrides and key not in written["matrix"][index]:
            tables = inherited(written.get("defaults", {}), written["matrix"][index])
            return next((name for name, table in reversed(tables.items()) if key in table), "")
    return ""
