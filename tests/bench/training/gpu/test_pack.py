"""Packs: several cells take turns, and each gives its result of training alone, whatever happens to the others."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch

from bench.running.work import train_cells
from bench.training import train
from bench.training.gpu.pack import take_turns, train_pack
from bench.training.gpu.streams import SynchronousExecutor
from bench.training.numerics import configure
from ganlab.tasks import Gan, Location, SuperResolution
from tests.support.small_data import CPU, cell, science, use_small_data

MIXED = [cell("sr"), cell("gan", steps=6), cell("location"), cell("sr", seed=1, loss="l2", evaluations=4), cell("gan")]


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    use_small_data(monkeypatch)


@pytest.mark.parametrize("helpers", [SynchronousExecutor, lambda: ThreadPoolExecutor(3)])
def test_each_cell_equals_its_training_alone(helpers):
    together = train_pack(MIXED, CPU, helpers=helpers())
    alone = [train.train(plan, CPU) for plan in MIXED]
    for ours, theirs in zip(together, alone, strict=True):
        assert science(ours) == science(theirs)
        assert set(theirs.measured) - set(ours.measured) == {"peak_memory_mib"}  # the process's, not the cell's


def test_cells_really_take_turns(monkeypatch):
    order = []
    for kind in (SuperResolution, Location):
        step = kind.step
        monkeypatch.setattr(kind, "step", lambda self, *a, step=step: (order.append(self.name), step(self, *a))[1])
    train_pack([cell("sr"), cell("location")], CPU)
    assert order[:6] == ["sr", "location"] * 3


def failing(monkeypatch, error: Exception, times: int) -> None:
    """The GAN's fourth step fails so many times."""
    step, left = Gan.step, [times]

    def fail(self, index, *rest):
        if index == 3 and left[0]:
            left[0] -= 1
            raise error
        return step(self, index, *rest)

    monkeypatch.setattr(Gan, "step", fail)


@pytest.mark.parametrize(
    ("error", "times", "status"),
    [
        (ValueError("broken"), 9, "crashed"),
        (torch.OutOfMemoryError("full"), 9, "oom"),  # alone as well
        (torch.OutOfMemoryError("full"), 1, "done"),  # there was no room beside the others
    ],
)
def test_a_failure_affects_only_its_cell(monkeypatch, error, times, status):
    neighbours = [cell("sr"), cell("location")]
    alone = [science(train.train(plan, CPU)) for plan in neighbours]
    failing(monkeypatch, error, times)
    first, failed, last = train_pack([neighbours[0], cell("gan"), neighbours[1]], CPU, helpers=ThreadPoolExecutor(2))
    assert [science(first), science(last)] == alone
    assert failed.status == status


def test_an_evaluation_that_outlives_its_training_leaves_no_nan(monkeypatch):
    """The evaluation after four steps ends when the sixth has failed."""
    failed, step = threading.Event(), Gan.step

    def fail(self, index, *rest):
        if index == 6:
            failed.set()
            raise ValueError("broken")
        return step(self, index, *rest)

    monkeypatch.setattr(Gan, "step", fail)
    monkeypatch.setattr(Gan, "evaluate", lambda *_: failed.wait() and {"frechet": float("nan")})
    outcome, _ = train_pack([cell("gan"), cell("sr")], CPU, helpers=ThreadPoolExecutor(2))
    assert outcome.status == "crashed"
    assert {point["step"] for point in outcome.curves} == {4}
    assert "frechet" not in {point["metric"] for point in outcome.curves}


def test_a_divergence_affects_only_its_cell():
    diverging = cell("sr", lr=1e30, head="raw")
    first, second = train_pack([diverging, cell("gan")], CPU, helpers=ThreadPoolExecutor(2))
    assert (first.status, first.reason) == ("diverged", train.train(diverging, CPU).reason)
    assert second.status == "done"


def test_a_checkpoint_of_a_pack_belongs_to_one_cell(tmp_path, monkeypatch):
    plans = [cell("sr"), cell("gan")]
    expected = [science(train.train(plan, CPU)) for plan in plans]
    with monkeypatch.context() as patch:
        failing(patch, ValueError("broken off"), 1)
        first, second = train_pack(plans, CPU, tmp_path, 0.0)
    assert (first.status, second.status) == ("done", "crashed")
    taken, step = [], Gan.step
    monkeypatch.setattr(Gan, "step", lambda self, index, *rest: (taken.append(index), step(self, index, *rest))[1])
    assert [science(outcome) for outcome in train_pack(plans, CPU, tmp_path, 0.0)] == expected
    assert taken == [3, *range(3, 8)]


def test_no_cell_waits_while_another_has_work():
    late, log = Future(), []

    def waits():
        log.append("asks")
        yield late
        log.append("goes on")

    def works():
        for turn in range(3):
            log.append(turn)
            yield None
        late.set_result(None)

    take_turns([waits(), works()])
    assert log == ["asks", 0, 1, 2, "goes on"]


def test_a_pack_on_a_gpu_equals_trainings_alone(cuda):
    configure(cuda)
    together = train_pack(MIXED, cuda)
    for plan, outcome in zip(MIXED, together, strict=True):
        alone = train_cells([plan], cuda)[0]
        assert (outcome.status, outcome.note) == ("done", ""), outcome.reason
        assert outcome.values.keys() == alone.values.keys()
        for point, expected in zip(outcome.curves, alone.curves, strict=True):
            assert point["value"] == pytest.approx(expected["value"], rel=1e-2, abs=1e-3), point
