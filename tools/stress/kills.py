"""Does `kill -9` lose anything? Runners and workers are killed at random moments, and the run is resumed."""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.store.reader import load
from tools.stress.runs import Session, demand, demand_equal, finished_cells, kill
from tools.stress.watch import Reader, Seen, Truth

NOT_DONE = 20  # exit code of a run with crashed cells, for example because their worker was killed twice
MOST_WRITES, LATEST_S = 40, 0.01  # a kill comes this soon after one of this many writes, or at any moment of the run


@dataclass
class Tally:
    """What was killed, and the results."""

    kills: Counter = field(default_factory=Counter)  # by victim
    sessions: int = 0
    rounds: int = 0  # run directories that were completed
    rows: int = 0  # compared with those of the unbroken run
    seen: Seen = field(default_factory=Seen)

    def __str__(self) -> str:
        kills = " and ".join(f"{count} {victim}s" for victim, count in sorted(self.kills.items()))
        return (
            f"killed {kills} in {self.sessions} sessions; {self.rounds} runs came to their end, {self.rows} rows "
            f"equal; {self.seen.files} files read whole and true in {self.seen.looks} looks, {self.seen.loads} as "
            f"a report reads them ({self.seen.apart} between two renames)"
        )


class Killer:
    """Kills a run again and again.

    Args:
        unbroken: the run directory of an unbroken run.
        seconds: the duration of that run.
        kills: the number of kills.
        rng: chooses the victims and the moments.
        say: called with one line on each event.
    """

    def __init__(self, unbroken: Path, seconds: float, kills: int, rng: random.Random, say: Callable[[str], None]):
        self.unbroken, self.seconds, self.kills, self.rng, self.say = unbroken, seconds, kills, rng, say
        self.tally = Tally()

    def enough(self) -> bool:
        """Whether the requested number of kills is reached."""
        return self.tally.kills.total() >= self.kills

    def rounds(self, folder: Path) -> Tally:
        """Complete runs until all kills are done.

        Raises:
            Failed: something was truncated, wrong, lost, or left behind.
        """
        truth, tally = Truth.of(self.unbroken), self.tally
        while not self.enough():
            run = folder / f"killed-{tally.rounds}"
            with Reader(run, truth) as reader:
                while not self.session(run):
                    pass
            reader.demand_no_fault()
            tally.rounds += 1
            tally.rows += demand_equal(run, self.unbroken)
            demand(not (warnings := load(run).warnings), f"the finished run directory has {warnings}")
            tally.seen += reader.seen
            self.say(f"round {tally.rounds}: at its end, and equal to the unbroken run")
        return tally

    def session(self, run: Path) -> bool:
        """Start or resume a run and kill its workers until it ends, or kill it; returns whether all cells are done."""
        self.tally.sessions += 1
        killed_workers = 0
        with Session(run.parent, "run", "smoke", "--out", run, "--workers", 2) as bench:
            while not self.enough() and self.wait_a_moment(bench, run):
                victim, cells = self.rng.choice(("runner", "worker")), finished_cells(run)
                if victim == "runner":
                    bench.process.kill()
                    bench.process.wait()
                    bench.demand_no_orphan()
                elif workers := bench.workers():
                    kill(self.rng.choice(workers))
                    killed_workers += 1
                else:
                    continue  # there are no workers at this moment
                self.tally.kills[victim] += 1
                self.say(f"kill {self.tally.kills.total()}: {victim}, with {cells} cells in the journal")
                if victim == "runner":
                    return False
            ended = bench.wait()
            bench.demand_no_orphan()
        demand(
            ended.code in (0, NOT_DONE) and (ended.code == 0 or killed_workers),
            f"exit code {ended.code}: {ended.err[-500:]}",
        )
        return ended.code == 0

    def wait_a_moment(self, bench: Session, run: Path) -> bool:
        """Wait for a random moment, half of the time right after a write; returns whether the run still goes on."""
        if self.rng.random() < 0.5:
            return not bench.ends_within(self.rng.uniform(0, self.seconds))
        writes, state = self.rng.randint(1, MOST_WRITES), state_of(run)
        while writes and not bench.ended():
            time.sleep(0.001)
            writes -= state != (state := state_of(run))
        return not bench.ends_within(self.rng.uniform(0, LATEST_S))


def state_of(run: Path) -> set[tuple[str, int, int]]:
    """Names, times, and sizes of the files in a run directory."""
    files = set()
    for file in run.glob("**/*"):
        try:
            status = file.stat()
        except FileNotFoundError:
            continue  # just renamed
        files.add((file.name, status.st_mtime_ns, status.st_size))
    return files
