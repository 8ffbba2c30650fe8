"""How are several cells trained? A CPU trains one after the other, a GPU trains packs."""

from pathlib import Path

import pytest
import torch

from bench.running import work
from bench.running.work import train_cells
from bench.training.outcome import Outcome
from bench.training.train import train
from ganlab.tasks import Location, SuperResolution
from tests.support.small_data import CPU, cell, science, use_small_data


@pytest.fixture
def order(monkeypatch) -> list[str]:
    """The tasks of steps and evaluations, as they happen."""
    use_small_data(monkeypatch)
    order: list[str] = []
    for kind in (SuperResolution, Location):
        for what in ("step", "evaluate"):
            method = getattr(kind, what)

            def noted(self, *args, what=what, method=method):
                order.append(f"{self.name} {what}")
                return method(self, *args)

            monkeypatch.setattr(kind, what, noted)
    return order


def test_a_cpu_trains_one_step_after_the_other_and_one_cell_after_the_other(order):
    plans = [cell("sr"), cell("location")]
    together = train_cells(plans, CPU)
    half = ["step"] * 4 + ["evaluate"]
    assert order == [f"{plan.task} {what}" for plan in plans for what in half * 2]
    assert [science(outcome) for outcome in together] == [science(train(plan, CPU)) for plan in plans]
    assert all(outcome.measured["peak_memory_mib"] > 0 for outcome in together)


def test_checkpoints_go_where_they_are_asked_to(order, tmp_path):
    train_cells([cell("sr")], CPU, tmp_path, 0.0)
    assert [file.name for file in tmp_path.iterdir()] == [f"{cell('sr').cell_id}.pt"]


def test_a_gpu_trains_packs(monkeypatch):
    asked = []

    def pack(*what: object) -> list[Outcome]:
        asked.append(what)
        return [Outcome("done"), Outcome("oom")]

    monkeypatch.setattr(work, "train_pack", pack)
    plans, gpu = [cell("sr"), cell("gan")], torch.device("cuda:0")
    assert [outcome.status for outcome in train_cells(plans, gpu, Path("somewhere"), 5.0)] == ["done", "oom"]
    assert asked == [(plans, gpu, Path("somewhere"), 5.0)]
