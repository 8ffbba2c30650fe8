"""Which metric judges each task: its column, the effect computed from it, the unit, and the margin?

Shared by claims, findings, and recommendations, and by comparisons of precisions, of runs, and of users' losses.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.comparison import LEVEL, PairedComparison
from bench.analysis.labels import psnr_name
from bench.analysis.summary import MAIN_PSNR

DB, LOG_RATIO = "dB", "log ratio"  # units of effects and margins
MARGIN_DB = 0.1  # both margins: science.md section 8
MARGIN_LOG_RATIO = 0.25  # for Fréchet distances and errors: a factor of 1.28


class Judged(NamedTuple):
    """The metric that judges a task: a column of cells.csv, its effect (larger is better), and the margin."""

    column: str
    effect: Callable[[pd.Series], pd.Series]
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

    def compare(self, effects: pd.Series, level: float = LEVEL, no_worse: bool = False) -> PairedComparison:
        """The comparison of paired effects of this task, one value per seed. NaN values are dropped."""
        return PairedComparison(effects.dropna().to_numpy(float), self.margin, self.unit, level, no_worse)


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
