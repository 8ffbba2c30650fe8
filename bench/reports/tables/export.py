"""How do the report's tables get into a paper? Each as CSV, with unrounded numbers, and as LaTeX for booktabs."""

import re
from pathlib import Path

import pandas as pd

from bench.reports.tables.table import Table, TableCell
from bench.store.csv_format import csv_text
from bench.store.files import write_atomically

LATEX = {  # what no LaTeX engine prints from a plain source, or reads as markup
    **{"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"},
    **{"|": r"\textbar{}", "−": "$-$", "–": "--", "×": r"$\times$", "é": r"\'e", "✓": "", "✗": "", "★": r"$\star$"},
    **{"…": r"\dots{}", "→": r"$\to$", "²": r"\textsuperscript{2}"},
}
WIDE_LETTERS = 40  # a longer entry gets a column that breaks lines


def slug(name: str) -> str:
    """A table's name as a file.

    >>> slug("robustness photographs, ×2 salt")
    'robustness-photographs-2-salt'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def write_tables(folder: Path, tables: list[Table]) -> list[Path]:
    """(Re)write every table as `<name>.csv` and `<name>.tex` into `folder`, and remove those of an earlier report."""
    written: list[Path] = []
    for table in tables:
        name = _free(slug(table.name), [file.stem for file in written])
        for ending, text in (("csv", as_csv(table)), ("tex", as_latex(table))):
            written.append(folder / f"{name}.{ending}")
            write_atomically(written[-1], text)
    for file in folder.glob("*.tex"):
        pair = file, file.with_suffix(".csv")
        if file not in written and pair[1].exists():  # a single file is somebody else's
            for one in pair:
                one.unlink()
    return written


def _free(name: str, taken: list[str]) -> str:
    """A name of a file that none has yet: two tables may differ in letters that a file's name leaves out.

    >>> _free("a", ["a", "a-2"])
    'a-3'
    """
    ways = (name, *(f"{name}-{number}" for number in range(2, len(taken) + 3)))
    return next(way for way in ways if way not in taken)


def as_csv(table: Table) -> str:
    """A column per heading, numbers unrounded; where entries have smaller lines, a column of these follows."""
    columns: list[str] = []
    rows: list[dict[str, str | float]] = [{} for _ in table.rows]
    for number, heading in enumerate(table.header):
        entries = [line[number] for line in table.rows]
        columns.append(heading)
        for row, entry in zip(rows, entries, strict=True):
            row[heading] = entry.order if isinstance(entry.order, float) else entry.text
        if any(entry.notes for entry in entries):
            columns.append(f"{heading}: details")
            for row, entry in zip(rows, entries, strict=True):
                row[columns[-1]] = "; ".join(entry.notes)
    return csv_text(columns, rows)


def as_latex(table: Table) -> str:
    """A table environment with booktabs rules, intervals in small print; needs `\\usepackage{booktabs}`."""
    columns = zip(*table.rows, strict=True)
    wide = [max(max(map(len, (entry.text, *entry.notes))) for entry in column) > WIDE_LETTERS for column in columns]
    lines = [[_latex_entry(entry, broad) for entry, broad in zip(line, wide, strict=True)] for line in table.rows]
    body = pd.DataFrame(lines, columns=[escape_latex(heading) for heading in table.header])
    width = 0.8 / max(sum(wide), 1)
    layout = "".join(f"p{{{width:.2f}\\linewidth}}" if broad else "l" for broad in wide)
    return body.to_latex(
        index=False,
        escape=False,
        caption=escape_latex(table.caption),
        column_format=layout,
        label=f"tab:{slug(table.name)}",
        position="tbp",
    )


def _latex_entry(entry: TableCell, broad: bool) -> str:
    """The text with its notes in small print below it; in a broad column, which breaks lines itself, after it."""
    if broad or not entry.notes:
        return escape_latex(entry.line).strip()
    notes = [rf"{{\scriptsize {escape_latex(note)}}}" for note in entry.notes]
    lines = r" \\ ".join([escape_latex(entry.text).strip(), *notes])
    return rf"\begin{{tabular}}[t]{{@{{}}l@{{}}}}{lines}\end{{tabular}}"


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is, in ASCII.

    >>> escape_latex("5 % of d_loss, −0.1 dB")
    '5 \\\\% of d\\\\_loss, $-$0.1 dB'
    """
    line = "".join(LATEX.get(letter, letter) for letter in " ".join(text.split()))
    return "".join(letter if letter.isascii() else "?" for letter in line)
