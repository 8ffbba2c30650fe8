"""Does the loss cost anything? The timed steps of each loss, beside BCE's of the same rounds.

Times are timing.csv's: alone on the device, in interleaved rounds, so each ratio to BCE is paired by round.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from bench.analysis.comparison import Interval, geometric_interval
from bench.analysis.labels import arm_name, arms_of, task_name
from bench.analysis.summary import paired_ratio, pick
from bench.store.reader import Run

YARDSTICK = {"loss": "bce", "head": "sigmoid"}  # what every other loss and head is set beside
MARGIN = 0.05  # a difference in step time that nobody would choose a loss for
TIMED = ["task", "dataset", "loss", "head"]  # what a step is timed of


class TimedArm(NamedTuple):
    """The timed steps of one loss and head: where, and the rows of timing.csv."""

    task: str
    dataset: str
    loss: str
    head: str
    device: str
    precision: str
    mixed: bool  # whether other losses of this task were timed in another precision
    rows: pd.DataFrame
    beside: pd.DataFrame  # the rows of every loss of this task that was timed in this precision, for ratios

    @property
    def step_ms(self) -> float:
        """Median milliseconds of a whole step."""
        return float(pick(self.rows, phase="step")["ms"].median())

    @property
    def name(self) -> str:
        """Loss and head, with the precision of its steps where those of other losses have another."""
        name = arm_name(self.loss, self.head)
        return f"{name} ({self.precision})" if self.mixed else name

    def cells(self, run: Run) -> pd.DataFrame:
        """Its finished cells."""
        where = {"task": self.task, "dataset": self.dataset, "loss": self.loss, "head": self.head}
        return pick(run.cells, status="done", **where)

    def ratio(self) -> tuple[Interval, int] | None:
        """Step time over BCE's in the same precision, with its 95 % interval over rounds, and their count.

        None for BCE, and where BCE was not timed in this precision.
        """
        ratios = paired_ratio(self.beside, {"loss": self.loss, "head": self.head}, YARDSTICK)
        is_yardstick = {"loss": self.loss, "head": self.head} == YARDSTICK
        return None if is_yardstick or ratios.empty else (geometric_interval(ratios), len(ratios))


def arms(run: Run) -> Iterator[TimedArm]:
    """Every loss and head whose steps were timed, task by task."""
    known = precisions(run)
    for (task, dataset, device), rows in run.timing.groupby(["task", "dataset", "device"]):
        precision = {arm: known.get((task, dataset, *arm), "unknown") for arm in arms_of(rows)}
        rows = rows.assign(precision=[precision[arm] for arm in zip(rows["loss"], rows["head"], strict=True)])
        mixed = len(set(precision.values())) > 1
        for (loss, head), its in precision.items():
            own, beside = pick(rows, loss=loss, head=head), pick(rows, precision=its)
            yield TimedArm(task, dataset, loss, head, device, its, mixed, own, beside)


def precisions(run: Run) -> dict[tuple[str, str, str, str], str]:
    """In which precision each (task, data set, loss, head) was timed; where the manifest is silent, that of its cells.

    `run` has each loss at its main setting, and so in one precision.
    """
    found = run.cells.groupby(TIMED)["precision"].first().to_dict()
    steps = (run.manifest.get("roofline") or {}).get("steps", [])
    return found | {tuple(step[key] for key in TIMED): step["precision"] for step in steps}


def images_per_step(cells: pd.DataFrame) -> float | None:
    """Real images (for location: samples) that a step of these cells trains on; None where none is finished."""
    timed = cells.dropna(subset=["images_per_s", "train_s", "steps"])
    return None if timed.empty else round(float((timed["images_per_s"] * timed["train_s"] / timed["steps"]).median()))


def cost_sentences(run: Run) -> list[str]:
    """One sentence for each loss beside BCE: what the ratio's interval allows to be said."""
    sentences = []
    for arm in arms(run):
        found = arm.ratio()
        if not found or not found[0].defined:
            continue
        (mean, low, high), n = found
        if low > 1 / (1 + MARGIN) and high < 1 + MARGIN:
            says = f"costs what BCE costs, within {100 * MARGIN:g} %"
        elif low > 1 or high < 1:
            says = f"takes {100 * abs(mean - 1):.0f} % {'more' if mean > 1 else 'less'} time than BCE"
        else:
            says = "cannot be told from BCE at this noise"
        sentences.append(
            f"{task_name(arm.task)} on {arm.dataset}: a step under {arm.name} {says} "
            f"({mean:.3f} times, {low:.3f} to {high:.3f}, {n} rounds)"
        )
    return sentences
