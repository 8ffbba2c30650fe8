"""The run directory: what is written is whole, what is read is checked, and nothing foreign is overwritten."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from bench.store import COLUMNS, RunDirectory, StoreError, csv_text, load, read_table, text_of, write_atomically

CELL = {"role": "report", "task": "sr", "dataset": "photographs", "loss": "l1", "head": "raw", "outlier": "clean",
        "rate": 0.0, "schedule": "constant", "optimizer": "adam", "lr": 1e-3, "seed": 0, "batch_size": 4,
        "precision": "fp32", "settings": "{}"}  # fmt: skip


def publish(directory: RunDirectory, cells: list[dict]) -> None:
    tables = {"cells": cells, "images": [], "curves": [], "timing": []}
    directory.publish({"schema_version": 1, "cells": len(cells)}, tables)


@pytest.fixture
def published(tmp_path):
    with RunDirectory(tmp_path / "run") as directory:
        directory.append({"kind": "cell", "key": "a"})
        publish(directory, [CELL | {"cell_id": "a", "status": "done", "psnr_db": 30.0},
                            CELL | {"cell_id": "b", "status": "pending"}])  # fmt: skip
    return tmp_path / "run"


def test_round_trip(published):
    run = load(published)
    assert run.cells["cell_id"].tolist() == ["a", "b"]
    assert run.cells["psnr_db"].tolist()[0] == 30.0
    assert np.isnan(run.cells["psnr_db"].tolist()[1])
    assert run.cells["reason"].tolist() == ["", ""]
    assert list(run.cells.columns) == list(COLUMNS["cells"])
    assert run.sample("a") is None


@pytest.mark.parametrize(("value", "text"), [
    (None, ""), (float("nan"), ""), (float("inf"), ""), (-np.inf, ""), (0.1, "0.1"), (1 / 3, "0.33333333"),
    (True, "1"), (np.float64(2.0), "2"), (3, "3"), ("=1+1", "'=1+1"), ("@x", "'@x"), ("-3 dB", "'-3 dB"),
    (-3.5, "-3.5"), ("plain", "plain"),
])  # fmt: skip
def test_csv_cells(value, text):
    assert text_of(value) == text


def test_formulas_are_disarmed_in_the_file_and_come_back_whole(tmp_path):
    reason = "=HYPERLINK(1)"
    crashed = CELL | {"cell_id": "a", "status": "crashed", "reason": reason}
    write_atomically(tmp_path / "cells.csv", csv_text(COLUMNS["cells"], [crashed]))
    assert "'=HYPERLINK" in (tmp_path / "cells.csv").read_text()
    assert read_table(tmp_path, "cells")["reason"].tolist() == [reason]


def test_a_key_that_is_no_column_is_an_error():
    with pytest.raises(KeyError, match="not columns"):
        csv_text(("a",), [{"a": 1, "b": 2}])


def test_a_second_writer_is_told_who_holds_the_directory(tmp_path):
    with (
        RunDirectory(tmp_path / "run"),
        pytest.raises(StoreError, match=f"is being written by process {os.getpid()} on"),
    ):
        RunDirectory(tmp_path / "run").__enter__()


def test_a_dead_holder_is_no_obstacle(tmp_path):
    hold = f"RunDirectory({str(tmp_path / 'run')!r}).__enter__()"
    code = f"import os; from bench.store import RunDirectory; {hold}; os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    with RunDirectory(tmp_path / "run"):
        pass


def test_a_torn_last_line_is_cut_off_and_said(published):
    journal = published / "journal.jsonl"
    with open(journal, "a") as out:
        out.write('{"kind": "cell", "key"')
    with RunDirectory(published) as directory:
        assert [record["key"] for record in directory.records()] == ["a"]
        assert "the last line was torn (22 bytes cut off)" in directory.warnings[0]
        directory.append({"kind": "cell", "key": "b"})
        assert [record["key"] for record in directory.records()] == ["a", "b"]


def test_a_foreign_line_is_passed_over_and_said(published):
    with open(published / "journal.jsonl", "a") as out:
        out.write('hello\n[1, 2]\n{"kind": "cell", "key": "c"}\n')
    with RunDirectory(published) as directory:
        assert [record["key"] for record in directory.records()] == ["a", "c"]
        assert [warning.split(" is ")[0].rsplit(":", 1)[1] for warning in directory.warnings] == ["2", "3"]


@pytest.mark.parametrize("name", ["cells.csv", "manifest.json", "timing.csv"])
def test_files_without_our_journal_are_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("somebody,else\n1,2\n")
    with pytest.raises(StoreError, match=f"{name} exists but journal.jsonl does not.*nothing was overwritten"):
        RunDirectory(tmp_path).__enter__()
    assert (tmp_path / name).read_text() == "somebody,else\n1,2\n"


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to .*; choose another folder with --out"):
        RunDirectory(tmp_path / "file" / "run").__enter__()


@pytest.mark.parametrize(("damage", "says"), [
    (lambda text: "a,b\n1,2\n", "lacks the column 'cell_id'"),
    (lambda text: text[: len(text) // 2], "cells.csv"),
    (lambda text: "\n".join(text.splitlines()[:2]) + "\n", "holds 1 of the 2 cells"),
    (lambda text: text.replace(",30,", ",thirty,"), "truncated or foreign"),
    (lambda text: "", "truncated or foreign"),
])  # fmt: skip
def test_damaged_tables_are_named(published, damage, says):
    file = published / "cells.csv"
    file.write_text(damage(file.read_text()))
    with pytest.raises(StoreError) as error:
        load(published)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("content", "says"), [
    ("{", "truncated or foreign"), ("[]", "truncated or foreign"), ('{"schema_version": 99}', "has schema_version 99"),
])  # fmt: skip
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
