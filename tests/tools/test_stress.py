"""Does `make stress` detect faults? What its reader rejects and accepts, what it checks, and its fake clock."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from bench.store.csv_format import csv_text
from bench.store.reader import load
from bench.store.schema import COLUMNS, READOUTS
from tests.support.synthetic import write_run
from tools.stress.runs import CommandResult, Failed, demand_equal
from tools.stress.scenarios import HOOKS, JUMP
from tools.stress.watch import Seen, Truth, look

RECORD = '{"kind":"cell","key":"a"}\n'


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A finished run directory with a journal, a report, and a figure."""
    run = write_run(tmp_path_factory.mktemp("stress") / "run", 1, ("sr",), sr_arms=(("l1", "raw"), ("l2", "raw")))
    (run / "journal.jsonl").write_text(2 * RECORD)
    (run / "report.html").write_text("<html></html>\n")
    (run / "figures").mkdir()
    shutil.copy(next((run / "samples").iterdir()), run / "figures" / "robustness.png")
    (run / "summary.csv").write_text(csv_text(("metric", "mean"), []))
    return run


@pytest.fixture
def run(unbroken, tmp_path):
    return shutil.copytree(unbroken, tmp_path / "run")


def faults(run, unbroken) -> list[str]:
    seen = Seen()
    look(run, Truth.of(unbroken), seen)
    assert seen.looks == 1
    return [fault for fault in seen.faults if not fault.startswith("summary.csv")]  # here it has no rows


def first_sample(run):
    return sorted((run / "samples").iterdir())[0]


def change(name, old, new, count=1):
    def damage(run):
        text = (run / name).read_text()
        changed = re.sub(old, new, text, count=count, flags=re.DOTALL)
        assert changed != text
        (run / name).write_text(changed)

    return damage


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (change("cells.csv", r".{40}\Z", ""), "cells.csv is torn"),
        (change("cells.csv", r"[^\n]*\n\Z", ""), "cells.csv has 21 of 22 cells"),
        (change("cells.csv", r",done,,1,1000,12.5,([^\n]*)3\d\.", r",done,,1,1000,12.5,\g<1>39."), "cells.csv says"),
        (change("cells.csv", ",done,", ",dead,"), "cells.csv says"),
        (change("images.csv", "camera,2", "camera,3"), "images.csv says"),
        (change("curves.csv", r",\d+\.\d+\n", ",0.5\n"), "curves.csv says"),
        (change("manifest.json", r".{9}\Z", ""), "manifest.json is torn"),
        (change("journal.jsonl", '"key":"a"}\n', '"ke\n'), "journal.jsonl:1 is no record"),
        (change("report.html", "</html>\n", ""), "report.html is torn"),
        (lambda run: (run / "curves.csv").unlink(), "curves.csv is missing beside a manifest"),
        (lambda run: first_sample(run).write_bytes(first_sample(run).read_bytes()[:-30]), "is not the unbroken run's"),
        (lambda run: (run / "figures" / "robustness.png").write_bytes(b"\x89PNG\r\n"), "robustness.png is torn"),
    ],
)
def test_the_reader_detects_truncated_and_wrong_files(run, unbroken, damage, says):
    damage(run)
    assert says in "; ".join(faults(run, unbroken))


def one_cell_pending(run):
    """As before its last cell was finished."""
    tables = {}
    for name in ("cells", "images", "curves"):
        with open(run / f"{name}.csv", newline="") as file:
            tables[name] = list(csv.DictReader(file))
    last = next(row for row in tables["cells"][::-1] if row["outlier"] == "clean")
    for column in (*READOUTS, "steps", "train_s", "reason"):
        last[column] = ""
    last["status"] = "pending"
    for name, rows in tables.items():
        kept = [row for row in rows if name == "cells" or row["cell_id"] != last["cell_id"]]
        (run / f"{name}.csv").write_text(csv_text(COLUMNS[name], kept))


@pytest.mark.parametrize(
    "state",
    [
        lambda run: None,
        one_cell_pending,
        change("journal.jsonl", r"\}\n\Z", ""),  # a line that is just being written
        lambda run: shutil.rmtree(run / "samples"),
        lambda run: (run / "report.html").unlink(),
    ],
)
def test_the_reader_accepts_an_unfinished_run(run, unbroken, state):
    state(run)
    assert faults(run, unbroken) == []


def test_a_finished_run_is_compared_row_by_row_and_picture_by_picture(run, unbroken):
    assert demand_equal(run, unbroken) == len(load(run).cells) + len(load(run).images) + len(load(run).curves)
    change("cells.csv", ",12.5,", ",99.5,")(run)  # train_s, which is measured
    demand_equal(run, unbroken)
    for damage in (one_cell_pending, lambda run: first_sample(run).unlink()):
        spoilt = shutil.copytree(run, run.parent / damage.__name__.strip("<>"))
        damage(spoilt)
        with pytest.raises(Failed):
            demand_equal(spoilt, unbroken)


@pytest.mark.parametrize(
    ("ended", "refused"),
    [
        (CommandResult(2, "", "bench: no room\n"), True),
        (CommandResult(20, "", "bench: no room\n"), False),
        (CommandResult(2, "", "bench: no room\nand more\n"), False),
        (CommandResult(2, "", "bench: something else\n"), False),
        (CommandResult(2, "", "Traceback: no room\n"), False),
    ],
)
def test_a_refusal_is_exit_code_2_and_one_line_with_the_words(ended, refused):
    if refused:
        assert ended.refused("no room") == "no room"
    else:
        with pytest.raises(Failed):
            ended.refused("no room")


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="a C library shim")
def test_the_clock_of_a_process_jumps_back_and_its_monotonic_clock_does_not(tmp_path):
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "clock.so", HOOKS / "clock.c"], check=True)
    environment = {"LD_PRELOAD": str(tmp_path / "clock.so"), "STRESS_CLOCK": str(tmp_path / "jumped")}
    code = "import datetime, json, time; now = time.time(), datetime.datetime.now().timestamp(), time.monotonic(); "
    code += f"open({str(tmp_path / 'jumped')!r}, 'w'); then = time.time(), datetime.datetime.now().timestamp(), "
    code += "time.monotonic(); print(json.dumps([b - a for a, b in zip(now, then)]))"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, check=True)
    wall, date, monotonic = json.loads(done.stdout)
    assert wall == pytest.approx(-JUMP.total_seconds(), abs=60)
    assert date == pytest.approx(-JUMP.total_seconds(), abs=60)
    assert 0 <= monotonic < 60
