"""What does a table of the report consist of, before a template prints it?"""

from typing import NamedTuple

from bench.analysis.labels import arm_name


class TableCell(NamedTuple):
    """A table cell: its text, its sort key, and notes, which are smaller lines below the text."""

    text: str
    order: float | str
    notes: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """Text and notes on one line."""
        notes = "; ".join(self.notes)
        return f"{self.text} ({notes})" if self.text and notes else self.text or notes


class Table(NamedTuple):
    """A table with its name (for file names) and its caption; the first column names the row."""

    name: str
    caption: str
    header: list[str]
    rows: list[list[TableCell]]


def text_cell(text: str) -> TableCell:
    """A table cell whose text is its own sort key."""
    return TableCell(text, text)


def arm_cell(loss: str, head: str) -> TableCell:
    """A table cell with a loss and its head."""
    return text_cell(arm_name(loss, head))
