"""Which device does training run on, and what can it do?"""

import os
import platform
from pathlib import Path
from typing import Any

import torch

from bench.errors import UserError
from ganlab.tasks.experiment import Precision

CPUINFO = Path("/proc/cpuinfo")  # only on Linux
BFLOAT16 = {"amx_bf16", "avx512_bf16"}  # its names of the instructions with which PyTorch multiplies bfloat16
AMPERE = (8, 0)  # compute capability of the first GPUs with such instructions


class DeviceError(UserError):
    """A device that does not exist."""


def resolve_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda`, or `cuda:N` as a device that exists.

    Raises:
        DeviceError: an unknown name, or a CUDA device that does not exist.
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
    """The meaning of `precision = "auto"` on a device: bf16 if it has instructions for bfloat16, else fp32.

    Without them PyTorch multiplies single bfloat16 numbers: a step then takes about ten times as long as in fp32.
    """
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.get_device_capability(device) >= AMPERE
    else:
        has_bfloat16 = not BFLOAT16.isdisjoint(_processor_info("flags").split())
    return "bf16" if has_bfloat16 else "fp32"


def device_description(device: torch.device) -> dict[str, Any]:
    """The hardware and system that compute the numbers."""
    described: dict[str, Any] = {
        "type": device.type,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
        "python": platform.python_version(),
    }
    if device.type == "cuda":
        return described | {"name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return described | {"name": _processor_info("model name") or platform.processor() or "CPU"}


def _processor_info(key: str) -> str:
    """An entry on the first processor in /proc/cpuinfo; empty if it is missing."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
