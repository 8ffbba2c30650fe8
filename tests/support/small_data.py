"""Small cells of every task, on data so small that a whole training with its read-outs takes less than a second."""

import pytest
import torch

from bench.plan.cell import Cell
from bench.training.outcome import Outcome
from ganlab.datasets import Frames, GaussianSamples, Photographs, StereoScenes
from ganlab.tasks import depth, interpolation, location, reconstruction, restoration, super_resolution
from tests.conftest import TINY_GAN, TINY_SR

CPU = torch.device("cpu")
TINY_LOCATION = {
    "task": "location",
    "dataset": "gaussian",
    "optimizer": "sgd",
    "lr": 0.02,
    "batch_size": 100,
    "outlier": "far",
    "rate": 0.2,
    "settings": {"average_last": 0.8, "d_steps": 2},
}
TINY = {
    "sr": TINY_SR,
    "depth": TINY_SR | {"task": "depth", "dataset": "stereo", "scale": None},
    "interpolation": TINY_SR | {"task": "interpolation", "dataset": "motion", "scale": None},
    "restoration": TINY_SR | {"task": "restoration", "scale": None},
    "gan": TINY_GAN,
    "location": TINY_LOCATION,
}


def cell(task: str, **changes) -> Cell:
    """A cell of eight steps, evaluated after four and eight, with a picture."""
    shared = {"loss": "l1", "seed": 0, "steps": 8, "evaluations": 2, "shows_samples": True}
    return Cell(**TINY[task] | shared | changes)


def textures(count: int, side: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(count)
    return {f"{count}-{k}": torch.rand(3, side, side + 2 * k, generator=draw) for k in range(count)}


def scenes(count: int, side: int) -> dict[str, torch.Tensor]:
    """Views of noise; a tenth of the disparities, up to 20 px, is unknown."""
    draw, made = torch.Generator().manual_seed(count), {}
    for name, left in textures(count, side).items():
        disparity = 20 * torch.rand(left.shape[1:], generator=draw)
        disparity[torch.rand(left.shape[1:], generator=draw) < 0.1] = torch.nan
        made[name] = torch.cat([left, left.roll(-4, 2), disparity[None]])
    return made


def sequences(count: int, side: int) -> dict[str, torch.Tensor]:
    return {name: torch.stack([image, image.flip(1), image.flip(2)]) for name, image in textures(count, side).items()}


PHOTOGRAPHS = Photographs("photographs", textures(3, 40), textures(1, 32), textures(2, 66), ())
SCENES = {
    Photographs: PHOTOGRAPHS,
    StereoScenes: StereoScenes("stereo", scenes(3, 40), scenes(1, 32), scenes(2, 86), (), largest=20.0),
    Frames: Frames("motion", sequences(3, 40), sequences(1, 32), sequences(2, 66), ()),
}
SAMPLES = GaussianSamples(dimension=5, count=500)


def use_small_data(patch: pytest.MonkeyPatch) -> None:
    """Make reconstructions and location train on small data."""
    use_data(patch, SCENES)
    patch.setattr(location, "load", lambda name, kind=None: SAMPLES)


def use_data(patch: pytest.MonkeyPatch, data: dict[type, object]) -> None:
    """Make reconstructions train on the data of their kind, whatever its name."""
    for module in (reconstruction, super_resolution, depth, interpolation, restoration):
        patch.setattr(module, "load", lambda name, kind: data[kind])
        for name, function in vars(module).copy().items():
            if hasattr(function, "cache_clear"):  # results cached by data set name must not outlive the test
                patch.setattr(module, name, function.__wrapped__)


def science(outcome: Outcome) -> dict:
    """The results that must be equal between equal cells."""
    picture = None if outcome.picture is None else outcome.picture.tolist()
    weights = {name: value.tolist() for name, value in outcome.weights.items()}
    return vars(outcome) | {"measured": None, "picture": picture, "weights": weights}
