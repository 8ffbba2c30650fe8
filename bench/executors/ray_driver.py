"""How do calls run on the machines of a Ray cluster? This is the driver, the process that runs Ray.

It asks the cluster for slots and passes calls to them. A slot is an actor that holds one CPU, and on request a share of
a GPU, on one machine. It runs a worker of `LocalExecutor`, so crashes, time limits, and memory limits work the same on
every machine. Ray chooses the machine of a slot and reports its loss. Neither this process nor a slot imports torch.
"""

import os
import pickle
import platform
import shutil
import socket
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from math import ceil, floor
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from time import sleep
from types import ModuleType
from typing import Any

from bench.executors import ExecutorError, WorkerDied
from bench.executors.local import LocalExecutor, share_of_memory_mib

PACKAGES = ("bench", "ganlab")  # sent to every machine
SLOTS_PER_GPU = 4  # networks of this size leave most of a GPU idle
CONNECT_S = 5.0  # longest wait for the head node; Ray itself would try for a quarter of an hour
WATCH_EVERY_S = 5.0
OPEN_RETRIES, OPEN_AGAIN_S = 10, 1.0  # retries of a slot whose machine dies while the slot is made
JOIN_S = 10.0  # longest wait for Ray to confirm that the slots have ended
KEEP_CHILDREN = {"RAY_kill_child_processes_on_worker_exit": "0"}  # Ray would end a worker but not its child processes
START = "start one with `ray start --head` (more machines: `ray start --address=HEAD:6379`)"


def driver_main(descriptor: int) -> None:
    """The main function of the driver: receive an order, send the number of slots, receive worker setup, then calls.

    Args:
        descriptor: file descriptor of the pipe to the runner; the driver ends if it breaks or sends None.
    """
    pipe = Connection(descriptor)
    with suppress(EOFError, OSError):
        requested, on_gpu, memory_mib, files = pipe.recv()
        try:
            ray = connect(files)
            slots, gpu_share = plan_slots(ray.cluster_resources(), requested, on_gpu)
        except ExecutorError as error:
            pipe.send(error)
            return
        except Exception:
            pipe.send(RuntimeError(traceback.format_exc()))
            return
        pipe.send(slots)
        if (worker_setup := pipe.recv()) is not None:
            actor = ray.remote(num_cpus=1, num_gpus=gpu_share, scheduling_strategy="SPREAD")(Slot)
            calls = Calls(ray, lambda: actor.remote(worker_setup, memory_mib), pipe, slots)
            with suppress(EOFError, OSError):
                while (call := pipe.recv()) is not None:
                    calls.put(call)
            calls.stop()
    os._exit(0)  # Ray's shutdown may wait for a cluster that is lost


def connect(files: Mapping[str, str]) -> ModuleType:
    """Ray, connected to the cluster, with the code sent to it; `files` is the user's code, see `travelling_files`.

    Raises:
        ExecutorError: Ray is not installed, this machine is part of no cluster, or the cluster has another version of
            Ray or Python.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no reports to Ray's makers
    try:
        import ray
        from ray._private.services import canonicalize_bootstrap_address  # as ray.init does
    except ImportError:
        raise ExecutorError("--executor ray needs Ray on every machine: pip install 'ganlab[ray]'") from None
    requested = os.environ.get("RAY_ADDRESS") or "auto"
    if "://" in requested:
        raise ExecutorError(
            f"RAY_ADDRESS={requested}: this is no Ray client; run on a machine of the cluster, "
            "with RAY_ADDRESS=HEAD:6379 or without"
        )
    where = "on this machine" if requested == "auto" else f"at RAY_ADDRESS={requested}"
    try:
        address = canonicalize_bootstrap_address("auto") or ""
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, ValueError):  # no cluster, no answer, or the address has no port
        raise ExecutorError(f"no Ray cluster {where}; {START}") from None
    with copied_code(files) as folder:
        runtime_env = {"working_dir": folder, "env_vars": KEEP_CHILDREN}
        try:
            ray.init(address=address, log_to_driver=False, runtime_env=runtime_env)
        except Exception as error:
            raise ExecutorError(
                f"the Ray cluster {where} cannot be used ({one_line(error)}); this machine must be "
                "part of it, and have its version of Ray and Python"
            ) from None
    return ray


@contextmanager
def copied_code(files: Mapping[str, str]) -> Iterator[str]:
    """A folder with only the two packages and `files`: their installed folder may hold much more."""
    root = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            shutil.copytree(root / package, Path(folder) / package, ignore=shutil.ignore_patterns("__pycache__"))
        for name, file in files.items():
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        yield folder


def plan_slots(resources: Mapping[str, float], requested: int | None, on_gpu: bool) -> tuple[int, float]:
    """The number of slots, and the share of a GPU that each holds.

    Args:
        resources: CPUs and GPUs of the cluster.
        requested: slots; None means as many as fit, `SLOTS_PER_GPU` on a GPU.
        on_gpu: whether a slot needs a GPU.

    Raises:
        ExecutorError: no slot fits.
    """
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if cpus < 1 or (on_gpu and gpus < 1):
        more = "add machines with GPUs, or use --device cpu" if on_gpu else "add machines"
        raise ExecutorError(f"the Ray cluster has {cpus} CPUs and {gpus} GPUs, no room for a single cell; {more}")
    if not on_gpu:
        return requested or cpus, 0
    slots = requested or min(cpus, SLOTS_PER_GPU * gpus)
    return slots, floor(1e4 / ceil(slots / gpus)) / 1e4  # Ray counts shares in steps of 1e-4


Call = tuple[int, bytes, float | None]  # number, function and arguments pickled, time limit in seconds


class Calls:
    """Passes calls to slots, to each one call at a time; a thread per slot waits for its answer.

    Args:
        ray: the connected module.
        new_slot: requests a slot from the cluster.
        pipe: receives the answers.
        slots: number of slots.
    """

    def __init__(self, ray: ModuleType, new_slot: Callable[[], Any], pipe: Connection, slots: int):
        self._ray, self._new_slot, self._pipe = ray, new_slot, pipe
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._actors: set[Any] = set()
        self._changing = threading.Lock()  # guards `_actors` and `_stopped`
        self._answering = threading.Lock()
        self._stopped = False
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(slots)]
        for thread in [*self._threads, threading.Thread(target=self._watch, daemon=True)]:
            thread.start()

    def put(self, call: Call) -> None:
        """Queue a call for the next free slot."""
        self._calls.put(call)

    def stop(self) -> None:
        """End every slot and wait until Ray confirms it."""
        with self._changing:
            self._stopped = True
            for actor in self._actors:
                self._ray.kill(actor)
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join(JOIN_S)

    def _serve(self) -> None:
        """The thread of a slot: runs one call after the other in the slot's actor and replaces a lost actor."""
        actor: Any = None
        while True:
            error: Exception | None = None
            try:
                actor = actor or self._open()  # may wait long for a free machine, so before it takes a call
            except ExecutorError as raised:
                error = raised
            call = self._calls.get()
            if call is None:
                return
            number, message, timeout_s = call
            packed = None
            if not error:
                try:
                    packed, error = self._ray.get(actor.call.remote(message, timeout_s))
                except Exception as raised:
                    error = WorkerDied("the executor was stopped") if self._stopped else cause_of_loss(raised)
                    self._close(actor)
                    actor = None
            with self._answering:
                self._pipe.send((number, packed, error))

    def _open(self) -> Any:
        """A slot that is ready; None after `stop`."""
        for last in (False,) * OPEN_RETRIES + (True,):
            with self._changing:
                if self._stopped:
                    return None
                actor = self._new_slot()
                self._actors.add(actor)
            try:
                self._ray.get(actor.ready.remote())
                return actor
            except Exception as error:
                self._close(actor)
                machine_died = not getattr(error, "actor_init_failed", True)
                if last or not machine_died:
                    raise ExecutorError(f"no slot could be made on the Ray cluster: {one_line(error)}") from None
            sleep(OPEN_AGAIN_S)

    def _close(self, actor: Any) -> None:
        with self._changing:
            self._actors.discard(actor)
            self._ray.kill(actor)

    def _watch(self) -> None:
        """End this process if Ray on this machine has ended. (If the head node has ended, Ray ends this process.)"""
        with suppress(Exception):
            this_node = self._ray.get_runtime_context().get_node_id()
            while any(node["Alive"] for node in self._ray.nodes() if node["NodeID"] == this_node):
                sleep(WATCH_EVERY_S)
        os._exit(1)


def cause_of_loss(error: Exception) -> WorkerDied:
    """The reason why a call lost its slot. Not the worker but only its machine, or Ray on it, can end a slot."""
    if "memory" in str(error):  # Ray ends the slot with the most memory: the cell may be the cause
        return WorkerDied("Ray ended its worker: the machine ran short of memory")
    return WorkerDied("its machine was lost", lost_node=True)


def one_line(error: Exception) -> str:
    """The end of an error's text, where Ray puts the cause."""
    return " ".join(str(error).split())[-300:] or type(error).__name__


class Slot:
    """Runs one call at a time on a machine of the cluster.

    Args:
        worker_setup: functions and their arguments, pickled; every worker calls them at its start.
        memory_mib: limit of a worker's private memory; None means an equal share of its machine's memory.
    """

    def __init__(self, worker_setup: bytes, memory_mib: float | None):
        memory_mib = memory_mib or share_of_memory_mib(slots_of_this_node())
        self._executor = LocalExecutor(1, [(set_up_worker, (worker_setup,))], memory_mib).__enter__()

    def ready(self) -> None:
        """Return as soon as the slot exists."""

    def call(self, message: bytes, timeout_s: float | None) -> tuple[bytes | None, Exception | None]:
        """The pickled result of a call, or the exception of its future, see `Executor.submit`."""
        future = self._executor.submit(run_pickled, message, timeout_s=timeout_s)
        try:
            return future.result(), None
        except Exception as error:
            return None, error


def slots_of_this_node() -> int:
    """The largest number of slots on this machine: one for each CPU that Ray may use."""
    import ray

    this_node = ray.get_runtime_context().get_node_id()
    return max([1, *(int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["NodeID"] == this_node)])


def set_up_worker(worker_setup: bytes) -> None:
    """In a worker: run the setup of every worker.

    Raises:
        ExecutorError: the setup failed, so every call on this machine would fail.
    """
    try:
        for function, args in pickle.loads(worker_setup):
            function(*args)
    except ExecutorError:
        raise
    except Exception as error:
        raise ExecutorError(
            f"no cell can be trained on {platform.node()}: {type(error).__name__}: {one_line(error)}; "
            "install there what the runner's machine has"
        ) from None


def run_pickled(message: bytes) -> bytes:
    """In a worker: run a pickled call and pickle its result; slot and driver unpack neither."""
    function, args = pickle.loads(message)
    return pickle.dumps(function(*args))
