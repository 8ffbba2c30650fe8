"""Folders of pictures for tests, and a training on one of them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ganlab import datasets
from ganlab.datasets import Frames, Photographs
from ganlab.tasks import TASKS, Experiment
from ganlab.tasks.experiment import Readouts

DRAW = np.random.default_rng(0)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def noise(*shape: int) -> np.ndarray:
    return DRAW.integers(0, 256, shape, dtype=np.uint8)


def fill(folder: Path, names, height: int = 80, width: int = 72) -> None:
    """A different picture under each name."""
    for name in names:
        save(folder / name, noise(height, width, 3))


def photographs(path: Path | str) -> Photographs:
    return datasets.load(f"folder:{path}", Photographs)


def names_of(data: Photographs | Frames) -> dict[str, str]:
    return {name: part for part in ("train", "validation", "test") for name in getattr(data, part)}


def class_folder(root: Path, classes: dict[str, int]) -> None:
    """The given number of images of each class; the mean grey identifies the class."""
    for index, (name, count) in enumerate(classes.items()):
        for k in range(count):
            save(root / name / f"{k}.png", np.clip(noise(12, 16) // 8 + 60 * index, 0, 255).astype(np.uint8))


def train_on(path: Path | str, task: str, **settings) -> Readouts:
    """The read-outs of two training steps on one folder, or on two."""
    units = {"scale": TASKS[task].default_scale, "value_range": TASKS[task].default_value_range}
    experiment = Experiment(
        task=task,
        dataset=f"folder:{path}",
        loss="l1",
        lr=1e-3,
        seed=0,
        batch_size=4,
        steps=2,
        evaluations=1,
        settings=settings,
        **units,
    )
    training = TASKS[task](experiment, torch.device("cpu"))
    logged = torch.stack([training.step(index) for index in range(2)])
    training.evaluate(2, dict(zip(training.logged, logged.mean(0).tolist(), strict=True)))
    return training.conclude()
