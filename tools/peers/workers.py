"""Where do the arms compute, and which other processes compute? In separate, alternating processes."""

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from ganlab.tasks import Experiment
from tools.peers import PeersError
from tools.peers.homes import HARNESS, environment

T = TypeVar("T")
QUIET = 0.15  # cores; if others keep more busy, they disturb the measurement
LOOK_S = 0.2  # length of one look at others; their time is counted in hundredths of a second
PATIENCE_S = 10.0  # the longest wait for a worker to end by itself


class Worker:
    """A process with one of the environments in `HOMES`; use it as a context manager."""

    def __init__(self, device: str, home: str):
        self.channel, child_end = Pipe()
        with child_end:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(child_end.fileno()), device, home],
                pass_fds=[child_end.fileno()],
                env=environment(home),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.channel.close()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def send(self, verb: str, *arguments: Any) -> None:
        """Send a request without waiting for the answer."""
        try:
            self.channel.send((verb, *arguments))
        except OSError:
            raise self.died() from None

    def receive(self) -> Any:
        """The answer to the oldest unanswered request.

        Raises:
            PeersError: the worker could not answer, or has died.
        """
        try:
            answer = self.channel.recv()
        except (EOFError, OSError):
            raise self.died() from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def died(self) -> PeersError:
        """The exception for a dead worker."""
        return PeersError(f"a worker process died (exit code {self.process.wait(PATIENCE_S)})")


class Neighbours:
    """How many cores do other processes keep busy, apart from this process and the given sessions?

    Linux counts that, including time that a hypervisor took away; on other systems it is 0. A session has the id of its
    first process, and covers whatever that process starts.
    """

    def __init__(self, sessions: Iterable[int], proc: Path = Path("/proc")):
        self.sessions, self.proc, self.tick_s = set(sessions), proc, 1 / os.sysconf("SC_CLK_TCK")

    def during(self, work: Callable[[], T]) -> tuple[T, float]:
        """What `work` returns, and the cores that others kept busy meanwhile, on average."""
        started, busy_s, ours_s = time.perf_counter(), self.busy_s(), self.ours_s()
        result = work()
        busy_s, ours_s = self.busy_s() - busy_s, self.ours_s() - ours_s
        return result, max(0.0, busy_s - ours_s) / (time.perf_counter() - started)

    def wait_for_quiet(self, until: float) -> None:
        """Wait until the machine is quiet, or until `until` on the monotonic clock. Our processes must be at rest."""
        while time.monotonic() < until:
            busy_s = self.busy_s()
            time.sleep(LOOK_S)
            if self.busy_s() - busy_s <= QUIET * LOOK_S:
                return

    def busy_s(self) -> float:
        """Total seconds that the cores have been busy; see `man 5 proc`."""
        try:
            fields = (self.proc / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
        except OSError:
            return 0.0
        user, nice, system, _idle, _waiting, irq, softirq, steal = map(int, fields)
        return self.tick_s * (user + nice + system + irq + softirq + steal)

    def ours_s(self) -> float:
        """Processor seconds of this process and of the living processes of our sessions."""
        ticks = 0
        for file in self.proc.glob("[0-9]*/stat"):
            with suppress(OSError):  # the process has ended meanwhile
                fields = file.read_text(errors="replace").rpartition(")")[2].split()  # a name may hold anything
                if int(fields[3]) in self.sessions:
                    ticks += int(fields[11]) + int(fields[12])
        return self.tick_s * ticks + time.process_time()


def ask_all(workers: Sequence[Worker], verb: str, *arguments: Any) -> list[Any]:
    """The answers of several workers that compute at the same time.

    Raises:
        PeersError: a worker failed; all other answers have been received.
    """
    asked, answers, errors = [], [], []
    for worker in workers:
        try:
            worker.send(verb, *arguments)
            asked.append(worker)
        except PeersError as error:
            errors.append(error)
    for worker in asked:
        try:
            answers.append(worker.receive())
        except PeersError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return answers


class Bench:
    """The worker process: a trainer for each `build`, and the processor time that was used between turns."""

    def __init__(self, device: str, home: str):
        import torch

        from bench.training.numerics import configure
        from tools.peers.workloads import offer_stand_in

        offer_stand_in()
        self.device = torch.device(device)
        if home == HARNESS:
            configure(self.device)  # the numeric settings of a training process; otherwise PyTorch's defaults
        self.trainers: dict[Any, Any] = {}  # by their `build`
        self.rested_from = time.process_time()

    def build(self, arm_name: str, experiment: Experiment) -> dict[str, float]:
        """Make the trainer of an arm; returns the work of a step (see `trainer.work`) and its compute threads."""
        import torch

        from tools.peers import arms, trainer

        torch.manual_seed(experiment.seed)
        build = arms.find(arm_name).build
        built = self.trainers.get(build) or build(experiment, self.device)
        work = trainer.work(built)
        trainer.wait_for(self.device)
        self.trainers[build] = built
        return work | {"threads": torch.get_num_threads()}

    def drop(self, arm_name: str) -> None:
        """Free the memory of an arm that will not be measured."""
        from tools.peers import arms

        self.trainers.pop(arms.find(arm_name).build, None)

    def note(self, arm_name: str) -> str:
        """The trainer's note on how the arm has computed so far."""
        from tools.peers import arms

        return self.trainers[arms.find(arm_name).build].note

    def run(self, arm_name: str, seconds: float) -> dict[str, float]:
        """Steps of an arm for about `seconds`; see `trainer.run`. `rest_cpu_s`: processor time since the last turn."""
        from tools.peers import arms, trainer

        rest_cpu_s = time.process_time() - self.rested_from
        measured = trainer.run(self.trainers[arms.find(arm_name).build], seconds, self.device)
        measured["rest_cpu_s"] = rest_cpu_s
        self.rested_from = time.process_time()
        return measured


def serve(channel: Connection, device: str, home: str) -> None:
    """Answer requests until the other end is closed."""
    bench = None
    while True:
        try:
            verb, *arguments = channel.recv()
        except (EOFError, OSError):
            return
        try:
            bench = bench or Bench(device, home)
            answer = getattr(bench, verb)(*arguments)
        except Exception as error:
            traceback.print_exc()
            answer = PeersError(" ".join(f"{arguments[0]}: {type(error).__name__}: {error}".split()))
        channel.send(answer)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])), sys.argv[2], sys.argv[3])
