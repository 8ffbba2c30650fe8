"""How does code of the user's own get to the workers, and is it the runner's there?

A worker on this machine imports it from where the runner did. To other machines its files are sent; a package that is
installed has to be installed there too.
"""

import platform
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from bench.executors import ExecutorError
from ganlab import plugins

INSTALLED = ("site-packages", "dist-packages")  # a part of the path of what a package manager has put there


def fingerprints(references: Iterable[str]) -> dict[str, str]:
    """What the runner has, by reference.

    Raises:
        PluginError: it cannot be imported.
    """
    return {reference: plugins.fingerprint([reference]) for reference in sorted(set(references))}


def load_user_code(expected: Mapping[str, str]) -> None:
    """In a worker: import the user's code; `expected` are the runner's `fingerprints`.

    Raises:
        ExecutorError: it is not here, or is not what the runner has.
    """
    for reference, theirs in expected.items():
        try:
            ours = plugins.fingerprint([reference])
        except plugins.PluginError as error:
            raise ExecutorError(f"{platform.node()}: {error}") from None
        if ours != theirs:
            raise ExecutorError(
                f"{platform.node()} holds another {reference} (fingerprint {ours}) than the runner started with "
                f"({theirs}); was its file changed meanwhile? Run the same command again"
            )


def travelling_files(references: Iterable[str]) -> dict[str, str]:
    """The files that other machines have to be sent: where each lies here, by its path in the folder they import from.

    Raises:
        PluginError: the code cannot be imported.
    """
    found = {}
    for reference in references:
        names = reference.partition(":")[0], getattr(plugins.load_plugin(reference), "__module__", None) or ""
        for root in {_root(sys.modules[top]) for name in names if (top := name.partition(".")[0]) in sys.modules}:
            for file in plugins.source_files(reference):
                if root and file.is_relative_to(root) and not is_installed(file):
                    found[str(file.relative_to(root))] = str(file)
    return found


def _root(module: ModuleType) -> Path | None:
    """The folder that a top-level module or package is imported from; None for what is built in."""
    folders = [*getattr(module, "__path__", ()), getattr(module, "__file__", None)]
    return Path(folders[0]).resolve().parent if folders[0] else None


def is_installed(file: Path) -> bool:
    """Whether a file is part of Python, of an installed package, or of this project, which every machine has."""
    own = Path(__file__).parents[1], Path(plugins.__file__).parent
    return any(part in INSTALLED for part in file.parts) or any(
        file.is_relative_to(folder) for folder in (sysconfig.get_path("stdlib"), *own)
    )
