"""How good is bicubic upscaling, and how good a trained cell, on a folder of images? The table that papers print.

Protocol of science.md section 7: sides cut to a multiple of the scale, MATLAB's bicubic kernel, 8-bit rounding, `scale`
pixels cropped from each border, PSNR on Y of BT.601. Images are measured whole, one by one.
"""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from bench.store import StoreError
from bench.store.csv_format import csv_text
from bench.store.reader import Run, load
from bench.store.validation import CELL_ID, clipped
from bench.store.weights import FOLDER, MOST_BYTES, restore
from ganlab import metrics
from ganlab.datasets import DataMissing
from ganlab.datasets.folders import label, listed, scan
from ganlab.datasets.images import Unreadable, read_rgb, size_of, tensor_of
from ganlab.losses import Head, predict
from ganlab.networks import build_super_resolver, downscale, upscale, user_network
from ganlab.tasks.patches import fit
from ganlab.tasks.reconstruction import eight_bit
from ganlab.tasks.super_resolution import Settings, SuperResolution

DEFAULT_SCALE = 2
SMALLEST = 11  # pixels that are left of each side after the crop: the window of SSIM
MOST_PIXELS = 8_000_000  # of a test image: a network of 48 channels takes 0.4 GB for each tensor on the way
MOST_BLOCKS = 1000
SCORES = ("psnr_y_db", "psnr_db", "ssim")
CELLS_NAMED = 5
GREY_DB = 20 * math.log10(255 / 219)  # Y of BT.601 has 219 steps between black and white


@dataclass(frozen=True)
class Trained:
    """A cell's network with what is needed to use it.

    Attributes:
        name: the cell, as a person says it.
        network: low resolutions (n, 3, h, w) to logits.
        head: what makes predictions of logits.
        scale: the factor it was trained for.
    """

    name: str
    network: nn.Module
    head: Head
    scale: int

    @torch.inference_mode()
    def __call__(self, low: Tensor) -> Tensor:
        """The prediction (3, scale h, scale w) for a low resolution (3, h, w), 8-bit values."""
        return eight_bit(predict(self.network(low[None]).float(), self.head)[0])


@dataclass
class EvaluationTable:
    """The scores of every image.

    Attributes:
        scale: the factor.
        rows: a dictionary for each image: its name and size, and the scores of bicubic and of the cell.
        skipped: files that were not measured, and why.
        trained: the cell's name; "" where none was asked for.
        grey: how many images have three equal channels.
    """

    scale: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    trained: str = ""
    grey: int = 0

    @property
    def columns(self) -> list[str]:
        """Of the table: what a row has."""
        scored = [f"bicubic_{score}" for score in SCORES] + (list(SCORES) if self.trained else [])
        return ["image", "height", "width", "scale", *scored]

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each image."""
        return pd.DataFrame(self.rows, columns=self.columns)

    def means(self) -> dict[str, Any]:
        """The last row: every image counts alike, whatever its size."""
        return {"image": "mean", "scale": self.scale} | {
            column: float(np.mean([row[column] for row in self.rows])) for column in self.columns[4:]
        }

    def csv(self) -> str:
        """The table as CSV, the means last."""
        return csv_text(self.columns, [*self.rows, self.means()])

    def lines(self) -> Iterator[str]:
        """The table as a terminal shows it, the means last."""
        shown = [*self.rows, self.means()]
        width = max(len(row["image"]) for row in shown)
        heads = ["bicubic: PSNR Y", "RGB", "SSIM"]
        heads += ["trained: PSNR Y", "RGB", "SSIM", "gain on Y"] if self.trained else []
        yield f"{'image':{width}}  " + "  ".join(f"{head:>7}" for head in heads)
        for row in shown:
            values = [f"{row[column]:.{4 if column.endswith('ssim') else 2}f}" for column in self.columns[4:]]
            if self.trained:
                values.append(f"{row['psnr_y_db'] - row['bicubic_psnr_y_db']:+.2f}")
            yield f"{row['image']:{width}}  " + "  ".join(
                f"{value:>{max(7, len(head))}}" for value, head in zip(values, heads, strict=True)
            )
        yield f"x{self.scale}, {len(self.rows)} images; PSNR in dB, {self.scale} pixels cropped from each border" + (
            f"; trained: {self.trained}" if self.trained else ""
        )
        if self.grey:
            yield f"{self.grey} are grey: papers that take grey values for Y state {GREY_DB:.2f} dB less for them"


def evaluate(folder: Path, scale: int, trained: Trained | None = None) -> EvaluationTable:
    """Score bicubic upscaling, and a trained network, on every image of a folder.

    Raises:
        DataMissing: no folder, or no image in it that can be measured.
    """
    if not folder.is_dir():
        raise DataMissing(f"--test {str(folder)!r}: there is no such folder")
    found = scan(folder)
    table = EvaluationTable(scale, trained=trained.name if trained else "")

    def whole(path: Path) -> Tensor:
        height, width = size_of(path)
        if height * width > MOST_PIXELS:
            raise Unreadable(f"{width} x {height} pixels, more than {MOST_PIXELS // 10**6} million: cut it")
        if min(height, width) // scale * scale - 2 * scale < SMALLEST:
            raise Unreadable(
                f"{width} x {height} pixels, at least {SMALLEST + 3 * scale} x {SMALLEST + 3 * scale} are needed"
            )
        return tensor_of(read_rgb(path))

    names: set[str] = set()
    for file, image in found.each(found.names, whole):
        name = label(file, names)
        names.add(name)
        table.rows.append({"image": name, **scores(image, scale, trained)})
        table.grey += bool((image == image[:1]).all())
    table.skipped = found.skipped
    if not table.rows:
        why = f" ({listed(found.skipped)})" if found.skipped else ""
        raise DataMissing(f"--test {folder}: no image that can be measured{why}")
    return table


def scores(image: Tensor, scale: int, trained: Trained | None = None) -> dict[str, Any]:
    """The row of one image (3, height, width) in [0, 1]."""
    target = fit(image, scale)
    low = downscale(target, scale)
    row: dict[str, Any] = {"height": image.shape[1], "width": image.shape[2], "scale": scale}
    row |= compared("bicubic_", eight_bit(upscale(low[None], scale)[0]), target, scale)
    return row | (compared("", trained(low), target, scale) if trained else {})


def compared(prefix: str, prediction: Tensor, target: Tensor, border: int) -> dict[str, float]:
    """The scores of a prediction, `border` pixels cropped from each side."""
    p, t = (metrics.crop_border(image, border) for image in (prediction, target))
    y = [metrics.luma(image) for image in (p, t)]
    found = (metrics.psnr_db(*y), metrics.psnr_db(p, t), metrics.ssim(*y))
    return {f"{prefix}{score}": value for score, value in zip(SCORES, found, strict=True)}


def trained_cell(where: str, scale: int | None = None, network: str | None = None) -> Trained:
    """The network of a super-resolution cell, from its run directory, which may be untrusted.

    Args:
        where: RUN/CELL_ID or RUN:CELL_ID.
        scale: the factor wanted; None is the cell's.
        network: the user's own network it was trained with. Code is never run because a run directory says so.

    Raises:
        StoreError: no such cell, none of super-resolution at this scale with weights, or files that cannot be trusted.
    """
    if os.path.lexists(os.path.join(where, "manifest.json")):
        raise StoreError(
            f"--cell {clipped(where)}: name one of its cells, as {clipped(where.rstrip('/'))}/CELL_ID; "
            f"{offered(load(where))}"
        )
    place = max(where.rfind("/"), where.rfind(":"))
    run, cell_id = load(where[: max(place, 0)] or "."), where[place + 1 :]
    rows = run.cells[run.cells["cell_id"] == cell_id]
    if not CELL_ID.fullmatch(cell_id) or rows.empty:
        raise StoreError(f"--cell {clipped(where)}: {run.path} has no cell {clipped(cell_id)!r}; {offered(run)}")
    row = rows.iloc[0]
    if row["task"] != SuperResolution.name or row["status"] != "done":
        raise StoreError(
            f"--cell {clipped(where)}: a cell of task {row['task']} that is {row['status']}; "
            f"name a finished one of task {SuperResolution.name}; {offered(run)}"
        )
    if scale not in (None, row["scale"]):
        raise StoreError(
            f"--scale {scale}: cell {cell_id} was trained for x{row['scale']:.0f}; leave --scale out, "
            "or name a cell of that scale"
        )
    built = network_of(row, network)
    restore(built, run.path / FOLDER / f"{cell_id}.npz", (run.manifest.get("weights") or {}).get(cell_id))
    return Trained(in_words(row), built.eval(), row["head"], int(row["scale"]))


def network_of(row: pd.Series, reference: str | None) -> nn.Module:
    """The untrained network of a cell.

    Raises:
        StoreError: settings that are none, a network too large, or one of the user's own that was not named.
    """
    head, scale, seed = row["head"], row["scale"], row["seed"]
    try:
        found = json.loads(row["settings"])
        settings = Settings(**{key: found[key] for key in Settings.model_fields if key in found})
    except (ValueError, TypeError, RecursionError, ValidationError):
        settings = None
    if settings is None or head not in ("sigmoid", "raw") or scale not in (2, 3, 4) or not seed < 2**53:
        raise StoreError(f"cell {row['cell_id']}: its settings are none of a super-resolution cell")
    if settings.network != reference:
        theirs, remedy = "the shipped network", "leave --network out"
        if settings.network:
            theirs = f"a user's own network, {clipped(settings.network)!r}"
            remedy = "where you trust that code, name it with --network"
        raise StoreError(f"cell {row['cell_id']} was trained with {theirs}; {remedy}")
    sizes = {"channels": settings.channels, "blocks": settings.blocks, "scale": int(scale), "head": head}
    if reference:
        side, large = settings.patch, int(scale) * settings.patch
        own = user_network(
            reference, SuperResolution.role, (2, 3, side, side), (2, 3, large, large), int(seed), **sizes
        )
        if own is not None:
            return own
    kernels = math.prod((settings.channels, settings.channels, max(1, 2 * settings.blocks)))
    if settings.blocks > MOST_BLOCKS or 9 * 4 * kernels > MOST_BYTES:
        raise StoreError(
            f"cell {row['cell_id']}: {settings.blocks} blocks of {settings.channels} channels are "
            "larger than any network of which weights are kept"
        )
    return build_super_resolver(**sizes, seed=int(seed))


def in_words(row: pd.Series) -> str:
    """A cell, as a person says it."""
    condition = row["outlier"] if row["rate"] == 0 else f"{row['outlier']} {row['rate']:g}"
    return f"{row['loss']} {row['head']}, {condition} targets, on {row['dataset']} (seed {row['seed']:.0f})"


def offered(run: Run) -> str:
    """The cells of a run that can be evaluated, for the end of a message."""
    cells = run.cells[run.cells["cell_id"].isin(run.manifest.get("weights") or {})]
    cells = cells[(cells["task"] == SuperResolution.name) & (cells["status"] == "done")]
    named = [f"{row['cell_id']} ({in_words(row)})" for _, row in cells.head(CELLS_NAMED).iterrows()]
    more = [f"and {len(cells) - len(named)} more"] if len(cells) > len(named) else []
    return f"it has weights of {', '.join([*named, *more])}" if named else "it has no weights of such a cell"
