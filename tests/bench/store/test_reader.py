"""Is the content of a run directory checked and restored as written?"""

import json

import numpy as np
import pandas as pd
import pytest

from bench.store import StoreError
from bench.store.csv_format import csv_lines, csv_text, text_of
from bench.store.files import write_atomically
from bench.store.reader import load, read_table
from bench.store.schema import COLUMNS
from bench.store.writer import RunDirectory

CELL = {
    "role": "report",
    "task": "sr",
    "dataset": "photographs",
    "loss": "l1",
    "head": "raw",
    "outlier": "clean",
    "rate": 0.0,
    "schedule": "constant",
    "optimizer": "adam",
    "lr": 1e-3,
    "seed": 0,
    "batch_size": 4,
    "precision": "fp32",
    "settings": "{}",
}


def publish(directory: RunDirectory, cells: list[dict]) -> None:
    tables = {"cells": cells, "images": [], "curves": [], "timing": []}
    directory.publish({"schema_version": 1, "cells": len(cells)}, tables)


@pytest.fixture(autouse=True)
def nobody_writes(monkeypatch):
    """Files that differ from the manifest stay so: no patience with a writer."""
    monkeypatch.setattr("bench.store.reader.SNAPSHOT_WAITS_S", ())


@pytest.fixture
def published(tmp_path):
    with RunDirectory(tmp_path / "run") as directory:
        directory.append({"kind": "cell", "key": "a"})
        publish(
            directory,
            [CELL | {"cell_id": "a", "status": "done", "psnr_db": 30.0}, CELL | {"cell_id": "b", "status": "pending"}],
        )
    return tmp_path / "run"


def test_round_trip(published):
    run = load(published)
    assert run.cells["cell_id"].tolist() == ["a", "b"]
    assert run.cells["psnr_db"].tolist()[0] == 30.0
    assert np.isnan(run.cells["psnr_db"].tolist()[1])
    assert run.cells["reason"].tolist() == ["", ""]
    assert list(run.cells.columns) == list(COLUMNS["cells"])
    assert run.sample("a") is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (float("inf"), ""),
        (-np.inf, ""),
        (0.1, "0.1"),
        (1 / 3, "0.33333333"),
        (True, "1"),
        (np.float64(2.0), "2"),
        (np.float32("nan"), ""),
        (np.bool_(False), "0"),
        (3, "3"),
        (-3.5, "-3.5"),
        ("=1+1", "'=1+1"),
        ("@x", "'@x"),
        ("-3 dB", "'-3 dB"),
        ("'quoted", "''quoted"),  # or it would come back without its own quote
        ("plain", "plain"),
    ],
)
def test_csv_cells(value, text):
    assert text_of(value) == text


def test_formulas_are_escaped_in_the_file_and_restored(tmp_path):
    reason = "=HYPERLINK(1)"
    crashed = CELL | {"cell_id": "a", "status": "crashed", "reason": reason}
    write_atomically(tmp_path / "cells.csv", csv_text(COLUMNS["cells"], [crashed]))
    assert "'=HYPERLINK" in (tmp_path / "cells.csv").read_text()
    assert read_table(tmp_path, "cells")["reason"].tolist() == [reason]


def test_an_unknown_column_is_an_error():
    with pytest.raises(KeyError, match="not columns"):
        csv_text(("a",), [{"a": 1, "b": 2}])


def test_a_long_table_is_written_in_pieces():
    rows = ({"a": number, "b": "x" * 100} for number in range(10_000))
    pieces = csv_lines(("a", "b"), rows)
    first = next(pieces)
    assert first.startswith("a,b\n0,xx")
    assert first.endswith("x\n")
    assert next(rows)["a"] == first.count("\n") - 1 < 1000  # not read ahead
    assert "".join(csv_lines(("a", "b"), [])) == "a,b\n"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: "a,b\n1,2\n", "lacks the column 'cell_id'"),
        (lambda text: text[: len(text) // 2], "cells.csv"),
        (lambda text: "\n".join(text.splitlines()[:2]) + "\n", "holds 1 of the 2 cells"),
        (lambda text: text.replace(",30,", ",thirty,"), "truncated or foreign"),
        (lambda text: "", "truncated or foreign"),
    ],
)
def test_damaged_tables_are_named(published, damage, says):
    file = published / "cells.csv"
    file.write_text(damage(file.read_text()))
    with pytest.raises(StoreError) as error:
        load(published)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "truncated or foreign"),
        ("[]", "truncated or foreign"),
        ('{"schema_version": 99}', "has schema_version 99"),
    ],
)
def test_damaged_manifests_are_named(published, content, says):
    (published / "manifest.json").write_text(content)
    with pytest.raises(StoreError, match=says):
        load(published)


def test_a_missing_file_is_named(published, tmp_path):
    (published / "curves.csv").unlink()
    with pytest.raises(StoreError, match=r"curves.csv is missing"):
        load(published)
    with pytest.raises(StoreError, match=r"is not a run directory: it has no manifest.json"):
        load(tmp_path / "nowhere")


def test_manifest_carries_the_hashes_of_the_tables(published):
    import hashlib

    files = json.loads((published / "manifest.json").read_text())["files"]
    assert files["cells.csv"] == hashlib.sha256((published / "cells.csv").read_bytes()).hexdigest()


def test_columns_are_read_by_name(published):
    file = published / "cells.csv"
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    frame[sorted(frame.columns)].assign(extra="x").to_csv(file, index=False)
    assert load(published).cells["psnr_db"].tolist()[0] == 30.0


def test_a_run_of_an_earlier_version_lacks_later_columns_and_is_read(published):
    cells = pd.read_csv(published / "cells.csv", dtype=str).drop(columns=["bad_pixels", "baseline_psnr_db"])
    cells.to_csv(published / "cells.csv", index=False)
    run = load(published)
    assert list(run.cells.columns) == list(COLUMNS["cells"])
    assert run.cells[["bad_pixels", "baseline_psnr_db"]].isna().all(axis=None)
    cells.drop(columns="frechet").to_csv(published / "cells.csv", index=False)
    with pytest.raises(StoreError, match="lacks the column 'frechet'"):
        load(published)
