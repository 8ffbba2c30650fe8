"""Which code has trained a cell? A row whose `code` differs from the tree's is stale."""

from collections.abc import Sequence
from importlib import metadata

from ganlab import plugins
from ganlab.fingerprint import code_digest, imported_files

TRAINED_BY = ("bench.training.cells", "bench.training.numerics")
DECIDES = ("ganlab", "bench.training")  # what else they import reads settings, which `cell_id` carries, or writes files


def code_fingerprint(device_type: str) -> str:
    """Twelve hex digits over what decides a cell's numbers: the code that trains it, torch, and cpu or cuda.

    (Precision is a setting of the cell, so `cell_id` carries it.)
    """
    return code_digest(imported_files(TRAINED_BY, DECIDES), f"torch {torch_version()} {device_type}")[:12]


def torch_version() -> str:
    """The version of PyTorch, without the second that importing it takes."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:  # a build that nobody installed
        import torch

        return str(torch.__version__)


def full_code(base: str, references: Sequence[str]) -> str:
    """The `code` of a cell that rests on user code beside the project's own (`base`, see `code_fingerprint`).

    So an edited file of the user's makes the cells that rest on it stale, and no others.

    Raises:
        PluginError: the user's code cannot be imported.
    """
    return f"{base}+{plugins.fingerprint(references)}" if references else base
