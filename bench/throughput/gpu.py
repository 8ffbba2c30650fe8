"""Was the GPU undisturbed? NVML, if installed, reports its clock, throttling, and other processes.

Optional: `pip install ganlab[gpu]` installs nvidia-ml-py. Without it the GPU is not watched.
"""

from contextlib import suppress
from statistics import median
from typing import Any

LOW_CLOCK = 0.95  # a chunk below this share of the highest SM clock of the comparison is repeated
THROTTLE_REASONS = {  # nvml.h, nvmlClocksEventReasons; idle and application clocks are no throttling
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}


class Watch:
    """Samples one GPU while a chunk runs. `nvml` is the module pynvml, already initialised."""

    every_s = 0.02

    def __init__(self, nvml: Any, uuid: str):
        self.nvml = nvml
        self.handle = nvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
        self.clocks: list[float] = []
        self.highest = 0.0
        self.reasons: set[str] = set()
        self.foreign = 0

    def sample(self) -> None:
        """Read the SM clock (MHz) and what limits it."""
        self.clocks.append(self.nvml.nvmlDeviceGetClockInfo(self.handle, self.nvml.NVML_CLOCK_SM))
        held_back = self.nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self.handle)
        self.reasons |= {name for bit, name in THROTTLE_REASONS.items() if held_back & bit}

    def forget(self) -> None:
        """Drop the samples of the last chunk."""
        self.clocks.clear()

    def ran_low(self) -> bool:
        """Whether the median clock since `forget` was low; False for a chunk too short for a sample."""
        clock = median(self.clocks or [self.highest])
        self.highest = max(self.highest, clock)
        return clock < LOW_CLOCK * self.highest

    def count_foreign(self, ours: int) -> None:
        """Count the processes on this GPU beyond `ours`. (In a container their ids cannot be matched with ours.)"""
        with suppress(self.nvml.NVMLError):
            running = len(self.nvml.nvmlDeviceGetComputeRunningProcesses(self.handle))
            self.foreign = max(self.foreign, running - ours)

    def notes(self) -> list[str]:
        """Lines on the state of this GPU."""
        notes = [f"GPU: SM clock up to {self.highest:.0f} MHz"] if self.highest else []
        notes += [f"GPU held back by: {', '.join(sorted(self.reasons))}"] if self.reasons else []
        return notes + ([f"GPU: {self.foreign} foreign processes computed on it"] if self.foreign else [])


def watch(uuid: str | None) -> Watch | None:
    """A watch on the GPU with this id; None on a CPU or without NVML."""
    if not uuid:
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        return Watch(pynvml, uuid)
    except Exception:  # not installed, no driver, or no permission
        return None
