"""Are published figures compared with the right cells, in pairs, and are mistakes named?"""

import json

import numpy as np
import pytest

from bench.analysis.summary import pick
from bench.plan.reading import SuiteError, read_suite
from bench.reports.build import write_report
from bench.reports.tables.published import measured, published_table
from bench.store.reader import load
from tests.support.synthetic import write_run

FIGURE = {
    **{"what": "L1 | <b>", "value": 31.0, "unit": "dB", "metric": "psnr_y_db", "source": "a paper", "differs": "much"},
    "cells": {"loss": "l1", "outlier": "salt", "rate": 0.2},
}
GAIN = FIGURE | {"what": "gain", "value": 10.0, "minus": {"loss": "l2", "outlier": "salt", "rate": 0.2}}
BLOCK = """
[[matrix]]
task = "sr"
dataset = "photographs"
loss = ["l1", "l2"]
head = "raw"
lr = 1e-3
seeds = 2
steps = 10
evaluations = 2
batch_size = 4
outliers = { clean = 0, salt = [0.1, 0.2] }
"""


@pytest.fixture
def run(tmp_path):
    path = write_run(tmp_path / "run", 3, ("sr",), sr_arms=(("l1", "raw"), ("l2", "raw")), samples=False)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["suite"]["published"] = [FIGURE, GAIN, FIGURE | {"cells": {"loss": "tukey"}}]
    (path / "manifest.json").write_text(json.dumps(manifest))
    return load(path)


def test_ours_is_the_mean_over_seeds_and_a_difference_is_paired(run):
    cells = pick(run.cells, outlier="salt", rate=0.2)
    l1, l2 = (pick(cells, loss=loss).set_index("seed")["psnr_y_db"] for loss in ("l1", "l2"))
    assert measured(FIGURE, run)["value"].to_numpy() == pytest.approx(l1.to_numpy())
    assert measured(GAIN, run)["value"].to_numpy() == pytest.approx((l1 - l2).to_numpy())
    first, gain, absent = published_table(run).rows
    assert first[2].order == pytest.approx(l1.mean())
    assert first[3].order == pytest.approx(l1.mean() - 31.0)
    half = 4.302653 * np.std(l1, ddof=1) / 3**0.5  # Student's t at 2 degrees of freedom
    assert first[2].notes == (f"{l1.mean() - half:.2f} to {l1.mean() + half:.2f}, n = 3",)
    assert gain[1].text == "10 dB"
    assert absent[2].line == "– (no seed is done)"


def test_the_report_ends_in_the_table_and_escapes_it(run, monkeypatch):
    monkeypatch.setattr("bench.reports.build.FIGURES", {})
    write_report(run.path)
    html = (run.path / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="published">' in html
    assert "L1 | &lt;b&gt;" in html
    assert (run.path / "tables" / "published.tex").exists()
    assert r"L1 \| &lt;b&gt;" in (run.path / "report.md").read_text(encoding="utf-8")


def suite_of(tmp_path, text):
    (tmp_path / "mine.toml").write_text(
        f'title = "t"\n{BLOCK}\n[[published]]\nwhat = "a"\nvalue = 1\nunit = "dB"\nsource = "s"\ndiffers = "d"\n{text}'
    )
    return str(tmp_path / "mine.toml")


def test_settings_select_cells(tmp_path):
    text = 'metric = "psnr_db"\ncells = { loss = "l1", outlier = "salt", rate = 0.2, settings = { channels = 16 } }'
    suite = read_suite(suite_of(tmp_path, text))
    assert [one.what for one in suite.published] == ["a"]
    assert suite.model_dump(mode="json")["published"][0]["cells"]["rate"] == 0.2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('metric = "psnr_db"\ncells = { loss = "l1" }', "published 1.cells is of 3 groups of seeds"),
        ('metric = "psnr_db"\ncells = { loss = "l7" }', "published 1.cells is of 0 groups of seeds"),
        (
            'metric = "psnr_db"\ncells = { los = "l1" }',
            "published 1.cells: unknown setting 'los'; did you mean 'loss'?",
        ),
        (
            'metric = "psnr_bd"\ncells = { loss = "l1", rate = 0 }',
            "published 1.metric: unknown read-out of sr 'psnr_bd'; did you mean 'psnr_db'?",
        ),
        (
            'metric = "psnr_db"\ncells = { loss = "l1", rate = 0 }\nminus = { rate = 9 }',
            "published 1.minus is of 0 groups",
        ),
        ('metric = "psnr_db"\ncells = 3', "published 1.cells: found 3"),
        ('metric = "psnr_db"\ncells = {}\nmins = {}', "published 1.mins: unknown key 'mins'; did you mean 'minus'?"),
    ],
)
def test_mistakes_are_named(tmp_path, text, says):
    with pytest.raises(SuiteError) as mistake:
        read_suite(suite_of(tmp_path, text))
    assert says in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_overrides_drop_figures_that_are_no_longer_measured():
    assert len(read_suite("edsr").published) == 1
    assert read_suite("edsr", {"loss": "l1", "lr": 1e-3}).published == ()
