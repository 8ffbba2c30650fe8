"""A run directory has one writer; files are complete or absent, and foreign files are never overwritten."""

import errno
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.store import StoreError, files
from bench.store.files import Replacement, write_atomically
from bench.store.journal import Journal
from bench.store.writer import RunDirectory, set_aside

TABLES = ("cells", "images", "curves", "timing")


def publish(directory: RunDirectory, *cells: str) -> None:
    rows = {name: [] for name in TABLES} | {"cells": [{"cell_id": cell} for cell in cells]}
    directory.publish({"schema_version": 1, "cells": len(cells)}, rows)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file() and file.name != "lock"}


@pytest.fixture
def journal(tmp_path):
    """A journal with the record "a", and the warnings it has given."""
    warnings = []
    journal = Journal(tmp_path / "journal.jsonl", warnings.append)
    journal.append({"kind": "cell", "key": "a"})
    yield journal, warnings
    journal.close()


def keys(journal: Journal) -> list[str]:
    return [entry.record["key"] for entry in journal.entries()]


def test_an_appended_record_is_read_back(journal):
    journal, warnings = journal
    position = journal.append({"kind": "cell", "key": "b", "reason": "µ"})
    journal.append({"kind": "cell", "key": "c"})
    assert journal.read(position) == {"kind": "cell", "key": "b", "reason": "µ"}
    assert [(entry.line, journal.read(entry.position)["key"]) for entry in journal.entries()] == [
        *((1, "a"), (2, "b"), (3, "c"))
    ]
    assert warnings == []


@pytest.mark.parametrize("torn", [b'{"kind": "cell", "key"', b"\0" * 22, b'{"kind": "cell"' + b"\0" * 7])
def test_an_incomplete_last_line_is_removed_and_reported(journal, torn):
    journal, warnings = journal
    with open(journal.file, "ab") as out:
        out.write(torn)
    assert keys(journal) == ["a"]
    assert len(warnings) == 1
    assert "the last line was torn (22 bytes cut off); its cell runs again" in warnings[0]
    journal.append({"kind": "cell", "key": "b"})
    assert keys(journal) == ["a", "b"]
    assert len(warnings) == 1


@pytest.mark.parametrize("content", [b"", b"\0" * 5])
def test_a_journal_without_a_complete_line_is_empty(tmp_path, content):
    (tmp_path / "journal.jsonl").write_bytes(content)
    journal = Journal(tmp_path / "journal.jsonl", [].append)
    assert keys(journal) == []
    journal.append({"kind": "cell", "key": "a"})
    assert keys(journal) == ["a"]
    journal.close()


def test_zero_bytes_of_a_power_failure_hide_no_later_record(journal):
    journal, warnings = journal
    with open(journal.file, "ab") as out:
        out.write(b"\0" * 4096)
    position = journal.append({"kind": "cell", "key": "b"})
    assert keys(journal) == ["a", "b"]
    assert "journal.jsonl:2 begins with 4096 bytes of a torn line" in warnings[0]
    assert [*journal.entries()][1].position == position
    assert journal.read(position)["key"] == "b"


def test_a_foreign_line_is_skipped_and_reported(journal):
    journal, warnings = journal
    with open(journal.file, "a") as out:
        out.write(f'hello\n[1, 2]\n{{"kind": 1, "key": "x"}}\n{"[" * 100_000}\n{{"kind": "cell", "key": "c"}}\n')
    assert keys(journal) == ["a", "c"]
    assert [re.search(r"jsonl:(\d+) is not a record of this harness", warning)[1] for warning in warnings] == [*"2345"]


def test_a_number_that_is_not_finite_never_gets_into_the_journal(journal):
    journal, _ = journal
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append({"kind": "cell", "key": "b", "value": float("nan")})
    assert keys(journal) == ["a"]


def test_a_record_that_did_not_fit_leaves_nothing_behind(journal, monkeypatch):
    journal, warnings = journal

    def half(descriptor, data):
        os.write(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("bench.store.journal.write_all", half)
        with pytest.raises(OSError, match=r"No space left on device.*journal\.jsonl"):
            journal.append({"kind": "cell", "key": "b"})
    assert journal.file.read_bytes().endswith(b"\n")
    journal.append({"kind": "cell", "key": "c"})
    assert keys(journal) == ["a", "c"]
    assert warnings == []


def test_a_deleted_journal_is_detected(tmp_path):
    with RunDirectory(tmp_path / "run") as directory:
        directory.append({"kind": "cell", "key": "a"})
        directory.journal.file.unlink()
        with pytest.raises(StoreError, match=r"journal\.jsonl: was deleted while the run was going"):
            directory.append({"kind": "cell", "key": "b"})


def test_files_are_replaced_together_or_not_at_all(tmp_path):
    (tmp_path / "a").write_text("old a")
    (tmp_path / "b").write_text("old b")

    def fail_halfway():
        with Replacement() as replacement:
            replacement.write(tmp_path / "a", ["new"])
            replacement.write(tmp_path / "b", raising())

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert contents(tmp_path) == {"a": b"old a", "b": b"old b"}
    with Replacement() as replacement:
        replacement.write(tmp_path / "a", ["ne", b"w"])
        replacement.write(tmp_path / "b", [])
        assert (tmp_path / "a").read_text() == "old a"
    assert contents(tmp_path) == {"a": b"new", "b": b""}


def raising():
    yield "new"
    raise RuntimeError


def test_a_long_file_is_written_whole_and_hashed(tmp_path):
    import hashlib

    parts = [f"{number:07}\n" for number in range(300_000)]  # more than one chunk
    with Replacement() as replacement:
        digest = replacement.write(tmp_path / "a", parts)
    assert (tmp_path / "a").read_text() == "".join(parts)
    assert digest == hashlib.sha256("".join(parts).encode()).hexdigest()


def test_files_are_synced_before_a_rename_and_the_folder_after(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, os.replace

    def fsync(descriptor):
        calls.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        sync(descriptor)

    def rename(source, target):
        calls.append(("rename", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", fsync)
    monkeypatch.setattr(files.os, "replace", rename)
    if sys.platform != "linux":
        pytest.skip("reads the names of open files from /proc")
    write_atomically(tmp_path / "a", "x")
    assert calls == [("sync", f".a.{os.getpid()}.tmp"), ("rename", "a"), ("sync", tmp_path.name)]


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    with RunDirectory(tmp_path / "run") as directory:
        leftovers = [directory.path / ".cells.csv.1.tmp", directory.samples / ".a.png.1.tmp"]
        for file in leftovers:
            file.write_text("half")
    with RunDirectory(tmp_path / "run"):
        assert not any(file.exists() for file in leftovers)


def test_manifest_and_tables_are_published_together(tmp_path, monkeypatch):
    with RunDirectory(tmp_path / "run") as directory:
        publish(directory, "a")
        before = contents(directory.path)

        def full(descriptor, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(
            files,
            "write_all",
            lambda descriptor, data: (
                full(descriptor, data) if b"schema_version" in data else os.write(descriptor, data)
            ),
        )
        with pytest.raises(StoreError, match=r"manifest\.json: No space left on device; make room there, then run"):
            publish(directory, "a", "b")
        assert contents(directory.path) == before


def test_a_second_writer_gets_the_holder_of_the_directory(tmp_path):
    since = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    holder = f"is being written by process {os.getpid()} on {re.escape(os.uname().nodename)} {since}; wait for it"
    with RunDirectory(tmp_path / "run"), pytest.raises(StoreError, match=holder) as error:
        RunDirectory(tmp_path / "run").__enter__()
    assert "\n" not in str(error.value)
    with RunDirectory(tmp_path / "run"):
        pass


def test_a_dead_holder_is_no_obstacle(tmp_path):
    hold = f"RunDirectory({str(tmp_path / 'run')!r}).__enter__()"
    code = f"import os; from bench.store.writer import RunDirectory; {hold}; os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    with RunDirectory(tmp_path / "run"):
        pass


def test_a_moved_run_with_a_waiting_runner_has_one_writer(tmp_path, monkeypatch):
    """The lock that was opened may by now lie in another folder."""
    from bench.store import writer as run_directory

    path, lock = tmp_path / "run", run_directory.fcntl.flock
    with RunDirectory(path) as directory:
        directory.append({"kind": "cell", "key": "a"})

    def flock(descriptor, how):
        if path.exists() and (path / "journal.jsonl").exists():
            path.rename(tmp_path / "aside")
            (path / "samples").mkdir(parents=True)
        lock(descriptor, how)

    monkeypatch.setattr(run_directory.fcntl, "flock", flock)
    with RunDirectory(path):
        assert "process" in (path / "lock").read_text()
        assert (tmp_path / "aside" / "lock").read_text() == ""


@pytest.mark.parametrize("name", ["cells.csv", "manifest.json", "timing.csv"])
def test_files_without_a_journal_are_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("somebody,else\n1,2\n")
    with pytest.raises(StoreError, match=f"{name} exists but journal.jsonl does not.*nothing was overwritten"):
        RunDirectory(tmp_path).__enter__()
    assert (tmp_path / name).read_text() == "somebody,else\n1,2\n"
    (tmp_path / name).unlink()
    with RunDirectory(tmp_path):  # the lock was given back
        pass


def test_a_link_inside_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "samples").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="samples is a link"):
        RunDirectory(tmp_path / "run").__enter__()
    assert not (tmp_path / "run" / "lock").exists()


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to .*: Not a directory; .* another folder with --out"):
        RunDirectory(tmp_path / "file" / "run").__enter__()


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EROFS, "make it writable, or choose another folder with --out"),
        (errno.EACCES, "make it writable, or choose another folder with --out"),
        (errno.ENOSPC, "make room there, or choose another folder with --out"),
    ],
)
def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path, monkeypatch, code, remedy):
    def refuse(*arguments, **options):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(StoreError, match=re.escape(f"cannot write to {tmp_path}: {os.strerror(code)}; {remedy}")):
        RunDirectory(tmp_path).__enter__()


def test_a_file_size_limit_is_one_line_and_keeps_earlier_files(tmp_path):
    with RunDirectory(tmp_path / "run") as directory:
        directory.append({"kind": "cell", "key": "a"})
        publish(directory, "a")
        before = contents(directory.path)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            with pytest.raises(StoreError, match=r"journal\.jsonl: File too large; make room there"):
                directory.append({"kind": "cell", "key": "b", "reason": "x" * 2000})
            with pytest.raises(StoreError, match=r"cells\.csv: File too large"):
                publish(directory, *map(str, range(100)))
            with pytest.raises(StoreError, match=r"a\.png: File too large"):
                directory.write_sample("a", np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert contents(directory.path) == before
        assert [*directory.samples.iterdir()] == []
        directory.append({"kind": "cell", "key": "b"})
        assert keys(directory.journal) == ["a", "b"]


def test_moved_runs_have_unique_names_even_at_equal_times(tmp_path, monkeypatch):
    class Stopped:
        @staticmethod
        def now(*zone):
            from datetime import datetime

            return datetime(2025, 1, 2, 3, 4, 5)

    monkeypatch.setattr("bench.store.writer.datetime", Stopped)
    names = []
    for _ in range(3):
        with RunDirectory(tmp_path / "run") as directory:
            directory.append({"kind": "cell", "key": "a"})
        names.append(set_aside(tmp_path / "run").name)
    assert names == ["run.20250102-030405", "run.20250102-030405-2", "run.20250102-030405-3"]
    assert json.loads((tmp_path / names[2] / "journal.jsonl").read_text())["key"] == "a"
    assert not (tmp_path / "run").exists()


def test_only_a_run_directory_is_moved(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(StoreError, match="is not a run directory"):
        set_aside(tmp_path / "mine")
    with RunDirectory(tmp_path / "run") as directory:
        directory.append({"kind": "cell", "key": "a"})
        with pytest.raises(StoreError, match="is being written by"):
            set_aside(tmp_path / "run")
