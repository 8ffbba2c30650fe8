"""How does the user's code get to the workers, and is it the same as the runner's?

A worker on this machine imports it from the same files as the runner. Other machines are sent its files; an installed
package must be installed there too.
"""

import platform
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from bench.executors import ExecutorError
from ganlab import plugins

INSTALLED = ("site-packages", "dist-packages")  # folders of a package manager


def fingerprints(references: Iterable[str]) -> dict[str, str]:
    """The fingerprint of the user's code in this process, by reference.

    Raises:
        PluginError: it cannot be imported.
    """
    return {reference: plugins.fingerprint([reference]) for reference in sorted(set(references))}


def load_user_code(expected: Mapping[str, str]) -> None:
    """In a worker: import the user's code, and check it against the runner's `fingerprints`.

    Raises:
        ExecutorError: it is missing on this machine, or differs.
    """
    for reference, theirs in expected.items():
        try:
            ours = plugins.fingerprint([reference])
        except plugins.PluginError as error:
            raise ExecutorError(f"{platform.node()}: {error}") from None
        if ours != theirs:
            raise ExecutorError(
                f"{platform.node()} holds another {reference} (fingerprint {ours}) than the runner started with "
                f"({theirs}); was its file changed since? Run the same command again"
            )


def travelling_files(references: Iterable[str]) -> dict[str, str]:
    """The files that other machines must be sent: path on this machine, by the path in the folder they import from.

    Raises:
        PluginError: the code cannot be imported.
    """
    files = {}
    for reference in references:
        names = reference.partition(":")[0], getattr(plugins.load_plugin(reference), "__module__", None) or ""
        for root in {_root(sys.modules[top]) for name in names if (top := name.partition(".")[0]) in sys.modules}:
            for file in plugins.source_files(reference):
                if root and file.is_relative_to(root) and not is_installed(file):
                    files[str(file.relative_to(root))] = str(file)
    return files


def _root(module: ModuleType) -> Path | None:
    """The folder from which a top-level module or package is imported; None for a built-in one."""
    folders = [*getattr(module, "__path__", ()), getattr(module, "__file__", None)]
    return Path(folders[0]).resolve().parent if folders[0] else None


def is_installed(file: Path) -> bool:
    """Whether a file is part of Python, of an installed package, or of this project, which every machine has."""
    project = Path(__file__).parents[1], Path(plugins.__file__).parent
    return any(part in INSTALLED for part in file.parts) or any(
        file.is_relative_to(folder) for folder in (sysconfig.get_path("stdlib"), *project)
    )
