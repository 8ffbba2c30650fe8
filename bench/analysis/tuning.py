"""Which learning rate is best for each loss, is it determined, and what does decay gain? From the cells of role `tune`.

The mean over tuning seeds decides, on validation data. An optimum needs a converging rate on both sides. The paired
differences to both say whether the seeds could tell the rates apart.
"""

import json
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.analysis import labels
from bench.analysis.comparison import PairedComparison, family_level
from bench.analysis.metrics import JUDGED
from bench.analysis.summary import main_cells, pick
from bench.plan.reading import shipped_blocks
from bench.store.reader import Run
from ganlab.outliers import CLEAN


class Target(NamedTuple):
    """The metric that tuning uses: its name in curves.csv, its label, and whether larger is better.

    `fallback` is used for a data set without the metric; `aside` says what one must know of the choice.
    """

    metric: str
    label: str
    larger: bool
    fallback: str | None = None
    fallback_label: str = ""
    aside: str = ""

    @property
    def curve(self) -> tuple[str, str]:
        """The metric with a point at every evaluation, and its label."""
        return (self.fallback, self.fallback_label) if self.fallback else (self.metric, self.label)


TARGETS = {
    "sr": Target("val_psnr_y_db", "validation PSNR on Y (dB)", True),
    "depth": Target("val_psnr_db", "validation PSNR of disparity (dB)", True),
    "interpolation": Target("val_psnr_y_db", "validation PSNR on Y (dB)", True),
    "restoration": Target("val_psnr_y_db", "validation PSNR on Y (dB)", True),
    "gan": Target(
        "val_frechet",
        "Fréchet distance from validation images",
        False,
        fallback="frechet",  # the 8x8 digits have no images to spare
        fallback_label="Fréchet distance",
        aside="GANs on a data set without images to spare are tuned on the test images, by seeds of their own.",
    ),
    "location": Target(
        "location_error",
        "location error",
        False,
        aside="The location GAN is tuned by its distance from the true mean, on samples that only tuning seeds draw:"
        " what a loss can do at its best, not what one would find without the truth.",
    ),
}
SETTING = ["task", "dataset", "optimizer"]
ARM = ["loss", "head", "schedule"]
FINER = ["scale", "value_range", "batch_size", "training"]  # `training`: the settings without steps and evaluations
TRAINING = [*SETTING, *ARM, *FINER]  # equal for cells that may differ in rate, length, seed, condition, and precision
NEVER_TRIED, NOT_DONE, FAILED, CONVERGED = "no rate tried", "not done", "did not converge", "converged"
UNFINISHED = ("pending", "interrupted")


class Neighbour(NamedTuple):
    """The next rate below or above the best one.

    Attributes:
        lr: the rate; None if none was tried.
        state: `CONVERGED` if all its seeds are done; `FAILED` if some diverged or crashed; `NOT_DONE`; `NEVER_TRIED`.
        behind: how far it is behind the best rate, paired by tuning seed, positive if the best is better; None unless
            it converged. Both neighbours' intervals hold together at 95 %.
    """

    lr: float | None
    state: str
    behind: PairedComparison | None = None


def target_label(task: str, metric: str) -> str:
    """The label of the metric that rates of a task were tuned by."""
    target = TARGETS[task]
    return target.label if metric == target.metric else f"{target.fallback_label} from the test images"


def with_training(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells with the columns `training` and `planned_steps`, read from their settings.

    `training` has the settings of the task, without what a rate may be tuned across or what changes no training.
    """
    parsed = {text: json.loads(text) for text in set(cells["settings"])}
    steps = {text: settings.pop("steps", 0) for text, settings in parsed.items()}
    for settings in parsed.values():
        settings.pop("evaluations", None)
    training = {text: json.dumps(settings, sort_keys=True) for text, settings in parsed.items()}
    return cells.assign(training=cells["settings"].map(training), planned_steps=cells["settings"].map(steps))


def tuned(run: Run) -> pd.DataFrame:
    """Every tuning cell with `value`, the last point of its curve (NaN if it is not done), and its `metric`."""
    cells = with_training(run.cells[run.cells["role"] == "tune"])
    if cells.empty:
        return cells.assign(value=np.nan, metric="")
    last = run.curves.sort_values("step", kind="stable").drop_duplicates(["cell_id", "metric"], keep="last")
    parts = []
    for (task, _), group in cells.groupby(["task", "dataset"]):
        target = TARGETS[task]
        names = (target.metric, *filter(None, [target.fallback]))
        values = {name: group["cell_id"].map(pick(last, metric=name).set_index("cell_id")["value"]) for name in names}
        chosen = next((name for name in names if values[name].notna().any()), target.metric)
        parts.append(group.assign(value=values[chosen].where(group["status"] == "done"), metric=chosen))
    return pd.concat(parts, ignore_index=True)


def scores(cells: pd.DataFrame) -> pd.DataFrame:
    """The score of each rate of an arm (tuning seeds, rates), larger is better; NaN unless all its cells are done.

    PSNR in dB; for distances and errors, minus the logarithm. A seed that trained under several conditions counts once,
    by its mean.
    """
    judged = JUDGED[cells["task"].iloc[0]]
    by_cell = cells.assign(score=judged.effect(cells["value"].astype(float)))
    return by_cell.groupby(["seed", "lr"])["score"].agg(lambda values: values.mean(skipna=False)).unstack("lr")


def _neighbour(cells: pd.DataFrame, by_rate: pd.DataFrame, best: float, step: int) -> Neighbour:
    """The neighbour of the best rate: `step` is -1 for the one below, 1 for the one above."""
    rates = list(by_rate.columns)
    position = rates.index(best) + step
    if not 0 <= position < len(rates):
        return Neighbour(None, NEVER_TRIED)
    lr = rates[position]
    if by_rate[lr].notna().all():
        behind = JUDGED[cells["task"].iloc[0]].compare(by_rate[best] - by_rate[lr], family_level(2))
        return Neighbour(lr, CONVERGED, behind)
    waits = pick(cells, lr=lr)["status"].isin(UNFINISHED).any()
    return Neighbour(lr, NOT_DONE if waits else FAILED)


def untuned(run: Run) -> tuple[str, tuple[str, ...]] | None:
    """What is reported without tuning cells (sentences), and the commands that would train such cells.

    None if every reported loss has tuning cells. The commands use the suites that come with the project; those may
    choose other rates than the ones reported.
    """
    places = {role: set(zip(cells["task"], cells["dataset"], strict=True)) for role, cells in run.cells.groupby("role")}
    tuned_places = places.get("tune", set())
    fixed = sorted(places.get("report", set()) - tuned_places, key=_registry_order)
    parts, commands = [], []
    if fixed:
        named = labels.listed([f"{labels.task_name(task)} on {dataset}" for task, dataset in fixed])
        parts.append(f"This run chooses no learning rate of {named}: they were fixed before it.")
    for task, dataset in sorted(places.get("report", set()) & tuned_places, key=_registry_order):
        cells = pick(run.cells, task=task, dataset=dataset)
        tuned_arms = labels.arms_of(pick(cells, role="tune"))
        missing = [arm for arm in labels.arms_of(pick(cells, role="report")) if arm not in tuned_arms]
        if missing:
            named = labels.listed([labels.arm_name(*arm) for arm in missing])
            parts.append(f"In {labels.task_name(task)} on {dataset} it tunes no rate of {named}.")
    for name, blocks in sorted(shipped_blocks().items()):
        grids = {(block["task"], block["dataset"]) for block in blocks if block.get("role") == "tune"}
        if tasks := sorted({task for task, dataset in fixed if (task, dataset) in grids}):
            commands.append(f"python -m bench run {name} --only 'role=tune,task={'|'.join(tasks)}'")
    return (" ".join(parts), tuple(commands)) if parts else None


def asides(run: Run) -> list[str]:
    """What one must know of the metrics that the run's rates were tuned by, a sentence for each task that needs one."""
    cells = tuned(run)
    tasks = {task for task, metric in zip(cells["task"], cells["metric"], strict=True) if _is_special(task, metric)}
    return [TARGETS[task].aside for task in TARGETS if task in tasks and TARGETS[task].aside]


def _is_special(task: str, metric: str) -> bool:
    return TARGETS[task].fallback is None or metric == TARGETS[task].fallback


def _registry_order(task_and_dataset: tuple[str, str]) -> tuple[int, str]:
    return list(TARGETS).index(task_and_dataset[0]), task_and_dataset[1]


COLUMNS = [
    *TRAINING,
    *("planned_steps", "lr", "value", "metric", "seeds", "conditions", "complete"),
    *("below", "above", "on_edge", "reported", "scores"),
]


def best_rates(run: Run) -> pd.DataFrame:
    """The best learning rate of each arm on validation data, with the rates of its reported cells; a row per arm.

    Columns: those that identify the arm (`TRAINING`, `planned_steps`); `lr`, the best rate; `value`, its mean over
    tuning seeds (for distances and errors the geometric mean); `metric`; `seeds`, how many decide; `conditions`, on
    which targets, in words; `complete`, whether every tuning cell of the arm is done or failed; `below` and `above`,
    its two `Neighbour`s; `on_edge`, whether one of them did not converge; `reported`, the rates of the reported cells
    of that arm and length; and `scores`.
    """
    report = with_training(run.cells[run.cells["role"] == "report"])
    rows = []
    for key, cells in tuned(run).groupby([*TRAINING, "planned_steps"], dropna=False):
        arm = dict(zip([*TRAINING, "planned_steps"], key, strict=True))
        by_rate = scores(cells)
        means = by_rate.mean(skipna=False).dropna()
        if means.empty:
            continue
        best = float(means.idxmax())
        below, above = (_neighbour(cells, by_rate, best, step) for step in (-1, 1))
        mean = means[best]
        rows.append(
            arm
            | {
                "lr": best,
                "value": mean if TARGETS[arm["task"]].larger else float(np.exp(-mean)),
                "metric": cells["metric"].iloc[0],
                "seeds": len(by_rate),
                "conditions": labels.listed([labels.condition_name(*one) for one in labels.conditions_of(cells)]),
                "complete": not bool(cells["status"].isin(UNFINISHED).any()),
                "below": below,
                "above": above,
                "on_edge": not below.state == above.state == CONVERGED,
                "reported": sorted(set(pick(report, **arm)["lr"])),
                "scores": by_rate,
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)  # even without rows


def schedules(run: Run) -> pd.DataFrame:
    """Reported super-resolution on clean targets, pixels in [0, 1], for arms that were trained under both schedules.

    The main setting of each schedule, in one precision (fp32 if both schedules have it), one cell per seed.
    """
    clean = run.cells[(run.cells["task"] == "sr") & (run.cells["outlier"] == CLEAN) & (run.cells["value_range"] == 1)]
    parts = [main_cells(group) for _, group in clean.groupby(["optimizer", "schedule", "precision"])]
    cells = pd.concat(parts) if parts else clean
    arm = ["dataset", "scale", "loss", "head", "optimizer"]
    cells = cells[cells.groupby([*arm, "precision"])["schedule"].transform("nunique") > 1]
    kept = cells.groupby(arm)["precision"].transform("max")  # "fp32" comes after "bf16"
    return pick(cells[cells["precision"] == kept], status="done")
