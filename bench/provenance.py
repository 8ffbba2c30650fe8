"""What ran, and on what? Everything the manifest says of code, packages, device, and data."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

import ganlab
from ganlab import plugins
from ganlab.classifiers import FrozenClassifier
from ganlab.datasets import fingerprint, load
from ganlab.tasks import TASKS, Experiment
from ganlab.tasks.experiment import Precision

PACKAGES = ("torch", "numpy", "scipy", "pandas", "scikit-image", "scikit-learn", "matplotlib", "seaborn", "pydantic")
TRAINING = ("train.py", "capture.py")  # beside this file: the loop, and how a GPU takes its steps
CPUINFO = Path("/proc/cpuinfo")  # Linux's; elsewhere there is none
BFLOAT16 = {"amx_bf16", "avx512_bf16"}  # what it calls the instructions with which PyTorch multiplies bfloat16
AMPERE = (8, 0)  # compute capability of the first GPUs that do


class DeviceError(Exception):
    """A device that is not there; the message is one line."""


def resolve_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda`, or `cuda:N` as a device that exists.

    Raises:
        DeviceError: an unknown name, or CUDA asked for where there is none.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, index = name.partition(":")
    if kind != "cuda" or (index and not index.isdigit()):
        raise DeviceError(f"unknown device {name!r}; there are auto, cpu, cuda, and cuda:N")
    count = torch.cuda.device_count()
    if int(index or 0) >= count:
        raise DeviceError(
            f"device {name!r} asked for, but PyTorch sees {count} CUDA devices here; use --device cpu or auto"
        )
    return torch.device("cuda", int(index or 0))


def fast_precision(device: torch.device) -> Precision:
    """What `precision = "auto"` means on a device: bf16 where it has instructions for that, else fp32.

    Without them PyTorch multiplies bfloat16 one number at a time: a step then takes some ten times as long as in fp32.
    """
    if device.type == "cuda":
        has_them = torch.cuda.get_device_capability(device) >= AMPERE
    else:
        has_them = not BFLOAT16.isdisjoint(_of_the_processor("flags").split())
    return "bf16" if has_them else "fp32"


def code_fingerprint(device: torch.device) -> str:
    """Twelve hex digits over what decides a cell's numbers: `ganlab/`, how it is trained, torch, and the device type.

    A row whose code differs is stale. (Precision is a setting of the cell, so `cell_id` carries it.)
    """
    root = Path(ganlab.__file__).parent
    digest = hashlib.sha256(f"torch {torch.__version__} {device.type}".encode())
    for file in (*sorted(root.rglob("*.py")), *(Path(__file__).with_name(name) for name in TRAINING)):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def full_code(base: str, references: Sequence[str]) -> str:
    """The `code` of a cell that rests on user code beside the project's own (`base`, see `code_fingerprint`).

    So an edited file of the user's makes the cells that rest on it stale, and no others.

    Raises:
        PluginError: the user's code cannot be imported.
    """
    return f"{base}+{plugins.fingerprint(references)}" if references else base


def base_code(code: str) -> str:
    """The part of a `code` that is the project's own: cells that share it are comparable.

    >>> base_code("0123456789ab+89abcdef"), base_code("0123456789ab")
    ('0123456789ab', '0123456789ab')
    """
    return code.partition("+")[0]


def git_state() -> dict[str, Any]:
    """Commit and dirty flag of the checkout the code lies in; both None outside one."""
    root = Path(ganlab.__file__).parents[1]

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", root, *arguments], capture_output=True, text=True, timeout=20, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    if (
        git("ls-files", "--error-unmatch", "ganlab/__init__.py") is None
    ):  # installed, or inside somebody else's checkout
        return {"commit": None, "dirty": None}
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--", "ganlab", "bench"))}


def device_description(device: torch.device) -> dict[str, Any]:
    """What the numbers were computed on."""
    described: dict[str, Any] = {
        "type": device.type,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
        "python": platform.python_version(),
    }
    if device.type == "cuda":
        return described | {"name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return described | {"name": _of_the_processor("model name") or platform.processor() or "CPU"}


def _of_the_processor(key: str) -> str:
    """What Linux says of the first processor; empty where it says nothing."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def package_versions() -> dict[str, str]:
    """Versions of the packages the numbers rest on; torch's own word where no metadata is installed."""
    versions = {"torch": str(torch.__version__)}
    for package in PACKAGES[1:]:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions


Used = tuple[str, type]  # a data set's name, and what it is read as: a folder of images can be read as several kinds


def used_data(cells: Iterable[Experiment]) -> list[Used]:
    """The data sets that cells are trained on."""
    used = {(cell.dataset, TASKS[cell.task].data_kind) for cell in cells}
    return sorted(used, key=lambda one: (one[0], one[1].__name__))


def data_provenance(used: Sequence[Used], classifiers: dict[str, FrozenClassifier]) -> dict[str, Any]:
    """Hashes of data and frozen classifiers, and whom to credit; a folder's later kinds are told apart in brackets."""
    names = [name for name, _ in used]
    labels = [
        name if name not in names[:place] else f"{name} ({kind.__name__})" for place, (name, kind) in enumerate(used)
    ]
    data = dict(zip(labels, (load(*one) for one in used), strict=True))
    return {
        "data": {label: fingerprint(own) for label, own in data.items()},
        "credits": list(dict.fromkeys(credit for own in data.values() for credit in own.credits)),
        "classifiers": {
            name: {
                "sha256": c.digest,
                "accuracy": round(c.accuracy, 4),
                "false_positive": round(c.false_positive, 4),
                "true_positive": {kind: round(rate, 4) for kind, rate in c.true_positive.items()},
            }
            for name, c in classifiers.items()
        },
    }
