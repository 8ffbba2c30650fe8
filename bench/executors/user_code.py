"""How does the user's code reach the workers, and is it the same as in the runner?

A worker on this machine imports it from the same files as the runner. Its files are sent to other machines; a package
that is installed here must be installed there too.
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
        PluginError: the code cannot be imported.
    """
    return {reference: plugins.fingerprint([reference]) for reference in sorted(set(references))}


def load_user_code(expected: Mapping[str, str]) -> None:
    """In a worker: import the user's code, and check it against the runner's `fingerprints`.

    Raises:
        ExecutorError: the code is missing on this machine, or differs.
    """
    for reference, expected_hash in expected.items():
        try:
            local_hash = plugins.fingerprint([reference])
        except plugins.PluginError as error:
            raise ExecutorError(f"{platform.node()}: {error}") from None
        if local_hash != expected_hash:
            raise ExecutorError(
                f"{platform.node()} holds another {reference} (fingerprint {local_hash}) than the runner started with "
                f"({expected_hash}); was its file changed since? Run the same command again"
            )


def travelling_files(references: Iterable[str]) -> dict[str, str]:
    """The files that other machines need: the path on this machine, by the path in their import folder.

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
    """The folder from which a top-level module or package is imported; None for a built-in module."""
    folders = [*getattr(module, "__path__", ()), getattr(module, "__file__", None)]
    return Path(folders[0]).resolve().parent if folders[0] else None


def is_installed(file: Path) -> bool:
    """Whether a file is part of Python, of an installed package, or of this project, which every machine has."""
    project = Path(__file__).parents[1], Path(plugins.__file__).parent
    return any(part in INSTALLED for part in file.parts) or any(
        file.is_relative_to(folder) for folder in (sysconfig.get_path("stdlib"), *project)
    )
