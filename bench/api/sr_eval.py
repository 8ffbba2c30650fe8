"""How good are bicubic upscaling and a trained cell on a folder of images, measured as in papers?

Protocol of science.md section 7: sides cut to a multiple of the scale, MATLAB's bicubic kernel, 8-bit rounding, `scale`
pixels cropped from each border, PSNR on Y of BT.601. Each image is measured as a whole.
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
SMALLEST = 11  # shortest side after the crop, in pixels: the window of SSIM
MOST_PIXELS = 8_000_000  # largest test image: a network of 48 channels takes 0.4 GB for each intermediate tensor
MOST_BLOCKS = 1000
SCORES = ("psnr_y_db", "psnr_db", "ssim")
CELLS_NAMED = 5
GREY_DB = 20 * math.log10(255 / 219)  # Y of BT.601 has 219 steps between black and white


@dataclass(frozen=True)
class Trained:
    """The network of a cell.

    Attributes:
        name: description of the cell, for the table.
        network: maps low resolutions (n, 3, h, w) to outputs.
        head: maps outputs to predictions.
        scale: the factor that it was trained for.
    """

    name: str
    network: nn.Module
    head: Head
    scale: int

    @torch.inference_mode()
    def __call__(self, low: Tensor) -> Tensor:
        """The prediction (3, scale h, scale w) for a low resolution (3, h, w), rounded to 8 bits."""
        return eight_bit(predict(self.network(low[None]).float(), self.head)[0])


@dataclass
class EvaluationTable:
    """The scores of every image.

    Attributes:
        scale: the factor.
        rows: a dictionary for each image: its name and size, and the scores of bicubic and of the cell.
        skipped: files that were not measured, and the reasons.
        trained: the name of the cell; "" without a cell.
        grey: how many images have three equal channels.
    """

    scale: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    trained: str = ""
    grey: int = 0

    @property
    def columns(self) -> list[str]:
        """The columns of the table."""
        scored = [f"bicubic_{score}" for score in SCORES] + (list(SCORES) if self.trained else [])
        return ["image", "height", "width", "scale", *scored]

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each image."""
        return pd.DataFrame(self.rows, columns=self.columns)

    def means(self) -> dict[str, Any]:
        """The last row: every image has the same weight, whatever its size."""
        return {"image": "mean", "scale": self.scale} | {
            column: float(np.mean([row[column] for row in self.rows])) for column in self.columns[4:]
        }

    def csv(self) -> str:
        """The table as CSV, with the means at the end."""
        return csv_text(self.columns, [*self.rows, self.means()])

    def lines(self) -> Iterator[str]:
        """The table as lines for a terminal, with the means at the end."""
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
    """Score bicubic upscaling and a trained network on every image of a folder.

    Raises:
        DataMissing: the folder is missing or has no image that can be measured.
    """
    if not folder.is_dir():
        raise DataMissing(f"--test {str(folder)!r}: there is no such folder")
    files = scan(folder)
    table = EvaluationTable(scale, trained=trained.name if trained else "")

    def read_image(path: Path) -> Tensor:
        height, width = size_of(path)
        if height * width > MOST_PIXELS:
            raise Unreadable(f"{width} x {height} pixels, more than {MOST_PIXELS // 10**6} million: cut it")
        if min(height, width) // scale * scale - 2 * scale < SMALLEST:
            raise Unreadable(
                f"{width} x {height} pixels, at least {SMALLEST + 3 * scale} x {SMALLEST + 3 * scale} are needed"
            )
        return tensor_of(read_rgb(path))

    names: set[str] = set()
    for file, image in files.each(files.names, read_image):
        name = label(file, names)
        names.add(name)
        table.rows.append({"image": name, **scores(image, scale, trained)})
        table.grey += bool((image == image[:1]).all())
    table.skipped = files.skipped
    if not table.rows:
        reasons = f" ({listed(files.skipped)})" if files.skipped else ""
        raise DataMissing(f"--test {folder}: no image that can be measured{reasons}")
    return table


def scores(image: Tensor, scale: int, trained: Trained | None = None) -> dict[str, Any]:
    """The row of one image (3, height, width) in [0, 1]."""
    target = fit(image, scale)
    low = downscale(target, scale)
    row: dict[str, Any] = {"height": image.shape[1], "width": image.shape[2], "scale": scale}
    row |= prediction_scores("bicubic_", eight_bit(upscale(low[None], scale)[0]), target, scale)
    return row | (prediction_scores("", trained(low), target, scale) if trained else {})


def prediction_scores(prefix: str, prediction: Tensor, target: Tensor, border: int) -> dict[str, float]:
    """The scores of a prediction, with `border` pixels cropped from each side."""
    p, t = (metrics.crop_border(image, border) for image in (prediction, target))
    y = [metrics.luma(image) for image in (p, t)]
    values = (metrics.psnr_db(*y), metrics.psnr_db(p, t), metrics.ssim(*y))
    return {f"{prefix}{score}": value for score, value in zip(SCORES, values, strict=True)}


def trained_cell(where: str, scale: int | None = None, network: str | None = None) -> Trained:
    """The network of a super-resolution cell, from its run directory, which may be untrusted.

    Args:
        where: RUN/CELL_ID or RUN:CELL_ID.
        scale: the expected factor; None means the factor of the cell.
        network: the user's network that it was trained with. Code that only a run directory names is never run.

    Raises:
        StoreError: no such cell, not a super-resolution cell of this scale with weights, or invalid files.
    """
    if os.path.lexists(os.path.join(where, "manifest.json")):
        raise StoreError(
            f"--cell {clipped(where)}: name one of its cells, as {clipped(where.rstrip('/'))}/CELL_ID; "
            f"{usable_cells(load(where))}"
        )
    separator = max(where.rfind("/"), where.rfind(":"))
    run, cell_id = load(where[: max(separator, 0)] or "."), where[separator + 1 :]
    rows = run.cells[run.cells["cell_id"] == cell_id]
    if not CELL_ID.fullmatch(cell_id) or rows.empty:
        raise StoreError(f"--cell {clipped(where)}: {run.path} has no cell {clipped(cell_id)!r}; {usable_cells(run)}")
    row = rows.iloc[0]
    if row["task"] != SuperResolution.name or row["status"] != "done":
        raise StoreError(
            f"--cell {clipped(where)}: a cell of task {row['task']} that is {row['status']}; "
            f"name a finished one of task {SuperResolution.name}; {usable_cells(run)}"
        )
    if scale not in (None, row["scale"]):
        raise StoreError(
            f"--scale {scale}: cell {cell_id} was trained for x{row['scale']:.0f}; leave --scale out, "
            "or name a cell of that scale"
        )
    built = network_of(row, network)
    restore(built, run.path / FOLDER / f"{cell_id}.npz", (run.manifest.get("weights") or {}).get(cell_id))
    return Trained(cell_description(row), built.eval(), row["head"], int(row["scale"]))


def network_of(row: pd.Series, reference: str | None) -> nn.Module:
    """The untrained network of a cell.

    Raises:
        StoreError: invalid settings, a network that is too large, or a user's network that was not named.
    """
    head, scale, seed = row["head"], row["scale"], row["seed"]
    try:
        stored = json.loads(row["settings"])
        settings = Settings(**{key: stored[key] for key in Settings.model_fields if key in stored})
    except (ValueError, TypeError, RecursionError, ValidationError):
        settings = None
    if settings is None or head not in ("sigmoid", "raw") or scale not in (2, 3, 4) or not seed < 2**53:
        raise StoreError(f"cell {row['cell_id']}: its settings are none of a super-resolution cell")
    if settings.network != reference:
        trained_with, remedy = "the shipped network", "leave --network out"
        if settings.network:
            trained_with = f"a user's own network, {clipped(settings.network)!r}"
            remedy = "where you trust that code, name it with --network"
        raise StoreError(f"cell {row['cell_id']} was trained with {trained_with}; {remedy}")
    sizes = {"channels": settings.channels, "blocks": settings.blocks, "scale": int(scale), "head": head}
    if reference:
        side, large = settings.patch, int(scale) * settings.patch
        built = user_network(
            reference, SuperResolution.role, (2, 3, side, side), (2, 3, large, large), int(seed), **sizes
        )
        if built is not None:
            return built
    kernels = math.prod((settings.channels, settings.channels, max(1, 2 * settings.blocks)))
    if settings.blocks > MOST_BLOCKS or 9 * 4 * kernels > MOST_BYTES:
        raise StoreError(
            f"cell {row['cell_id']}: {settings.blocks} blocks of {settings.channels} channels are "
            "larger than any network of which weights are kept"
        )
    return build_super_resolver(**sizes, seed=int(seed))


def cell_description(row: pd.Series) -> str:
    """The description of a cell in a sentence."""
    condition = row["outlier"] if row["rate"] == 0 else f"{row['outlier']} {row['rate']:g}"
    return f"{row['loss']} {row['head']}, {condition} targets, on {row['dataset']} (seed {row['seed']:.0f})"


def usable_cells(run: Run) -> str:
    """The cells of a run that can be evaluated, for the end of a message."""
    cells = run.cells[run.cells["cell_id"].isin(run.manifest.get("weights") or {})]
    cells = cells[(cells["task"] == SuperResolution.name) & (cells["status"] == "done")]
    named = [f"{row['cell_id']} ({cell_description(row)})" for _, row in cells.head(CELLS_NAMED).iterrows()]
    more = [f"and {len(cells) - len(named)} more"] if len(cells) > len(named) else []
    return f"it has weights of {', '.join([*named, *more])}" if named else "it has no weights of such a cell"
