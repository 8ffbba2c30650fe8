"""What does a training cost? Its seconds and its peak memory."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch


class Cost:
    """The cost of a training from now on, added to the cost of its earlier sessions.

    Args:
        device: the device whose memory is measured.
        train_s, eval_s, peak_memory_mib: the cost of the earlier sessions.
    """

    def __init__(self, device: torch.device, train_s: float, eval_s: float, peak_memory_mib: float):
        self.device, self.earlier_peak_mib = device, peak_memory_mib
        self.eval_s, self.started = eval_s, time.perf_counter() - train_s - eval_s

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Count the time in this context as evaluation."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.eval_s += time.perf_counter() - started

    def so_far(self) -> dict[str, float]:
        """Seconds of training and of everything else, and the peak memory in MiB."""
        return {
            "train_s": time.perf_counter() - self.started - self.eval_s,
            "eval_s": self.eval_s,
            "peak_memory_mib": max(self.earlier_peak_mib, peak_memory_mib(self.device)),
        }

    def of_images(self, images: int) -> dict[str, float]:
        """The cost so far, with the images per second of training."""
        cost = self.so_far()
        return cost | {"images_per_s": images / cost["train_s"]}


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak of `peak_memory_mib`, if the system can (Linux and CUDA)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        with suppress(OSError):  # a hardened container may forbid it: the peak is then that of the whole process
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
