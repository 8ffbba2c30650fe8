"""What is a table of the report made of, before any template prints it?"""

from typing import NamedTuple

from bench.analysis.labels import arm_name


class TableCell(NamedTuple):
    """One table cell: what is printed, what it sorts by, and smaller lines below it."""

    text: str
    order: float | str
    notes: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """Text and notes on one line."""
        notes = "; ".join(self.notes)
        return f"{self.text} ({notes})" if self.text and notes else self.text or notes


class Table(NamedTuple):
    """A table with its name as a file and its caption; the first column names the row."""

    name: str
    caption: str
    header: list[str]
    rows: list[list[TableCell]]


def text_cell(text: str) -> TableCell:
    """Text that sorts by itself."""
    return TableCell(text, text)


def arm_cell(loss: str, head: str) -> TableCell:
    """A loss with its head."""
    return text_cell(arm_name(loss, head))
