"""Which names, numbers, and texts are valid in a run directory or a suite? Both may be untrusted.

Texts (a reason, a title) may hold any characters: the code that prints them escapes them. `table_checks` applies
these rules to whole tables, `manifest` and `records` to JSON.
"""

import math
import re
from typing import Literal, NamedTuple, get_args

from ganlab.datasets import folders

Status = Literal["done", "diverged", "oom", "timeout", "crashed", "skipped", "interrupted", "pending"]
STATUSES: tuple[str, ...] = get_args(Status)
ROLES = ("tune", "report", "reference")
CHOICES = {"status": STATUSES, "role": ROLES}  # the allowed values of these columns
STEP = "step"  # the phase in timing.csv that stands for the whole step
LARGEST = 1e100  # more than any square of a 32-bit float, and its own square is still finite
LONGEST_NAME, LONGEST_TEXT, LONGEST_SHOWN = 200, 10_000, 300  # characters
FOLDER = folders.PREFIX  # prefix of a data set's name that is a folder of the user
LONGEST_DATASET = folders.LONGEST_DATASET + 100  # a folder's path, and its kind in brackets if it has several
CELL_ID = re.compile(r"[A-Za-z0-9][\w-]{0,63}", re.ASCII)  # names a file; ours are twelve hex digits


class Bounds(NamedTuple):
    """The range of a quantity, both ends included.

    >>> Bounds(0, 1).hold(1), Bounds(0, 1).hold(1.5), Bounds(0, 1, whole=True).hold(0.5)
    (True, False, False)
    """

    low: float = -LARGEST
    high: float = LARGEST
    whole: bool = False

    def hold(self, value: float) -> bool:
        """Whether a value lies within the bounds."""
        return self.low <= value <= self.high and (not self.whole or value == math.trunc(value))


SHARE, FLAG, COUNT = Bounds(0, 1), Bounds(0, 1, whole=True), Bounds(0, 2**53, whole=True)
AMOUNT, DECIBELS = Bounds(0), Bounds(0, 100)
BOUNDS: dict[str, Bounds] = {  # of columns and curve metrics; any other number must be finite
    **dict.fromkeys(("rate", "mae", "coverage", "outlier_share", "bad_pixels"), SHARE),
    **dict.fromkeys(("redraw", "expected", "dead_discriminator", "procedure_ok"), FLAG),
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
REQUIRED: dict[str, tuple[str, ...]] = {  # columns that no row leaves empty
    "cells": (
        *("cell_id", "role", "task", "dataset", "loss", "head", "outlier", "rate", "schedule", "optimizer", "lr"),
        *("seed", "batch_size", "precision", "status", "settings"),
    ),
    "images": ("cell_id", "image"),
    "curves": ("cell_id", "step", "metric", "value"),
    "timing": ("task", "dataset", "loss", "head", "device", "phase", "round", "ms"),
}
KEYS: dict[str, list[str]] = {  # the unique key of a table's rows
    "cells": ["cell_id"],
    "images": ["cell_id", "image"],
    "curves": ["cell_id", "step", "metric"],
    "timing": ["task", "dataset", "loss", "head", "device", "phase", "round"],
}


class Invalid(Exception):
    """Invalid content; the message is one line that says where and what."""


def shown(value: object) -> str:
    """An untrusted value in a message.

    >>> shown("a\\x1b[2J"), shown(10**5000)
    ("'a\\\\x1b[2J'", 'a very long number')
    """
    try:
        return clipped(ascii(value))
    except (ValueError, RecursionError):  # Python refuses to print integers of thousands of digits
        return "a very long number" if isinstance(value, int) else "something that cannot be printed"


def clipped(text: str, length: int = LONGEST_SHOWN) -> str:
    """An untrusted text in a message: short, on one line, and without control characters for the terminal.

    >>> clipped("a\\x1b[2J"), clipped("too long", 4)
    ('a\\\\x1b[2J', 'too ...')
    """
    line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:length])
    return line if len(text) <= length else f"{line[:length]}..."


def is_name(text: str) -> bool:
    """Whether a text can name a loss, a data set, a metric: short, printable, no $ (a formula in matplotlib)."""
    return 0 < len(text) <= LONGEST_NAME and text.isprintable() and "$" not in text


def is_dataset(text: str) -> bool:
    """Whether a text can name a data set: a name, or one or two folders of the user, which may have longer paths.

    >>> is_dataset("photographs"), is_dataset("folder:/home/me/100 $ photos"), is_dataset("100 $ photos")
    (True, True, False)
    """
    return is_name(text) or (text.startswith(FOLDER) and len(text) <= LONGEST_DATASET and text.isprintable())


def name_fits(column: str, text: str) -> bool:
    """Whether a text is valid in a column of names."""
    if column in CHOICES:
        return text in CHOICES[column]
    return is_dataset(text) if column == "dataset" else is_name(text)


def expected_name(column: str) -> str:
    """The allowed values of a column of names, for a message."""
    if column in CHOICES:
        return f"one of {', '.join(CHOICES[column])}"
    return f"1 to {LONGEST_NAME} printable characters without $"
