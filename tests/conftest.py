"""Shared set-up: one compute thread, as in every training process; small experiments."""

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from ganlab.datasets import registry
from ganlab.tasks import Experiment

torch.set_num_threads(1)

LONGEST_FIRST = ("test_runs.py", "test_ray.py", "test_throughput.py", "test_fuzz.py", "test_build.py")


def pytest_collection_modifyitems(items):
    """Files of long tests go first, so that no process starts one at the end. Tests that need a GPU get the mark
    `gpu`, which `gpu_report` selects."""
    position = {name: number for number, name in enumerate(LONGEST_FIRST)}
    for item in items:
        if "cuda" in getattr(item, "fixturenames", ()):
            item.add_marker("gpu")
    items.sort(key=lambda item: position.get(item.path.name, len(position)))


TINY_SR = {
    "task": "sr",
    "dataset": "photographs",
    "lr": 3e-3,
    "batch_size": 4,
    "steps": 4,
    "evaluations": 2,
    "scale": 2,
    "value_range": 1,
    "settings": {"channels": 8, "blocks": 1, "patch": 8},
}
TINY_GAN = {
    "task": "gan",
    "dataset": "digits",
    "lr": 2e-4,
    "batch_size": 16,
    "steps": 4,
    "evaluations": 2,
    "settings": {"width": 8, "latent": 8, "evaluation_images": 100},
}


@pytest.fixture
def bench_main(monkeypatch, capfd, tmp_path):
    """bench_main("run", "smoke") -> (exit code, stdout, stderr), run in an empty folder by this process."""
    from bench.cli.main import main

    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capfd.readouterr())

    return call


@pytest.fixture
def experiment():
    """experiment("sr", loss="l1", ...) -> a small Experiment of that task."""

    def build(task: str, **changes) -> Experiment:
        base = {"sr": TINY_SR, "gan": TINY_GAN}[task] | {"loss": "bce", "seed": 0}
        return Experiment(**(base | changes))

    return build


@pytest.fixture
def fresh_folders() -> None:
    """Clear the cache of image folders."""
    registry.read_folder.cache_clear()


@pytest.fixture
def cuda() -> torch.device:
    """The CUDA device, or a skip with its reason."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    return torch.device("cuda", 0)
