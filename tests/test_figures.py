"""Does every figure draw what the rows say, on full, partial, and odd runs?"""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bench import style
from bench.figures import FIGURES, robustness
from bench.pictures import ERROR_LIMIT, spaced_grid, sr_crops
from bench.statistics import pick
from bench.store import load
from tests.synthetic import SR_ARMS, TILE, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    not_done = {3: ("diverged", "loss not finite"), 60: ("crashed", "no reason")}
    return load(write_run(tmp_path_factory.mktemp("run") / "run", seeds=2, not_done=not_done))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_of_a_full_run_has_labelled_axes(run, name):
    figure = FIGURES[name][0](run)
    assert isinstance(figure, Figure)
    assert figure.get_suptitle()
    plots = [axes for axes in figure.axes if axes.axison and axes.lines]
    assert all(axes.get_xlabel() or axes.get_xticklabels() for axes in plots)


@pytest.mark.parametrize("name", FIGURES)
def test_a_run_of_pending_cells_has_no_figures_and_no_errors(run, name):
    cells = run.cells.assign(status="pending", **{c: np.nan for c in ("psnr_y_db", "frechet", "bicubic_psnr_y_db")})
    empty = {key: getattr(run, key).iloc[:0] for key in ("images", "curves", "timing")}
    assert FIGURES[name][0](replace(run, cells=cells, manifest={}, **empty)) is None


@pytest.mark.parametrize("name", ["robustness", "gan_quality", "gan_losses", "convergence", "step_time"])
def test_an_unknown_loss_head_and_outlier_are_drawn_like_any_other(run, name):
    odd = {"loss": {"l2": "charbonnier"}, "head": {"raw": "tanh"}, "outlier": {"salt": "fog", "noise": "rain"}}
    cells, timing = run.cells.replace(odd), run.timing.replace(odd)
    assert isinstance(FIGURES[name][0](replace(run, cells=cells, timing=timing)), Figure)


def test_robustness_draws_the_measured_means(run):
    figure = robustness(run)
    panel = next(axes for axes in figure.axes if axes.get_title("left").startswith("salt:"))
    colour = style.colours(run.cells)["bce"]
    line = next(line for line in panel.lines if line.get_color() == colour and len(line.get_xdata()) > 1)
    rows = pick(run.summary, loss="bce", metric="psnr_y_db")
    rows = rows[rows["outlier"].isin(("clean", "salt"))].sort_values("rate")
    assert line.get_ydata() == pytest.approx(rows["mean"].to_numpy())
    assert line.get_xdata() == pytest.approx(100 * rows["rate"].to_numpy(), abs=1.5)  # dodged a little


def test_robustness_draws_theory_for_mean_seekers_alone(run):
    panel = next(axes for axes in robustness(run).axes if axes.get_title("left").startswith("salt:"))
    theory = [line for line in panel.lines if line.get_color() == style.INK and len(line.get_xdata()) > 2]
    assert len(theory) == sum(loss != "l1" for loss, _ in SR_ARMS)
    bce = pick(run.summary, loss="bce", outlier="salt", rate=0.4, metric="psnr_y_db")["predicted"].iloc[0]
    assert min(abs(line.get_ydata()[-1] - bce) for line in theory) < 1e-9


def test_robustness_states_n_and_marks_failures(run):
    legend = robustness(run).legends[0]
    assert legend.get_title().get_text().startswith("n = 1 to 2 seeds, band: 95 % t interval over seeds;")
    assert "some runs failed" in [text.get_text() for text in legend.get_texts()]


def test_one_rate_is_enough(run):
    cells = run.cells[
        (run.cells["outlier"] == "clean") | ((run.cells["outlier"] == "salt") & (run.cells["rate"] == 0.2))
    ]
    assert len(robustness(replace(run, cells=cells)).axes) == 1


def test_error_maps_are_computed_from_the_sample(run):
    images = [
        axes.images[0] for axes in sr_crops(run).axes if axes.images and axes.images[0].get_clim() == (0, ERROR_LIMIT)
    ]
    cell = pick(run.cells, task="sr", loss="bce", outlier="clean", seed=0)["cell_id"].iloc[0]
    sample = run.sample(cell).astype(int)
    target, bicubic, prediction = (sample[:TILE, i * TILE : (i + 1) * TILE] for i in range(3))
    for picture in (bicubic, prediction):
        error = np.abs(picture - target).mean(axis=-1) / 255
        assert any(np.allclose(image.get_array(), error) for image in images)


def test_grids_get_a_line_between_images_and_nowhere_else():
    # two tiles of 8 pixels side by side: one line, 8 // 8 = 1 pixel wide, after column 8
    spaced = spaced_grid(np.zeros((8, 16), np.uint8), {"rows": 1, "columns": 2, "tile": 8})
    assert spaced.shape == (8, 17)
    assert (spaced[:, 8] == 128).all()
    assert spaced.sum() == 8 * 128


def test_crops_without_samples_are_none(run, tmp_path):
    assert sr_crops(replace(run, path=tmp_path)) is None


def test_a_loss_has_one_colour_everywhere_and_losses_differ(run):
    colours = style.colours(run.cells)
    assert len({colours[loss] for loss in ("bce", "l1", "l2")}) == 3
    assert style.colours(pick(run.cells, loss="l2"))["l2"] == colours["l2"]
    more = style.colours(run.cells.replace({"loss": {"l2": "huber"}}))
    assert more["huber"] not in (more["bce"], more["l1"], more["l2"])


def test_names_are_for_people():
    assert style.condition_name("clean", 0.0) == "clean"
    assert style.condition_name("salt", 0.05) == "salt 5 %"
    assert style.place_name("set5", 2.0) == "set5, ×2"
    assert style.place_name("mnist", np.nan) == "mnist"
    assert style.in_order({"b", "z", "a", "y"}, ("b", "a")) == ["b", "a", "y", "z"]


def test_saved_figures_are_small_and_readable(run, tmp_path):
    style.save(robustness(run), tmp_path / "figures" / "robustness.png")
    file = tmp_path / "figures" / "robustness.png"
    assert file.stat().st_size < 150_000
    with Image.open(file) as picture:
        assert picture.width >= 1000
