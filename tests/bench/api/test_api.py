"""Does the Python API do the same as the command line? The doctest of `bench.api.runs` has a whole run."""

import inspect
import json
import sys
import threading
from dataclasses import MISSING
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bench
from bench import api, load, report, run
from bench.api import launch
from bench.errors import BenchError, UsageError
from bench.executors import ExecutorError
from bench.plan.additions import Additions
from bench.plan.options import options_of
from bench.plan.order import Order, reference_to
from bench.plan.reading import read_suite
from bench.plan.suite import Suite
from bench.running.interrupts import Interrupts
from bench.running.runner import Interrupted
from bench.throughput.options import CalibrateOptions, CompareOptions, RecordOptions
from ganlab.datasets import Photographs
from ganlab.losses import huber
from ganlab.tasks.super_resolution import photograph_pairs
from tests.support.fake_runs import fake_run, fake_suite


def test_the_package_has_what_the_api_has():
    assert bench.__all__ == api.__all__
    assert all(getattr(bench, name) is getattr(api, name) for name in api.__all__)
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        bench.rum  # noqa: B018


def test_functions_have_the_options_of_the_command_line():
    """Each option once: what the record declares, `inspect.signature` and `help` show, with what only Python has."""
    for function, record, alone in (
        (bench.run, Order, {"quiet"}),
        (bench.compare, CompareOptions, {"tell"}),
        (bench.record, RecordOptions, {"tell"}),
        (bench.calibrate, CalibrateOptions, {"tell"}),
    ):
        shown = inspect.signature(function).parameters
        options = {one.name: one for one in options_of(record)}
        assert set(shown) == set(options) | alone
        for name, one in options.items():
            required = one.default is MISSING
            assert shown[name].default == (inspect.Parameter.empty if required else one.default)
            assert f"    {name}: {one.help}." in function.__doc__.splitlines()
    assert str(inspect.signature(bench.run)).startswith("(suite: str | pathlib.Path = 'quick', *, out: str | pathlib.P")
    assert str(inspect.signature(bench.compare)).startswith("(base: str | pathlib.Path, *, head: str | pathlib.Path = ")
    with pytest.raises(TypeError, match="unexpected keyword argument 'lose'"):
        run(lose="l1")


def test_errors_use_the_option_names_of_the_command_line():
    order = Order(Path("my.toml"), out="r", loss=iter([huber, "l1"]), data=Path("photos"), network=huber, quiet=True)
    words = ["run", "my.toml", "--out", "r", "--loss", "ganlab.losses:huber", "--loss", "l1", "--data", "folder:photos"]
    assert order.arguments() == [*words, "--network", "ganlab.losses:huber"]
    assert order.additions() == Additions(("ganlab.losses:huber", "l1"), "folder:photos", "ganlab.losses:huber")
    assert Order(loss=huber).losses == ("ganlab.losses:huber",)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: run("quik"), "unknown suite 'quik'; did you mean 'quick'?"),
        (lambda: run("smoke", loss="no_such_module:MyLoss"), "there is no module 'no_such_module' in "),
        (lambda: run("smoke", loss=["l7"]), "--loss: unknown loss 'l7'"),
        (lambda: run("smoke", loss=lambda p, t: p - t), "is defined inside a function, where worker processes cannot"),
        (lambda: run("smoke", loss=pytest), "is neither a function nor a class: pass what makes it"),
        (lambda: run("smoke", data=Path("nowhere")), "no block of suite smoke can use folder:nowhere: "),
        (lambda: run("smoke", train="a"), "--train and --test go together; --data folder:PATH splits one folder"),
        (lambda: run("smoke", data="digits", train="a", test="b"), "give the one or the others"),
        (lambda: run("smoke", network="no_such_module:build"), "there is no module 'no_such_module' in "),
        (lambda: run("smoke", only="loss=l7"), "--only 'loss=l7' selects none of the 29 cells of suite smoke"),
        (lambda: run("smoke", override={"steps": "many"}), "matrix 1.steps: found 'many'"),
        (lambda: run("smoke", device="gpu"), "unknown device 'gpu'"),
        (lambda: load("nowhere"), "nowhere is not a run directory"),
        (lambda: report("nowhere"), "nowhere is not a run directory"),
        (lambda: report(), "report: name a run directory"),
        (lambda: report("a", "b", figure="robustness"), "name one"),
        (lambda: report("a", out="b"), "--out is for several run directories"),
        (lambda: run("smoke", workers=0), "--workers 0: at least 1"),
        (lambda: run("smoke", minutes=float("nan")), "--minutes nan: at least 0.05"),
        (lambda: api.status("nowhere"), "nowhere is not a run directory"),
        (lambda: api.check_loss("l7"), "unknown loss 'l7'"),
        (lambda: api.check_loss("no_such_module:MyLoss"), "there is no module 'no_such_module' in "),
        (lambda: api.check_data("digits"), "data check 'digits': name a folder"),
        (lambda: api.check_data(Path("nowhere")), "there is no folder 'nowhere'"),
        (lambda: api.fetch_data("cifar"), "no data set named 'cifar'"),
        (lambda: api.evaluate_sr("nowhere"), "--test 'nowhere': there is no such folder"),
        (lambda: api.evaluate_sr(".", scale=7), "--scale 7: there are 2, 3, 4"),
        (lambda: api.evaluate_sr(".", cell="nowhere/0123456789ab"), "nowhere is not a run directory"),
        (lambda: api.record("nowhere/before.json"), "cannot write to nowhere/before.json: there is no such folder"),
        (lambda: api.record("before.json", minutes=0), "--minutes 0: at least 0.05"),
        (lambda: api.compare("HEAD", device="gpu"), "unknown device 'gpu'"),
        (lambda: api.compare("HEAD"), "holds no ganlab to measure"),
        (lambda: api.calibrate(["5"]), "expected PERCENT=COUNT"),
    ],
)
def test_user_errors_are_one_exception_with_one_line(tmp_path, monkeypatch, call, says):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    with pytest.raises(BenchError) as mistake:
        call()
    assert says in str(mistake.value)
    assert "\n" not in str(mistake.value)
    assert not list(tmp_path.iterdir())  # before any work
    assert torch.get_num_threads() == threads


def test_internal_errors_are_not_wrapped(monkeypatch):
    def bug(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(launch, "read_suite", bug)
    with pytest.raises(ZeroDivisionError):
        run("smoke")


def test_a_function_is_passed_by_the_name_it_can_be_imported_by(monkeypatch):
    assert reference_to("l1") == "l1"
    assert reference_to(huber) == "ganlab.losses:huber"
    assert reference_to(torch.nn.HuberLoss) == "torch.nn.modules.loss:HuberLoss"
    with pytest.raises(UsageError, match="neither a function nor a class"):
        reference_to(torch.nn.HuberLoss())
    monkeypatch.setattr(reference_to, "__module__", "__main__")
    with pytest.raises(UsageError, match=r"in a notebook or in the script .*: put it into a file of its own"):
        reference_to(reference_to)
    monkeypatch.setattr(reference_to, "__module__", "bench.plan.order")
    monkeypatch.setattr("bench.plan.order.reference_to", huber)
    with pytest.raises(UsageError, match="is not what was passed: it was defined anew since"):
        reference_to(reference_to)


def test_a_call_is_a_command_line_that_does_the_same(monkeypatch):
    override = {"steps": 5, "outliers": {"clean": 0, "salt-pepper": [0.2, 0.4]}, "loss": ["l1"], "redraw": True}
    override |= {"lr": [1e-4, np.float64(1e-3)], "dataset": 'folder:/my "pics"\\1, é'}
    order = Order(
        "smoke",
        out=Path("r"),
        device="cpu",
        workers=2,
        pack=3,
        minutes=0.5,
        executor="local",
        memory_mib=1.5e6,
        fresh=True,
        only="task=sr",
        override=override,
        loss=("a:B", "hinge"),
        train="photos",
        test="other photos",
        network="net:build",
    )
    words = order.arguments()
    assert words[:4] == ["run", "smoke", "--out", "r"]
    asked = []

    def execute(order, arguments, display):
        asked.append(order)
        raise Interrupted

    monkeypatch.setattr(launch, "execute", execute)
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    from bench.cli.main import main

    with pytest.raises(SystemExit):
        main()
    assert asked == [order]
    assert "--fresh" not in launch.resume_command(words)
    assert Order().arguments() == ["run", "quick"]


def test_run_works_in_a_thread_without_signals():
    handled = []

    def work():
        with Interrupts() as interrupts:
            handled.append(interrupts.came)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handled == [False]


# What another run has left


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> str:
    """A folder of thirty small photographs, `pictures` in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    draw = np.random.default_rng(0)
    for k in range(30):
        Image.fromarray(draw.integers(0, 256, (72, 72, 3), dtype=np.uint8)).save(tmp_path / "pictures" / f"{k}.png")
    yield "folder:pictures"
    launch.forget_folders()  # the next test has another folder of this name


def test_a_changed_folder_is_read_again_and_workers_check_it(pictures, tmp_path):
    used = [(pictures, Photographs)]
    before = photograph_pairs(pictures, 2, 0)
    same, expected = launch.make_executor("local", 1, torch.device("cpu"), None, used)._setups[-1]
    same(*expected)
    name = next(iter(before.train))
    Image.new("RGB", (72, 72), "red").save(tmp_path / "pictures" / name)
    same(*expected)  # read once in this process
    launch.forget_folders()
    assert photograph_pairs(pictures, 2, 0).train[name].target[:, 0, 0].tolist() == [1, 0, 0]
    with pytest.raises(ExecutorError, match=r"holds another folder:pictures .* if it was changed since, run"):
        same(*expected)


def test_on_a_cluster_a_folder_is_named_from_the_root(pictures, tmp_path):
    with pytest.raises(UsageError, match=f"workers run in others; name it folder:{tmp_path}/pictures$"):
        launch.make_executor("ray", 1, torch.device("cpu"), None, [(pictures, Photographs)])
    launch.refuse_relative([f"folder:{tmp_path}/pictures"])


def interrupted(*_, **__):
    raise Interrupted


def test_results_that_a_run_removes_from_the_tables_are_reported(tmp_path, monkeypatch):
    fake_run(tmp_path / "r", fake_suite(1, ["l1", "l2"]))
    assert list(launch.no_longer_declared(tmp_path / "r", fake_suite(2, ["l2", "l1", "bce"]))) == []
    assert list(launch.no_longer_declared(tmp_path / "none", fake_suite(1))) == []
    auto, fixed = ({"loss": loss, "precision": precision} for loss, precision in (("l1", "auto"), ("l2", "fp32")))
    block = fake_suite(1).matrix[0].model_dump() | {"lr": 0.02}
    begun = Suite(name="fake", title="fake", matrix=(block | auto, block | fixed))
    fake_run(tmp_path / "p", begun.settled("fp32"))
    assert list(launch.no_longer_declared(tmp_path / "p", begun.settled("fp32"))) == []
    (said,) = launch.no_longer_declared(tmp_path / "p", begun.settled("bf16"))  # on another kind of device
    assert said.startswith(f"the tables of {tmp_path / 'p'} lose 1 results in fp32, since this command trains those")
    told, display = [], launch.Silence()
    monkeypatch.setattr(display, "note", told.append)

    monkeypatch.setattr(launch, "run_matrix", interrupted)
    monkeypatch.setattr(launch, "read_suite", lambda *_: fake_suite(1, ["l1"]))
    with pytest.raises(Interrupted):
        launch.execute(Order(out=tmp_path / "r", device="cpu"), [], display)
    assert told[-1] == (
        f"the tables of {tmp_path / 'r'} lose the results of l2, which this command does not ask for: "
        "name all of them, each with --loss, or choose another --out; the journal keeps them"
    )


def test_tuning_that_cannot_decide_and_rates_that_are_not_as_tuned_are_reported(monkeypatch, tmp_path):
    told, display = [], launch.Silence()
    monkeypatch.setattr(display, "note", told.append)
    report = fake_suite(1).matrix[0].model_dump()
    tune = report | {"role": "tune", "seeds": [100], "lr": 1e-3}
    plan = Suite(name="fake", title="fake", matrix=(report, tune))
    monkeypatch.setattr(launch, "read_suite", lambda *_: plan)
    fake_run(tmp_path / "r", plan)
    monkeypatch.setattr(launch, "run_matrix", lambda *_, **__: {})
    monkeypatch.setattr(launch, "write_report", lambda path: [])
    monkeypatch.setattr(launch, "warnings_of_rates", lambda run: [f"{len(run.cells)} rows read"])
    launch.execute(Order(out=tmp_path / "r", device="cpu"), [], display)
    assert any(line.startswith("tuned by 1 seed(s), too few") for line in told)
    assert told[-1] == "2 rows read"


def test_slow_bfloat16_is_reported_before_training(monkeypatch, tmp_path):
    told, display = [], launch.Silence()
    monkeypatch.setattr(display, "note", told.append)
    monkeypatch.setattr(launch, "run_matrix", interrupted)
    for fast, precision, slow in (("fp32", "bf16", True), ("fp32", "auto", False), ("bf16", "bf16", False)):
        monkeypatch.setattr(launch, "fast_precision", lambda device, fast=fast: fast)
        told.clear()
        order = Order("smoke", out=tmp_path / "r", device="cpu", only="task=sr", override={"precision": precision})
        with pytest.raises(Interrupted):
            launch.execute(order, [], display)
        count = sum(cell.task == "sr" for cell in read_suite("smoke").cells)
        warning = f"cpu is not known to multiply bfloat16 fast: {count} cells in bf16 may take many times as long as"
        assert any(line.startswith(warning) for line in told) == slow


def test_a_manifest_that_names_no_device_has_a_status(tmp_path):
    fake_run(tmp_path / "r", fake_suite(2))
    manifest = tmp_path / "r" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"device": {"type": None}}))
    found = api.status(tmp_path / "r")
    assert (found.counts, len(found.stale)) == ({"done": 2}, 0)
