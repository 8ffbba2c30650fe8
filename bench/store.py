"""What is on disk, and can it be trusted?

A run directory has one writer, which holds its lock. The writer appends each finished cell to `journal.jsonl`, one line
per record, and publishes CSV files from it; files are replaced whole (temporary file, fsync, rename), so a reader never
meets half of one. The journal is the truth for a resumed run; CSV files, manifest, and samples are the truth for the
report. Columns: the contract, "A run directory".
"""

import csv
import fcntl
import hashlib
import io
import json
import math
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

SCHEMA_VERSION = 1
STATUSES = ("done", "diverged", "oom", "timeout", "crashed", "skipped", "interrupted", "pending")

SETTING_COLUMNS = (
    *("task", "dataset", "loss", "head", "outlier", "rate", "schedule", "optimizer", "lr", "seed", "scale"),
    *("value_range", "batch_size", "precision", "redraw", "device"),
)
MEASURED_COLUMNS = ("train_s", "eval_s", "images_per_s", "peak_memory_mib", "attempts")  # may differ between equal runs
COLUMNS: dict[str, tuple[str, ...]] = {
    "cells": (
        *("cell_id", "code", "role", *SETTING_COLUMNS, "status", "reason", "attempts", "steps"),
        *("train_s", "eval_s", "images_per_s", "cells_sharing_device", "peak_memory_mib", "settings"),
        *("psnr_db", "psnr_y_db", "ssim", "ssim_rgb", "mae", "bce_excess", "bias_mse", "wobble_db"),
        "bicubic_psnr_y_db",
        *("frechet", "frechet_floor", "kid", "density", "coverage", "classes", "outlier_share"),
        *("g_loss", "d_loss", "real_loss", "fake_loss", "mean_d_real", "mean_d_fake"),
        *("dead_discriminator", "procedure_ok", "location_error", "median_error", "mean_error", "oracle_error"),
    ),
    "images": (
        *("cell_id", "image", "psnr_db", "psnr_y_db", "ssim", "ssim_rgb", "mae"),
        *("bicubic_psnr_y_db", "pull_mse", "pull_mse_y"),
    ),
    "curves": ("cell_id", "step", "metric", "value"),
    "timing": ("task", "dataset", "loss", "head", "device", "phase", "round", "batch_size", "ms"),
    "summary": (
        *("task", "dataset", "loss", "head", "outlier", "rate", "schedule", "optimizer", "lr", "n", "n_done"),
        *("metric", "mean", "ci_low", "ci_high", "predicted"),
        *("scale", "value_range", "batch_size", "precision", "redraw", "settings"),
    ),
    "claims": (
        *("claim", "statement", "rule", "estimate", "unit", "ci_low", "ci_high", "margin", "n", "p_value", "p_holm"),
        *("mde", "verdict", "cells"),
        *("about", "document", "p_sign_flip", "seeds_needed", "images_ci_low", "images_ci_high"),
        *("beyond_time", "beyond_time_ci_low", "beyond_time_ci_high", "may_conclude"),
    ),
}
TEXT_COLUMNS = frozenset((
    *("cell_id", "code", "role", "task", "dataset", "loss", "head", "outlier", "schedule", "optimizer", "precision"),
    *("device", "status", "reason", "settings", "image", "metric", "phase"),
    *("claim", "statement", "rule", "unit", "verdict", "cells", "about", "document", "may_conclude"),
))  # fmt: skip
DIGITS, CURVE_DIGITS = 8, 6  # significant ones in CSV files; curves are many, and drawn
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run a cell that starts so


class StoreError(Exception):
    """A run directory that cannot be read or written; the message is one line: what, where, what to do."""


@dataclass(frozen=True)
class Run:
    """A run directory as read: what figures and report are drawn from, and nothing else."""

    path: Path
    manifest: dict[str, Any]
    cells: pd.DataFrame
    images: pd.DataFrame
    curves: pd.DataFrame
    timing: pd.DataFrame
    references: pd.DataFrame | None = None  # cells that predict others; None: those among `cells`
    warnings: tuple[str, ...] = ()  # what a reader must be told: one line each

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The groups of seeds, computed afresh from cells and images."""
        from bench.statistics import summarise  # statistics knows nothing of files

        return summarise(self.cells, self.images, self.references)

    def sample(self, cell_id: str) -> np.ndarray | None:
        """The picture of a cell, uint8 (height, width) or (height, width, 3); None where there is none."""
        path = self.path / "samples" / f"{Path(cell_id).name}.png"
        try:
            with Image.open(path) as picture:
                return np.asarray(picture)
        except (OSError, ValueError):
            return None


def load(path: Path | str) -> Run:
    """Read a run directory from manifest, CSV files, and samples alone.

    Raises:
        StoreError: no run directory, a file missing, truncated, or not of this schema.
    """
    path = Path(path)
    manifest = read_manifest(path)
    tables = {name: read_table(path, name) for name in ("cells", "images", "curves", "timing")}
    declared = manifest.get("cells")
    if declared != len(tables["cells"]):
        raise StoreError(
            f"{path / 'cells.csv'} holds {len(tables['cells'])} of the {declared} cells declared in manifest.json; "
            f"`python -m bench run` on the same suite writes it again from the journal"
        )
    return Run(path, manifest, **tables, warnings=tuple(_differences(path, manifest)))


def _differences(path: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """What a reader must be told of files that are not as the run published them."""
    for name, written in manifest.get("files", {}).items():
        file = path / Path(name).name
        if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() != written:
            yield f"{name} is not as the run wrote it: edited, cut short, or being written just now"


def read_manifest(path: Path) -> dict[str, Any]:
    """`manifest.json` of a run directory, or a StoreError that says why not."""
    file = path / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        version = manifest["schema_version"]
    except FileNotFoundError:
        raise StoreError(
            f"{path} is not a run directory: it has no manifest.json; `python -m bench run` makes one"
        ) from None
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise StoreError(
            f"{file} is truncated or foreign; `python -m bench run` on the same suite rewrites it"
        ) from None
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{file} has schema_version {version!r}, this version reads {SCHEMA_VERSION}; use a matching checkout"
        )
    return manifest


def read_table(path: Path, name: str) -> pd.DataFrame:
    """One CSV file as a frame: text columns as strings, all others as floats with NaN for empty."""
    file = path / f"{name}.csv"
    text = {column: str for column in COLUMNS[name] if column in TEXT_COLUMNS}
    try:
        frame = pd.read_csv(file, dtype=text, keep_default_na=False, na_values={})
        missing = [column for column in COLUMNS[name] if column not in frame.columns]
        if missing:
            raise StoreError(f"{file} lacks the column {missing[0]!r}: truncated, or not written by this harness; "
                             "move it away and run the suite again")  # fmt: skip
        for column in COLUMNS[name]:
            if column in text:
                frame[column] = frame[column].str.removeprefix("'")
            else:
                frame[column] = pd.to_numeric(frame[column].replace("", np.nan))
    except FileNotFoundError:
        raise StoreError(
            f"{file} is missing; `python -m bench run` on the same suite writes it from the journal"
        ) from None
    except (OSError, ValueError, pd.errors.ParserError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StoreError(f"{file} is truncated or foreign ({reason}); `python -m bench run` rewrites it") from None
    return frame


def write_atomically(file: Path, content: bytes | str) -> None:
    """Replace `file` whole: temporary file in the same folder, fsync, rename."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def text_of(value: Any, digits: int = DIGITS) -> str:
    """A CSV cell: empty for None, NaN, and infinities; `digits` significant ones; formulas of spreadsheets disarmed."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return f"{float(value):.{digits}g}"
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA_STARTS) else text


def csv_text(columns: Iterable[str], rows: Iterable[dict[str, Any]], digits: int = DIGITS) -> str:
    """A CSV file with a header; a key that a row lacks is an empty cell, a key that is no column is an error."""
    columns = tuple(columns)
    known = set(columns)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        unknown = row.keys() - known
        if unknown:
            raise KeyError(f"not columns: {sorted(unknown)}")
        writer.writerow([text_of(row.get(column), digits) for column in columns])
    return out.getvalue()


def set_aside(path: Path) -> Path:
    """Rename a run directory nobody is writing, so that a fresh one can take its place; returns the new name.

    Raises:
        StoreError: it is no run directory, somebody is writing it, or it cannot be renamed.
    """
    if not (path / "journal.jsonl").exists():
        raise StoreError(f"{path} is not a run directory (it has no journal.jsonl): --fresh leaves it alone; use --out")
    with RunDirectory(path):
        aside = path.with_name(f"{path.name}.{datetime.now():%Y%m%d-%H%M%S}")
        try:
            return path.rename(aside)
        except OSError as error:
            raise StoreError(f"{path} cannot be set aside as {aside.name}: {error.strerror}") from None


class RunDirectory:
    """The one writer of a run directory; use it as a context manager, which holds the lock."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.warnings: list[str] = []

    def __enter__(self) -> "RunDirectory":
        try:
            (self.path / "samples").mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / "lock", "a+", encoding="utf-8")
        except OSError as error:
            raise StoreError(
                f"cannot write to {self.path}: {error.strerror}; choose another folder with --out"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel frees the lock of a dead holder
        except OSError:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "another process"
            self._lock.close()
            raise StoreError(
                f"{self.path} is being written by {holder}; wait for it, or choose another --out"
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._lock.flush()
        self._refuse_foreign_files()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._lock.truncate(0)
        self._lock.close()

    def _refuse_foreign_files(self) -> None:
        """Published files without our journal were written by somebody else, or have lost what they came from."""
        if (self.path / "journal.jsonl").exists():
            return
        for name in ("manifest.json", *(f"{table}.csv" for table in COLUMNS)):
            if (self.path / name).exists():
                self.__exit__()
                raise StoreError(
                    f"{self.path / name} exists but journal.jsonl does not, so this harness did not write it or cannot "
                    f"resume it; nothing was overwritten: move it away, use --fresh, or choose another --out"
                )

    def records(self) -> Iterator[dict[str, Any]]:
        """The journal's records, oldest first. A torn last line is cut off; an unreadable record is passed over."""
        journal = self.path / "journal.jsonl"
        if not journal.exists():
            return
        content = journal.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self.warnings.append(
                f"{journal}: the last line was torn ({len(content) - whole} bytes cut off); its cell runs again"
            )
            with open(journal, "r+b") as out:
                out.truncate(whole)
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                record = json.loads(line)
                record["kind"], record["key"]
            except (ValueError, KeyError, TypeError):
                self.warnings.append(
                    f"{journal}:{number} is not a record of this harness; passed over, its cell runs again"
                )
            else:
                yield record

    def append(self, record: dict[str, Any]) -> None:
        """Add one record to the journal; it is on disk when this returns."""
        line = json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n"
        with open(self.path / "journal.jsonl", "ab") as out:
            out.write(line.encode("utf-8"))
            out.flush()
            os.fsync(out.fileno())

    def publish(self, manifest: dict[str, Any], tables: dict[str, list[dict[str, Any]]]) -> None:
        """Replace the CSV files and then the manifest, which carries their hashes."""
        texts = {
            f"{name}.csv": csv_text(COLUMNS[name], rows, CURVE_DIGITS if name == "curves" else DIGITS)
            for name, rows in tables.items()
        }
        for name, text in texts.items():
            write_atomically(self.path / name, text)
        hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
        write_atomically(self.path / "manifest.json", json.dumps(manifest | {"files": hashes}, indent=1) + "\n")

    def write_sample(self, cell_id: str, picture: np.ndarray) -> None:
        """Write a cell's picture, uint8 (height, width) or (height, width, 3), as PNG."""
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "PNG", optimize=True)
        write_atomically(self.path / "samples" / f"{cell_id}.png", out.getvalue())
