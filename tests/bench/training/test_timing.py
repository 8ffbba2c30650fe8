"""Step times: the clock of phases, the timed cells, and their rounds."""

import pytest
import torch

from bench.plan.cell import Cell
from bench.plan.suite import Timing
from bench.training.timing import PhaseClock, time_steps, timed_cells
from tests.conftest import TINY_GAN, TINY_SR

CPU = torch.device("cpu")


def cell(task: str = "sr", **changes) -> Cell:
    return Cell(**({"sr": TINY_SR, "gan": TINY_GAN}[task] | {"loss": "l1", "seed": 0} | changes))


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
