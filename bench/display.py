"""What does a person see while a run is going? A live line in a terminal, plain lines elsewhere."""

from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from bench.runner import Progress
from bench.suite import Cell


def describe(cell: Cell) -> str:
    """A cell in a few words."""
    head = "" if cell.head == "sigmoid" else f" {cell.head}"
    outlier = cell.outlier if not cell.rate else f"{cell.outlier} {cell.rate:g}"
    return f"{cell.task} {cell.loss}{head} {outlier} seed {cell.seed}"


def duration(seconds: float | None) -> str:
    """Seconds for people; empty while nobody can know."""
    if seconds is None:
        return ""
    return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"


def result(cell: Cell, record: dict[str, Any]) -> str:
    """What became of a cell, with its main read-out."""
    values, seconds = record["values"], record["measured"].get("train_s")
    main = next(
        (
            f"{key} {values[key]:.2f}"
            for key in ("psnr_y_db", "frechet", "location_error")
            if values.get(key) is not None
        ),
        "",
    )
    took = f"{seconds:.1f} s" if seconds else ""
    return "  ".join(filter(None, (f"{record['status']:9}", describe(cell), main, took, record.get("reason"))))


class Display:
    """Shows progress; use as a context manager."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
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
        """One line that stays."""
        self.console.print(text, markup=False)

    def show(self, progress: Progress) -> None:
        """One event: a note, a finished cell, or just the passing of time."""
        if progress.note:
            self.note(progress.note)
        if progress.last:
            ahead = duration(progress.seconds_left)
            line = f"[{progress.finished:4}/{progress.total}] {result(*progress.last)}"
            if not self.live:
                self.console.print(f"{line}  {ahead}", markup=False)
            elif progress.last[1]["status"] != "done":
                self.console.print(line, markup=False)
        if self.live:
            others = ", ".join(f"{number} {status}" for status, number in progress.counts.items())
            running = "; ".join(describe(cell) for cell in progress.running)
            head = f"{progress.finished}/{progress.total} cells ({others})  {duration(progress.seconds_left)}"
            self.live.update(Text(f"{head}\nnow: {running}"))
