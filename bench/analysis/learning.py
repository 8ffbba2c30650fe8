"""Which cells are still learning? Their last step is not where their loss leads, so a verdict on them says so.

A cell is still learning if its validation curve rises by more than the margin over the last fifth of its steps. The
curve is PSNR on validation images, so reconstructions alone have one. For GANs it is not defined: their Fréchet
distance wanders at the end of a training, and the location GAN reports an average over its last steps.
"""

from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from bench.analysis.labels import signed
from bench.analysis.summary import MAIN_PSNR
from bench.store.reader import Run

LAST = 0.2  # of the steps: the stretch over which a curve must have become flat
RISE_DB = 0.1  # the margin of PSNR, science.md sections 8 and 9


class StillLearning(NamedTuple):
    """How many of some cells are still learning, of how many with a validation curve, and their mean rise in dB."""

    learning: int
    of: int
    rise_db: float

    @property
    def text(self) -> str:
        """In words; empty if none is still learning.

        >>> StillLearning(7, 20, 0.314).text
        '7 of 20 cells still learning, +0.31 dB in their last fifth'
        """
        if not self.learning:
            return ""
        return f"{self.learning} of {self.of} cells still learning, {signed(self.rise_db)} dB in their last fifth"


RISES: WeakKeyDictionary[Run, pd.Series] = WeakKeyDictionary()  # shared by all claims of a run


def rises(run: Run) -> pd.Series:
    """By how many dB the validation curve of each done cell rises over the last fifth of its steps, by cell_id.

    The curve is interpolated between its points. Cells without such a curve, or with one point, are left out.
    """
    if run not in RISES:
        done = run.cells[run.cells["status"] == "done"]
        found = {}
        for task, metric in MAIN_PSNR.items():
            of_task = run.curves["cell_id"].isin(done.loc[done["task"] == task, "cell_id"])
            points = run.curves[of_task & (run.curves["metric"] == f"val_{metric}")]
            for cell_id, curve in points.sort_values("step").groupby("cell_id"):
                steps, values = curve["step"].to_numpy(float), curve["value"].to_numpy(float)
                if len(steps) > 1:
                    found[cell_id] = values[-1] - np.interp((1 - LAST) * steps[-1], steps, values)
        RISES[run] = pd.Series(found, dtype=float)
    return RISES[run]


def still_learning(run: Run, cells: pd.DataFrame) -> StillLearning:
    """Which of some cells (rows of cells.csv) are still learning."""
    rise = rises(run)
    rise = rise[rise.index.isin(cells["cell_id"])] if len(cells) else rise[:0]
    above = rise[rise > RISE_DB]
    return StillLearning(len(above), len(rise), float(above.mean()) if len(above) else 0.0)
