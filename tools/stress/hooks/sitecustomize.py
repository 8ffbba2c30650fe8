"""How does the training of some cells fail on purpose? Python processes with this folder on their path do it.

`leak` takes more and more memory, `cuda-oom` raises PyTorch's error for a full GPU, `segfault` crashes the process.
"""

import importlib.util
import os
import sys
import time
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

TASK = "ganlab.tasks.super_resolution"
CHUNK, LARGEST = 64 * 2**20, 8 * 2**30  # bytes; without a memory limit on the worker the leak ends there
FULL = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.02 GiB is "
    "free.\nSee documentation for Memory Management"
)


def leak() -> None:
    """Take more and more memory, slowly enough for a limit to act."""
    held: list[bytes] = []
    while len(held) * CHUNK < LARGEST:
        held.append(b"\1" * CHUNK)
        time.sleep(0.05)
    raise RuntimeError(f"{LARGEST} bytes exceed no limit")


def cuda_oom() -> None:
    """Fail like a full GPU."""
    import torch

    raise torch.OutOfMemoryError(FULL)


def segfault() -> None:
    """Fail like a broken extension."""
    import ctypes

    ctypes.string_at(0)


class Breaker(MetaPathFinder):
    """Finds the task's module once, and makes its class fail for the cells of l1 with seed 1."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The module's spec, with a loader that makes the loaded class fail."""
        if name != TASK:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec, name
        loader: Any = spec.loader  # its method is replaced
        load = loader.exec_module

        def exec_module(module: Any) -> None:
            load(module)
            build = module.SuperResolution.__init__

            def broken(task: object, experiment: Any, *rest: object) -> None:
                if experiment.loss == "l1" and experiment.seed == 1:
                    FAULTS[os.environ["STRESS_FAULT"]]()
                build(task, experiment, *rest)

            module.SuperResolution.__init__ = broken

        loader.exec_module = exec_module
        return spec


FAULTS = {"leak": leak, "cuda-oom": cuda_oom, "segfault": segfault}
if "STRESS_FAULT" in os.environ:
    sys.meta_path.insert(0, Breaker())
