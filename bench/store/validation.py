"""Can these rows and this manifest be what a run has written? A run directory may come from a stranger.

What is read is checked here once, so that statistics, figures, and report need not doubt it: every number is finite and
in the range of its quantity, every name is short and printable, every row has its cell. Texts are free (a reason, a
title): whoever prints them escapes them.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ganlab.datasets import folders

STATUSES = ("done", "diverged", "oom", "timeout", "crashed", "skipped", "interrupted", "pending")
ROLES = ("tune", "report", "reference")
STEP = "step"  # the phase of timing.csv that is the whole step
LARGEST = 1e100  # beyond any square of a 32-bit float, and still with a square of its own
LONGEST_NAME, LONGEST_TEXT, LONGEST_SHOWN = 200, 10_000, 300  # letters
FOLDER = folders.PREFIX  # a data set that is a folder of the user's
LONGEST_PLACE = folders.LONGEST_DATASET + 100  # with what it is read as, in brackets, where it is read as several kinds
CELL_ID = re.compile(r"[A-Za-z0-9][\w-]{0,63}", re.ASCII)  # names a file; ours are twelve hex digits


class Bounds(NamedTuple):
    """The range of a quantity."""

    low: float = -LARGEST
    high: float = LARGEST
    whole: bool = False


SHARE, FLAG, COUNT = Bounds(0, 1), Bounds(0, 1, whole=True), Bounds(0, 2**53, whole=True)
AMOUNT, DECIBELS = Bounds(0), Bounds(0, 100)
BOUNDS: dict[str, Bounds] = {  # of columns and of metrics on curves; whatever else is a number is finite
    **dict.fromkeys(("rate", "mae", "coverage", "outlier_share", "bad_pixels"), SHARE),
    **dict.fromkeys(("redraw", "dead_discriminator", "procedure_ok"), FLAG),
    **dict.fromkeys(("seed", "attempts", "steps", "step", "round", "batch_size"), COUNT),
    **dict.fromkeys(("cells_sharing_device", "classes"), COUNT),
    **dict.fromkeys(("psnr_db", "psnr_y_db", "val_psnr_db", "val_psnr_y_db"), DECIBELS),
    **dict.fromkeys(("bicubic_psnr_y_db", "baseline_psnr_db", "baseline_psnr_y_db"), DECIBELS),
    **dict.fromkeys(("train_s", "eval_s", "images_per_s", "peak_memory_mib", "ms"), AMOUNT),
    **dict.fromkeys(("bias_mse", "pull_mse", "pull_mse_y", "clipping_mse", "clipping_mse_y", "wobble_db"), AMOUNT),
    **dict.fromkeys(("frechet", "frechet_floor", "density"), AMOUNT),
    **dict.fromkeys(("location_error", "median_error", "mean_error", "oracle_error", "disparity_error_px"), AMOUNT),
    "ssim": Bounds(-1, 1),
    **dict.fromkeys(("lr", "scale", "value_range"), Bounds(math.ulp(0.0))),
}
REQUIRED: dict[str, tuple[str, ...]] = {  # columns that are empty in no row
    "cells": (
        *("cell_id", "role", "task", "dataset", "loss", "head", "outlier", "rate", "schedule", "optimizer", "lr"),
        *("seed", "batch_size", "precision", "status", "settings"),
    ),
    "images": ("cell_id", "image"),
    "curves": ("cell_id", "step", "metric", "value"),
    "timing": ("task", "dataset", "loss", "head", "device", "phase", "round", "ms"),
}
KEYS: dict[str, list[str]] = {  # what no two rows share
    "cells": ["cell_id"],
    "images": ["cell_id", "image"],
    "curves": ["cell_id", "step", "metric"],
    "timing": ["task", "dataset", "loss", "head", "device", "phase", "round"],
}


class Invalid(Exception):
    """Content that no run has written; the message says in one line where, and what was found."""


def shown(value: object) -> str:
    """A stranger's value in a message.

    >>> shown("a\\x1b[2J"), shown(10**5000)
    ("'a\\\\x1b[2J'", 'a very long number')
    """
    try:
        return clipped(ascii(value))
    except (ValueError, RecursionError):  # Python refuses to print integers of thousands of digits
        return "a very long number" if isinstance(value, int) else "something that cannot be printed"


def clipped(text: str, letters: int = LONGEST_SHOWN) -> str:
    """A stranger's text in a message: short, on one line, and nothing that a terminal would act on.

    >>> clipped("a\\x1b[2J"), clipped("too long", 4)
    ('a\\\\x1b[2J', 'too ...')
    """
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[: letters + 1])
    return line if len(text) <= letters else f"{line[:letters]}..."


def is_name(text: str) -> bool:
    """Whether a text can name a loss, a data set, a metric: short, printable, and no mathematics to matplotlib."""
    return 0 < len(text) <= LONGEST_NAME and text.isprintable() and "$" not in text


def is_dataset(text: str) -> bool:
    """Whether a text can name a data set: a name, or a folder (or two) of the user's, whose path may be longer.

    >>> is_dataset("photographs"), is_dataset("folder:/home/me/100 $ photos"), is_dataset("100 $ photos")
    (True, True, False)
    """
    return is_name(text) or (text.startswith(FOLDER) and len(text) <= LONGEST_PLACE and text.isprintable())


def check_table(name: str, table: pd.DataFrame) -> None:
    """Whether each row of a table can be true by itself: names, ranges, no empty key, no row twice.

    Raises:
        Invalid: the first row that cannot.
    """
    _check_numbers(table.select_dtypes("number"), REQUIRED[name])
    for column in table.columns.difference((*table.select_dtypes("number"), "cell_id", "reason", "settings")):
        _check_names(column, table[column], column in REQUIRED[name])
    for cell_id in table["cell_id"].unique() if "cell_id" in table else ():
        if not CELL_ID.fullmatch(cell_id):
            raise Invalid(f"{shown(cell_id)} is no cell_id")
    twice = table.duplicated(KEYS[name])
    if twice.any():
        key = ", ".join(shown(value) for value in table.loc[twice.idxmax(), KEYS[name]])
        raise Invalid(f"row {twice.idxmax() + 2} repeats {key}")


def _check_numbers(table: pd.DataFrame, required: Sequence[str]) -> None:
    values = table.to_numpy(float)
    low, high, whole = map(np.array, zip(*(BOUNDS.get(column, Bounds()) for column in table), strict=True))
    fine = (values >= low) & (values <= high) & (~whole | (np.trunc(values) == values))
    fine |= np.isnan(values) & ~table.columns.isin(required)
    if not fine.all():
        row, column = np.argwhere(~fine)[0]
        kind = "a whole number" if whole[column] else "a number"
        raise Invalid(
            f"row {row + 2}: {table.columns[column]} is {values[row, column]:g}, "
            f"not {kind} from {low[column]:g} to {high[column]:g}"
        )


def _check_names(column: str, values: pd.Series, required: bool) -> None:
    among = {"status": STATUSES, "role": ROLES}.get(column)
    fits = is_dataset if column == "dataset" else is_name
    for value in values.unique():
        if (among and value not in among) or not (fits(value) or (value == "" and not required)):
            kind = f"one of {', '.join(among)}" if among else f"1 to {LONGEST_NAME} printable characters without $"
            raise Invalid(f"row {(values == value).idxmax() + 2}: {column} is {shown(value)}, not {kind}")


def check_run(manifest: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], readouts: list[str]) -> None:
    """Whether manifest and tables, each valid by itself, can be of one run.

    Args:
        readouts: the columns of `cells` that only a finished cell fills.

    Raises:
        Invalid: the first contradiction.
    """
    cells = tables["cells"]
    done = cells["status"] == "done"
    early = cells.loc[~done, readouts].notna().any(axis=1)
    if early.any():
        raise Invalid(f"cells.csv: row {early.idxmax() + 2} has read-outs, but its cell is not done")
    for settings in cells["settings"].unique():
        _check_settings(settings)
    for name, known in (("images", cells.loc[done, "cell_id"]), ("curves", cells["cell_id"])):
        foreign = ~tables[name]["cell_id"].isin(known)
        if foreign.any():
            row, whose = foreign.idxmax(), tables[name].loc[foreign.idxmax(), "cell_id"]
            state = "is not done" if (cells["cell_id"] == whose).any() else "is not in cells.csv"
            raise Invalid(f"{name}.csv: row {row + 2} is of cell {whose}, which {state}")
    for metric, points in tables["curves"].groupby("metric")["value"]:
        low, high, _ = BOUNDS.get(metric, Bounds())
        if not points.between(low, high).all():
            raise Invalid(f"curves.csv: {metric} leaves {low:g} to {high:g}")
    timing, step = tables["timing"], [key for key in KEYS["timing"] if key != "phase"]
    whole = (timing["phase"] == STEP).groupby([timing[key] for key in step]).transform("any")
    if not whole.all():
        raise Invalid(f"timing.csv: row {whole.idxmin() + 2} is a phase of a step that was not timed whole")
    tasks = dict(zip(cells["cell_id"], cells["task"], strict=True))
    for cell_id, layout in (manifest.get("samples") or {}).items():
        if tasks.get(cell_id) != layout["kind"]:
            raise Invalid(f"manifest.json: {cell_id} has a picture of {layout['kind']}, but is no cell of that task")


def _check_settings(text: str) -> None:
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise Invalid(f"cells.csv: settings are {shown(text)}, not a JSON object")
