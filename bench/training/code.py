"""Which code has trained a cell? A row whose `code` differs from the tree's is stale."""

from collections.abc import Sequence
from importlib import metadata

from ganlab import plugins
from ganlab.fingerprint import code_digest, imported_files

TRAINED_BY = ("bench.training.train", "bench.training.gpu.pack", "bench.training.numerics")
DECIDES = ("ganlab", "bench.training")  # their other imports read settings, which are part of `cell_id`, or write files


def code_fingerprint(device_type: str) -> str:
    """Twelve hex digits that hash what decides a cell's numbers: the training code, torch, and cpu or cuda.

    (Precision is a setting of the cell, so it is part of `cell_id`.)
    """
    return code_digest(imported_files(TRAINED_BY, DECIDES), f"torch {torch_version()} {device_type}")[:12]


def torch_version() -> str:
    """The version of PyTorch, without importing it, which takes a second."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:  # a build without package metadata
        import torch

        return str(torch.__version__)


def full_code(base: str, references: Sequence[str]) -> str:
    """The `code` of a cell: the fingerprint of the project (`base`, see `code_fingerprint`) and of the user's code.

    After an edit of a user's file, only the cells that use it are stale.

    Raises:
        PluginError: the user's code cannot be imported.
    """
    return f"{base}+{plugins.fingerprint(references)}" if references else base
