"""How is user code loaded? By a reference, `package.module:attribute`, or as an installed entry point.

A reference is imported as by `python -m`: first from the current folder, then from the installed packages.
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
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from ganlab.errors import UserError
from ganlab.fingerprint import code_digest

LOSSES_GROUP = "ganlab.losses"  # entry points in it are losses by name
NAME = r"[^\W\d]\w*(\.[^\W\d]\w*)*"  # dotted
REFERENCE = re.compile(rf"(?P<module>{NAME}):(?P<attribute>{NAME})")
LONGEST_SUMMARY = 300  # letters


class PluginError(UserError, ValueError):
    """User code that cannot be used; the message is one line: what, where, what to do."""


def is_reference(name: str) -> bool:
    """Whether a name refers to user code: it contains a colon; names of the project do not.

    >>> is_reference("mypackage.module:MyLoss"), is_reference("l1")
    (True, False)
    """
    return ":" in name


def _split(reference: str) -> tuple[str, str]:
    """Module and attribute of a reference."""
    parts = REFERENCE.fullmatch(reference)
    if not parts or parts["module"].endswith(".py"):
        hint = "; a module's name has neither folders nor .py" if re.search(r"\.py:|/", reference) else ""
        raise PluginError(f"{reference!r}: expected package.module:attribute, as in mymodule:MyLoss{hint}")
    return parts["module"], parts["attribute"]


def describe(error: BaseException) -> str:
    """An error of user code on one line: its type, its message, and where it was raised."""
    return f"{error_summary(error)} ({error_location(error)})"


def error_summary(error: BaseException) -> str:
    """An error's type and message on one line, as at the end of a traceback."""
    message = error.msg if isinstance(error, SyntaxError) else error  # str(SyntaxError) repeats file and line
    return " ".join(f"{type(error).__name__}: {message}".split())[:LONGEST_SUMMARY].removesuffix(": ")


def error_location(error: BaseException) -> str:
    """Where in user code an error was raised, as `file, line n`."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    user_frames = [(file, line) for file, line in frames if not file.startswith(("<", *_foreign_folders()))]
    return "{}, line {}".format(*user_frames[-1]) if user_frames else "an unknown place"


@cache
def _foreign_folders() -> tuple[str, ...]:
    """Folders whose files are not user code: importlib's, PyTorch's, and this package's."""
    pytorch = find_spec("torch")
    files = (importlib.__file__, pytorch.origin if pytorch else None, __file__)
    return tuple(str(Path(file).parent) for file in files if file)


def load_plugin(reference: str) -> Any:
    """The object that a reference names; the current folder counts as installed.

    Raises:
        PluginError: no such module or attribute, or the module fails on import.
    """
    module_name, attribute = _split(reference)
    target: Any = _import(reference, module_name)
    for part in attribute.split("."):
        if not hasattr(target, part):
            nearest = difflib.get_close_matches(part, [name for name in dir(target) if name[0] != "_"], n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "define it there, or refer to another"
            where = getattr(sys.modules[module_name], "__file__", None) or module_name
            raise PluginError(f"{reference}: {where} has no {part!r}; {hint}")
        target = getattr(target, part)
    return target


def _import(reference: str, module_name: str) -> ModuleType:
    """The module of a reference."""
    folder = str(Path.cwd())
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()  # the file may have been written a moment ago
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise PluginError(
                f"{reference}: there is no module {error.name!r} in {folder} or among the installed packages; "
                "start from the folder it lies in, or add that to PYTHONPATH"
            ) from None
        raise PluginError(f"{reference}: {module_name} cannot be imported: {describe(error)}") from error


def source_files(reference: str) -> tuple[Path, ...]:
    """The .py files that a reference depends on, sorted: those of its module and of the module that defines the
    attribute. Of a module in a package, every .py file of the top-level package. Empty for compiled modules.

    Raises:
        PluginError: as for `load_plugin`.
    """
    target = load_plugin(reference)
    module_name, _ = _split(reference)
    defining = getattr(target, "__module__", None) or module_name
    return tuple(sorted({file for name in {module_name, defining} for file in _files_of(name)}))


def _files_of(module_name: str) -> Iterable[Path]:
    """The .py file of a module, and all .py files of its top-level package if it has one."""
    package = sys.modules.get(module_name.partition(".")[0])
    file = getattr(sys.modules.get(module_name), "__file__", None)
    if file and file.endswith(".py"):
        yield Path(file).resolve()
    for folder in getattr(package, "__path__", ()):
        yield from (path.resolve() for path in Path(folder).rglob("*.py"))


def fingerprint(references: Iterable[str]) -> str:
    """Eight hex digits over the code in the files that user code depends on, in any folder; they are read at each call.

    Raises:
        PluginError: as for `load_plugin`.
    """
    return fingerprint_of({reference: source_files(reference) for reference in set(references)})


def fingerprint_of(files: Mapping[str, Sequence[Path]]) -> str:
    """Eight hex digits over the code in the files that each reference depends on.

    Raises:
        SyntaxError, ...: as for `code_digest`.
    """
    digest = hashlib.sha256()
    for reference in sorted(files):
        digest.update(f"{reference} {code_digest(files[reference])}\n".encode())
    return digest.hexdigest()[:8]


@cache  # searches every folder of sys.path
def entry_points(group: str) -> dict[str, str]:
    """The references that installed packages offer in a group, by name."""
    return {point.name: f"{point.module}:{point.attr}" for point in metadata.entry_points(group=group)}
