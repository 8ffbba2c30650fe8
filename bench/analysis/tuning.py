"""Which learning rate is best for each loss, and what does decay gain? From the cells of role `tune`."""

from typing import NamedTuple

import pandas as pd

from bench.analysis import labels
from bench.analysis.summary import main_cells, pick
from bench.plan.reading import shipped_blocks
from bench.store.reader import Run
from ganlab.outliers import CLEAN


class Target(NamedTuple):
    """The metric that tuning uses: its name in curves.csv, its label, and whether larger is better."""

    metric: str
    label: str
    larger: bool


TARGETS = {
    "sr": Target("val_psnr_y_db", "validation PSNR on Y (dB)", True),
    "depth": Target("val_psnr_db", "validation PSNR of disparity (dB)", True),
    "interpolation": Target("val_psnr_y_db", "validation PSNR on Y (dB)", True),
    "restoration": Target("val_psnr_y_db", "validation PSNR on Y (dB)", True),
    "gan": Target("frechet", "Fréchet distance", False),
    "location": Target("location_error", "location error", False),
}
SETTING = ["task", "dataset", "optimizer"]
ARM = ["loss", "head", "schedule"]


def tuned(run: Run) -> pd.DataFrame:
    """Every tuning cell with `value`, the last point of its curve (NaN if it is not done)."""
    cells = run.cells[run.cells["role"] == "tune"]
    last = run.curves.sort_values("step", kind="stable").drop_duplicates(["cell_id", "metric"], keep="last")
    parts = []
    for task, target in TARGETS.items():
        values = pick(last, metric=target.metric).set_index("cell_id")["value"]
        task_cells = pick(cells, task=task)
        parts.append(task_cells.assign(value=task_cells["cell_id"].map(values).where(task_cells["status"] == "done")))
    return pd.concat(parts, ignore_index=True)


def untuned(run: Run) -> tuple[str, tuple[str, ...]] | None:
    """Reported tasks and data sets without tuning cells (a sentence), and the commands that would train such cells.

    None if every reported task and data set has tuning cells. The commands use the suites that come with the project;
    those may choose other rates than the ones reported.
    """
    places = {role: set(zip(cells["task"], cells["dataset"], strict=True)) for role, cells in run.cells.groupby("role")}
    fixed = sorted(places.get("report", set()) - places.get("tune", set()), key=_registry_order)
    if not fixed:
        return None
    named = labels.listed([f"{labels.task_name(task)} on {dataset}" for task, dataset in fixed])
    commands = []
    for name, blocks in sorted(shipped_blocks().items()):
        grids = {(block["task"], block["dataset"]) for block in blocks if block.get("role") == "tune"}
        if tasks := sorted({task for task, dataset in fixed if (task, dataset) in grids}):
            commands.append(f"python -m bench run {name} --only 'role=tune,task={'|'.join(tasks)}'")
    return f"This run chooses no learning rate of {named}: they were fixed before it.", tuple(commands)


def _registry_order(task_and_dataset: tuple[str, str]) -> tuple[int, str]:
    return list(TARGETS).index(task_and_dataset[0]), task_and_dataset[1]


def best_rates(run: Run) -> pd.DataFrame:
    """The best learning rate of each loss, head, schedule, and optimizer on validation data, with the reported rates.

    Columns: those that identify the arm; `lr`, the best rate; `value`, its mean over tuning seeds; `on_edge`, whether
    it is the smallest or largest of its grid; `reported`, the rates of the reported cells of that arm.
    """
    rows = []
    for key, arm_cells in tuned(run).groupby([*SETTING, *ARM]):
        target = TARGETS[key[0]]
        means = arm_cells.groupby("lr")["value"].agg(lambda values: values.mean(skipna=False)).dropna()
        if len(means):
            best = means.idxmax() if target.larger else means.idxmin()
            where = dict(zip([*SETTING, *ARM], key, strict=True))
            grid = sorted(set(arm_cells["lr"]))
            same_unit = run.cells[run.cells["value_range"].isin(arm_cells["value_range"])]
            reported = sorted(set(pick(same_unit, role="report", **where)["lr"]))
            on_edge = len(grid) > 1 and best in (grid[0], grid[-1])
            rows.append(where | {"lr": best, "value": means[best], "on_edge": on_edge, "reported": reported})
    return pd.DataFrame(rows, columns=[*SETTING, *ARM, "lr", "value", "on_edge", "reported"])  # even without rows


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
