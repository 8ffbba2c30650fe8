"""Which code determines a result? Digests of parsed modules.

Comments, docstrings, and layout do not count, so an edited comment does not make results stale. Constants, operators,
defaults, and names count, as does the name of a module.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef  # nodes that may begin with a docstring


def code_digest(files: Iterable[Path], *facts: str) -> str:
    """SHA-256 (hex) over the code in some files, in this order, their names, and further facts.

    It is the same under every version of Python that parses the files in the same way.

    Raises:
        OSError: a file cannot be read.
        SyntaxError, ValueError, RecursionError, MemoryError: it is not Python.
    """
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(fact.encode() + b"\0")
    for file in files:
        digest.update(file.name.encode() + b"\0" + _parsed(file.read_bytes())[0])
    return digest.hexdigest()


@lru_cache(maxsize=256)  # keyed by the content: a changed file is parsed again
def _parsed(source: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The code of a module as tokens, and the names it imports: modules, or attributes of modules."""
    tree, names = ast.parse(source), list[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
    return b"".join(token.encode(errors="backslashreplace") + b"\0" for token in _tokens(tree)), tuple(names)


def _tokens(value: object) -> Iterator[str]:
    """A syntax tree as tokens, without docstrings, positions, and empty fields."""
    if isinstance(value, ast.AST):
        yield type(value).__name__
        for name, field in ast.iter_fields(value):
            if name == "body" and isinstance(value, Documented) and ast.get_docstring(value, clean=False) is not None:
                field = field[1:]
            if isinstance(value, ast.JoinedStr) and name == "values":  # Python 3.12 leaves empty parts in f-strings
                field = [part for part in field if not (isinstance(part, ast.Constant) and part.value == "")]
            if field is not None and field != []:
                yield name
                yield from _tokens(field)
        yield "."
    elif isinstance(value, list):
        for item in value:
            yield from _tokens(item)
    else:
        yield repr(value)


def imported_files(modules: Iterable[str], within: Iterable[str]) -> list[Path]:
    """The files of some modules and of everything they import, sorted; imports inside functions count.

    Args:
        modules: the modules to start from.
        within: the packages whose modules are followed; all others are ignored.
    """
    packages, files = tuple(within), {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in files or not any(f"{module}.".startswith(f"{package}.") for package in packages):
            continue
        if (file := _file_of(module)) is None:  # an attribute of a package, as in `from ganlab.tasks import TASKS`
            continue
        files[module] = file
        waiting.append(module.rpartition(".")[0])  # importing a module runs its package's __init__
        waiting += _parsed(file.read_bytes())[1]
    return sorted(files.values())


def _file_of(module: str) -> Path | None:
    """The file of a module, found without importing its package."""
    top, *inner = module.split(".")
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent.joinpath(*inner)
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)
