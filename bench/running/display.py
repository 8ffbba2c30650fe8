"""How does a run show its progress? As a live line in a terminal, as plain lines elsewhere."""

import os
import sys

from rich.console import Console
from rich.live import Live
from rich.text import Text

from bench.plan.cell import Cell
from bench.running.progress import Progress, describe
from bench.store.records import CellRecord

MAIN_READOUTS = ("psnr_y_db", "psnr_db", "frechet", "location_error")  # the first one that a cell has is shown


def duration(seconds: float | None) -> str:
    """The time left as a text; empty if it is unknown.

    >>> duration(75), duration(1000), duration(9000)
    ('75 s left', '17 min left', '2 h 30 min left')
    """
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s left"
    minutes = round(seconds / 60)
    return f"{minutes} min left" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min left"


def result(cell: Cell, record: CellRecord) -> str:
    """A line on a finished cell, with its main read-out."""
    values, seconds = record["values"], record["measured"].get("train_s")
    main = next((f"{key} {values[key]:.2f}" for key in MAIN_READOUTS if values.get(key) is not None), "")
    time_text = f"{seconds:.1f} s" if seconds else ""
    return "  ".join(filter(None, (f"{record['status']:9}", describe(cell), main, time_text, record.get("reason"))))


class Display:
    """Shows progress; use as a context manager. A run continues if its output can no longer be written."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True, emoji=False)  # ":cat:" in a path stays text
        self.live = (
            Live(console=self.console, transient=True, refresh_per_second=4) if self.console.is_terminal else None
        )

    def __enter__(self) -> "Display":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.live:
            self.live.stop()

    def note(self, text: str) -> None:
        """Print one permanent line."""
        try:
            self.console.print(text, markup=False)
        except (OSError, SystemExit):  # the pipe is closed, or the disk is full
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def leave(self) -> None:
        """Restore the terminal before the process ends without cleaning up."""
        if self.live:
            os.write(sys.stdout.fileno(), b"\x1b[?25h\n")  # the cursor was hidden

    def show(self, progress: Progress) -> None:
        """Show one event: a note, a finished cell, or a regular update."""
        if progress.note:
            self.note(progress.note)
        if progress.last:
            time_left = duration(progress.seconds_left)
            line = f"[{progress.finished:4}/{progress.total}] {result(*progress.last)}"
            if not self.live:
                self.note(f"{line}  {time_left}")
            elif progress.last[1]["status"] != "done":
                self.note(line)
        if self.live:
            others = ", ".join(f"{number} {status}" for status, number in progress.counts.items())
            running = "; ".join(describe(cell) for cell in progress.running)
            head = f"{progress.finished}/{progress.total} cells ({others})  {duration(progress.seconds_left)}"
            self.live.update(Text(f"{head}\nnow: {running}"))


class Silence:
    """A display that shows nothing."""

    def __enter__(self) -> "Silence":
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing to restore."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def leave(self) -> None:
        """Nothing to restore."""

    def show(self, progress: Progress) -> None:
        """Show nothing."""
