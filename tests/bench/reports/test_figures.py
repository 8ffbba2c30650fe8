"""Does every figure draw the values of the rows, for full, partial, and unusual runs?"""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bench.analysis import labels
from bench.analysis.breakdown import three_db_rates
from bench.analysis.prediction_errors import equilibrium, predictions
from bench.analysis.summary import NOT_READOUTS, comparable, pick, summary_of
from bench.analysis.tuning import best_rates, schedules, untuned
from bench.analysis.verdicts import judge
from bench.reports.figures import style
from bench.reports.figures.pictures import ERROR_LIMIT, MOST_ARMS, crops, gan_samples, spaced_grid
from bench.reports.figures.quality import robustness
from bench.reports.figures.registry import FIGURES
from bench.reports.findings import findings
from bench.store.reader import load
from tests.support.synthetic import RECONSTRUCTIONS, SR_ARMS, TEST_IMAGES, TILE, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    not_done = {3: ("diverged", "loss not finite"), 60: ("crashed", "no reason")}
    path = tmp_path_factory.mktemp("run") / "run"
    return load(write_run(path, 2, (*RECONSTRUCTIONS, "gan", "location"), varied=True, not_done=not_done))


@pytest.fixture(scope="module")
def shown(run):
    return comparable(run)


def draw(name, run, shown=None):
    """A figure as the report draws it."""
    figure_of = FIGURES[name]
    return figure_of.draw(run if figure_of.of_all_cells else shown or comparable(run))


DRAWN = [name for name in FIGURES if name != "claim_procedure"]  # a proof has no seeds to draw


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_of_a_full_run_has_labelled_axes(run, shown, name):
    figure = draw(name, run, shown)
    assert isinstance(figure, Figure)
    assert figure.get_suptitle()
    plots = [axes for axes in figure.axes if axes.axison and axes.lines]
    for axes in plots:
        sharing = axes.get_shared_x_axes().get_siblings(axes)
        assert any(one.get_xlabel() or one.get_xticklabels() for one in sharing)


@pytest.mark.parametrize("name", FIGURES)
def test_a_run_of_pending_cells_has_no_figures_and_no_errors(run, name):
    readouts = [c for c in run.cells.select_dtypes("number") if c not in NOT_READOUTS]
    cells = run.cells.assign(status="pending", **dict.fromkeys(readouts, np.nan))
    empty = {key: getattr(run, key).iloc[:0] for key in ("images", "curves", "timing")}
    assert draw(name, replace(run, cells=cells, manifest={}, **empty)) is None


OPEN_TO_ANY_LOSS = (
    *("robustness", "gan_quality", "gan_losses", "convergence", "step_time", "predicted_psnr", "three_db"),
    *("metric_matrix", "d_loss_equilibrium", "rate_sensitivity", "schedule_wobble"),
)


@pytest.mark.parametrize("name", OPEN_TO_ANY_LOSS)
def test_an_unknown_loss_head_and_outlier_are_drawn_like_any_other(run, name):
    odd = {"loss": {"l2": "tukey"}, "head": {"raw": "tanh"}, "outlier": {"salt": "fog", "noise": "rain"}}
    cells, timing = run.cells.replace(odd), run.timing.replace(odd)
    assert isinstance(draw(name, replace(run, cells=cells, timing=timing)), Figure)


def test_robustness_draws_the_measured_means(shown):
    figure = robustness(shown)
    panel = next(axes for axes in figure.axes if axes.get_title("left").startswith("salt:"))
    colour = style.colours(shown.cells)["bce"]
    line = next(line for line in panel.lines if line.get_color() == colour and len(line.get_xdata()) > 1)
    rows = pick(summary_of(shown), task="sr", loss="bce", metric="psnr_y_db")
    rows = rows[rows["outlier"].isin(("clean", "salt"))].sort_values("rate")
    assert line.get_ydata() == pytest.approx(rows["mean"].to_numpy())
    assert line.get_xdata() == pytest.approx(100 * rows["rate"].to_numpy(), abs=1.5)  # dodged a little


def test_robustness_draws_a_theory_curve_for_each_mean_seeker_and_points_for_l1(shown):
    panel = next(axes for axes in robustness(shown).axes if axes.get_title("left").startswith("salt:"))
    theory = [line for line in panel.lines if line.get_color() == style.INK and len(line.get_xdata()) > 2]
    curves = [line for line in theory if len(line.get_xdata()) == 60]
    assert len(curves) == sum(loss != "l1" for loss, _ in SR_ARMS)
    assert len(theory) - len(curves) == 1  # the expected-loss runs have the raw head alone
    bce = pick(summary_of(shown), loss="bce", outlier="salt", rate=0.4, metric="psnr_y_db")["predicted"].iloc[0]
    assert min(abs(line.get_ydata()[-1] - bce) for line in theory) < 1e-9


def test_robustness_states_n_and_marks_failures(shown):
    legend = robustness(shown).legends[0]
    assert legend.get_title().get_text().startswith("n = 1 to 2 seeds, band: 95 % t interval over seeds;")
    assert "some runs failed" in [text.get_text() for text in legend.get_texts()]


def test_one_rate_is_enough(shown):
    cells = shown.cells[
        (shown.cells["outlier"] == "clean") | ((shown.cells["outlier"] == "salt") & (shown.cells["rate"] == 0.2))
    ]
    assert len(robustness(replace(shown, cells=cells)).axes) == 1


def test_error_maps_are_computed_from_the_sample(shown):
    images = [
        axes.images[0] for axes in crops(shown).axes if axes.images and axes.images[0].get_clim() == (0, ERROR_LIMIT)
    ]
    cell = pick(shown.cells, task="sr", loss="bce", outlier="clean", seed=0)["cell_id"].iloc[0]
    sample = shown.sample(cell).astype(int)
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


def test_crops_show_one_photograph_where_seeds_test_others(shown):
    one = pick(shown.cells, task="sr", loss="bce", outlier="clean", seed=0)["cell_id"].iloc[0]
    samples = shown.manifest["samples"] | {one: shown.manifest["samples"][one] | {"images": ["moon", "flower"]}}
    others = replace(shown, manifest=shown.manifest | {"samples": samples})
    reasons = [[text.get_text() for axes in crops(run).axes for text in axes.texts] for run in (shown, others)]
    assert reasons[1].count("no picture") == reasons[0].count("no picture") + 1


def test_crops_without_samples_are_none(run, tmp_path):
    assert crops(replace(run, path=tmp_path)) is None


def test_a_loss_has_one_colour_everywhere_and_losses_differ(run):
    colours = style.colours(run.cells)
    assert len({colours[loss] for loss in ("bce", "l1", "l2")}) == 3
    assert style.colours(pick(run.cells, loss="l2"))["l2"] == colours["l2"]
    more = style.colours(run.cells.replace({"loss": {"l2": "huber"}}))
    assert more["huber"] not in (more["bce"], more["l1"], more["l2"])


def test_names_are_for_people():
    assert labels.condition_name("clean", 0.0) == "clean"
    assert labels.condition_name("salt", 0.05) == "salt 5 %"
    assert labels.dataset_label("set5", 2.0) == "set5, ×2"
    assert labels.dataset_label("mnist", np.nan) == "mnist"
    assert labels.in_order({"b", "z", "a", "y"}, ("b", "a")) == ["b", "a", "y", "z"]


def test_saved_figures_are_small_and_readable(shown, tmp_path):
    style.save(robustness(shown), tmp_path / "figures" / "robustness.png")
    file = tmp_path / "figures" / "robustness.png"
    assert file.stat().st_size < 150_000
    with Image.open(file) as picture:
        assert picture.width >= 1000


def test_three_db_rates_match_theory_and_mark_unreached_rates(shown):
    rates = three_db_rates(shown)
    l2 = pick(rates, outlier="salt", loss="l2", head="raw").iloc[0]
    assert l2["reached"] == l2["n"] == 2
    assert l2["from_rate"] < l2["mean"] < l2["to_rate"]
    measured = pick(shown.cells, task="sr", outlier="salt", loss="l2")["rate"]
    assert not measured.between(l2["from_rate"], l2["to_rate"], inclusive="neither").any()  # neighbours
    assert l2["mean"] == pytest.approx(l2["predicted"], abs=0.005)  # 0.05 dB of noise on a slope of 60 dB
    assert l2["closed_low"] < l2["predicted"] < l2["closed_high"]
    # theory's C: clean PSNR of 27.5, 33, 35.5, and 31 dB (and a seed's scatter): mean MSE 8.4e-4
    assert l2["clean_mse"] == pytest.approx(8.4e-4, rel=0.1)
    l1 = pick(rates, outlier="salt", loss="l1", head="raw").iloc[0]  # 10 e^2 dB: 1.6 dB at the largest rate
    assert (l1["reached"], l1["max_rate"]) == (0, 0.4)
    assert np.isnan([l1["mean"], l1["predicted"], l1["closed_low"]]).all()
    assert "jitter" not in set(rates["outlier"])  # the control pulls nowhere


def test_three_db_rates_use_the_seeds_with_the_finest_grid(shown):
    coarse = (shown.cells["outlier"] == "salt") & (shown.cells["seed"] == 1) & (shown.cells["rate"] < 0.4)
    rates = three_db_rates(replace(shown, cells=shown.cells[~coarse]))
    assert set(pick(rates, outlier="salt")["n"]) == {1}
    assert set(pick(rates, outlier="impulse", head="raw")["n"]) == {2}


def test_predictions_are_sorted_by_error_and_include_l1_under_salt(shown):
    rows = predictions(shown)
    assert rows["miss"].abs().is_monotonic_decreasing
    assert (rows["miss"] == rows["mean"] - rows["predicted"]).all()
    # the synthetic expected-loss run is the synthetic l1 under salt: 10 e^2 dB below clean
    salt = pick(rows, loss="l1", head="raw", outlier="salt", rate=0.4)
    assert salt["miss"].abs().max() < 0.2


def test_equilibria_are_those_of_the_task():
    assert equilibrium("location", "bce", "sigmoid", "far", 0.2) == pytest.approx(0.6183, abs=1e-4)
    assert equilibrium("location", "l1", "sigmoid", "near", 0.2) == pytest.approx(0.4012, abs=1e-4)
    assert equilibrium("gan", "l2", "sigmoid", "noise", 0.2) == 0.25  # a perfect generator models the outliers too
    assert equilibrium("gan", "l2", "raw", "clean", 0.0) == 0.25  # the best D stays within [0, 1] by itself
    assert equilibrium("location", "l2", "raw", "far", 0.2) == pytest.approx(0.2222, abs=1e-4)
    assert equilibrium("location", "hinge", "raw", "far", 0.2) == pytest.approx(0.8)  # 1 - TV
    assert equilibrium("location", "hinge", "raw", "clean", 0.0) == 1
    for loss, head in (("huber", "sigmoid"), ("bce", "raw"), ("hinge", "sigmoid"), ("wasserstein", "raw")):
        assert np.isnan(equilibrium("location", loss, head, "far", 0.2))


def test_d_loss_is_drawn_beside_its_equilibrium(run, shown):
    axes = draw("d_loss_equilibrium", run, shown).axes[0]
    diamonds = {round(float(line.get_xdata()[0]), 3) for line in axes.lines if line.get_marker() == "D"}
    assert {0.693, 0.5, 0.25, 0.618, 0.4, 0.222} <= diamonds


def test_the_best_rate_is_marked_and_an_edge_is_reported(run):
    best = best_rates(run)
    assert (best["lr"] == 1e-3).all()  # two decades of the synthetic rate cost 4 dB
    assert not best["on_edge"].any()
    cells = run.cells[(run.cells["role"] != "tune") | (run.cells["lr"] >= 1e-3)]
    assert best_rates(replace(run, cells=cells))["on_edge"].all()


def test_incomplete_tuning_seeds_give_curves_without_a_best_rate(run, shown):
    one = run.cells[run.cells["role"] == "tune"]["seed"].min()
    waits = (run.cells["role"] == "tune") & (run.cells["seed"] != one)
    run = replace(run, cells=run.cells.assign(status=run.cells["status"].mask(waits, "pending")))
    assert best_rates(run).empty
    assert draw("rate_sensitivity", run, shown).axes


def test_rates_that_a_run_did_not_choose_are_named_with_the_grids_that_are_shipped(run):
    said, commands = untuned(run)
    assert "Depth on stereo" in said
    assert said.endswith("In Super-resolution on photos it tunes no rate of BCE sigmoid, L1 sigmoid, and L2 sigmoid.")
    assert said.count("Super-resolution") == 1
    assert commands == (
        "python -m bench run claims --only 'role=tune,task=depth|interpolation|location'",
        "python -m bench run full --only 'role=tune,task=depth|interpolation|location'",
    )
    raw = pick(run.cells, task="sr", head="raw")  # all of them have tuning cells
    assert untuned(replace(run, cells=raw)) is None


def test_schedules_are_compared_where_both_were_run(run):
    cells = schedules(run)
    assert set(zip(cells["loss"], cells["optimizer"], strict=True)) == {
        ("l1", "adam"),
        ("l1", "sgd"),
        ("l2", "adam"),
        ("l2", "sgd"),
    }
    assert (cells["head"] == "raw").all()
    assert set(cells["value_range"]) == {1.0}
    assert schedules(replace(run, cells=pick(run.cells, schedule="cosine"))).empty


def test_schedules_are_compared_in_one_precision(run):
    """Cosine also in bfloat16, and twice as often: those cells have no constant rate to stand beside."""
    clean = pick(run.cells, task="sr", role="report", loss="l1", head="raw", outlier="clean", optimizer="adam")
    cosine = pick(clean, schedule="cosine", value_range=1.0)
    more = [cosine.assign(precision="bf16", seed=cosine["seed"] + shift, psnr_y_db=99.0) for shift in (0, 50)]
    cells = schedules(replace(run, cells=pd.concat([run.cells, *more], ignore_index=True)))
    assert set(cells["precision"]) == {"float32"}
    assert (cells["psnr_y_db"] < 99).all()
    assert set(pick(cells, loss="l1", optimizer="adam")["schedule"]) == {"cosine", "constant"}


def test_a_dead_discriminator_is_drawn_and_never_invented(run, shown):
    figure = draw("dead_discriminator", run, shown)
    assert figure.get_suptitle() == "Dead discriminators: 3 of 4"  # the synthetic L1 at seed 0, four conditions
    assert draw("dead_discriminator", replace(run, cells=run.cells.assign(dead_discriminator=0.0))) is None


def test_a_claim_shows_every_seed_and_says_its_verdict_in_words(run):
    figure = FIGURES["claim_l1_robust"].draw(run)
    claims = judge(run)
    drawn = claims[(claims["about"] == "l1-robust") & claims["estimate"].notna()]
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert sorted(re.match(r"[✓✗=?~] (\w+)\n", text)[1] for text in texts) == sorted(drawn["verdict"])
    assert [text for text in texts if text.endswith("for these 4 images")] or not (drawn["population"] != "").any()
    titles = [axes.get_title("left").split(" (")[0] for axes in figure.axes]
    assert titles == ["effect in dB of PSNR", "effect as a log ratio"]
    salt = pick(claims, claim="l1-robust/sr-salt-0.2/loses-less").iloc[0]
    first = figure.axes[0].lines[0]  # the seeds of the first statement
    assert len(first.get_xdata()) == salt["n"]
    assert np.mean(first.get_xdata()) == pytest.approx(salt["estimate"])


def test_a_claim_that_is_proved_has_no_figure(run):
    assert FIGURES["claim_procedure"].draw(run) is None


def test_the_metric_matrix_stars_the_best_of_each_metric(shown):
    axes = draw("metric_matrix", shown).axes[0]
    starred = [text for text in axes.texts if "★" in text.get_text()]
    clean = pick(summary_of(shown), task="sr", outlier="clean")
    best = {
        f"{pick(clean, metric='psnr_y_db')['mean'].max():.2f} ★",
        f"{pick(clean, metric='mae')['mean'].min():.4f} ★",
    }
    assert best <= {text.get_text() for text in starred}


def test_gradients_are_those_of_the_losses(run, shown):
    _, slope, in_logit = draw("loss_shapes", run, shown).axes
    curves = {line.get_label(): line for line in slope.lines}
    error = curves["L2"].get_xdata()
    assert curves["L2"].get_ydata() == pytest.approx(2 * error)
    assert curves["L1"].get_ydata() == pytest.approx(np.ones_like(error))
    behind = {line.get_label(): line.get_ydata() for line in in_logit.lines}
    assert behind["L2"] == pytest.approx(2 * error * error * (1 - error))
    assert behind["BCE"] == pytest.approx(error)


def test_step_times_of_another_precision_are_named_and_have_no_ratio(run, shown):
    where = pick(shown.timing, task="sr")[["task", "dataset", "loss", "head"]].drop_duplicates().to_dict("records")
    steps = [step | {"precision": "bf16" if step["loss"] == "l1" else "fp32", "gflop": 0.1} for step in where]
    mixed = replace(shown, manifest=shown.manifest | {"roofline": {"steps": steps}})
    bars = draw("step_time", run, mixed).axes[0]
    labels = dict(zip((tick.get_text() for tick in bars.get_yticklabels()), bars.texts, strict=True))
    assert "×" not in labels["L1 sigmoid (bf16)"].get_text()
    assert "× BCE" in labels["L2 sigmoid (fp32)"].get_text()
    seconds = draw("convergence", run, mixed).axes[1].get_xlabel().replace("\n", " ")
    assert seconds == "step time: steps × median step (s), in fp32; L1 sigmoid: bf16, L1 raw: bf16"
    assert draw("convergence", run, shown).axes[1].get_xlabel() == "step time: steps × median step (s)"


def test_location_yardsticks_are_drawn_beside_the_losses(run, shown):
    far = draw("location_error", run, shown).axes[0]
    grey = [line.get_ydata()[-1] for line in far.lines if line.get_color() == style.YARDSTICK]
    assert grey == pytest.approx([10.0, 3.2, 0.05], rel=0.1)


def test_every_reconstruction_is_drawn_in_the_psnr_it_is_judged_by(run, shown):
    figure = draw("depth_robustness", run, shown)
    assert [axes.get_title("left").split(":")[0] for axes in figure.axes] == ["missing", "wrong-match"]
    rows = pick(summary_of(shown), task="depth", loss="l2", head="raw", outlier="missing", metric="psnr_db")
    drawn = {round(float(y), 6) for line in figure.axes[0].lines for y in np.atleast_1d(line.get_ydata())}
    assert {round(mean, 6) for mean in rows["mean"]} <= drawn
    assert "block matching, untrained" in [text.get_text() for text in figure.legends[0].get_texts()]
    found = predictions(shown)
    assert {"sr", "depth", "interpolation", "restoration"} == set(found["task"])
    # the synthetic L2 lies on the closed form in every task, within the noise of 0.05 dB per image
    assert pick(found, loss="l2", head="raw")["miss"].abs().max() < 0.2


def test_pictures_of_a_task_name_its_missing_cells(shown):
    """BCE under salt is in super-resolution, and not in interpolation."""
    lacks = (shown.cells["task"] == "interpolation") & (shown.cells["loss"] == "bce") & (shown.cells["rate"] > 0)
    texts = [
        text.get_text()
        for axes in crops(replace(shown, cells=shown.cells[~lacks]), "interpolation").axes
        for text in axes.texts
    ]
    assert "not in\nthis suite" in texts
    assert "no picture" not in texts


def test_untrained_baselines_are_drawn_with_the_same_psnr(run, shown):
    """On Y in interpolation and restoration; earlier runs measured it on RGB alone, and so have none to show."""
    y_db = float(np.mean(list(TEST_IMAGES.values()))) - 5.0  # as the synthetic run has it; on RGB 1 dB less
    earlier = replace(shown, cells=shown.cells.assign(baseline_psnr_y_db=np.nan))
    for task in ("interpolation", "restoration"):
        drawn = yardsticks(draw(f"{task}_robustness", run, shown))
        assert drawn
        assert drawn == pytest.approx(len(drawn) * [y_db])
        assert not yardsticks(draw(f"{task}_robustness", run, earlier))
    told = {finding.task: finding.text for finding in findings(shown) if "without any training" in finding.text}
    assert set(told) == {"sr", "depth", "interpolation", "restoration"}
    assert f"the average of the two frames, without any training, reaches {y_db:.2f} dB" in told["interpolation"]
    assert {one.task for one in findings(earlier) if "without any training" in one.text} == {"sr", "depth"}


def yardsticks(figure):
    lines = (line for axes in figure.axes for line in axes.lines if line.get_color() == style.YARDSTICK)
    return [float(line.get_ydata()[0]) for line in lines]


def test_only_known_functions_of_the_error_have_a_shape(run, shown):
    others = {"huber": "barron-0", "bce": "hinge", "l1": "mine.losses:Tukey"}
    cells = pd.concat([shown.cells, shown.cells.assign(loss="barron-adaptive"), shown.cells.assign(loss="huber")])
    figure = draw("loss_shapes", run, replace(shown, cells=cells.replace({"loss": others})))
    assert [line.get_label() for line in figure.axes[0].lines] == ["L2", "barron-0"]


def test_scores_and_probabilities_share_no_axis(run, shown):
    cells = shown.cells.copy()
    hinge = (cells["task"] == "gan") & (cells["loss"] == "l2")
    cells.loc[hinge, ["loss", "head"]] = ["hinge", "raw"]
    figure = draw("gan_losses", run, replace(shown, cells=cells))
    titles = [axes.get_title("left").split(":")[0] for axes in figure.axes[::3]]
    assert titles == ["sigmoid head", "raw head"]
    d_loss, _, mean_d = figure.axes[3:]
    dashed = [line.get_ydata()[0] for line in d_loss.lines if len(line.get_xdata()) == 2]
    assert dashed == [1.0]  # hinge's equilibrium
    assert mean_d.get_ylim() != (-0.03, 1.03)


def test_photographs_of_many_losses_show_the_user_s_own_first(tmp_path):
    arms = [
        ("bce", "sigmoid"),
        *((loss, head) for loss in ("l1", "l2", "huber", "charbonnier") for head in ("sigmoid", "raw")),
    ]
    own = load(write_run(tmp_path / "run", 1, ("depth",), sr_arms=(*arms, ("mine.losses:Tukey", "raw"))))
    figure = crops(own, "depth")
    with_short_names = {text.get_text() for axes in figure.axes for text in axes.texts if text.get_rotation() == 90}
    assert "mine.losses:Tukey raw" in with_short_names
    assert len(with_short_names - {"result", "error"}) == MOST_ARMS
    said = figure.get_suptitle().replace("\n", " ")
    assert "8 of 10 losses, without charbonnier sigmoid and charbonnier raw" in said


def test_generated_images_say_which_losses_are_left_out(tmp_path):
    arms = [(loss, head) for loss in ("bce", "l1", "l2", "huber", "charbonnier") for head in ("sigmoid", "raw")]
    some, many = (
        load(write_run(tmp_path / str(count), 1, ("gan",), gan_arms=tuple(arms[:count])))
        for count in (MOST_ARMS, MOST_ARMS + 1)
    )
    assert gan_samples(some).get_suptitle() == "Generated images, one seed"
    said = gan_samples(many).get_suptitle().replace("\n", " ")
    assert said == "Generated images, one seed; 8 of 9 losses, without charbonnier sigmoid"
