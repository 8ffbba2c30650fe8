"""One cell: its curves, its outcome, and the ways in which it can end."""

import pytest
import torch

from bench.plan.cell import Cell
from bench.training.steps import learning_rate
from bench.training.train import train
from ganlab.tasks import SuperResolution
from tests.conftest import TINY_GAN, TINY_SR

CPU = torch.device("cpu")


def cell(task: str = "sr", **changes) -> Cell:
    return Cell(**({"sr": TINY_SR, "gan": TINY_GAN}[task] | {"loss": "l1", "seed": 0} | changes))


@pytest.mark.parametrize("task", ["sr", "gan"])
def test_a_done_cell(task):
    outcome = train(cell(task), CPU)
    assert (outcome.status, outcome.reason, outcome.steps) == ("done", "", 4)
    assert {point["step"] for point in outcome.curves} == {2, 4}
    assert set(outcome.measured) == {"train_s", "eval_s", "images_per_s", "peak_memory_mib"}
    assert outcome.measured["peak_memory_mib"] > 50
    assert outcome.picture is None
    assert train(cell(task, shows_samples=True), CPU).picture is not None


def test_curves_are_means_over_the_interval(monkeypatch):
    steps = iter([1.0, 3.0, 10.0, 20.0])
    monkeypatch.setattr(SuperResolution, "step", lambda self, index: torch.tensor([next(steps)]))
    curve = [point["value"] for point in train(cell(), CPU).curves if point["metric"] == "train_loss"]
    assert curve == [2.0, 15.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_divergence_names_its_step(monkeypatch, bad):
    monkeypatch.setattr(SuperResolution, "step", lambda self, index: torch.tensor([bad if index == 2 else 1.0]))
    outcome = train(cell(), CPU)
    assert (outcome.status, outcome.steps, outcome.values) == ("diverged", 3, {})
    assert outcome.reason == "first non-finite loss at step 3 of 4"


@pytest.mark.parametrize(("task", "lr"), [("sr", 1e14), ("gan", 1e20)])
def test_a_last_step_that_blows_up_is_a_divergence(task, lr):
    # the loss of a step is taken before it moves the weights, so nothing logged is odd
    plan = cell(task, lr=lr, evaluations=1, **({"head": "raw", "steps": 2} if task == "sr" else {"steps": 1}))
    outcome = train(plan, CPU)
    assert outcome.status == "diverged"
    assert "not finite" in outcome.reason or "non-finite" in outcome.reason
    assert outcome.values == {}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError("no room"), "oom"),
        (torch.OutOfMemoryError("CUDA out of memory"), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), "oom"),
        (ValueError("odd\nthing"), "crashed"),
    ],
)
def test_failures_become_outcomes(monkeypatch, error, status):
    def fail(self, index):
        raise error

    monkeypatch.setattr(SuperResolution, "step", fail)
    outcome = train(cell(), CPU)
    assert outcome.status == status
    assert outcome.reason.startswith(type(error).__name__)
    assert "\n" not in outcome.reason


def test_learning_rate_reaches_the_optimizer(monkeypatch):
    seen = []
    step = SuperResolution.step
    monkeypatch.setattr(
        SuperResolution,
        "step",
        lambda self, index: (seen.append(self.optimizer.param_groups[0]["lr"]), step(self, index))[1],
    )
    plan = cell(schedule="cosine")
    train(plan, CPU)
    assert seen == [learning_rate(plan, index) for index in range(4)]
