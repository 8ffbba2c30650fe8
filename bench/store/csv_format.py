"""How is a value written in a CSV file of a run directory, so that it comes back as it was?"""

import csv
import io
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from bench.store.schema import DIGITS

FLOATS, BOOLS = (float, np.floating), (bool, np.bool_)
PIECE = 2**16  # letters of a long table
FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # a spreadsheet would run a cell that starts so
ESCAPE = "'"  # before such a text, and before one that starts with it


def text_of(value: Any, digits: int = DIGITS) -> str:
    """A CSV cell: empty for None, NaN, and infinities; `digits` significant ones; formulas of spreadsheets disarmed."""
    if value is None:
        return ""
    if isinstance(value, FLOATS):
        return f"{float(value):.{digits}g}" if math.isfinite(value) else ""
    if isinstance(value, BOOLS):
        return str(int(value))
    text = str(value).replace("\r\n", "\n").replace("\r", "\n")  # the csv module does not quote a lone \r
    return ESCAPE + text if isinstance(value, str) and text.startswith((*FORMULA_STARTS, ESCAPE)) else text


def csv_text(columns: Iterable[str], rows: Iterable[dict[str, Any]], digits: int = DIGITS) -> str:
    """A CSV file with a header; a key that a row lacks is an empty cell, a key that is no column is an error."""
    return "".join(csv_lines(columns, rows, digits))


def csv_lines(columns: Iterable[str], rows: Iterable[dict[str, Any]], digits: int = DIGITS) -> Iterator[str]:
    """The same in pieces of many lines, so that a long table need not be held in memory."""
    columns = tuple(columns)
    known = set(columns)
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(map(text_of, columns))
    for row in rows:
        if not row.keys() <= known:
            raise KeyError(f"not columns: {sorted(row.keys() - known)}")
        writer.writerow([text_of(row.get(column), digits) for column in columns])
        if lines.tell() >= PIECE:
            yield lines.getvalue()
            lines.seek(0)
            lines.truncate()
    yield lines.getvalue()
