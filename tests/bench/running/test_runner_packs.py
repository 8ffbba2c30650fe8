"""Several cells per worker, and runs with a time limit: the rows are those of any other run."""

import csv
import threading
from collections import Counter
from pathlib import Path

from bench.executors import WorkerDied
from bench.running import runner
from bench.store.reader import load
from bench.store.schema import MEASURED_COLUMNS
from tests.support.fake_runs import InProcess, fake_run, fake_suite, fake_work


def rows(path: Path, *but: str) -> list[list[dict[str, str]]]:
    found = []
    for name in ("cells", "images", "curves"):
        with open(path / f"{name}.csv", newline="") as table:
            found.append(
                [
                    {key: value for key, value in row.items() if key not in (*MEASURED_COLUMNS, *but)}
                    for row in csv.DictReader(table)
                ]
            )
    return found


def packs(errors: list | None = None):
    """Work that notes how many cells it is given; a call on several raises the next of `errors`, if there is one."""
    sizes, errors = [], errors or []

    def work(cells, device, checkpoints):
        sizes.append(len(cells))
        if errors and len(cells) > 1:
            raise errors.pop(0)
        return [fake_work(cell, device, checkpoints) for cell in cells]

    return {"pack": 3, "all_work": work}, sizes


def test_packs_give_the_same_rows_and_say_how_many_shared_the_device(tmp_path):
    suite, executor = fake_suite(7, steps=[10, 30]), InProcess(2)
    fake_run(tmp_path / "alone", suite)
    options, sizes = packs()
    assert fake_run(tmp_path / "packs", suite, executor=executor, **options)[0] == {"done": 14}
    assert rows(tmp_path / "packs", "cells_sharing_device") == rows(tmp_path / "alone", "cells_sharing_device")
    assert set(load(tmp_path / "packs").cells["cells_sharing_device"]) == {6}
    assert sizes[:3] == [3, 3, 3]
    assert max(Counter(cell.cell_id for cell in executor.order).values()) == 1


def test_the_last_cells_are_shared_among_the_workers(tmp_path):
    options, sizes = packs()
    executor = InProcess(2)
    fake_run(tmp_path, fake_suite(4, timeout_s=100.0), executor=executor, **options)
    assert sorted(sizes) == [1, 1, 2]  # two of four cells; the last two one by one, on both workers
    assert executor.timeouts_s == [200, 100, 100]  # they take turns


def test_cells_of_a_failed_pack_are_retried_alone(tmp_path):
    for number, error in enumerate((WorkerDied("the CUDA context was lost"), TimeoutError(), MemoryError("too much"))):
        options, sizes = packs([error])
        path = tmp_path / str(number)
        counts, notes = fake_run(path, fake_suite(6), executor=InProcess(1), **options)
        assert counts == {"done": 6}
        assert sorted(sizes) == [1, 1, 1, 3, 3]
        assert sorted(load(path).cells["attempts"]) == [1, 1, 1, 2, 2, 2]
        assert [note for note in notes if note.endswith("each is tried alone")] == [
            f"3 cells in one worker: {error or 'TimeoutError'}; each is tried alone"
        ]


def test_a_cell_that_also_fails_alone_is_crashed(tmp_path):
    def work(cell, device, checkpoints):
        if cell.seed == 1:
            raise WorkerDied("killed")
        return fake_work(cell, device, checkpoints)

    counts, _ = fake_run(tmp_path, fake_suite(6), work, pack=3)
    assert counts == {"done": 5, "crashed": 1}
    cells = load(tmp_path).cells.set_index("seed")
    assert cells["status"][1] == "crashed"
    assert cells["attempts"][1] == 3  # with the others, alone, and once more


def test_a_run_with_a_time_limit_starts_only_cells_it_can_finish(tmp_path, monkeypatch):
    """By a clock that runs only while a cell is trained, a minute each."""
    clock, suite = [0.0], fake_suite(10)
    monkeypatch.setattr(runner, "monotonic", lambda: clock[0])

    def work(cell, device, checkpoints):
        clock[0] += 60.0
        return fake_work(cell, device, checkpoints)

    fake_run(tmp_path / "unbroken", suite, work)
    counts, _ = fake_run(tmp_path / "r", suite, work, minutes=5)
    assert counts == {"done": 5, "pending": 5}  # the last is started before four and a half minutes are over
    assert load(tmp_path / "r").manifest["finished"] is None
    assert fake_run(tmp_path / "r", suite, work, minutes=20)[0] == {"done": 10}
    assert load(tmp_path / "r").manifest["finished"]
    assert rows(tmp_path / "r") == rows(tmp_path / "unbroken")


def test_running_cells_are_interrupted_when_the_time_is_over(tmp_path, monkeypatch):
    clock, stopped = [0.0], threading.Event()
    monkeypatch.setattr(runner, "monotonic", lambda: clock[0])
    monkeypatch.setattr(runner, "TICK_S", 0.01)
    executor = InProcess(2)
    executor.stop = stopped.set

    def work(cell, device, checkpoints):
        if cell.seed == 0:
            stopped.wait()
        return fake_work(cell, device, checkpoints)

    def show(progress):
        clock[0] = 1000.0 if progress.finished == 3 else 0.0

    counts, _ = fake_run(tmp_path, fake_suite(4), work, executor=executor, show=show, minutes=3)
    assert counts == {"done": 3, "pending": 1}
    assert load(tmp_path).cells.set_index("seed")["status"][0] == "pending"
