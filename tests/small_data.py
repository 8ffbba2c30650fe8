"""Small cells of every task, on data small enough that a whole training with its read-outs takes a blink."""

import pytest
import torch

from bench.suite import Cell
from bench.train import Outcome
from ganlab.datasets import GaussianSamples, Photographs
from ganlab.tasks import location, super_resolution
from tests.conftest import TINY_GAN, TINY_SR

CPU = torch.device("cpu")
TINY_LOCATION = {"task": "location", "dataset": "gaussian", "optimizer": "sgd", "lr": 0.02, "batch_size": 100,
                 "outlier": "far", "rate": 0.2, "settings": {"average_last": 0.8, "d_steps": 2}}  # fmt: skip
TINY = {"sr": TINY_SR, "gan": TINY_GAN, "location": TINY_LOCATION}


def cell(task: str, **changes) -> Cell:
    """A cell of eight steps, evaluated after four and eight, with a picture."""
    shared = {"loss": "l1", "seed": 0, "steps": 8, "evaluations": 2, "shows_samples": True}
    return Cell(**TINY[task] | shared | changes)


def textures(count: int, side: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(count)
    return {f"{count}-{k}": torch.rand(3, side, side + 2 * k, generator=draw) for k in range(count)}


PHOTOGRAPHS = Photographs("photographs", textures(3, 40), textures(1, 32), textures(2, 66), ())
SAMPLES = GaussianSamples(dimension=5, count=500)


def use_small_data(patch: pytest.MonkeyPatch) -> None:
    """Super-resolution and location train on small data from here on."""
    patch.setattr(super_resolution, "load", lambda name, kind=None: PHOTOGRAPHS)
    for name, function in vars(super_resolution).copy().items():
        if hasattr(function, "cache_clear"):  # what is kept by the data set's name shall not outlive the test
            patch.setattr(super_resolution, name, function.__wrapped__)
    patch.setattr(location, "load", lambda name: SAMPLES)


def science(outcome: Outcome) -> dict:
    """What may not differ between equal cells."""
    picture = None if outcome.picture is None else outcome.picture.tolist()
    weights = {name: value.tolist() for name, value in outcome.weights.items()}
    return vars(outcome) | {"measured": None, "picture": picture, "weights": weights}
