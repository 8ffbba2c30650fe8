"""Does an interrupted training resume to the same bits, and are invalid, hostile, or stale checkpoints skipped?"""

import hashlib
import io
import json
import multiprocessing
import os
import pickle
import time
from pathlib import Path

import pytest
import torch

from bench.plan.cell import Cell
from bench.training import checkpoints
from bench.training.checkpoints import MAGIC, Checkpoint, discard, tensors_of
from bench.training.train import train
from ganlab.tasks import TASKS
from tests.conftest import TINY_GAN
from tests.support.small_data import CPU, TINY, cell, science, use_small_data

BROKEN = 6  # the step that fails
EVERY_STEP = 0.0  # seconds between checkpoints


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    use_small_data(monkeypatch)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def break_off(plan: Cell, folder: Path, monkeypatch, at: int = BROKEN) -> None:
    """Train until step `at`, which fails; the checkpoint before it stays."""
    kind = TASKS[plan.task]
    step = kind.step

    def failing(self, index, *rest):
        if index == at:
            raise RuntimeError("broken off")
        return step(self, index, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "step", failing)
        assert train(plan, CPU, folder, EVERY_STEP).reason == "RuntimeError: broken off"


def contents(folder: Path, plan: Cell) -> dict[str, torch.Tensor]:
    return Checkpoint(folder, plan, CPU).read()[1]


@pytest.mark.parametrize(
    ("plan", "at"),
    [
        (cell("sr", schedule="cosine"), 4),  # just after an evaluation; the others between two
        (cell("sr", schedule="cosine"), 6),
        (cell("sr", optimizer="sgd", lr=0.1, head="raw"), 6),
        (cell("gan", schedule="cosine"), 6),
        (cell("gan", settings=TINY_GAN["settings"] | {"discriminator_norm": "spectral"}), 6),
        (cell("gan", optimizer="sgd", outlier="flip", rate=0.2), 6),
        (cell("location"), 6),
        (cell("location", optimizer="adam", lr=1e-3, schedule="cosine"), 4),
    ],
)
def test_an_interrupted_cell_resumes_to_the_same_bits(folder, monkeypatch, plan, at):
    unbroken = train(plan, CPU, folder, EVERY_STEP)
    expected = contents(folder, plan)
    discard(folder, plan.cell_id)
    assert unbroken.status == "done", unbroken.reason

    break_off(plan, folder, monkeypatch, at)
    step, taken = TASKS[plan.task].step, []
    monkeypatch.setattr(TASKS[plan.task], "step", lambda self, *args: (taken.append(args[0]), step(self, *args))[1])
    resumed = train(plan, CPU, folder, EVERY_STEP)
    assert taken == [at, *range(at, 8)]  # the first makes the optimizers' state, and is undone
    assert science(resumed) == science(unbroken)
    assert resumed.note == ""
    actual = contents(folder, plan)
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_a_checkpoint_holds_all_that_training_changes():
    """Any tensor or value of a task that three steps and an evaluation change is in the checkpoint, or recomputed."""
    recomputed = {"epoch", "order", "evaluation_inputs"}  # Location's current permutation; evaluations' inputs
    for plan in map(cell, TINY):
        task = TASKS[plan.task](plan, CPU)
        values = {name: pickle.dumps(value) for name, value in vars(task).items() if name not in ("data", "classifier")}
        for index in range(3):
            logged = task.step(index)
        task.evaluate(3, dict(zip(task.logged, logged.tolist(), strict=True)))
        changed = {name for name, value in values.items() if pickle.dumps(getattr(task, name)) != value}
        kept = {name.split(".")[0] for name, _ in tensors_of(task)} | set(task.extra_state)
        kept |= {name for name in changed if isinstance(getattr(task, name), torch.optim.SGD)}  # it has no state
        assert changed - recomputed <= kept
        assert set(task.extra_state) - changed <= {"procedure_ok"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a process that has used CUDA cannot be forked")
def test_a_killed_process_leaves_a_whole_checkpoint(folder):
    plan = cell("sr", steps=100_000)
    child = multiprocessing.get_context("fork").Process(target=train, args=(plan, CPU, folder, 0.02))
    child.start()
    file, seen = folder / f"{plan.cell_id}.pt", set()
    while len(seen) < 5 and child.is_alive():
        if file.exists():
            seen.add(file.stat().st_mtime_ns)
        time.sleep(0.005)
    child.kill()  # wherever it may be in writing the next
    child.join()
    facts, _ = Checkpoint(folder, plan, CPU).read()
    task = TASKS["sr"](plan, CPU)
    progress, log = Checkpoint(folder, plan, CPU).restore(task, [50000, 100000])
    assert progress.step == facts.progress.step == len(log) > 1
    twin = TASKS["sr"](plan, CPU)
    for index in range(progress.step):
        twin.step(index)
    for (name, ours), (_, theirs) in zip(tensors_of(task), tensors_of(twin), strict=True):
        assert torch.equal(ours, theirs), name


def test_seconds_add_up_and_short_cells_write_no_checkpoint(folder, monkeypatch):
    plan = cell("sr")
    assert train(plan, CPU, folder).status == "done"  # well under a minute
    assert not any(folder.iterdir())
    break_off(plan, folder, monkeypatch)
    saved = Checkpoint(folder, plan, CPU).read()[0].progress
    assert 0 < saved.train_s < 60
    checkpoint = folder / f"{plan.cell_id}.pt"
    late = rewritten(checkpoint, train_s=1000.0, eval_s=500.0, peak_memory_mib=1e6)
    checkpoint.write_bytes(late)
    measured = train(plan, CPU, folder).measured
    assert 1000 < measured["train_s"] < 1060
    assert 500 < measured["eval_s"] < 560
    assert measured["images_per_s"] == pytest.approx(8 * plan.batch_size / measured["train_s"])
    assert measured["peak_memory_mib"] == 1e6


def test_training_works_without_a_checkpoint_folder(tmp_path):
    outcome = train(cell("sr"), CPU, tmp_path / "elsewhere", EVERY_STEP)
    assert (outcome.status, outcome.note) == ("done", "")
    assert not any(tmp_path.iterdir())
    (tmp_path / "target").mkdir()
    (tmp_path / "checkpoints").symlink_to(tmp_path / "target")  # a stranger's way out of the run directory
    train(cell("sr"), CPU, tmp_path / "checkpoints", EVERY_STEP)
    assert not any((tmp_path / "target").iterdir())


def test_a_full_disk_loses_only_the_checkpoint(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_atomically", full)
    outcome = train(cell("sr"), CPU, folder, EVERY_STEP)
    assert outcome.status == "done"
    assert outcome.note == "no checkpoint could be written (No space left on device): a crash would cost the cell"


def sealed(record: object, how=torch.save) -> bytes:
    """A checkpoint file with this content, its digest in order."""
    payload = io.BytesIO()
    how(record, payload)
    return MAGIC + hashlib.sha256(payload.getvalue()).hexdigest().encode() + b"\n" + payload.getvalue()


def record_of(file: Path) -> dict:
    return torch.load(io.BytesIO(file.read_bytes().partition(b"\n")[2]), weights_only=True)


def rewritten(file: Path, tensors: dict | None = None, **progress) -> bytes:
    """The checkpoint with other progress, or tensors, as somebody with this code at hand could make it."""
    record = record_of(file)
    facts = json.loads(record["facts"])
    facts["progress"] |= progress
    return sealed({"facts": json.dumps(facts), "tensors": record["tensors"] | (tensors or {})})


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB"],)


def torn(file: Path) -> bytes:
    return file.read_bytes()[:-100]


def flipped(file: Path) -> bytes:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    return bytes(content)


def hostile(file: Path) -> bytes:
    return sealed({"facts": Bomb(), "tensors": {}})


def hostile_raw(file: Path) -> bytes:
    return pickle.dumps(Bomb())


def facts_that_are_none(file: Path) -> bytes:
    return sealed({"facts": "[]", "tensors": {}})


def overlapping(file: Path) -> bytes:
    """Optimizer state whose elements all lie in one place: a kernel that trusts it writes where it must not."""
    tensors = record_of(file)["tensors"]
    name = next(name for name in tensors if name.startswith("optimizer.0.exp_avg"))
    return rewritten(file, {name: torch.ones(()).expand(2, *tensors[name].shape)})


def of_other_shape(file: Path) -> bytes:
    return rewritten(file, {"network.encode.weight": torch.zeros(3)})


def beyond_the_end(file: Path) -> bytes:
    return rewritten(file, step=8)


def before_its_curves(file: Path) -> bytes:
    return rewritten(file, step=2)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (torn, "it is torn"),
        (flipped, "it is torn"),
        (hostile_raw, "it is torn, or no checkpoint"),
        (hostile, "this harness did not write it"),
        (facts_that_are_none, "this harness did not write it"),
        (overlapping, "another shape"),
        (of_other_shape, "network.encode.weight has another shape"),
        (beyond_the_end, "curves do not go as far"),
        (before_its_curves, "curves do not go as far"),
    ],
)
def test_invalid_checkpoints_are_skipped_and_never_executed(folder, monkeypatch, tmp_path, damage, why):
    plan = cell("sr")
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    expected = train(plan, CPU)
    break_off(plan, folder, monkeypatch)
    file = folder / f"{plan.cell_id}.pt"
    file.write_bytes(damage(file))
    outcome = train(plan, CPU, folder)
    assert not (tmp_path / "exploded").exists()
    assert outcome.note.startswith("started afresh, without the checkpoint: ")
    assert why in outcome.note
    assert science(outcome) | {"note": ""} == science(expected)


def test_checkpoints_with_unusual_memory_layout_are_copied(folder, monkeypatch):
    plan = cell("sr")
    break_off(plan, folder, monkeypatch)
    file = folder / f"{plan.cell_id}.pt"
    tensors = record_of(file)["tensors"]
    name = next(name for name in tensors if name.startswith("optimizer.0.exp_avg"))
    file.write_bytes(rewritten(file, {name: torch.zeros(()).expand(tensors[name].shape)}))
    task = TASKS["sr"](plan, CPU)
    Checkpoint(folder, plan, CPU).restore(task, [4, 8])
    live = dict(tensors_of(task))[name]
    assert 0 not in live.stride()
    assert not live.any()


def test_stale_checkpoints_are_skipped(folder, monkeypatch):
    plan, other = cell("sr"), cell("sr", seed=1)
    break_off(plan, folder, monkeypatch)
    file = folder / f"{plan.cell_id}.pt"
    (folder / f"{other.cell_id}.pt").write_bytes(file.read_bytes())
    assert "of another cell" in train(other, CPU, folder).note
    monkeypatch.setattr(checkpoints, "loaded_code", lambda *code: "0" * 12)  # the code has changed since
    assert "of other code" in train(plan, CPU, folder).note


def test_a_pipe_instead_of_a_checkpoint_does_not_block(folder):
    os.mkfifo(folder / f"{cell('sr').cell_id}.pt")
    assert train(cell("sr"), CPU, folder).status == "done"


def test_discard_removes_leftovers_of_a_crash(folder):
    for name in ("abc.pt", ".abc.pt.77.tmp", "abcd.pt"):
        (folder / name).touch()
    discard(folder, "abc")
    discard(folder, "abc")
    assert [file.name for file in folder.iterdir()] == ["abcd.pt"]
