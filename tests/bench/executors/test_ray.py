"""Are rows on two Ray nodes those of the local process? One node is killed."""

import copy
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from bench.executors import ExecutorError, WorkerDied
from bench.executors.agreement import Agreement, adopt
from bench.executors.ray_cluster import RayExecutor
from bench.executors.ray_driver import connect, plan_slots
from bench.executors.user_code import fingerprints, load_user_code, travelling_files
from bench.plan.cell import used_data
from bench.plan.suite import Suite
from bench.running.interrupts import Interrupts
from bench.running.runner import run_matrix
from bench.store.writer import RunDirectory
from bench.training.code import code_fingerprint
from bench.training.numerics import configure
from ganlab import datasets
from ganlab.classifiers import frozen_classifier, weights_digest
from ganlab.plugins import source_files
from tests.bench.api.test_runs import ROOT, wait_for
from tools.stress.runs import rows

CPU = torch.device("cpu")
SUITE = Suite.model_validate(
    {
        "name": "two-nodes",
        "title": "a few cells of two tasks",
        "timing": {"rounds": 0},
        "matrix": [
            {
                "task": "sr",
                "dataset": "photographs",
                "loss": "l1",
                "head": "raw",
                "lr": [3e-3],
                "seeds": 1,
                "steps": 10,
                "evaluations": 1,
                "batch_size": 4,
                "settings": {"channels": 8, "blocks": 1, "patch": 8},
            },
            {
                "task": "gan",
                "dataset": "digits",
                "loss": ["bce", "l2"],
                "outliers": {"noise": 0.2},
                "lr": [2e-4],
                "seeds": 3,
                "steps": 150,
                "evaluations": 1,
                "batch_size": 16,  # so that one is met by the kill
                "settings": {"width": 8, "latent": 8, "evaluation_images": 100},
            },
        ],
    }
)
HEALTH_CHECKS = {"initial_delay_ms": 0, "period_ms": 500, "failure_threshold": 4}  # a dead node is noticed in 2 s
NO_RAY = "Ray is not installed: pip install 'ganlab[ray]'"


class Here:
    """An executor without workers: calls run in this process, while they are submitted."""

    slots = 2

    def submit(self, function, *args, timeout_s):
        future = Future()
        future.set_result(function(*args))
        return future

    def stop(self):
        """Nothing to end."""


def run(executor, folder: Path, show=lambda progress: None) -> dict[str, list[dict[str, str]]]:
    """The rows of `SUITE` but for measured columns."""
    with Interrupts() as interrupts, RunDirectory(folder) as directory:
        run_matrix(SUITE, directory, executor, CPU, lambda cell: True, show, interrupts)
    return {name: rows(folder / f"{name}.csv") for name in ("cells", "images", "curves")}


def agreement() -> Agreement:
    return Agreement.of_this_process(used_data(SUITE.cells), CPU)


def two_workers(executor: RayExecutor) -> list[int]:
    """The processes behind two slots, as soon as both are there."""

    def found():
        calls = [executor.submit(subprocess.getoutput, "sleep 0.3; echo $PPID", timeout_s=None) for _ in range(2)]
        return {int(call.result()) for call in calls}

    return list(wait_for(lambda: len(pids := found()) == 2 and pids))


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie that only waits to be counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head node with one CPU, and a node with two CPUs and what it says is a GPU, all on 127.0.0.1."""
    if sys.platform != "linux":
        pytest.skip("Ray makes clusters of several nodes on Linux alone")
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # as on those systems, bind to 127.0.0.1 and nothing else
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    pytest.importorskip("ray", reason=NO_RAY)
    from ray.cluster_utils import Cluster

    cache = tmp_path_factory.mktemp("cache-of-the-nodes")
    shared = {"node_ip_address": "127.0.0.1", "include_log_monitor": False}
    settings = {f"health_check_{name}": value for name, value in HEALTH_CHECKS.items()}
    with pytest.MonkeyPatch.context() as nodes:
        nodes.setenv("GANLAB_CACHE", str(cache))
        cluster = Cluster(
            initialize_head=True,
            head_node_args=shared
            | {"num_cpus": 1, "include_dashboard": False, "no_monitor": True, "_system_config": settings},
        )
        cluster.add_node(num_cpus=2, num_gpus=1, **shared)
    cluster.cache_of_the_nodes = cache
    patch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    cluster.shutdown()
    patch.undo()


def test_a_slot_survives_failing_calls_and_holds_a_share_of_a_gpu(cluster):
    with RayExecutor(2, memory_mib=200, on_gpu=True) as executor:
        calls = [
            executor.submit(os.abort, timeout_s=None),
            executor.submit(os._exit, 3, timeout_s=None),
            executor.submit(time.sleep, 60, timeout_s=0.2),
            executor.submit(bytearray, 2**29, timeout_s=None),
            executor.submit(int, "seven", timeout_s=None),
        ]
        errors = [call.exception() for call in calls]
        assert [type(error) for error in errors] == [WorkerDied, WorkerDied, TimeoutError, MemoryError, ValueError]
        assert [str(error) for error in errors] == [
            "its worker process was killed by SIGABRT",
            "its worker process ended with exit code 3",
            "longer than 0.2 s",
            "its worker exceeded its limit of 200 MiB of memory",
            "invalid literal for int() with base 10: 'seven'",
        ]
        assert not any(error.lost_node for error in errors[:2])
        devices = [executor.submit(os.getenv, "CUDA_VISIBLE_DEVICES", timeout_s=None) for _ in range(2)]
        assert [device.result() for device in devices] == ["0", "0"]  # both slots share the only one
        stuck = executor.submit(time.sleep, 60, timeout_s=None)
        executor.stop()
        assert isinstance(stuck.exception(), WorkerDied)
        assert "stopped" in str(executor.submit(os.getpid, timeout_s=None).exception())


def test_workers_and_their_children_end_with_a_killed_runner(cluster, tmp_path):
    script = f"""
import os
from bench.executors.ray_cluster import RayExecutor
with RayExecutor(2) as executor:
    for _ in range(2):
        call = executor.submit(os.system, "echo $PPID $$ > {tmp_path}/$$; exec sleep 600", timeout_s=None)
    call.result()
"""

    def processes() -> list[int]:
        return [int(pid) for file in tmp_path.iterdir() for pid in file.read_text().split()]

    runner = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    wait_for(lambda: len(processes()) == 4)
    assert not any(map(has_ended, processes()))
    runner.kill()
    runner.wait()
    wait_for(lambda: all(map(has_ended, processes())))


def test_an_unfit_worker_or_a_lost_cluster_ends_the_run(cluster):
    with RayExecutor(1, setups=[(int, ("seven",))]) as executor:
        unfit = executor.submit(os.getpid, timeout_s=None).exception()
        assert isinstance(unfit, ExecutorError)
        assert "ValueError: invalid literal" in str(unfit)
        os.kill(executor._driver.pid, signal.SIGKILL)  # as Ray does when the head node has ended
        for _ in range(2):  # submitted before anybody noticed, and after
            gone = executor.submit(os.getpid, timeout_s=None).exception()
            assert isinstance(gone, ExecutorError)
            assert "run the same command" in str(gone)


def test_a_node_is_killed_halfway_and_the_rows_are_those_of_one_process(cluster, tmp_path):
    here = run(Here(), tmp_path / "here")
    assert {cell["status"] for cell in here["cells"]} == {"done"}
    notes, killers = [], []

    def show(progress):
        if progress.note:
            notes.append(progress.note)
        if progress.finished and not killers:  # by a thread: a runner that waits gives the machine nothing to lose
            kill = partial(cluster.remove_node, *cluster.worker_nodes, allow_graceful=False)
            killers.append(threading.Thread(target=kill))
            killers[0].start()

    with RayExecutor(2, [(configure, (CPU,))], agreement=agreement) as executor:
        two_workers(executor)
        there = run(executor, tmp_path / "there", show)
        killers[0].join()
    assert there == here
    assert any("its machine was lost" in note for note in notes)
    assert not list(cluster.cache_of_the_nodes.iterdir())  # the classifier came from here: no node trained one


def test_a_loss_of_the_users_travels_to_every_machine(cluster, tmp_path, monkeypatch):
    (tmp_path / "travelling_losses.py").write_text("def cubic(prediction, target): return (prediction - target) ** 3\n")
    monkeypatch.syspath_prepend(tmp_path)  # outside the repository, where nodes do not look
    reference = "travelling_losses:cubic"
    setups = [(load_user_code, (fingerprints([reference]),))]
    with RayExecutor(1, setups, files=travelling_files([reference])) as executor:
        (file,) = executor.submit(source_files, reference, timeout_s=None).result()
    assert file.name == "travelling_losses.py"
    assert file.parent != tmp_path


def test_slots_are_one_to_a_cpu_and_share_gpus():
    assert plan_slots({"CPU": 6}, None, on_gpu=False) == (6, 0)
    assert plan_slots({"CPU": 6}, 2, on_gpu=False) == (2, 0)
    assert plan_slots({"CPU": 64, "GPU": 2}, None, on_gpu=True) == (8, 0.25)
    assert plan_slots({"CPU": 3, "GPU": 2}, None, on_gpu=True) == (3, 0.5)  # two on one of them, one on the other
    assert plan_slots({"CPU": 64, "GPU": 2}, 1, on_gpu=True) == (1, 1.0)
    assert plan_slots({"CPU": 64, "GPU": 2}, 6, on_gpu=True) == (6, 0.3333)  # three of these fit into one GPU
    with pytest.raises(ExecutorError, match="0 GPUs, no room"):
        plan_slots({"CPU": 64}, None, on_gpu=True)
    with pytest.raises(ExecutorError, match="0 CPUs"):
        plan_slots({}, 4, on_gpu=False)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "no Ray cluster at RAY_ADDRESS=127.0.0.1:9; start one with `ray start --head`"),
        ("somewhere", "no Ray cluster at RAY_ADDRESS=somewhere"),
        ("ray://127.0.0.1:10001", "run on a machine of the cluster"),
    ],
)
def test_without_a_cluster_one_line_says_how_to_start_one(monkeypatch, address, message):
    pytest.importorskip("ray", reason=NO_RAY)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ExecutorError) as error:
        connect({})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_without_ray_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutorError, match=r"pip install 'ganlab\[ray\]'"):
        connect({})


@pytest.mark.parametrize(
    ("difference", "message"),
    [
        ({"torch_version": "1.0"}, "has torch .*, the runner 1.0"),
        ({"code": "0" * 12}, "the runner started with 000000000000"),
        ({"data": {("digits", datasets.LabelledImages): "0" * 64}}, "holds another digits"),
        ({"data": {("tulips", datasets.Photographs): "0" * 64}}, "tulips is not here"),
    ],
)
def test_a_worker_does_not_join_with_other_code_or_data(monkeypatch, difference, message):
    def load(name, kind, known=datasets.load):
        if name == "tulips":
            raise datasets.DataMissing("data set tulips is not here")
        return known(name, kind)

    monkeypatch.setattr(datasets, "load", load)
    ours = Agreement(CPU, str(torch.__version__), code_fingerprint("cpu"), {}, {})
    ours.join()
    with pytest.raises(ExecutorError, match=message):
        replace(ours, **difference).join()


def test_a_worker_takes_the_runners_classifier_over_its_own(monkeypatch, tmp_path):
    digits = datasets.load("digits")
    own = frozen_classifier(digits)
    network = copy.deepcopy(own.network)
    network[-1].bias += 1  # as if trained on another kind of CPU
    theirs = replace(own, network=network, digest=weights_digest(network))
    frozen_classifier.cache_clear()
    monkeypatch.setenv("GANLAB_CACHE", str(tmp_path))
    try:
        adopt(theirs, digits)
        assert frozen_classifier(digits).digest == theirs.digest != own.digest
        assert os.environ["GANLAB_CACHE"] == str(tmp_path)
        assert not list(tmp_path.iterdir())
    finally:
        frozen_classifier.cache_clear()
