"""`make peers`: the usual loop does the same work as the harness's step, and rounds are summarised correctly."""

import json
import math
import os
import sys
import threading
from dataclasses import replace
from multiprocessing import Pipe
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import tools.peers.__main__ as command
from bench.executors.local import ENVIRONMENT
from bench.training.gpu.capture import block_length
from ganlab import datasets, residual
from ganlab.tasks import TASKS
from tools.peers import PeersError, arms, homes, interleave, results, trainer, workers, workloads
from tools.peers.usual import USUAL, GreyImages, RandomPatches, normalise, resize, to_tensor

CPU = torch.device("cpu")
STEPS = 3  # the second and third rest on the optimizers' steps before them


@pytest.mark.parametrize("loss", ["bce", "l2"])
def test_the_usual_gan_loop_has_the_losses_of_the_harness(experiment, loss):
    cell = experiment("gan", loss=loss)
    ours, usual = TASKS["gan"](cell, CPU), USUAL["gan"](cell, CPU)
    for index in range(1, STEPS + 1):
        chosen, latents, *_ = ours.draw(index)
        logged = dict(zip(ours.logged, ours.step(index).tolist(), strict=True))
        real = 2 * ours.real[chosen] - 1  # the networks work on [-1, 1]
        assert usual.train(real, latents) == pytest.approx((logged["g_loss"], logged["d_loss"]), rel=1e-4)


@pytest.mark.parametrize(("loss", "head"), [("l1", "raw"), ("bce", "sigmoid")])
def test_the_usual_sr_loop_has_the_losses_of_the_harness(experiment, loss, head):
    cell = experiment("sr", loss=loss, head=head)
    ours, usual = TASKS["sr"](cell, CPU), USUAL["sr"](cell, CPU)
    for index in range(1, STEPS + 1):
        low, target = ours.batch(ours.draw(index))
        assert usual.train(low, target) == pytest.approx(float(ours.step(index)), rel=1e-4)


def test_only_the_harness_fuses_residual_blocks(experiment, monkeypatch):
    def fused(*_):
        raise NotImplementedError("fused")

    monkeypatch.setattr(residual, "LARGE", 0)
    monkeypatch.setattr(residual.Fused, "apply", fused)
    cell = experiment("sr", loss="l1")
    USUAL["sr"](cell, CPU).step()
    if residual.AVAILABLE:
        with pytest.raises(NotImplementedError, match="fused"):
            TASKS["sr"](cell, CPU).step(1)


def test_the_usual_loop_draws_a_full_batch_at_every_step(experiment):
    usual = USUAL["sr"](experiment("sr", loss="l1"), CPU)
    before = [weight.detach().clone() for weight in usual.model.parameters()]
    usual.step()
    low, high = next(usual.batches)
    assert (low.shape, high.shape) == ((4, 3, 8, 8), (4, 3, 16, 16))
    assert any(not torch.equal(old, new) for old, new in zip(before, usual.model.parameters(), strict=True))


def test_per_sample_transforms_give_the_pixels_that_the_gan_trains_on():
    images = torch.arange(2 * 28 * 28).remainder(256).view(2, 1, 28, 28) / 255
    dataset = GreyImages(images, torch.tensor([3, 7]), [resize(28), to_tensor, normalise(0.5, 0.5)])
    for index, label in enumerate((3, 7)):
        image, found = dataset[index]
        assert found == label
        torch.testing.assert_close(image, 2 * images[index] - 1)


def test_patches_of_low_and_high_resolution_show_the_same_place():
    rows, columns = torch.meshgrid(torch.arange(20), torch.arange(30), indexing="ij")
    low = torch.stack([rows, columns, 0 * rows]) / 255  # every pixel says where it is
    high = low.repeat_interleave(2, 1).repeat_interleave(2, 2)
    dataset, corners = RandomPatches([low], [high], patch=8, scale=2), set()
    for index in range(50):
        small, large = dataset[index]
        torch.testing.assert_close(large, small.repeat_interleave(2, 1).repeat_interleave(2, 2))
        corners.add(tuple((255 * small[:2, 0, 0]).round().int().tolist()))
    assert len(corners) > 20
    assert max(top for top, _ in corners) <= 20 - 8
    assert max(left for _, left in corners) <= 30 - 8


def test_resize_brings_the_shorter_side_to_size():
    assert resize(14)(Image.new("L", (28, 56))).size == (14, 28)
    image = Image.new("L", (28, 28))
    assert resize(28)(image) is image


def test_the_stand_in_for_fashion_mnist_is_28x28_in_8_bits(monkeypatch):
    monkeypatch.setitem(datasets.DATASETS, workloads.STAND_IN, None)  # whatever is entered is taken out again
    monkeypatch.setattr(datasets, "available", lambda name: False)
    assert workloads.workloads()["gan 28x28"].dataset == workloads.STAND_IN
    images = datasets.load(workloads.STAND_IN).train
    assert images.shape == (datasets.DIGITS_TRAIN, 1, 28, 28)
    torch.testing.assert_close(255 * images, (255 * images).round())


def test_the_work_of_a_matrix_product_and_of_a_copy(experiment, monkeypatch):
    monkeypatch.setitem(arms.MATMUL_SIDE, "cpu", 10)
    monkeypatch.setitem(arms.COPY_BYTES, "cpu", 5000)
    cell = experiment("sr", loss="l1")
    product = trainer.work(arms.MatrixProduct(cell, CPU, "fp32"))
    assert product["gflop_per_step"] == 2 * 10**3 / 1e9
    assert trainer.work(arms.Copy(cell, CPU))["gbyte_per_step"] == 2 * 5000 / 1e9  # read and written


def test_traffic_of_a_look_up_and_of_a_view():
    table, rows = torch.ones(1000, 10), torch.tensor([1, 2])
    with trainer.Traffic() as traffic:
        table.t().view(10, 1000)
    assert traffic.bytes == 0
    with trainer.Traffic() as traffic:
        table[rows]
    assert traffic.bytes == 2 * 2 * 10 * 4  # two rows of ten floats, read and written
    with trainer.Traffic() as traffic:
        torch.empty(1000)
    assert traffic.bytes == 0


def test_both_loops_do_equal_work(experiment):
    for task in ("gan", "sr"):
        cell = experiment(task)
        ours, usual = (trainer.work(each) for each in (arms.Step(cell, CPU, "fp32"), arms.usual(cell, CPU)))
        assert all(ours[count] == usual[count] for count in interleave.EQUAL)
        assert 0 < ours["gflop_per_step"] <= usual["gflop_per_step"]  # the usual GAN step computes what it throws away


def test_blocks_of_several_cells_take_turns_and_train_as_steps_do(experiment):
    cell = experiment("sr", loss="l1", head="raw")
    alone, pack = arms.Step(cell, CPU, "fp32"), arms.Blocks(cell, CPU, "fp32", cells=2)
    counts = [pack.take() for _ in range(2)]  # a block of each cell
    assert counts == 2 * [2 * block_length(alone.task)]
    taken = next(pack.indices) - 1  # plain steps of the first cell, before its blocks
    for _ in range(taken - 1 + counts[0]):
        alone.step()
    for ours, theirs in zip(alone.networks[0].parameters(), pack.networks[0].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert trainer.work(pack)["images_per_step"] == cell.batch_size


def test_the_doctests_of_the_registry():
    import doctest

    for module in (trainer, interleave):
        found = doctest.testmod(module)
        assert found.attempted > 0
        assert not found.failed


def test_bfloat16_is_left_out_where_it_is_slow(monkeypatch):
    monkeypatch.setattr(interleave, "fast_precision", lambda device: "fp32")
    monkeypatch.setattr(results, "fast_precision", lambda device: "fp32")
    assert {arm.precision for arm in interleave.arms_for(CPU)} == {"fp32"}
    assert results.notes(CPU, {}) == ["cpu is not known to multiply bfloat16 fast: nothing was measured in bf16"]
    monkeypatch.setattr(interleave, "fast_precision", lambda device: "bf16")
    assert {arm.precision for arm in interleave.arms_for(CPU)} == {"fp32", "bf16"}


def test_each_arm_has_two_turns_in_a_round_and_none_is_always_first():
    listed = interleave.arms_for(CPU)
    firsts = set()
    for index in range(len(listed)):
        turns = interleave.order(listed, index)
        assert turns == turns[::-1]
        assert sorted(arm.name for arm in turns) == sorted(2 * [arm.name for arm in listed])
        firsts.add(turns[0].name)
    assert firsts == {arm.name for arm in listed}


LISTED = (
    arms.Arm(arms.REFERENCE, arms.usual, home=homes.DEFAULT),
    arms.Arm("ours", arms.Step, every_core=True),
    arms.Arm("product", arms.MatrixProduct, every_core=True, kind="flop"),
)
WORK = {
    "parameters": 7,
    "images_per_step": 10,
    "gflop_per_step": 2.0,
    "gbyte_per_step": 1.0,
    "processes": 2,
    "threads": 1,
}


def measured(rates: list[tuple[float, float, float]], others: dict[tuple[int, str], float]) -> interleave.Measured:
    """Rounds with the rates of `LISTED`; `others`: cores kept busy by others in (round, arm)."""
    rounds = [
        {
            "round": index,
            "arm": arm.name,
            "steps_per_s": rate,
            "steps_per_cpu_s": rate / 2,
            "rest_cpu_s": 0.0,
            "others_cores": others.get((index, arm.name), 0.0),
        }
        for index, row in enumerate(rates)
        for arm, rate in zip(LISTED, row, strict=True)
    ]
    work = [WORK | {"processes": 1, "threads": 2}, WORK, WORK | {"gflop_per_step": 8}]
    return interleave.Measured({arm.name: each for arm, each in zip(LISTED, work, strict=True)}, rounds)


def test_drift_of_the_machine_does_not_change_the_ratio():
    drift = (1.0, 0.5, 3.0, 0.2)
    table = interleave.summarise(measured([(4 * d, 12 * d, 6 * d) for d in drift], {}), LISTED).set_index("arm")
    ours = table.loc["ours"]
    assert (ours["ratio"], ours["ratio_low"], ours["ratio_high"]) == pytest.approx((3.0, 3.0, 3.0))
    assert ours["peak_share"] == pytest.approx(12 * 2 / (6 * 8))  # gflop per second over those of the products
    assert ours["images_per_s"] == pytest.approx(120 * np.prod(drift) ** (1 / 4))
    assert math.isnan(table.loc["product", "ratio"])


def test_the_interval_of_a_ratio_is_students_t_on_logarithms():
    table = interleave.summarise(measured([(1, math.e**k, 1) for k in (1, 2, 3)], {}), LISTED).set_index("arm")
    # logs 1, 2, 3: mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.3027
    half = 4.3027 / math.sqrt(3)
    expected = [math.exp(2), math.exp(2 - half), math.exp(2 + half)]
    assert table.loc["ours", ["ratio", "ratio_low", "ratio_high"]].tolist() == pytest.approx(expected, rel=1e-4)


def test_disturbed_rounds_are_left_out_and_too_few_give_no_number():
    rates = [(4, 8, 6), (4, 8, 6), (4, 8, 6), (1, 8, 6)]
    table = interleave.summarise(measured(rates, {(3, arms.REFERENCE): 1.0}), LISTED).set_index("arm")
    assert table.loc["ours", ["ratio", "rounds"]].tolist() == pytest.approx([2, 3])
    busy = {(index, arms.REFERENCE): 1.0 for index in (2, 3)}
    table = interleave.summarise(measured(rates, busy), LISTED).set_index("arm")
    assert table.loc["ours", "rounds"] == 2
    assert table.loc["ours", ["ratio", "ratio_low", "ratio_high"]].isna().all()
    assert table.loc["ours", "images_per_s"] == pytest.approx(80)  # it was not disturbed itself


def test_processor_time_compares_one_thread_with_one_thread_on_a_busy_machine(monkeypatch):
    monkeypatch.setattr(interleave, "PER_CORE", "product")  # any arm will do
    busy = {(index, arm.name): 2.0 for index in range(3) for arm in LISTED}
    table = interleave.summarise(measured([(1, 12, 6), (1, 6, 3), (1, 2, 1)], busy), LISTED).set_index("arm")
    assert table.loc["ours", ["cpu_ratio", "cpu_ratio_low", "cpu_ratio_high"]].tolist() == pytest.approx([2, 2, 2])
    assert table.loc["ours", ["ratio", "images_per_s", "peak_share"]].isna().all()


def test_arms_that_do_different_work_are_refused():
    with pytest.raises(PeersError, match="ours: parameters 8 where usual loop has 7"):
        interleave.same_work(LISTED[1], [WORK, WORK | {"parameters": 8}], WORK)


class Answering:
    """A worker that cannot do one thing with one arm (`fails`), and what it was asked; `ended` is its exit code."""

    ended, fails = None, None
    dropped: list[str] = []

    def __init__(self, device: str, home: str):
        self.asked, self.process = [], Mock(pid=1, **{"poll.return_value": self.ended})

    def __enter__(self) -> "Answering":
        return self

    def __exit__(self, *_: object) -> None: ...

    def send(self, verb: str, *arguments: object) -> None:
        self.asked.append((verb, arguments[0]))

    def receive(self) -> object:
        verb, name = self.asked.pop(0)
        if verb in ("build", "run") and (verb, name) == self.fails:
            raise PeersError(f"{name}: OutOfMemoryError: too much")
        ran = {"steps": 1, "seconds": 1.0, "cpu_s": 1.0, "rest_cpu_s": 0.0}
        if verb == "drop":
            self.dropped.append(name)
        note = "its step was not captured" if name == "ours" else ""
        return {"build": WORK, "run": ran, "note": note, "drop": None}[verb]


def test_an_arm_that_cannot_be_set_up_is_reported_and_others_are_measured(monkeypatch, experiment):
    monkeypatch.setattr(interleave, "ARMS", LISTED)
    monkeypatch.setattr(interleave, "Worker", Answering)
    monkeypatch.setattr(interleave, "QUIET", math.inf)
    monkeypatch.setattr(Answering, "fails", ("build", "product"))
    found = interleave.measure(experiment("sr"), CPU, 2, 0.0)
    assert found.notes == ["ours: its step was not captured", "not measured: product: OutOfMemoryError: too much"]
    table = interleave.summarise(found, LISTED)
    assert table["arm"].tolist() == [arms.REFERENCE, "ours"]
    assert table["ratio"].tolist() == [1, 2]  # two processes
    assert Answering.dropped == 2 * ["product"]
    twin = replace(LISTED[1], name="twin")  # shares its trainer with an arm that is ready, which keeps it
    monkeypatch.setattr(interleave, "ARMS", (*LISTED, twin))
    monkeypatch.setattr(Answering, "fails", ("run", "twin"))
    assert "not measured: twin: OutOfMemoryError: too much" in interleave.measure(experiment("sr"), CPU, 2, 0.0).notes
    assert Answering.dropped == 2 * ["product"]
    monkeypatch.setattr(Answering, "ended", -9)  # who has died can be asked nothing more, of no arm
    with pytest.raises(PeersError, match="twin: OutOfMemoryError: too much"):
        interleave.measure(experiment("sr"), CPU, 2, 0.0)
    monkeypatch.setattr(Answering, "ended", None)
    monkeypatch.setattr(Answering, "fails", ("build", arms.REFERENCE))
    with pytest.raises(PeersError, match="usual loop: OutOfMemoryError: too much"):
        interleave.measure(experiment("sr"), CPU, 2, 0.0)


def test_other_processes_are_counted_and_our_own_are_not(monkeypatch, tmp_path):
    clock, tick_s = iter((100.0, 102.0)), 1 / os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(workers.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(workers.time, "process_time", lambda: 5.0)

    def write(user: int, idle: int, steal: int, ours: int, theirs: int) -> str:
        (tmp_path / "stat").write_text(f"cpu  {user} 0 0 {idle} 0 0 0 {steal} 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
        for pid, session, ticks in ((7, 7, ours), (8, 7, ours), (9, 1, theirs)):
            (tmp_path / str(pid)).mkdir(exist_ok=True)
            zeros = "0 " * 7
            (tmp_path / str(pid) / "stat").write_text(f"{pid} (a) b) S 1 1 {session} {zeros}{ticks} 0 0 0\n")
        return "done"

    write(user=1000, idle=5000, steal=10, ours=100, theirs=30)
    later = {"user": 1000 + 160, "idle": 9000, "steal": 10 + 20, "ours": 100 + 60, "theirs": 30 + 40}
    result, cores = workers.Neighbours([7], tmp_path).during(lambda: write(**later))
    # 160 + 20 ticks busy, of which the two processes of session 7 had 2 x 60; over two seconds
    assert (result, cores) == ("done", pytest.approx((180 - 120) * tick_s / 2))


def test_without_proc_no_other_processes_are_counted(tmp_path):
    assert workers.Neighbours([], tmp_path).during(lambda: None) == (None, 0)


def test_a_stretch_waits_until_others_are_quiet(monkeypatch, tmp_path):
    slept, per_look = [], iter((50, 8, 0))  # ticks of others in each look: the third is quiet
    busy = [100]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        busy[0] += next(per_look)
        (tmp_path / "stat").write_text(f"cpu  {busy[0]} 0 0 0 0 0 0 0 0 0\n")

    (tmp_path / "stat").write_text("cpu  100 0 0 0 0 0 0 0 0 0\n")
    monkeypatch.setattr(workers.time, "sleep", sleep)
    monkeypatch.setattr(workers.time, "monotonic", lambda: sum(slept))
    workers.Neighbours([], tmp_path).wait_for_quiet(until=1e6)
    assert len(slept) == 3
    workers.Neighbours([], tmp_path).wait_for_quiet(until=0)  # the time is up: nobody waits
    assert len(slept) == 3


class Slow(trainer.Trainer):
    """Its first step takes 30 s of a clock of its own, the others 1 s each."""

    clock = 0.0

    def step(self) -> None:
        """One step."""
        self.clock += 30 if not self.clock else 1


def test_a_stretch_is_timed_from_its_second_step_on(monkeypatch):
    slow = Slow()
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: slow.clock)
    found = trainer.run(slow, 3.0, CPU)
    assert (found["steps"], found["seconds"]) == (3, 3.0)


def test_errors_in_a_worker_are_one_line(experiment, capfd):
    ours, theirs = Pipe()
    server = threading.Thread(target=workers.serve, args=(theirs, "cpu", homes.DEFAULT))
    server.start()
    with ours:
        ours.send(("build", "step fp32", experiment("sr", loss="l1", settings={"patch": 10_000})))
        answer = ours.recv()
    server.join()  # it ends when the other end is closed
    assert isinstance(answer, PeersError)
    assert str(answer).startswith("step fp32: ValueError: settings.patch = 10000 does not fit")
    assert "\n" not in str(answer)


def test_a_worker_that_has_died_is_one_line():
    with workers.Worker("cpu", homes.ONE_THREAD) as worker:
        worker.process.kill()
        with pytest.raises(PeersError, match="a worker process died"):
            worker.receive()


def test_a_worker_has_its_own_number_of_threads_or_pytorchs(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert "OMP_NUM_THREADS" not in workers.environment(homes.DEFAULT)
    for home in (homes.ONE_THREAD, homes.HARNESS):
        assert workers.environment(home)["OMP_NUM_THREADS"] == "1"
    assert workers.environment(homes.HARNESS).items() >= ENVIRONMENT.items()


def test_the_command_measures_shows_and_keeps(experiment, monkeypatch, capsys, tmp_path):
    cell = experiment("sr", loss="l1", head="raw", steps=10_000)
    monkeypatch.setattr(command, "workloads", lambda: {"tiny": cell})
    monkeypatch.setattr(interleave, "STRETCH_S", 0.02)
    monkeypatch.setattr(interleave, "PATIENCE_S", 0.0)
    for module in (interleave, workers):
        monkeypatch.setattr(module, "QUIET", math.inf)  # whatever else this machine is doing
    named = (arms.REFERENCE, "step fp32, per core", "matrix product fp32")
    one_process = tuple(replace(arm, home=homes.HARNESS) for arm in arms.ARMS if arm.name in named)
    monkeypatch.setattr(interleave, "ARMS", one_process)
    monkeypatch.setattr(command, "cores", lambda: 1)
    monkeypatch.setattr(sys, "argv", ["peers", "--minutes", "0.05", "--out", str(tmp_path / "peers")])
    command.main()
    shown = capsys.readouterr().out
    table = pd.read_csv(tmp_path / "peers" / "peers.csv")
    assert list(table["workload"].unique()) == ["tiny"]
    assert table["arm"].tolist() == [arm.name for arm in interleave.arms_for(CPU)]
    assert all(name in shown for name in table["arm"])
    assert (table["images_per_s"].dropna() > 0).all()
    assert table["images_per_s"].isna().tolist() == [False, False, True]  # a matrix product has no images
    assert table["rounds"].min() >= interleave.LEAST_ROUNDS
    assert table["parameters"].iloc[0] == table["parameters"].iloc[1] > 0
    rounds = pd.read_csv(tmp_path / "peers" / "rounds.csv")
    assert len(rounds) >= interleave.LEAST_ROUNDS * len(table)
    record = json.loads((tmp_path / "peers" / "peers.json").read_text())
    assert record["schema_version"] == 1
    assert record["packages"]["torch"] == str(torch.__version__)
    assert record["workloads"]["tiny"]["batch_size"] == 4
    assert record["arms"][0]["arm"] == arms.REFERENCE
    assert record["arms"][0]["ratio"] == 1
    assert record["arms"][0]["copy_share"] is None  # no copy was measured
    assert record["arms"][1]["peak_share"] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--device", "gpu"), "unknown device 'gpu'"),
        (("--minutes", "0"), "--minutes"),
        (("--speed", "9"), "No such option: --speed"),
        (("--out", "file/peers"), "--out file/peers: "),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, says, monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["peers", *arguments])
    with pytest.raises(SystemExit) as stop:
        command.main()
    errors = capsys.readouterr().err
    assert stop.value.code == 2
    assert says in errors
    assert errors.count("\n") == 1
