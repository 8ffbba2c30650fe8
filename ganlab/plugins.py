"""How does code of the user's own get in? By a reference, `package.module:attribute`, or as an installed entry point.

A reference is imported as `python -m` would import it: from the current folder first, then from what is installed.
"""

import difflib
import hashlib
import importlib
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ganlab.errors import UserError
from ganlab.fingerprint import code_digest

LOSSES_GROUP = "ganlab.losses"  # entry points in it are losses by name
ELSEWHERE = tuple(str(Path(file).parent) for file in (importlib.__file__, torch.__file__, __file__))  # not the user's
FORM = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<attribute>[^\W\d]\w*(\.[^\W\d]\w*)*)")


class PluginError(UserError, ValueError):
    """User code that cannot be used; the message is one line: what, where, what to do."""


def is_reference(name: str) -> bool:
    """Whether a name is meant as a reference to user code: it has a colon, as no name of the project's own has.

    >>> is_reference("mypackage.module:MyLoss"), is_reference("l1")
    (True, False)
    """
    return ":" in name


def _parts(reference: str) -> tuple[str, str]:
    """Module and attribute of a reference."""
    found = FORM.fullmatch(reference)
    if not found or found["module"].endswith(".py"):
        hint = "; a module's name has neither folders nor .py" if re.search(r"\.py:|/", reference) else ""
        raise PluginError(f"{reference!r}: expected package.module:attribute, as in mymodule:MyLoss{hint}")
    return found["module"], found["attribute"]


def one_line(error: BaseException) -> str:
    """An error's type and message on one line, as a traceback ends."""
    message = error.msg if isinstance(error, SyntaxError) else error  # its own text names the file once more
    return " ".join(f"{type(error).__name__}: {message}".split())[:300].removesuffix(": ")


def place(error: BaseException) -> str:
    """Where in the user's code an error arose, as `file, line n`."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [frame for frame in frames if not frame[0].startswith("<") and not any(map(frame[0].startswith, ELSEWHERE))]
    return "{}, line {}".format(*own[-1]) if own else "an unknown place"


def load_plugin(reference: str) -> Any:
    """What a reference refers to; the current folder counts as installed.

    Raises:
        PluginError: no such module or attribute, or the module fails on import.
    """
    module, attribute = _parts(reference)
    found = _imported(reference, module)
    for part in attribute.split("."):
        if not hasattr(found, part):
            nearest = difflib.get_close_matches(part, [name for name in dir(found) if name[0] != "_"], n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "define it there, or refer to another"
            where = getattr(sys.modules[module], "__file__", None) or module
            raise PluginError(f"{reference}: {where} has no {part!r}; {hint}")
        found = getattr(found, part)
    return found


def _imported(reference: str, module: str) -> ModuleType:
    """The module of a reference."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()  # the file may have been written a moment ago
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            raise PluginError(
                f"{reference}: there is no module {error.name!r} in {here} or among the installed packages; "
                "start from the folder it lies in, or add that to PYTHONPATH"
            ) from None
        raise PluginError(f"{reference}: {module} cannot be imported: {one_line(error)} ({place(error)})") from error


def source_files(reference: str) -> tuple[Path, ...]:
    """The files that a reference rests on, sorted: that of its module and that which defines the attribute; where one
    lies in a package, every .py of its top-level package. Empty for modules that are not written in Python.

    Raises:
        PluginError: as for `load_plugin`.
    """
    attribute, files = load_plugin(reference), set()
    for name in {_parts(reference)[0], getattr(attribute, "__module__", None) or _parts(reference)[0]}:
        files.update(_files_of(name))
    return tuple(sorted(files))


def _files_of(module: str) -> Iterable[Path]:
    """The .py files of a module's top-level package, or its own alone."""
    top = sys.modules.get(module.partition(".")[0])
    folders = [Path(folder) for folder in getattr(top, "__path__", ())]
    file = getattr(sys.modules.get(module), "__file__", None)
    alone = [Path(file)] if file and file.endswith(".py") else []
    return [found.resolve() for found in (*alone, *(file for folder in folders for file in folder.rglob("*.py")))]


def fingerprint(references: Iterable[str]) -> str:
    """Eight hex digits over the code in the files that user code rests on, wherever they lie; read at each call.

    Raises:
        PluginError: as for `load_plugin`.
    """
    return fingerprint_of({reference: source_files(reference) for reference in set(references)})


def fingerprint_of(files: Mapping[str, Sequence[Path]]) -> str:
    """Eight hex digits over the code in the files that each reference rests on.

    Raises:
        SyntaxError, ...: as for `code_digest`.
    """
    digest = hashlib.sha256()
    for reference in sorted(files):
        digest.update(f"{reference} {code_digest(files[reference])}\n".encode())
    return digest.hexdigest()[:8]


@cache  # every folder of sys.path is searched for it
def entry_points(group: str) -> dict[str, str]:
    """The references that installed packages offer in a group, by name."""
    return {point.name: f"{point.module}:{point.attr}" for point in metadata.entry_points(group=group)}
