"""What does a run directory hold? Its manifest, CSV files, and samples are read and checked.

The directory may be untrusted, and a run may be writing it. `writer` replaces each file as a whole, so a reader never
finds half of one. Columns: the contract, "A run directory".
"""

import csv
import hashlib
import io
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from bench.store import StoreError
from bench.store.csv_format import ESCAPE
from bench.store.manifest import parse_manifest, picture_size, schema_version
from bench.store.schema import COLUMNS, LATER, MEASURED, SCHEMA_VERSION, TEXT_COLUMNS
from bench.store.table_checks import check_run, check_table
from bench.store.validation import Invalid, shown

NUMERALS = frozenset("0123456789+-.eE")
NUMERAL = re.compile(
    r"(?=.{1,300}$)[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII
)  # longer numerals overflow a float
REMEDY = "`python -m bench run` on the same suite writes it again from the journal"
SNAPSHOT_WAITS_S = (0.05, 0.1, 0.2, 0.4, 0.8)  # while a writer has replaced files but not yet the manifest


@dataclass(frozen=True, eq=False)
class Run:
    """The content of a run directory: figures and report need nothing else."""

    path: Path
    manifest: dict[str, Any]
    cells: pd.DataFrame
    images: pd.DataFrame
    curves: pd.DataFrame
    timing: pd.DataFrame
    references: pd.DataFrame | None = None  # cells whose results predict other results; None means `cells`
    warnings: tuple[str, ...] = ()  # one line each, shown in the report

    def sample(self, cell_id: str) -> np.ndarray | None:
        """The picture of a cell, uint8 (height, width) or (height, width, 3); None if it has none."""
        layout = (self.manifest.get("samples") or {}).get(cell_id)
        if not layout:
            return None
        try:
            with Image.open(self.path / "samples" / f"{cell_id}.png", formats=["PNG"]) as picture:
                fits = picture.size[::-1] == picture_size(layout) and picture.mode in ("L", "RGB")
                return np.asarray(picture) if fits else None
        except Exception:  # Pillow raises many types on a broken file
            return None


def load(path: Path | str) -> Run:
    """Read a run directory from manifest, CSV files, and samples; it may be untrusted, or a run may be writing it.

    Raises:
        StoreError: it is no run directory, or a file is missing, truncated, of another schema, or invalid.
    """
    path = Path(path)
    if not os.path.lexists(path / "manifest.json"):
        raise StoreError(f"{path} is not a run directory: it has no manifest.json; `python -m bench run` makes one")
    refuse_links(path)
    manifest, contents = _snapshot(path)
    tables = {name: _parse_table(path / f"{name}.csv", name, content) for name, content in contents.items()}
    if manifest["cells"] != len(tables["cells"]):
        raise StoreError(
            f"{path / 'cells.csv'} holds {len(tables['cells'])} of the {manifest['cells']} cells declared in "
            f"manifest.json; {REMEDY}"
        )
    try:
        check_run(manifest, tables)
    except Invalid as error:
        raise StoreError(f"{path} is inconsistent: {error}; {REMEDY}") from None
    return Run(path, manifest, **tables, warnings=tuple(_differences(manifest, contents)))


def _snapshot(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Manifest and CSV files of the same state. While a run publishes them, they are read again after a pause."""
    for wait_s in (*SNAPSHOT_WAITS_S, 0):
        manifest = read_manifest(path)
        contents = {name: _content(path / f"{name}.csv") for name in MEASURED}
        if manifest.get("finished") or not any(_differences(manifest, contents)):
            break  # no process writes a finished run, so waiting would not help
        time.sleep(wait_s)
    return manifest, contents


def _differences(manifest: dict[str, Any], contents: dict[str, bytes]) -> Iterator[str]:
    """One line for each file that differs from the one the run published."""
    for name, content in contents.items():
        written = (manifest.get("files") or {}).get(f"{name}.csv")
        if written and hashlib.sha256(content).hexdigest() != written:
            yield f"{name}.csv is not as the run wrote it: edited, cut short, or just being written"


def refuse_links(path: Path) -> None:
    """Refuse links, which could read or overwrite files elsewhere, and pipes, which would block.

    Raises:
        StoreError: an entry is neither a file nor a folder.
    """
    for folder, folders, files in os.walk(path):
        for entry in (Path(folder, name) for name in (*folders, *files)):
            with suppress(FileNotFoundError):  # the run has just renamed it
                if stat.S_IFMT(entry.lstat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
                    raise StoreError(
                        f"{entry} is a link (or a pipe, a device), but a run directory holds only files and folders; "
                        "replace it by the file it points to, or remove it"
                    )


def _content(file: Path) -> bytes:
    """The content of a file of a run directory."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise StoreError(
            f"{file} is missing; `python -m bench run` on the same suite writes it from the journal"
        ) from None
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}") from None


def read_manifest(path: Path) -> dict[str, Any]:
    """`manifest.json` of a run directory.

    Raises:
        StoreError: it is missing, invalid, or of another version.
    """
    file = path / "manifest.json"
    content = _content(file)
    try:
        version = schema_version(content)
        if version == SCHEMA_VERSION:
            return parse_manifest(content)
    except Invalid as error:
        raise StoreError(f"{file} is truncated or foreign ({error}); {REMEDY}") from None
    raise StoreError(
        f"{file} has schema_version {shown(version)}, this version reads {SCHEMA_VERSION}; use a matching checkout"
    )


def read_table(path: Path, name: str) -> pd.DataFrame:
    """One CSV file as a frame: text columns as strings, other columns as numbers with NaN for empty.

    Raises:
        StoreError: it is missing or invalid.
    """
    file = path / f"{name}.csv"
    return _parse_table(file, name, _content(file))


def _parse_table(file: Path, name: str, content: bytes) -> pd.DataFrame:
    try:
        table = _table(COLUMNS[name], content)
        if name in MEASURED:  # the other tables are computed from these and not read again
            check_table(name, table)
    except Invalid as error:
        raise StoreError(f"{file} is truncated or foreign ({error}); {REMEDY}") from None
    return table


def _table(columns: tuple[str, ...], content: bytes) -> pd.DataFrame:
    """CSV text with a header as a frame of these columns. Other columns, which later versions may add, are left out.
    Columns that earlier versions did not write (`LATER`) may be missing; they are then empty.

    Raises:
        Invalid: no UTF-8 or CSV, a missing or repeated column, a row of another length, or text in a number column.
    """
    text = _decoded(content)
    try:
        lines = filter(None, csv.reader(io.StringIO(text, newline=""), strict=True))  # pandas would pad short rows
        header = next(lines, [])
        uneven = next((row for row, fields in enumerate(lines, 2) if len(fields) != len(header)), None)
    except csv.Error as error:
        raise Invalid(str(error)) from None
    missing = next((c for c in columns if header.count(c) != 1 and (c not in LATER or c in header)), None)
    if missing:
        raise Invalid(f"it {'repeats' if missing in header else 'lacks'} the column {missing!r}")
    if uneven:
        raise Invalid(f"row {uneven} has not the header's {len(header)} fields")
    frame = pd.read_csv(io.StringIO(text, newline=""), header=None, dtype=object, keep_default_na=False)
    frame = frame.set_axis(header, axis="columns")[1:].reset_index(drop=True)
    frame = frame.assign(**dict.fromkeys(LATER.intersection(columns) - set(header), ""))
    return pd.DataFrame(
        {name: _texts(frame[name]) if name in TEXT_COLUMNS else _numbers(frame[name]) for name in columns}
    )


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")  # a spreadsheet may have added a byte order mark
    except UnicodeDecodeError as error:
        raise Invalid(f"byte {error.start} is not UTF-8") from None


def _texts(column: pd.Series) -> pd.Series:
    return column.str.removeprefix(ESCAPE).astype(str)


def _numbers(column: pd.Series) -> pd.Series:
    """Numerals as numbers, NaN for empty; neither "nan" nor "inf" nor "1_000" is a number in CSV."""
    if set().union(*column) <= NUMERALS:
        with suppress(ValueError, OverflowError):  # a numeral of thousands of digits
            numbers = pd.to_numeric(column.replace("", None))
            return numbers if numbers.dtype == np.int64 else numbers.astype(float)
    invalid = next(row for row, text in enumerate(column) if text and not NUMERAL.fullmatch(text))
    raise Invalid(f"row {invalid + 2}: {column.name} is {shown(column[invalid])}, not a number")
