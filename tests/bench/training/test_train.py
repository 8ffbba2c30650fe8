"""One cell: schedules, evaluation points, outcomes; and the clock that times its phases."""

import pytest
import torch

import bench.training.train
from bench.plan.cell import Cell
from bench.plan.suite import Timing
from bench.training.timing import PhaseClock, time_steps, timed_cells
from bench.training.train import evaluation_points, learning_rate, train
from ganlab.tasks import SuperResolution
from tests.conftest import TINY_GAN, TINY_SR

CPU = torch.device("cpu")


def cell(task: str = "sr", **changes) -> Cell:
    return Cell(**({"sr": TINY_SR, "gan": TINY_GAN}[task] | {"loss": "l1", "seed": 0} | changes))


def test_cosine_falls_from_lr_to_zero():
    assert learning_rate(cell(steps=100, schedule="cosine", lr=0.5), 0) == 0.5
    assert learning_rate(cell(steps=100, schedule="cosine", lr=0.5), 50) == pytest.approx(0.25)
    assert learning_rate(cell(steps=100, schedule="cosine", lr=0.5), 99) == pytest.approx(0.5 * 0.000247, rel=1e-2)
    assert learning_rate(cell(steps=100, lr=0.5), 99) == 0.5


@pytest.mark.parametrize(("steps", "evaluations"), [(4, 2), (7, 3), (25, 25), (1000, 8)])
def test_evaluation_points_are_even_and_end_at_the_end(steps, evaluations):
    points = evaluation_points(cell(steps=steps, evaluations=evaluations))
    assert points[-1] == steps
    assert len(set(points)) == evaluations
    assert max(b - a for a, b in zip([0, *points], points, strict=False)) <= steps / evaluations + 1


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
    assert seen == [bench.training.train.learning_rate(plan, index) for index in range(4)]


def test_clock_adds_up_phases(monkeypatch):
    times = iter([0.0, 0.001, 0.004, 0.010, 0.012])
    clock = PhaseClock(CPU)
    monkeypatch.setattr(clock, "now", lambda: next(times))
    for phase in ("between", "data", "forward", "data", "forward"):
        clock.mark(phase)
    assert clock.read() == pytest.approx({"data": 1 + 6, "forward": 3 + 2})
    assert clock.read() == {}


def test_timed_cells_are_one_per_loss_and_clean():
    cells = [cell(outlier="salt", rate=0.2), cell(), cell(seed=1), cell(loss="l2"), cell("gan")]
    assert [(c.task, c.loss, c.rate) for c in timed_cells(cells)] == [
        ("sr", "l1", 0),
        ("sr", "l2", 0),
        ("gan", "l1", 0),
    ]


def test_timed_cells_are_of_one_precision_where_they_can_be():
    """Two losses in fp32, one in both precisions, one in bfloat16 alone: fp32 it is, however late it is declared."""
    cells = [cell(precision="bf16"), cell(loss="huber", precision="bf16"), cell(loss="l2"), cell(loss="bce"), cell()]
    assert {c.loss: c.precision for c in timed_cells(cells)} == dict.fromkeys(("l1", "l2", "bce"), "fp32") | {
        "huber": "bf16"
    }
    both = [cell(loss=loss, precision=precision) for precision in ("bf16", "fp32") for loss in ("l1", "l2")]
    assert {c.precision for c in timed_cells(both)} == {"bf16"}  # of equals the first declared


@pytest.mark.parametrize("task", ["sr", "gan"])
def test_rounds_are_complete(task):
    rows = time_steps([cell(task), cell(task, loss="l2")], Timing(rounds=3, chunk_ms=5), CPU)
    steps = [(row["loss"], row["round"]) for row in rows if row["phase"] == "step"]
    assert sorted(steps) == [(loss, r) for loss in ("l1", "l2") for r in range(3)]
    assert all(row["ms"] >= 0 for row in rows)


def test_cuda_clock_agrees_with_the_wall(cuda):
    rows = time_steps([cell()], Timing(rounds=2, chunk_ms=20), cuda)
    assert all(row["ms"] > 0 for row in rows if row["phase"] in ("forward", "backward", "step"))
