"""Which device does training run on, and what can it do?"""

import os
import platform
from pathlib import Path
from typing import Any

import torch

from bench.errors import UserError
from ganlab.tasks.experiment import Precision

CPUINFO = Path("/proc/cpuinfo")  # Linux's; elsewhere there is none
BFLOAT16 = {"amx_bf16", "avx512_bf16"}  # what it calls the instructions with which PyTorch multiplies bfloat16
AMPERE = (8, 0)  # compute capability of the first GPUs that do


class DeviceError(UserError):
    """A device that is not there."""


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
