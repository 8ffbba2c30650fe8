"""The process that Ray lives in: it asks a cluster for slots and passes calls on to them.

A slot is an actor that holds one CPU, and perhaps a share of a GPU, somewhere in the cluster. What runs in it is a
worker of `LocalExecutor`, so that a crash, a time limit, and a memory limit mean the same on every machine; Ray decides
where a slot is, and says when its machine is lost. Neither this process nor a slot loads torch.
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

PACKAGES = ("bench", "ganlab")  # the code that every machine is sent
SLOTS_PER_GPU = 4  # networks as small as these leave most of a GPU idle
ANSWER_S = 5.0  # a head node answers within; Ray itself would go on trying for a quarter of an hour
WATCH_EVERY_S = 5.0
OPEN_RETRIES, OPEN_AGAIN_S = 10, 1.0  # machines may die while a slot is being made on them, but not for ever
JOIN_S = 10.0  # for Ray to confirm that the slots have ended
SPARE_CHILDREN = {"RAY_kill_child_processes_on_worker_exit": "0"}  # Ray would end a worker, but not what it started
START = "start one with `ray start --head` (more machines: `ray start --address=HEAD:6379`)"


def drive(descriptor: int) -> None:
    """The life of the driver: first an order, answered by the count of slots; then what workers do first; then calls.

    Args:
        descriptor: of the pipe to the runner; when it breaks, or brings None, all ends.
    """
    pipe = Connection(descriptor)
    with suppress(EOFError, OSError):
        asked, on_gpu, memory_mib, files = pipe.recv()
        try:
            ray = connect(files)
            slots, gpu_share = room(ray.cluster_resources(), asked, on_gpu)
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
    os._exit(0)  # Ray's own shutdown may wait for a cluster that is gone


def connect(files: Mapping[str, str]) -> ModuleType:
    """Ray, connected to the cluster, which has the code; `files` is the user's, see `travelling_files`.

    Raises:
        ExecutorError: Ray is not installed; there is no cluster, or this machine is not part of it; it runs another
            version of Ray or Python.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is reported to Ray's makers from here
    try:
        import ray
        from ray._private.services import canonicalize_bootstrap_address  # as ray.init: from RAY_ADDRESS, or found
    except ImportError:
        raise ExecutorError("--executor ray needs Ray on every machine: pip install 'ganlab[ray]'") from None
    asked = os.environ.get("RAY_ADDRESS") or "auto"
    if "://" in asked:
        raise ExecutorError(
            f"RAY_ADDRESS={asked}: this is no Ray client; run on a machine of the cluster, "
            "with RAY_ADDRESS=HEAD:6379 or without"
        )
    where = "on this machine" if asked == "auto" else f"at RAY_ADDRESS={asked}"
    try:
        address = canonicalize_bootstrap_address("auto")
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except (OSError, ValueError, AttributeError):  # none found or none answers; no host:port; "local", which has none
        raise ExecutorError(f"no Ray cluster {where}; {START}") from None
    with copied_code(files) as folder:
        sent = {"working_dir": folder, "env_vars": SPARE_CHILDREN}
        try:
            ray.init(address=address, log_to_driver=False, runtime_env=sent)
        except Exception as error:
            raise ExecutorError(
                f"the Ray cluster {where} cannot be used ({one_line(error)}); this machine must be "
                "part of it, and have its version of Ray and Python"
            ) from None
    return ray


@contextmanager
def copied_code(files: Mapping[str, str]) -> Iterator[str]:
    """A folder with the two packages and `files` alone: where they are installed, much else may lie beside them."""
    root = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            shutil.copytree(root / package, Path(folder) / package, ignore=shutil.ignore_patterns("__pycache__"))
        for name, file in files.items():
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        yield folder


def room(resources: Mapping[str, float], asked: int | None, on_gpu: bool) -> tuple[int, float]:
    """How many slots, and the share of a GPU that each holds.

    Args:
        resources: CPUs and GPUs of the cluster.
        asked: slots; None is as many as there is room for, `SLOTS_PER_GPU` to a GPU.
        on_gpu: whether a slot needs a GPU at all.

    Raises:
        ExecutorError: there is no room for one.
    """
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if cpus < 1 or (on_gpu and gpus < 1):
        more = "add machines with GPUs, or use --device cpu" if on_gpu else "add machines"
        raise ExecutorError(f"the Ray cluster has {cpus} CPUs and {gpus} GPUs, no room for a single cell; {more}")
    if not on_gpu:
        return asked or cpus, 0
    slots = asked or min(cpus, SLOTS_PER_GPU * gpus)
    return slots, floor(1e4 / ceil(slots / gpus)) / 1e4  # Ray counts shares in steps of 1e-4


class Calls:
    """Passes calls to slots, one at a time to each; a thread per slot waits for its answer.

    Args:
        ray: connected.
        new_slot: asks the cluster for a slot.
        pipe: where the answers go.
        slots: how many of them.
    """

    def __init__(self, ray: ModuleType, new_slot: Callable[[], Any], pipe: Connection, slots: int):
        self._ray, self._new_slot, self._pipe = ray, new_slot, pipe
        self._calls: SimpleQueue = SimpleQueue()
        self._actors: set[Any] = set()
        self._changing = threading.Lock()  # the actors, and whether there may be any
        self._answering = threading.Lock()
        self._stopped = False
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(slots)]
        for thread in [*self._threads, threading.Thread(target=self._watch, daemon=True)]:
            thread.start()

    def put(self, call: tuple[int, bytes, float | None]) -> None:
        """A call for the next free slot: its number, function and arguments as bytes, and its time limit."""
        self._calls.put(call)

    def stop(self) -> None:
        """End every slot, and wait until Ray says that it has."""
        with self._changing:
            self._stopped = True
            for actor in self._actors:
                self._ray.kill(actor)
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join(JOIN_S)

    def _serve(self) -> None:
        """The thread of a slot: call after call, each in the slot's actor, which is replaced when it is lost."""
        actor = None
        while True:
            error = None
            try:
                actor = actor or self._open()  # may wait long for a machine with room, so without a call in hand
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
                except Exception as lost:
                    error = WorkerDied("the executor was stopped") if self._stopped else cause_of_loss(lost)
                    actor = self._close(actor)
            with self._answering:
                self._pipe.send((number, packed, error))

    def _open(self) -> Any:
        """A slot that is ready; None once this is stopped."""
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
                its_machine_died = not getattr(error, "actor_init_failed", True)
                if last or not its_machine_died:
                    raise ExecutorError(f"no slot could be made on the Ray cluster: {one_line(error)}") from None
            sleep(OPEN_AGAIN_S)

    def _close(self, actor: Any) -> None:
        with self._changing:
            self._actors.discard(actor)
            self._ray.kill(actor)

    def _watch(self) -> None:
        """Ends this process when Ray on this machine has ended; when the head node has, Ray ends this process."""
        with suppress(Exception):
            own = self._ray.get_runtime_context().get_node_id()
            while any(node["Alive"] for node in self._ray.nodes() if node["NodeID"] == own):
                sleep(WATCH_EVERY_S)
        os._exit(1)


def cause_of_loss(error: Exception) -> WorkerDied:
    """What it means for a call that its slot is gone: a worker in it cannot do that, a machine or its Ray can."""
    if "memory" in str(error):  # Ray ends the slot it thinks the greediest, which is for the cell to prove wrong
        return WorkerDied("Ray ended its worker: the machine ran short of memory")
    return WorkerDied("its machine was lost", lost_node=True)


def one_line(error: Exception) -> str:
    """The end of an error's text, where Ray puts the cause."""
    return " ".join(str(error).split())[-300:] or type(error).__name__


class Slot:
    """A place for one call at a time, on some machine of the cluster.

    Args:
        worker_setup: functions and their arguments, pickled, for every worker to call first.
        memory_mib: memory a worker may hold for itself; None is a fair share of its machine's.
    """

    def __init__(self, worker_setup: bytes, memory_mib: float | None):
        memory_mib = memory_mib or share_of_memory_mib(slots_here())
        self._executor = LocalExecutor(1, [(introduce, (worker_setup,))], memory_mib).__enter__()

    def ready(self) -> None:
        """Returns when there is a slot."""

    def call(self, message: bytes, timeout_s: float | None) -> tuple[bytes | None, Exception | None]:
        """The result of a call, packed, or the exception that its future has under `Executor.submit`."""
        future = self._executor.submit(perform, message, timeout_s=timeout_s)
        error = future.exception()
        return (None, error) if error else (future.result(), None)


def slots_here() -> int:
    """How many slots this machine can have: one to each of the CPUs it gives to Ray."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    return max([1, *(int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["NodeID"] == own)])


def introduce(worker_setup: bytes) -> None:
    """In a worker: do what every worker does first.

    Raises:
        ExecutorError: this machine lacks something, and every call on it would fail.
    """
    try:
        for function, args in pickle.loads(worker_setup):
            function(*args)
    except ExecutorError:
        raise
    except Exception as error:
        raise ExecutorError(
            f"no cell can be trained on {platform.node()}: {type(error).__name__}: {one_line(error)}; "
            "install there what is installed here"
        ) from None


def perform(message: bytes) -> bytes:
    """In a worker: a call and its result, both pickled; slot and driver pass them on unread."""
    function, args = pickle.loads(message)
    return pickle.dumps(function(*args))
