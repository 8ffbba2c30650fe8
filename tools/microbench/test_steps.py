"""What does a training step cost in each task under each loss? The same cells as `make check`."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.throughput.cells import SETTINGS, experiment
from ganlab.losses import LOSSES
from ganlab.tasks import TASKS, Experiment


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("task", SETTINGS)
def test_step(
    benchmark: Any, timed: Callable[[Callable[[], Any]], None], device: torch.device, task: str, loss: str
) -> None:
    benchmark.group = f"a training step, {task}"
    training = TASKS[task](Experiment(**experiment(task, loss)), device)
    benchmark.extra_info["images_per_step"] = training.images_per_step
    steps = itertools.count(1)  # step 0 of a GAN also logs, and is slower
    timed(lambda: training.step(next(steps)))
