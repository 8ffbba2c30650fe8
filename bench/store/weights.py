"""How are the weights of a cell with samples stored, and how are they read safely?

They are in `weights/<cell_id>.npz` in the run directory, which NumPy opens without pickle. Manifest and journal hold
the SHA-256 of the file. The file may be untrusted: its names, shapes, and sizes must be those of the network.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.store import StoreError

FOLDER = "weights"
MOST_BYTES = 2**24  # largest network whose weights are stored: a run directory stays small enough to share
HEADER_BYTES = 2**12  # more than the header that NumPy writes before an array


def packed(weights: Mapping[str, np.ndarray]) -> bytes:
    """Weights as an .npz file, byte for byte the same for the same weights."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, value in weights.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, value, allow_pickle=False)
    return out.getvalue()


def restore(network: nn.Module, file: Path, digest: str | None) -> None:
    """Put the weights in a file into a network.

    Args:
        digest: the SHA-256 of the file in the manifest; None if the manifest does not list the file.

    Raises:
        StoreError: the file is missing or not the listed one, or it holds weights of another network.
    """
    if digest is None:
        raise StoreError(
            f"{file} is not listed in manifest.json: only finished cells that show samples leave weights "
            f"(of up to {MOST_BYTES // 2**20} MiB), and no other file is read"
        )
    try:
        content = file.read_bytes() if file.stat().st_size <= 2 * MOST_BYTES else b""
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}; run its suite again with --fresh") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise StoreError(
            f"{file} is not as the run wrote it (see its SHA-256 in manifest.json); take the original, or "
            "run its suite again with --fresh"
        )
    try:
        network.load_state_dict(_unpacked(content, network.state_dict()))
    except Exception as error:  # a crafted file can fail as zip, header, or array
        reason = " ".join(str(error).split())[:200]
        raise StoreError(f"{file} does not hold the weights of this cell's network: {reason}") from None


def _unpacked(content: bytes, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The arrays of an .npz file, which must have the expected names and shapes.

    Raises:
        ValueError: they differ.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.infolist()}
    if sizes.keys() != expected.keys() or len(archive.infolist()) != len(expected):
        raise ValueError(f"it names {len(sizes)} tensors, the network has {len(expected)} of other names")
    for name, size in sizes.items():  # before anything is unpacked: a small file may hold a large one
        if size > expected[name].numel() * 8 + HEADER_BYTES:
            raise ValueError(f"{name} has {size} bytes, too many for its shape")
    with np.load(io.BytesIO(content), allow_pickle=False) as npz:
        arrays = {name: npz[name] for name in expected}
    for name, array in arrays.items():
        if array.shape != tuple(expected[name].shape) or array.dtype.kind not in "fiub":
            raise ValueError(f"{name} is {array.dtype} {array.shape}, not {tuple(expected[name].shape)}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite")
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
