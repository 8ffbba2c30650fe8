"""Which metric judges each task: its column, the effect computed from it, the unit, and the margin?

Shared by claims, findings, and recommendations, and by comparisons of precisions, of runs, and of users' losses.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.comparison import IMAGES_LIKE_THESE, INCONCLUSIVE, LEVEL, PairedComparison
from bench.analysis.labels import psnr_name, signed
from bench.analysis.looks import Plan
from bench.analysis.summary import MAIN_PSNR

DB, LOG_RATIO = "dB", "log ratio"  # units of effects and margins
MARGIN_DB = 0.1  # both margins: science.md section 8
MARGIN_LOG_RATIO = 0.25  # for Fréchet distances and errors: a factor of 1.28
PHOTOGRAPH = "photograph"  # the name of the columns of effects that were measured on photographs


class Judged(NamedTuple):
    """The metric that judges a task: a column of cells.csv, its effect (larger is better), and the margin."""

    column: str
    effect: Callable[[Any], Any]  # of numbers in a pandas object, to a new one
    margin: float
    name: str
    other_metrics: dict[str, bool]  # other metrics shown: name in cells.csv -> whether larger is better
    unit: str = LOG_RATIO  # of effect and margin

    @property
    def margin_text(self) -> str:
        """The margin in a sentence.

        >>> JUDGED["sr"].margin_text, JUDGED["gan"].margin_text
        ('0.1 dB', 'a log ratio of 0.25')
        """
        return f"a {LOG_RATIO} of {self.margin:g}" if self.unit == LOG_RATIO else f"{self.margin:g} {self.unit}"

    def compare(
        self, effects: pd.Series | pd.DataFrame, level: float = LEVEL, no_worse: bool = False, plan: Plan | None = None
    ) -> PairedComparison:
        """The comparison of paired effects of this task: one value per seed, or (seeds, photographs).

        NaN where a seed did not test a photograph; seeds without any value are dropped.
        """
        values = effects.to_numpy(float)
        values = values[~(np.isnan(values) if values.ndim == 1 else np.isnan(values).all(axis=1))]
        return PairedComparison(values, self.margin, self.unit, level, no_worse, plan)

    def behind_text(self, behind: PairedComparison) -> str:
        """How far something is behind: `15.35 dB behind (15.22 to 15.49, n = 10)`.

        A log ratio is written as a ratio of distances: `1.31 times as far (1.10 to 1.56, n = 10)`.
        """
        mean, low, high = (self._number(value) for value in behind.interval)
        spread = f"{low} to {high}, " if behind.interval.defined else ""
        return f"{mean} {'dB behind' if self.unit == DB else 'times as far'} ({spread}n = {behind.n})"

    def _number(self, effect: float) -> str:
        return signed(effect).lstrip("+") if self.unit == DB else f"{np.exp(effect):.2f}"


def population(effects: pd.DataFrame, comparison: PairedComparison) -> str:
    """Whom a decision speaks of: images like these, or these alone; "" without a decision or photographs.

    Args:
        effects: (seeds, photographs), of which `comparison` was made.
        comparison: of these effects.
    """
    if comparison.decision == INCONCLUSIVE or effects.columns.name != PHOTOGRAPH:
        return ""
    if comparison.population == IMAGES_LIKE_THESE:
        return IMAGES_LIKE_THESE
    return f"these {comparison.images} images" if comparison.images > 1 else "this one photograph"


def _minus_log(values: pd.Series) -> pd.Series:
    return -np.log(values.where(values > 0))


def _psnr(task: str, other_metrics: dict[str, bool]) -> Judged:
    return Judged(MAIN_PSNR[task], lambda psnr: psnr, MARGIN_DB, f"{psnr_name(task)} (favours L2)", other_metrics, DB)


JUDGED = {
    "sr": _psnr("sr", {"ssim": True, "mae": False}),
    "depth": _psnr("depth", {"disparity_error_px": False, "bad_pixels": False}),
    "interpolation": _psnr("interpolation", {"ssim": True, "mae": False}),
    "restoration": _psnr("restoration", {"ssim": True, "mae": False}),
    "gan": Judged("frechet", _minus_log, MARGIN_LOG_RATIO, "Fréchet distance", {"kid": False}),
    "location": Judged("location_error", _minus_log, MARGIN_LOG_RATIO, "distance from the truth", {}),
}
