"""How much time does a training step take under each loss, compared with BCE?

Times come from timing.csv: each was measured alone on the device, in interleaved rounds, so each ratio to BCE is paired
by round.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from bench.analysis.comparison import Interval, geometric_interval
from bench.analysis.labels import arm_name, arms_of, task_name
from bench.analysis.summary import paired_ratio, pick
from bench.store.reader import Run

YARDSTICK = {"loss": "bce", "head": "sigmoid"}  # the loss and head that all others are compared with
MARGIN = 0.05  # differences in step time up to this share do not matter
TIMED = ["task", "dataset", "loss", "head"]  # the columns that identify a timed step


class TimedArm(NamedTuple):
    """The timed steps of one loss and head, with their rows of timing.csv."""

    task: str
    dataset: str
    loss: str
    head: str
    device: str
    precision: str
    mixed: bool  # whether other losses of this task were timed in a different precision
    rows: pd.DataFrame
    same_precision: pd.DataFrame  # rows of all losses of this task in the same precision, for ratios

    @property
    def step_ms(self) -> float:
        """Median milliseconds of a whole step."""
        return float(pick(self.rows, phase="step")["ms"].median())

    @property
    def name(self) -> str:
        """Loss and head; also the precision if losses of this task were timed in several."""
        name = arm_name(self.loss, self.head)
        return f"{name} ({self.precision})" if self.mixed else name

    def cells(self, run: Run) -> pd.DataFrame:
        """Its finished cells."""
        where = {"task": self.task, "dataset": self.dataset, "loss": self.loss, "head": self.head}
        return pick(run.cells, status="done", **where)

    def ratio(self) -> tuple[Interval, int] | None:
        """Step time divided by BCE's in the same precision: its 95 % interval over rounds, and the number of rounds.

        None for BCE itself, and if BCE was not timed in this precision.
        """
        ratios = paired_ratio(self.same_precision, {"loss": self.loss, "head": self.head}, YARDSTICK)
        is_yardstick = {"loss": self.loss, "head": self.head} == YARDSTICK
        return None if is_yardstick or ratios.empty else (geometric_interval(ratios), len(ratios))


def arms(run: Run) -> Iterator[TimedArm]:
    """Every loss and head whose steps were timed, task by task."""
    precision_of = precisions(run)
    for (task, dataset, device), rows in run.timing.groupby(["task", "dataset", "device"]):
        precision = {arm: precision_of.get((task, dataset, *arm), "unknown") for arm in arms_of(rows)}
        rows = rows.assign(precision=[precision[arm] for arm in zip(rows["loss"], rows["head"], strict=True)])
        mixed = len(set(precision.values())) > 1
        for (loss, head), arm_precision in precision.items():
            arm_rows, same_precision = pick(rows, loss=loss, head=head), pick(rows, precision=arm_precision)
            yield TimedArm(task, dataset, loss, head, device, arm_precision, mixed, arm_rows, same_precision)


def precisions(run: Run) -> dict[tuple[str, str, str, str], str]:
    """The precision in which each (task, data set, loss, head) was timed: from the manifest, else from its cells.

    `run` has each loss at its main setting, and therefore in one precision.
    """
    of_cells = run.cells.groupby(TIMED)["precision"].first().to_dict()
    steps = (run.manifest.get("roofline") or {}).get("steps", [])
    return of_cells | {tuple(step[key] for key in TIMED): step["precision"] for step in steps}


def images_per_step(cells: pd.DataFrame) -> float | None:
    """Real images (location: samples) per training step of these cells; None if no cell is finished."""
    timed = cells.dropna(subset=["images_per_s", "train_s", "steps"])
    return None if timed.empty else round(float((timed["images_per_s"] * timed["train_s"] / timed["steps"]).median()))


def cost_sentences(run: Run) -> list[str]:
    """One sentence for each loss except BCE: the conclusion from the interval of its ratio."""
    sentences = []
    for arm in arms(run):
        ratio = arm.ratio()
        if not ratio or not ratio[0].defined:
            continue
        (mean, low, high), n = ratio
        if low > 1 / (1 + MARGIN) and high < 1 + MARGIN:
            statement = f"costs what BCE costs, within {100 * MARGIN:g} %"
        elif low > 1 or high < 1:
            statement = f"takes {100 * abs(mean - 1):.0f} % {'more' if mean > 1 else 'less'} time than BCE"
        else:
            statement = "cannot be told from BCE at this noise"
        sentences.append(
            f"{task_name(arm.task)} on {arm.dataset}: a step under {arm.name} {statement} "
            f"({mean:.3f} times, {low:.3f} to {high:.3f}, {n} rounds)"
        )
    return sentences
