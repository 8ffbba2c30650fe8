"""How is a value written in a CSV file?"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from bench.store.schema import DIGITS

FLOATS, BOOLS = (float, np.floating), (bool, np.bool_)
CHUNK = 2**16  # characters of a long table that are written at once
FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # a spreadsheet would run a cell that starts with one
ESCAPE = "'"  # prefix for such a text, and for a text that starts with it


def text_of(value: object, digits: int = DIGITS) -> str:
    """The text of a CSV field: empty for None, NaN, and infinities; a float has `digits` significant digits.

    A text that a spreadsheet would run as a formula is escaped.
    """
    if value is None:
        return ""
    if isinstance(value, FLOATS):
        return f"{float(value):.{digits}g}" if math.isfinite(value) else ""
    if isinstance(value, BOOLS):
        return str(int(value))
    text = str(value).replace("\r\n", "\n").replace("\r", "\n")  # the csv module does not quote a lone \r
    return ESCAPE + text if isinstance(value, str) and text.startswith((*FORMULA_STARTS, ESCAPE)) else text


def csv_text(columns: Iterable[str], rows: Iterable[Mapping[str, object]], digits: int = DIGITS) -> str:
    """A CSV file with a header; a missing key gives an empty field, an unknown key is an error."""
    return "".join(csv_lines(columns, rows, digits))


def csv_lines(columns: Iterable[str], rows: Iterable[Mapping[str, object]], digits: int = DIGITS) -> Iterator[str]:
    """The text of `csv_text` in chunks of many lines, so that a long table is never held in memory."""
    columns = tuple(columns)
    allowed = set(columns)
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(map(text_of, columns))
    for row in rows:
        if not row.keys() <= allowed:
            raise KeyError(f"not columns: {sorted(row.keys() - allowed)}")
        writer.writerow([text_of(row.get(column), digits) for column in columns])
        if lines.tell() >= CHUNK:
            yield lines.getvalue()
            lines.seek(0)
            lines.truncate()
    yield lines.getvalue()
