"""Are several runs compared cell by cell, without changes to their own reports?"""

import json

import pandas as pd
import pytest

from bench.reports.side_by_side import names_of, write_side_by_side
from bench.store import StoreError
from tests.support.synthetic import write_run

ARMS = (("l1", "raw"), ("l2", "raw"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run, and the same after a change that cost L2 half a decibel under salt."""
    folder = tmp_path_factory.mktemp("runs")
    paths = [write_run(folder / name, 3, ("sr",), sr_arms=ARMS, samples=False) for name in ("before", "after")]
    cells = pd.read_csv(paths[1] / "cells.csv")
    hit = (cells["loss"] == "l2") & (cells["outlier"] == "salt")
    cells.loc[hit, "psnr_y_db"] -= 0.5
    cells.to_csv(paths[1] / "cells.csv", index=False)
    return paths


@pytest.fixture(scope="module")
def out(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "beside"
    write_side_by_side(runs, out)
    return out


def test_changed_and_unchanged_cells(out):
    found = pd.read_csv(out / "differences.csv")
    worse = found[found["word"] == "worse"]
    assert set(zip(worse["loss"], worse["outlier"], strict=True)) == {("l2", "salt")}
    assert worse["effect"].to_numpy() == pytest.approx(-0.5)
    assert len(worse) == 4  # rates of salt
    assert set(found.loc[~found.index.isin(worse.index), "word"]) == {"no difference worth having"}
    rest = found.drop(worse.index)
    assert (rest["identical"] == rest["n"]).all()


def test_the_page_starts_with_the_result_and_shows_every_run(out):
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "after against before: of 22 shared conditions 4 worse, 0 better, 18 with no difference worth having" in html
    assert "after: cells.csv is not as the run wrote it" in html
    assert "data:image/webp" in html
    markdown = (out / "report.md").read_text(encoding="utf-8")
    assert "figures/differences.png" in markdown
    assert (out / "figures" / "differences.png").exists()


def test_no_run_loses_its_own_report(runs):
    with pytest.raises(StoreError, match="is a run directory"):
        write_side_by_side(runs, runs[0])
    assert not (runs[0] / "report.html").exists()


def test_runs_are_named_by_their_differences(tmp_path):
    assert names_of([tmp_path / "a" / "quick", tmp_path / "b" / "quick"]) == ["a/quick", "b/quick"]
    with pytest.raises(StoreError, match="named twice"):
        names_of([tmp_path, tmp_path])


def test_runs_without_common_cells_are_reported(runs, tmp_path):
    other = write_run(tmp_path / "gan", 1, ("gan",), samples=False)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"git": None}))
    html, _ = write_side_by_side([runs[0], other], tmp_path / "out")
    assert "gan and before share no finished condition" in html.read_text(encoding="utf-8")


def test_step_times_of_two_precisions_are_not_compared(tmp_path):
    """L1 takes bfloat16 in the second run, L2 fp32 in both."""
    precisions = {"before": {"l1": "fp32", "l2": "fp32"}, "after": {"l1": "bf16", "l2": "fp32"}}
    for name, chosen in precisions.items():
        path = write_run(tmp_path / name, 1, ("sr",), sr_arms=ARMS, samples=False)
        cells = pd.read_csv(path / "cells.csv")
        cells.assign(precision=cells["loss"].map(chosen)).to_csv(path / "cells.csv", index=False)
    write_side_by_side([tmp_path / name for name in precisions], tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "tables" / "times.csv", dtype=str).fillna("")
    ratios = {row.iloc[0]: ["times the first's" in note for note in row.iloc[3::2]] for _, row in table.iterrows()}
    assert ratios == {"L1 raw (fp32)": [True, False], "L1 raw (bf16)": [False, False], "L2 raw (fp32)": [True, True]}
