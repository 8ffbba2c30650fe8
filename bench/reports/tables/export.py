"""How are the tables of the report exported for a paper? As CSV with unrounded numbers, and as LaTeX with booktabs."""

import re
from pathlib import Path

import pandas as pd

from bench.reports.tables.table import Table, TableCell
from bench.store.csv_format import csv_text
from bench.store.files import write_atomically

LATEX = {  # characters that are LaTeX markup, or that not every LaTeX engine prints
    **{"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"},
    **{"|": r"\textbar{}", "−": "$-$", "–": "--", "×": r"$\times$", "é": r"\'e", "✓": "", "✗": "", "★": r"$\star$"},
    **{"…": r"\dots{}", "→": r"$\to$", "²": r"\textsuperscript{2}"},
}
WIDE_LETTERS = 40  # longer texts get a column that breaks lines


def slug(name: str) -> str:
    """A table name as a file name.

    >>> slug("robustness photographs, ×2 salt")
    'robustness-photographs-2-salt'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def write_tables(folder: Path, tables: list[Table]) -> list[Path]:
    """(Re)write every table as `<name>.csv` and `<name>.tex` into `folder`, and remove those of an earlier report."""
    written: list[Path] = []
    for table in tables:
        name = _unused_name(slug(table.name), [file.stem for file in written])
        for ending, text in (("csv", as_csv(table)), ("tex", as_latex(table))):
            written.append(folder / f"{name}.{ending}")
            write_atomically(written[-1], text)
    for file in folder.glob("*.tex"):
        pair = file, file.with_suffix(".csv")
        if file not in written and pair[1].exists():  # a .tex file without a .csv file is not ours
            for stale_file in pair:
                stale_file.unlink()
    return written


def _unused_name(name: str, taken: list[str]) -> str:
    """A file name that is not taken yet: `slug` may give two tables the same name.

    >>> _unused_name("a", ["a", "a-2"])
    'a-3'
    """
    candidates = (name, *(f"{name}-{number}" for number in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if candidate not in taken)


def as_csv(table: Table) -> str:
    """A column per heading, numbers unrounded; if cells have notes, a column with the notes follows."""
    columns: list[str] = []
    rows: list[dict[str, str | float]] = [{} for _ in table.rows]
    for number, heading in enumerate(table.header):
        column_cells = [line[number] for line in table.rows]
        columns.append(heading)
        for row, cell in zip(rows, column_cells, strict=True):
            row[heading] = cell.order if isinstance(cell.order, float) else cell.text
        if any(cell.notes for cell in column_cells):
            columns.append(f"{heading}: details")
            for row, cell in zip(rows, column_cells, strict=True):
                row[columns[-1]] = "; ".join(cell.notes)
    return csv_text(columns, rows)


def as_latex(table: Table) -> str:
    """A table environment with booktabs rules and small notes; needs `\\usepackage{booktabs}`."""
    columns = zip(*table.rows, strict=True)
    wide = [max(max(map(len, (cell.text, *cell.notes))) for cell in column) > WIDE_LETTERS for column in columns]
    lines = [[_latex_cell(cell, is_wide) for cell, is_wide in zip(line, wide, strict=True)] for line in table.rows]
    body = pd.DataFrame(lines, columns=[escape_latex(heading) for heading in table.header])
    width = 0.8 / max(sum(wide), 1)
    layout = "".join(f"p{{{width:.2f}\\linewidth}}" if is_wide else "l" for is_wide in wide)
    return body.to_latex(
        index=False,
        escape=False,
        caption=escape_latex(table.caption),
        column_format=layout,
        label=f"tab:{slug(table.name)}",
        position="tbp",
    )


def _latex_cell(cell: TableCell, is_wide: bool) -> str:
    """The text with its notes in small print below it; in a wide column, which breaks lines itself, after it."""
    if is_wide or not cell.notes:
        return escape_latex(cell.line).strip()
    notes = [rf"{{\scriptsize {escape_latex(note)}}}" for note in cell.notes]
    lines = r" \\ ".join([escape_latex(cell.text).strip(), *notes])
    return rf"\begin{{tabular}}[t]{{@{{}}l@{{}}}}{lines}\end{{tabular}}"


def escape_latex(text: str) -> str:
    """Text escaped for LaTeX, in ASCII.

    >>> escape_latex("5 % of d_loss, −0.1 dB")
    '5 \\\\% of d\\\\_loss, $-$0.1 dB'
    """
    line = "".join(LATEX.get(letter, letter) for letter in " ".join(text.split()))
    return "".join(letter if letter.isascii() else "?" for letter in line)
