"""How far can the check be trusted on this machine? Itself against itself, and against planted slowdowns.

Each trial is a whole comparison of a tree with its copy; a plant lengthens head's steps by a known share of their own
time. The record keeps every round, so that `simulate` can run the same rule many more times on the machine's own noise.
"""

import itertools
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import log1p
from pathlib import Path

from pydantic import ValidationError

from bench.errors import Broken
from bench.store.files import write_atomically
from bench.throughput import Misuse, arm, judge, rounds
from bench.throughput.cells import choose
from bench.throughput.compare import Tell, Wanted, run
from bench.throughput.judge import Rule
from bench.throughput.records import Calibration, Machine, Trial
from bench.throughput.rounds import Side
from ganlab.classifiers import default_cache
from ganlab.fingerprint import code_digest
from ganlab.losses import LOSSES
from ganlab.tasks import TASKS

SIMULATED = 1000  # comparisons for each planted share
BLOCK = 4  # consecutive rounds drawn together: each side first, on each of two cores


def parse_runs(texts: Sequence[str]) -> dict[float, int]:
    """`PERCENT=COUNT` pairs as planted share -> count.

    >>> parse_runs(["0=40", "5=20"])
    {0.0: 40, 0.05: 20}

    Raises:
        Misuse: not such a pair.
    """
    counts = {}
    for text in texts:
        percent, _, count = text.partition("=")
        try:
            share, number = float(percent) / 100, int(count)
        except ValueError:
            share, number = -1.0, 0
        if not (0 <= share <= 1 and number > 0):
            raise Misuse(f"--runs {text!r}: expected PERCENT=COUNT, as in --runs 5=20")
        counts[share] = number
    return counts


def method() -> str:
    """Twelve hex digits over the code that measures and judges."""
    return code_digest(Path(module.__file__) for module in (arm, rounds, judge))[:12]


def calibration_file(machine: Machine) -> Path:
    """Where a machine's calibration is kept: the user's cache folder."""
    return default_cache() / f"throughput-{machine.digest}.json"


def known_calibration(machine: Machine) -> Calibration | None:
    """What was found on this machine; None where nothing was, or nothing that can be read."""
    try:
        return Calibration.model_validate_json(calibration_file(machine).read_bytes())
    except (OSError, ValidationError):
        return None


def calibrate(
    tree: Path, wanted: Wanted, minutes: float, counts: Mapping[float, int], device: str, tell: Tell
) -> Calibration:
    """Run the trials that are lacking, each kept as soon as it is finished; then simulate more.

    Args:
        tree: the folder that holds the `ganlab` to be measured.
        wanted: which (task, loss).
        minutes: of each trial.
        counts: planted share -> how many trials.
        device: as for torch.
        tell: takes a line of progress.

    Raises:
        Broken: a trial could not be measured.
    """
    machine, rule, offer = Machine.here(device), Rule(), {"tasks": list(TASKS), "losses": list(LOSSES)}
    cells = tuple(choose(offer, offer, wanted).shared)
    empty = Calibration(machine=machine, method=method(), minutes=minutes, rule=rule, cells=cells)
    here = known_calibration(machine) or empty
    if (here.method, here.minutes, here.rule, here.cells) != (empty.method, minutes, rule, cells):
        tell("the earlier calibration was made in another way: starting afresh")
        here = empty
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        shutil.copytree(tree / "ganlab", Path(folder) / "ganlab", ignore=shutil.ignore_patterns("__pycache__"))
        for planted in lacking(here, counts):
            sides = Side.of_tree("base", Path(folder)), Side.of_tree("head", tree, planted)
            found = run(sides, wanted, 60 * minutes, device, rule, ("itself", f"itself + {100 * planted:g} %"))
            if found.verdict == "BROKEN":
                raise Broken(next(one.reason for one in found.judgements if one.verdict == "BROKEN"))
            trial = Trial(
                planted=planted,
                verdict=found.verdict,
                seconds=found.seconds,
                load=found.load,
                rounds=[{cell: ratio - log1p(planted) for cell, ratio in one.items()} for one in found.rounds],
                cells={judgement.cell: judgement.verdict for judgement in found.judgements},
                at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            here = here.model_copy(update={"trials": (*here.trials, trial)})
            write_atomically(calibration_file(machine), here.model_dump_json())
            tell(
                f"{len(here.planted(planted))}/{counts[planted]} planted {100 * planted:g} %: {found.verdict}, "
                f"{found.seconds:.0f} s, {len(found.rounds)} rounds, load {found.load:.1f}"
            )
    here = here.model_copy(update={"simulated": simulate(here, counts, SIMULATED)})
    write_atomically(calibration_file(machine), here.model_dump_json())
    return here


def lacking(here: Calibration, counts: Mapping[float, int]) -> list[float]:
    """The planted shares still to be tried, evenly mixed, so that a busy hour hits all alike."""
    turns = [
        ((index + 0.5) / count, share)
        for share, count in counts.items()
        for index in range(len(here.planted(share)), count)
    ]
    return [share for _, share in sorted(turns)]


def simulate(here: Calibration, planted: Iterable[float], runs: int, seed: int = 0) -> dict[str, dict[str, int]]:
    """Verdicts of simulated comparisons by planted share: the same rule on rounds that this machine has measured.

    Rounds are drawn with replacement in blocks of consecutive ones (Künsch, "The jackknife and the bootstrap for
    general stationary observations", Annals of Statistics 1989), as they are: a bias of the check stays in.
    """
    complete = [[one for one in trial.rounds if set(one) == set(here.cells)] for trial in here.trials]
    blocks = [kept[i : i + BLOCK] for kept in complete for i in range(len(kept) - BLOCK + 1)]
    round_s = sum(trial.seconds for trial in here.trials) / sum(len(trial.rounds) for trial in here.trials)
    draw = random.Random(seed)
    return {
        str(share): dict(Counter(simulated_verdict(here, blocks, round_s, share, draw) for _ in range(runs)))
        for share in planted
    }


def simulated_verdict(
    here: Calibration, blocks: Sequence[Sequence[dict[str, float]]], round_s: float, planted: float, draw: random.Random
) -> str:
    """The verdict of one simulated comparison."""
    elapsed = 0.0
    drawn: Iterator[dict[str, float]] = itertools.chain.from_iterable(draw.choice(blocks) for _ in itertools.count())

    def measure(names: Sequence[str]) -> dict[str, float]:
        nonlocal elapsed
        elapsed += round_s
        one = next(drawn)
        return {name: one[name] + log1p(planted) for name in names}

    return judge.overall(judge.judge(here.cells, measure, 60 * here.minutes, lambda: elapsed, here.rule))
