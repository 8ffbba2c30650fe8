"""Where do the arms compute? In processes of their own, idle while others have their turn. And who else computes?"""

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
QUIET = 0.15  # cores: others who keep more of them busy disturb
LOOK_S = 0.2  # they are watched for so long at a time; their time is counted in hundredths of a second
PATIENCE_S = 10.0  # for a worker to end by itself


class Worker:
    """A process of one of the `HOMES`; use as a context manager."""

    def __init__(self, device: str, home: str):
        self.channel, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), device, home],
                pass_fds=[theirs.fileno()],
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
        """Ask, and do not wait."""
        try:
            self.channel.send((verb, *arguments))
        except OSError:
            raise self.died() from None

    def receive(self) -> Any:
        """The answer to the oldest request that has none.

        Raises:
            PeersError: the worker could not do it, or has died.
        """
        try:
            answer = self.channel.recv()
        except (EOFError, OSError):
            raise self.died() from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def died(self) -> PeersError:
        """The exception that says so."""
        return PeersError(f"a worker process died (exit code {self.process.wait(PATIENCE_S)})")


class Neighbours:
    """How many cores do others keep busy: everybody but this process and the given sessions?

    Linux counts that, and counts as others' what a hypervisor took away; elsewhere it is taken to be none. A session
    is named by the id of its first process, and covers whatever that starts.
    """

    def __init__(self, sessions: Iterable[int], proc: Path = Path("/proc")):
        self.sessions, self.proc, self.tick_s = set(sessions), proc, 1 / os.sysconf("SC_CLK_TCK")

    def during(self, work: Callable[[], T]) -> tuple[T, float]:
        """What `work` returns, and the cores that others kept busy meanwhile, on average."""
        started, busy_s, own_s = time.perf_counter(), self.busy_s(), self.own_s()
        result = work()
        busy_s, own_s = self.busy_s() - busy_s, self.own_s() - own_s
        return result, max(0.0, busy_s - own_s) / (time.perf_counter() - started)

    def wait_for_quiet(self, until: float) -> None:
        """Wait until others leave the machine alone, or the monotonic clock says `until`. Our own must be at rest."""
        while time.monotonic() < until:
            busy_s = self.busy_s()
            time.sleep(LOOK_S)
            if self.busy_s() - busy_s <= QUIET * LOOK_S:
                return

    def busy_s(self) -> float:
        """Seconds that the cores were not idle so far, all together; see `man 5 proc`."""
        try:
            fields = (self.proc / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
        except OSError:
            return 0.0
        user, nice, system, _idle, _waiting, irq, softirq, steal = map(int, fields)
        return self.tick_s * (user + nice + system + irq + softirq + steal)

    def own_s(self) -> float:
        """Processor seconds of this process and of the processes of our sessions that are alive."""
        ticks = 0
        for file in self.proc.glob("[0-9]*/stat"):
            with suppress(OSError):  # the process has ended meanwhile
                fields = file.read_text(errors="replace").rpartition(")")[2].split()  # a name may hold anything
                if int(fields[3]) in self.sessions:
                    ticks += int(fields[11]) + int(fields[12])
        return self.tick_s * ticks + time.process_time()


def ask_all(workers: Sequence[Worker], verb: str, *arguments: Any) -> list[Any]:
    """The answers of several workers that compute at once.

    Raises:
        PeersError: one could not do it; none owes an answer then.
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
    """A worker's side: a trainer for each way to build one, and the processor time used while none had its turn."""

    def __init__(self, device: str, home: str):
        import torch

        from bench.training.numerics import configure
        from tools.peers.workloads import offer_stand_in

        offer_stand_in()
        self.device = torch.device(device)
        if home == HARNESS:
            configure(self.device)  # the numeric settings of a training process; otherwise PyTorch's defaults
        self.trainers: dict[Any, Any] = {}  # by what builds them
        self.rested_from = time.process_time()

    def build(self, arm_name: str, experiment: Experiment) -> dict[str, float]:
        """Make the trainer of an arm; what a step of it is (see `trainer.work`), and the compute threads it has."""
        import torch

        from tools.peers import arms, trainer

        torch.manual_seed(experiment.seed)
        build = arms.find(arm_name).build
        made = self.trainers.get(build) or build(experiment, self.device)
        work = trainer.work(made)
        trainer.wait_for(self.device)
        self.trainers[build] = made
        return work | {"threads": torch.get_num_threads()}

    def drop(self, arm_name: str) -> None:
        """Give back the memory of an arm that will not be measured."""
        from tools.peers import arms

        self.trainers.pop(arms.find(arm_name).build, None)

    def note(self, arm_name: str) -> str:
        """What a reader must know of how an arm has computed so far."""
        from tools.peers import arms

        return self.trainers[arms.find(arm_name).build].note

    def run(self, arm_name: str, seconds: float) -> dict[str, float]:
        """Steps of an arm for about so long; see `trainer.run`. `rest_cpu_s`: processor time since the last turn."""
        from tools.peers import arms, trainer

        rest_cpu_s = time.process_time() - self.rested_from
        found = trainer.run(self.trainers[arms.find(arm_name).build], seconds, self.device)
        found["rest_cpu_s"] = rest_cpu_s
        self.rested_from = time.process_time()
        return found


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
