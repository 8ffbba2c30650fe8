"""Are untrusted or damaged run directories, suites, and journals handled safely? Thousands of generated ones are read.

Each is an altered valid file, or noise. It is rejected with one line, or its accepted content is valid; nothing outside
its folder is touched. `FUZZ=10 python -m pytest tests/bench/test_fuzz.py` tries ten times as many, with different ones
at each call.
"""

import ast
import csv
import io
import json
import math
import os
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

import bench.cli.main
import ganlab
from bench.plan.reading import SuiteError, read_suite
from bench.plan.suite import MOST_CELLS
from bench.reports.build import write_report
from bench.running.run_state import RunState
from bench.store import StoreError
from bench.store.csv_format import csv_text, text_of
from bench.store.reader import Run, load, read_manifest, read_table
from bench.store.schema import COLUMNS, LATER, MEASURED, TEXT_COLUMNS
from bench.store.writer import RunDirectory
from bench.training.outcome import Outcome
from tests.support.fuzz_strategies import (
    EVIL_TEXTS,
    JSON,
    NOISE,
    altered,
    altered_table,
    as_json,
    as_toml,
    garbled,
    garbled_bytes,
    unusual_tables,
)
from tests.support.synthetic import write_run

FUZZ = float(os.environ.get("FUZZ", 0))  # times as many cases
SUITE = {
    "title": "fuzz",
    "timing": {"rounds": 1, "chunk_ms": 10.0},
    "timeout_s": 60.0,
    "defaults": {"steps": 10, "evaluations": 2, "gan": {"schedule": ["constant", "cosine"], "batch_size": 4}},
    "matrix": [
        {
            "task": "sr",
            "dataset": "photographs",
            "loss": ["bce", "l1"],
            "head": "sigmoid",
            "lr": 1e-3,
            "seeds": 2,
            "outliers": {"clean": 0, "salt": [0.1, 0.2]},
            "batch_size": 4,
            "scale": 2,
            "settings": {"channels": 8, "blocks": 1},
        },
        {
            "task": "gan",
            "dataset": "digits",
            "loss": "l2",
            "lr": {"l2": [1e-3, 1e-4]},
            "seeds": [1, 5],
            "outliers": {"noise": 0.2},
        },
    ],
}


def cases(count: int, **given_by):
    """A decorator that calls the function with so many examples: the same at each call, unless FUZZ asks for more."""
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if FUZZ else [])]
    chosen = settings(
        max_examples=round(count * (FUZZ or 1)),
        derandomize=not FUZZ,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    return lambda check: chosen(given(**given_by)(check))()


# A valid run directory, and what stands around it --------------------------------------------------------------------


@pytest.fixture(scope="module")
def valid(tmp_path_factory) -> Path:
    """A small run directory with every kind of row, in a folder with neighbours."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "neighbour").mkdir()
    (folder / "neighbour" / "precious.txt").write_text("untouched")
    (folder / "cells.csv").write_text("not yours")
    arms = (("l1", "raw"), ("l2", "raw"))
    path = write_run(
        folder / "run",
        2,
        ("sr", "gan", "location"),
        sr_arms=arms,
        gan_arms=arms[:1],
        not_done={3: ("crashed", "killed"), 5: ("pending", "")},
    )
    tables = {name: rows_of(path, name) for name in MEASURED}
    tables["cells"] = [row for row in tables["cells"] if float(row["rate"]) in (0.0, 0.2)]
    ids = {row["cell_id"] for row in tables["cells"]}
    tables["images"] = [row for row in tables["images"] if row["cell_id"] in ids]
    few = ("50", "100", "1000")
    tables["curves"] = [row for row in tables["curves"] if row["cell_id"] in ids and row["step"] in few]
    tables["timing"] = [row for row in tables["timing"] if int(row["round"]) < 2 and row["phase"] in ("step", "loss")]
    work = {"task": "sr", "dataset": "photos", "loss": "l1", "head": "raw", "precision": "fp32", "gflop": 0.2}
    write_tables(
        path,
        tables,
        {
            "files": {},
            "threads": {"workers": 2},
            "roofline": {"matmul_gflop_per_s": {"fp32": 100.0}, "steps": [work]},
            "calibration": {
                "minutes": 0.5,
                "cells": ["sr l2"],
                "trials": {"0.0": {"SAME": 9, "UNSURE": 1}},
                "simulated": {"0.0": {"SAME": 990, "UNSURE": 10}},
            },
        },
    )
    return path


def write_tables(path: Path, tables: dict[str, list[dict[str, str]]], more: dict) -> None:
    """Write these tables, and a manifest with `more` in it that fits them."""
    manifest = json.loads((path / "manifest.json").read_text()) | more
    tasks = {row["cell_id"]: row["task"] for row in tables["cells"]}
    fitting = {key: layout for key, layout in manifest["samples"].items() if tasks.get(key) == layout["kind"]}
    manifest |= {"cells": len(tables["cells"]), "samples": fitting}
    write_files(path, tables, manifest)


def write_files(path: Path, tables: dict[str, list[dict[str, str]]], manifest: dict) -> None:
    """Write tables and manifest as they are; texts are disarmed as in every file of ours."""
    for name, rows in tables.items():
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, COLUMNS[name], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: text_of(text) if key in TEXT_COLUMNS else text for key, text in row.items()} for row in rows
        )
        (path / f"{name}.csv").write_text(out.getvalue(), encoding="utf-8", newline="")
    (path / "manifest.json").write_text(json.dumps(manifest, indent=1))


def rows_of(path: Path, name: str) -> list[dict[str, str]]:
    with open(path / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def run(valid, tmp_path) -> Path:
    """A copy of the valid run directory that may be spoilt; what stands around it is looked at afterwards."""
    folder = tmp_path / "folder"
    shutil.copytree(valid.parent, folder)
    before = around(folder)
    yield folder / "run"
    assert around(folder) == before


def around(folder: Path) -> dict[str, bytes]:
    """Every file beside the run directory of a folder."""
    return {
        str(file): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and not file.is_relative_to(folder / "run")
    }


def opened(read, *arguments):
    """What is read, or None if it was refused in one line."""
    try:
        return read(*arguments)
    except (StoreError, SuiteError) as error:
        message = str(error)
    assert message.isprintable()
    assert 0 < len(message) < 2000
    return None


# What an accepted row must be: written again from the contract, without a look at the code under test ----------------

SHARES, WHOLE = {"rate", "mae", "coverage"}, {"seed", "steps", "attempts", "batch_size", "step", "round"}
PSNRS = {"psnr_db", "psnr_y_db", "bicubic_psnr_y_db"}
NAMES = {"cell_id", "task", "dataset", "loss", "head", "outlier", "image", "metric", "phase"}
VOCABULARY = {
    "status": {"done", "diverged", "oom", "timeout", "crashed", "skipped", "interrupted", "pending"},
    "role": {"tune", "report", "reference"},
}
KEYS = {
    "cells": ["cell_id"],
    "images": ["cell_id", "image"],
    "curves": ["cell_id", "metric", "step"],
    "timing": ["task", "dataset", "loss", "head", "device", "phase", "round"],
}


def true_rows(name: str, content: bytes) -> list[dict[str, str | float | None]]:
    """The rows of an accepted file, of whose every field it is asserted that it can be true."""
    header, *lines = (line for line in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")) if line)
    assert {len(line) for line in lines} <= {len(header)}
    assert all(header.count(column) == 1 or (column in LATER and column not in header) for column in COLUMNS[name])
    rows = []
    for line in lines:
        row = dict.fromkeys(LATER, "") | dict(zip(header, line, strict=True))
        rows.append({column: field(column, row[column]) for column in COLUMNS[name]})
    keys = [tuple(row[column] for column in KEYS[name]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert not any(None in key for key in keys)
    return rows


def field(column: str, text: str) -> str | float | None:
    if column in TEXT_COLUMNS:
        assert column not in VOCABULARY or text in VOCABULARY[column]
        if column in NAMES:
            assert text
            assert text.isprintable()
        if column == "cell_id":
            assert re.fullmatch(r"[\w-]+", text, re.ASCII)
        return text.removeprefix("'")
    if not text:
        assert column not in ("rate", "seed", "lr")
        return None
    value = float(text)
    assert math.isfinite(value)
    assert column not in SHARES or 0 <= value <= 1
    assert column not in PSNRS or 0 <= value <= 100
    assert column not in WHOLE or (value >= 0 and value == int(value))
    return value


def assert_true(run: Run) -> None:
    """An accepted run: its rows are true, they fit each other, and they are what was read."""
    rows = {name: true_rows(name, (run.path / f"{name}.csv").read_bytes()) for name in MEASURED}
    assert len(rows["cells"]) == run.manifest["cells"]
    status = {row["cell_id"]: row["status"] for row in rows["cells"]}
    for row in rows["cells"]:
        assert row["status"] == "done" or {row[column] for column in ("psnr_db", "frechet", "d_loss", "kid")} == {None}
    assert {row["cell_id"] for row in rows["curves"]} <= set(status)
    assert {status[row["cell_id"]] for row in rows["images"]} <= {"done"}
    for name in MEASURED:
        for column in COLUMNS[name]:
            read = [None if value != value else value for value in getattr(run, name)[column].tolist()]
            assert read == [row[column] for row in rows[name]]


def test_the_valid_run_is_accepted(run):
    assert_true(load(run))


def with_field(name, column, text, row=0):
    def change(tables, manifest):
        tables[name][row][column] = text

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (with_field("cells", "status", "finished"), "row 2: status is 'finished', not one of done, diverged"),
        (with_field("cells", "psnr_y_db", "-3"), "row 2: psnr_y_db is -3, not a number from 0 to 100"),
        (with_field("cells", "rate", "1.5"), "row 2: rate is 1.5, not a number from 0 to 1"),
        (with_field("cells", "seed", "0.5"), "row 2: seed is 0.5, not a whole number"),
        (with_field("cells", "mae", "nan"), "row 2: mae is 'nan', not a number"),
        (with_field("cells", "mae", "1e999"), "row 2: mae is inf, not a number from 0 to 1"),
        (with_field("cells", "loss", ""), "row 2: loss is '', not 1 to 200 printable characters"),
        (with_field("cells", "cell_id", "../../x"), "'../../x' is no cell_id"),
        (with_field("cells", "settings", "[]"), "settings are '[]', not a JSON object"),
        (lambda tables, _: tables["cells"].__setitem__(1, tables["cells"][0]), "row 3 repeats"),
        (lambda tables, _: tables["cells"].pop(), "holds 31 of the 32 cells declared in manifest.json"),
        (with_field("images", "cell_id", "unknown"), "images.csv: row 2 is of cell unknown, which is not in cells.csv"),
        (with_field("curves", "value", "1e101"), "row 2: value is 1e+101, not a number"),
        (with_field("timing", "phase", "stop", row=1), "a phase of a step that was not timed whole"),
        (lambda _, manifest: manifest.update(cells=-1), "cells: Input should be greater than or equal to 0"),
        (lambda _, manifest: manifest["suite"].update(name="; rm -rf ~"), "'; rm -rf ~' cannot name a suite"),
        (lambda _, manifest: next(iter(manifest["samples"].values())).update(tile=9999), "a picture of"),
        (lambda _, manifest: manifest["samples"].update({"../x": next(iter(manifest["samples"].values()))}), "samples"),
    ],
)
def test_invalid_files_are_named(run, change, says):
    tables = {name: rows_of(run, name) for name in MEASURED}
    manifest = json.loads((run / "manifest.json").read_text())
    change(tables, manifest)
    write_files(run, tables, manifest)
    with pytest.raises(StoreError) as refused:
        load(run)
    assert says in str(refused.value)


# Files that are read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MEASURED)
def test_tables(run, name):
    rows = list(csv.reader((run / f"{name}.csv").read_text().splitlines()))[:30]
    accepted = 0

    @cases(160, content=st.one_of(*[altered_table(rows).flatmap(garbled)] * 7, NOISE))
    def check(content):
        nonlocal accepted
        (run / f"{name}.csv").write_bytes(content)
        table = opened(read_table, run, name)
        if table is not None:
            accepted += 1
            assert len(true_rows(name, content)) == len(table)
            whole = opened(load, run)
            assert whole is None or assert_true(whole) is None

    assert accepted > 3  # or nothing but refusals was tested


def test_manifests(run):
    tree = json.loads((run / "manifest.json").read_text())
    accepted = 0

    trees = st.one_of(*[altered(tree)] * 7, JSON)

    @cases(640, content=st.one_of(*[trees.map(as_json).flatmap(garbled)] * 7, NOISE))
    def check(content):
        nonlocal accepted
        (run / "manifest.json").write_bytes(content)
        manifest = opened(read_manifest, run)
        if manifest is not None:
            accepted += 1
            assert manifest["schema_version"] == 1
            json.dumps(manifest).encode()
            if accepted % 8 == 0:
                whole = opened(load, run)
                assert whole is None or assert_true(whole) is None

    assert accepted > 20


def test_suites(tmp_path):
    accepted, file = 0, tmp_path / "mine.toml"

    @cases(640, content=st.one_of(*[altered(SUITE).map(as_toml).flatmap(garbled)] * 7, NOISE))
    def check(content):
        nonlocal accepted
        file.write_bytes(content)
        suite = opened(read_suite, str(file))
        if suite is not None:
            accepted += 1
            assert 0 < len(suite.cells) <= MOST_CELLS
            assert (tmp_path / "results" / suite.name).resolve().parent == tmp_path / "results"
            for cell in suite.cells:
                json.dumps(cell.model_dump(), allow_nan=False)
                assert 0 <= cell.rate <= 1
                assert 0 < cell.lr < math.inf
                assert cell.cost() >= 0

    assert accepted > 10


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 10**9},
        {"seeds": list(range(10**5)), "lr": [0.1, 0.2]},
        {"lr": [1e-3 + 1e-9 * i for i in range(10**5)]},
        {"loss": ["l1"] * 200_000},
        {"steps": 10**18},
        {"batch_size": 10**12},
        {"seeds": [2**63]},
        {"settings": {"patch": 10**400}},
    ],
)
def test_a_suite_that_would_fill_the_memory_is_refused(change):
    with pytest.raises(SuiteError):
        read_suite("smoke", change)


def test_a_suite_whose_keys_would_fill_the_memory_is_refused(tmp_path):
    (tmp_path / "mine.toml").write_text(".".join("a" * 100_000) + " = 1")  # tomllib keeps every prefix of a key
    with pytest.raises(SuiteError, match="too long for a suite"):
        read_suite(str(tmp_path / "mine.toml"))


def test_pictures(run):
    cell_id, layout = next(iter(json.loads((run / "manifest.json").read_text())["samples"].items()))
    file, loaded, accepted = run / "samples" / f"{cell_id}.png", load(run), 0
    size = loaded.sample(cell_id).shape
    others = [as_picture(Image.open(file), kind) for kind in ("BMP", "GIF", "TIFF", "EPS", "WEBP")]
    others += [as_picture(Image.new(mode, size[1::-1]), "PNG") for mode in ("1", "I;16", "P", "RGBA", "LA", "L", "RGB")]
    others += [as_picture(Image.new("L", wrong), "PNG") for wrong in ((1, 1), (9000, 9000), (size[1], 1))]
    assert layout["tile"]

    @cases(100, content=garbled_bytes(file.read_bytes()) | st.sampled_from(others) | NOISE)
    def check(content):
        nonlocal accepted
        file.write_bytes(content)
        picture = loaded.sample(cell_id)
        if picture is not None:
            accepted += 1
            assert picture.shape[:2] == size[:2]
            assert picture.dtype == "uint8"

    assert accepted


def as_picture(picture: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind)
    return out.getvalue()


def test_journal_records_are_published_only_if_readable(tmp_path):
    (tmp_path / "mine.toml").write_text(as_toml(SUITE))
    suite = read_suite(str(tmp_path / "mine.toml"))
    records, kept = [], 0

    def matrix_of(directory: RunDirectory) -> RunState:
        return RunState(suite, torch.device("cpu"), 2, ["run"], directory.journal, "c0de", git={})

    with RunDirectory(tmp_path / "first") as directory:
        matrix = matrix_of(directory)
        records.append(matrix.session_record())
        for cell in suite.cells:
            image = {"image": "camera", "psnr_db": 30.0, "psnr_y_db": 31.0, "ssim": 0.9, "mae": 0.1}
            values = {"psnr_y_db": 30.0, "mae": 0.1} if cell.task == "sr" else {"frechet": 12.0, "d_loss": 0.5}
            layout = {"kind": "gan", "rows": 8, "columns": 8, "tile": 8} if cell.task == "gan" else {}
            outcome = Outcome(
                "done",
                "",
                10,
                {"train_s": 1.0},
                values,
                [image] if cell.task == "sr" else [],
                [{"step": 10, "metric": "d_loss", "value": 0.5}],
                layout=layout,
            )
            records.append(matrix.record(cell, outcome, 1))
        records.append(matrix.record(suite.cells[0], Outcome("crashed", "its worker died"), 2))
        step = {"device": "cpu", "phase": "step", "round": 0, "batch_size": 4, "ms": 1.5}
        matrix.timing = [{"task": "sr", "dataset": "photographs", "loss": "l1", "head": "sigmoid"} | step]
        records.append(matrix.timing_record(whole=True))

    lines = st.lists(st.sampled_from(records) | st.sampled_from(records).flatmap(altered), min_size=1, max_size=4)
    texts = lines.map(lambda chosen: "".join(json.dumps(record) + "\n" for record in chosen))

    @cases(80, content=st.one_of(*[texts.flatmap(garbled)] * 7, NOISE))
    def check(content):
        nonlocal kept
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "journal.jsonl").write_bytes(content)
        with RunDirectory(tmp_path / "run") as directory:
            matrix = matrix_of(directory)
            matrix.resume(directory)
            directory.publish(matrix.manifest(None), matrix.tables())
        run = load(tmp_path / "run")
        assert not run.warnings
        assert_true(run)
        kept += (run.cells["status"] == "done").any()

    assert kept > 10


@pytest.mark.parametrize(
    "name",
    [
        *("manifest.json", "cells.csv", "samples", "figures", "tables", "report.html", "journal.jsonl", "lock"),
        *("checkpoints", "summary.csv", "samples/x.png", "tables/x.tex"),
    ],
)
@pytest.mark.parametrize("kind", ["link", "folder link", "dangling link", "pipe"])
def test_links_and_pipes_are_neither_followed_nor_waited_for(run, name, kind):
    outside = {"link": run.parent / "cells.csv", "folder link": run.parent / "neighbour", "dangling link": "nowhere"}
    place = run / name
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    place.parent.mkdir(exist_ok=True)
    os.mkfifo(place) if kind == "pipe" else place.symlink_to(outside[kind])
    for use in (load, write_report, lambda path: RunDirectory(path).__enter__()):
        with pytest.raises(StoreError, match=f"{name} is a link"):
            use(run)


# Through the command line ---------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, capfd):
    """command("status", path) -> exit code, of which it is asserted that it is 0, or 2 with one line."""

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            bench.cli.main.main()
        err = capfd.readouterr().err
        assert stop.value.code in (None, 0, 2), err
        assert stop.value.code != 2 or (err.count("\n") == 1 and err[:-1].isprintable()), err
        return stop.value.code or 0

    return call


def test_run_directories_on_the_command_line(run, command):
    rows = {name: list(csv.reader((run / f"{name}.csv").read_text().splitlines())) for name in MEASURED}
    tree = json.loads((run / "manifest.json").read_text())
    codes = []

    files = {"manifest.json": altered(tree).map(as_json)} | {
        f"{name}.csv": altered_table(rows[name]) for name in MEASURED
    }

    @cases(40, name=st.sampled_from(sorted(files)), data=st.data())
    def check(name, data):
        file = run / name
        before = file.read_bytes()
        file.write_bytes(data.draw(files[name].flatmap(garbled)))
        codes.append(command("status", run))
        if codes[-1]:
            assert command("report", run) == command("report", run, "--figure", "robustness") == 2
        file.write_bytes(before)

    assert {0, 2} == set(codes)


def test_suites_on_the_command_line(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)

    @cases(40, content=altered(SUITE).map(as_toml).flatmap(garbled))
    def check(content):
        (tmp_path / "mine.toml").write_bytes(content)
        assert command("run", "mine.toml", "--only", "task=none") == 2  # also where the suite is in order
        assert os.listdir(tmp_path) == ["mine.toml"]

    @cases(30, key=st.text(max_size=9), value=st.text(max_size=9) | st.sampled_from(EVIL_TEXTS))
    def check_set(key, value):
        if "\0" not in key + value:
            assert command("run", "smoke", "--set", f"{key}={value}", "--only", "task=none") == 2


# What is written from what was read -----------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page would run or load."""

    def __init__(self, text: str):
        super().__init__()
        self.active = set()
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        if tag in ("iframe", "object", "embed", "base", "form", "link", "meta", "style"):
            self.active.add(tag)
        for key, value in attrs:
            if key.startswith("on") or (key in ("href", "src", "action") and not value.startswith(("#", "data:image"))):
                self.active.add(f"{tag} {key}={value}")


@pytest.mark.filterwarnings("ignore")  # numpy and matplotlib have much to say about numbers this large or this few
def test_reports(run, monkeypatch):
    tables = {name: rows_of(run, name) for name in MEASURED}
    if not FUZZ:
        monkeypatch.setattr("bench.reports.build.FIGURES", {})  # they take most of the time
    write_report(run)
    plain, written = Page((run / "report.html").read_text(encoding="utf-8")), 0

    @cases(6, altered_tables=unusual_tables(tables), title=st.sampled_from(EVIL_TEXTS))
    def check(altered_tables, title):
        nonlocal written
        write_tables(run, altered_tables, {"suite": {"name": "run", "title": title[:1000]}})
        if opened(load, run) is None:
            return
        written += 1
        write_report(run)
        page = Page((run / "report.html").read_text(encoding="utf-8"))
        assert page.scripts == plain.scripts
        assert page.active <= plain.active
        assert not re.search(r"<(script|img|svg)", (run / "report.md").read_text(encoding="utf-8"))
        for file in (run / "summary.csv", run / "claims.csv", *(run / "tables").glob("*.csv")):
            for line in csv.reader(io.StringIO(file.read_text(encoding="utf-8"), newline="")):
                assert not [text for text in line if re.match(r"[=@\t\r]|[+-](?![\d.])", text)]

    assert written


def test_formulas_are_escaped_and_restored(tmp_path):
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9) | st.sampled_from(EVIL_TEXTS)

    @cases(60, reason=texts.filter(lambda text: len(text) < 1000))
    def check(reason):
        cell = dict.fromkeys(COLUMNS["cells"], "1") | {"role": "report", "status": "crashed", "settings": "{}"}
        text = csv_text(COLUMNS["cells"], [cell | {"reason": reason}])
        (tmp_path / "cells.csv").write_text(text, encoding="utf-8", newline="")
        written = next(csv.DictReader(io.StringIO(text, newline="")))["reason"]
        assert not written.startswith(tuple("=+-@\t\r\n＝＋－＠"))
        same = reason.replace("\r\n", "\n").replace("\r", "\n")
        assert read_table(tmp_path, "cells")["reason"].tolist() == [same]


# What no file can make the code do ------------------------------------------------------------------------------------

SOURCES = [file for module in (ganlab, bench) for file in sorted(Path(module.__file__).parent.rglob("*.py"))]
RUN_WHAT_THEY_READ = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "runpy"}


def name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_input_files_are_never_executed(file):
    """No eval, no shell, torch.load for weights alone, and pickle only between a runner and its own workers."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            assert file.parent.name == "executors" or not RUN_WHAT_THEY_READ & {name.split(".")[0] for name in modules}
        if not isinstance(node, ast.Call):
            continue
        called, options = name_of(node.func), {option.arg: option.value for option in node.keywords}
        owner = name_of(node.func.value) if isinstance(node.func, ast.Attribute) else None
        given = node.args or node.keywords  # a network's eval() is given nothing to run
        assert owner or not given or called not in ("eval", "exec", "compile", "__import__")
        assert called not in ("read_pickle", "popen")
        assert (owner, called) not in {("os", "system"), ("pd", "eval")}
        assert (owner, called) != ("pickle", "load")  # that reads a file; workers send bytes
        assert "shell" not in options
        assert "allow_pickle" not in options or options["allow_pickle"].value is False
        if (owner, called) == ("torch", "load"):
            assert ast.literal_eval(options["weights_only"]) is True
