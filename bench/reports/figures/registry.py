"""Which figures does a report have? One function per figure, from data frames alone.

Each takes a `Run` and returns a Figure, or None if the run has no rows for it. To add a figure, write a function and
add a line to `FIGURES`. The functions are in the modules of this package, which are named after their subjects.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

from matplotlib.figure import Figure

from bench.analysis import labels
from bench.analysis.claims import DOCUMENT
from bench.analysis.summary import MAIN_PSNR
from bench.reports.figures import (
    adversarial,
    breakdown,
    forest,
    pictures,
    predictions,
    quality,
    shapes,
    step_time,
    tuning,
)
from bench.store.reader import Run


class Drawing(NamedTuple):
    """A figure of the report.

    Attributes:
        draw: draws the figure of a run; returns None if the run has no rows for it.
        title: its title in the report.
        topic: the topic of the finding that is its alternative text.
        shows: the alternative text without such a finding.
        of_all_cells: drawn from all cells, with tuning and varied settings, instead of the comparable ones.
    """

    draw: Callable[[Run], Figure | None]
    title: str
    topic: str = ""
    shows: str = ""
    of_all_cells: bool = False


def _claim(about: str) -> Drawing:
    """The figure of a claim of the article."""
    draw = functools.partial(forest.claim_evidence, about=about)
    return Drawing(draw, f"{labels.TITLES.get(about, about)}: the evidence", f"claim-{about}", of_all_cells=True)


def figure_names(task: str) -> tuple[str, str]:
    """The figures that every reconstruction task has: quality against outlier rate, and crops."""
    return ("robustness" if task == "sr" else f"{task}_robustness", f"{task}_crops")


def _figures_of_task(task: str) -> dict[str, Drawing]:
    """The figures that a reconstruction task has."""
    name, topic = labels.task_name(task), f"robustness-{task}"
    titles = (f"{name}: test quality against outlier rate", f"{name}: what the outliers do to a picture")
    draws = (quality.robustness, pictures.crops)
    return {
        figure: Drawing(functools.partial(draw, task=task), title, topic)
        for figure, draw, title in zip(figure_names(task), draws, titles, strict=True)
    }


FIGURES: dict[str, Drawing] = {  # in the order of the report; it determines their numbers
    **{name: drawing for task in MAIN_PSNR for name, drawing in _figures_of_task(task).items()},
    "predicted_psnr": Drawing(predictions.predicted_psnr, "Predicted against measured PSNR", "prediction"),
    "three_db": Drawing(
        breakdown.three_db,
        "The outlier rate that costs 3 dB",
        "three_db",
        shows="For each loss and outlier kind the rate at which 3 dB are lost; the numbers are in the table.",
    ),
    "metric_matrix": Drawing(quality.metric_matrix, "Training loss against metric", "clean"),
    "loss_shapes": Drawing(
        shapes.loss_shapes,
        "Loss and gradient against the error",
        shows="L2's gradient exceeds L1's only for errors above one half; behind a sigmoid both vanish at 1.",
    ),
    "gan_quality": Drawing(adversarial.gan_quality, "GAN: distance from real images", "gan"),
    "gan_samples": Drawing(pictures.gan_samples, "GAN: generated images", "gan"),
    "location_error": Drawing(predictions.location_error, "Location GAN: error of the estimate", "location"),
    **{forest.figure_name(about): _claim(about) for about in DOCUMENT},
    "gan_losses": Drawing(adversarial.gan_losses, "GAN: losses against their equilibria", "d_loss"),
    "d_loss_equilibrium": Drawing(predictions.d_loss_equilibrium, "Where d_loss ends", "d_loss"),
    "dead_discriminator": Drawing(adversarial.dead_discriminator, "The dead discriminator", "dead", of_all_cells=True),
    "convergence": Drawing(
        quality.convergence,
        "How fast each loss learns",
        "clean",
        shows="Quality over training steps and over step time, for each loss; where they end is in the tables.",
    ),
    "step_time": Drawing(step_time.step_time, "Time per training step", "timing"),
    "rate_sensitivity": Drawing(
        tuning.rate_sensitivity,
        "Sensitivity to the learning rate",
        "rates",
        shows="Validation score against learning rate for each loss and schedule; the best rates are in the table.",
        of_all_cells=True,
    ),
    "schedule_wobble": Drawing(
        tuning.schedule_wobble,
        "Decay: final quality and wobble",
        "claim-l1-needs-decay",
        shows="Test PSNR and wobble of the validation curve, constant against cosine, for each loss and optimizer.",
        of_all_cells=True,
    ),
}
