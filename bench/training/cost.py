"""What does a training cost? Seconds, and memory at its peak."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch


class Clock:
    """Seconds of training and of all else since it was made, added to those of earlier sessions."""

    def __init__(self, train_s: float, eval_s: float):
        self.eval_s, self.started = eval_s, time.perf_counter() - train_s - eval_s

    @property
    def train_s(self) -> float:
        """Seconds so far, but for the pauses."""
        return time.perf_counter() - self.started - self.eval_s

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Inside, the time counts as evaluation."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.eval_s += time.perf_counter() - begun


def reset_peak_memory(device: torch.device) -> None:
    """Start the count of `peak_memory_mib` afresh, where the system allows it (Linux and CUDA do)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        with suppress(OSError):  # a hardened container may forbid it: the peak is then the process's
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory in MiB since `reset_peak_memory`: allocated on the GPU, or resident in this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
