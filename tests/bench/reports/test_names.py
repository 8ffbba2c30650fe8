"""Are names of a user's losses and folders short in reports, complete in files, and unique?"""

from dataclasses import replace

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis.cost import arms
from bench.analysis.summary import comparable
from bench.plan.reading import SuiteError, read_suite
from bench.reports.build import write_report
from bench.reports.figures.style import USERS as USER_COLOURS
from bench.reports.figures.style import colours, legend
from bench.reports.names import names_of, with_short_names
from bench.reports.tables.results import robustness_tables
from bench.store.reader import load, read_table
from ganlab.datasets import Photographs
from tests.support.synthetic import USERS, write_run

ARMS = (("l1", "raw"), *((loss, "raw") for loss in USERS))
FOLDERS = ("folder:/home/me/set5", "folder:/data/set5", "folder:/a/train::/b/test", "folder:digits")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    places = {"sr": tuple({"dataset": name} for name in FOLDERS)}
    path = tmp_path_factory.mktemp("names") / "run"
    return load(write_run(path, 1, ("sr",), sr_arms=ARMS, places=places, samples=False))


def test_names_are_as_short_as_they_can_be_unique(run):
    names = names_of(run)
    assert names.losses == {
        **{"l1": "l1", "mine.losses:Tukey": "Tukey"},
        **{name: name for name in ("lib_a.robust:Welsch", "lib_b.robust:Welsch")},  # both are robust:Welsch
    }
    assert [names.datasets[name] for name in FOLDERS] == ["me/set5", "data/set5", "train → test", "folder:digits"]
    assert sorted(names.users) == ["Tukey", "lib_a.robust:Welsch", "lib_b.robust:Welsch"]


@pytest.mark.parametrize("name", ["l1", "L1", "BCE"])  # as files and as figures call ours
def test_a_name_that_the_project_has_already_stays_long(run, name):
    cells = run.cells.assign(loss=run.cells["loss"].replace({"mine.losses:Tukey": f"mine.losses:{name}"}))
    assert names_of(replace(run, cells=cells)).losses[f"mine.losses:{name}"] == f"losses:{name}"


def test_reports_show_short_names_and_files_keep_full_names(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.reports.build.FIGURES", {})
    places = {"sr": ({"dataset": FOLDERS[0]}, {"dataset": FOLDERS[2]})}
    path = write_run(tmp_path / "run", 1, ("sr",), sr_arms=ARMS[:2], places=places, samples=False)
    write_report(path)
    assert "mine.losses:Tukey" in set(pd.read_csv(path / "summary.csv")["loss"])
    assert "folder:/home/me/set5" in set(read_table(path, "cells")["dataset"])
    text = (path / "report.md").read_text(encoding="utf-8")
    assert "Tukey raw" in text
    assert "folder:/home" not in text
    assert "mine.losses" not in text
    tables = {file.stem for file in (path / "tables").glob("robustness-*-salt.csv")}
    assert tables == {"robustness-set5-2-salt", "robustness-train-test-2-salt"}
    for file in (path / "tables").glob("*.tex"):
        assert file.read_text(encoding="utf-8").isascii()


def test_problem_names_include_the_input_corruption_only_if_several(tmp_path):
    ways = ('{"input_outlier": "overlay", "input_rate": 0.25}', '{"input_outlier": "impulse", "input_rate": 0.7}')
    places = {"restoration": tuple({"settings": way} for way in ways)}
    one, two = (
        load(
            write_run(
                tmp_path / str(count),
                2,
                ("restoration",),
                sr_arms=ARMS[:2],
                samples=False,
                places={"restoration": places["restoration"][:count]},
            )
        )
        for count in (1, 2)
    )
    assert set(with_short_names(one, names_of(one)).cells["dataset"]) == {"photographs"}
    shown = comparable(with_short_names(two, names_of(two)))
    assert set(shown.cells["dataset"]) == {"photographs, input overlay 25 %", "photographs, input impulse 70 %"}
    assert len(robustness_tables(shown, "restoration")) == 4  # two problems, two kinds of outliers


def test_step_times_keep_their_problem_s_name(tmp_path):
    """Two problems share network and losses; the first declared is timed, and where it learns is drawn over seconds."""
    ways = ('{"input_outlier": "overlay", "input_rate": 0.25}', '{"input_outlier": "impulse", "input_rate": 0.7}')
    places = {"restoration": tuple({"settings": way} for way in ways)}
    run = load(write_run(tmp_path / "run", 2, ("restoration",), sr_arms=ARMS[:2], samples=False, places=places))
    step = {"task": "restoration", "dataset": "photographs", "loss": "l1", "head": "raw", "gflop": 0.1}
    run = replace(run, manifest=run.manifest | {"roofline": {"steps": [step | {"precision": "fp32"}]}})
    shown = comparable(with_short_names(run, names_of(run)))
    assert set(shown.timing["dataset"]) == {"photographs, input overlay 25 %"}
    assert shown.manifest["roofline"]["steps"][0]["dataset"] == "photographs, input overlay 25 %"
    assert all(len(arm.cells(shown)) for arm in arms(shown))


def test_a_user_s_loss_has_a_colour_that_no_other_has(run):
    found = colours(with_short_names(run, names_of(run)).cells)
    assert found["Tukey"] in USER_COLOURS
    assert len({found[loss] for loss in ("bce", "l1", "l2", "huber", "Tukey", "lib_a.robust:Welsch")}) == 6
    many = pd.DataFrame({"loss": [f"own{number}" for number in range(40)]})
    assert len(set(colours(many).values())) > 45  # as many as there are, and those of the project


def test_a_legend_of_many_long_names_fits_below_its_figure():
    figure = Figure((10, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1])
    legend(figure, [Line2D([], [], label=f"a_rather_long_name_of_a_loss_{n} sigmoid") for n in range(16)], "note", 4)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert axes.get_window_extent().height > 0.35 * figure.bbox.height


@pytest.mark.parametrize("name", ["folder:" + "x" * 1000, "folder:/a\nb"])
def test_a_folder_that_no_file_could_name_is_refused_before_any_work(tmp_path, name, monkeypatch):
    monkeypatch.setattr("bench.plan.block.known", lambda name: True)
    monkeypatch.setattr("bench.plan.block.kinds", lambda name: [Photographs])
    with pytest.raises(SuiteError, match="too long for a name, or not printable"):
        read_suite("smoke", {"task": "sr", "dataset": name})
