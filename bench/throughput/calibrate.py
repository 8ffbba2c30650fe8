"""How often does the check err on this machine? It compares a tree with itself, and with planted slowdowns.

Each trial is a whole comparison of a tree with its copy; a planted slowdown lengthens head's steps by a known share of
their time. The record keeps every round, so that `simulate` can apply the rule many more times to this machine's noise.
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
from bench.throughput import Misuse, arm, judge, processes, rounds
from bench.throughput.cells import choose
from bench.throughput.compare import Wanted, run
from bench.throughput.judge import Rule
from bench.throughput.options import Tell
from bench.throughput.processes import Side
from bench.throughput.records import Calibration, Machine, Trial
from ganlab.classifiers import default_cache
from ganlab.fingerprint import code_digest
from ganlab.losses import LOSSES
from ganlab.tasks import TASKS

SIMULATED = 1000  # comparisons for each planted share
METHOD = tuple(Path(str(module.__file__)) for module in (arm, processes, rounds, judge))
BLOCK = 4  # consecutive rounds that are drawn together: with each side first, on each of two cores


def parse_runs(texts: Sequence[str]) -> dict[float, int]:
    """`PERCENT=COUNT` pairs as planted slowdown (share) -> count.

    >>> parse_runs(["0=40", "5=20"])
    {0.0: 40, 0.05: 20}

    Raises:
        Misuse: a text is not such a pair.
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


def method(files: Iterable[Path] = METHOD) -> str:
    """Twelve hex digits over the code that measures and judges; a calibration with another method is void."""
    return code_digest(files)[:12]


def calibration_file(machine: Machine) -> Path:
    """Where a machine's calibration is kept: the user's cache folder."""
    return default_cache() / f"throughput-{machine.digest}.json"


def known_calibration(machine: Machine) -> Calibration | None:
    """The calibration of a machine; None if it is missing or cannot be read."""
    try:
        return Calibration.model_validate_json(calibration_file(machine).read_bytes())
    except (OSError, ValidationError):
        return None


def calibrate(
    tree: Path, wanted: Wanted, minutes: float, counts: Mapping[float, int], device: str, tell: Tell
) -> Calibration:
    """Run the missing trials and save each as soon as it is finished; then simulate more.

    Args:
        tree: the folder that holds the `ganlab` to be measured.
        wanted: which (task, loss).
        minutes: of each trial.
        counts: planted slowdown (share) -> count of trials.
        device: as for torch.
        tell: takes a line of progress.

    Raises:
        Broken: a trial could not be measured.
    """
    machine, rule, offer = Machine.current(device), Rule(), {"tasks": list(TASKS), "losses": list(LOSSES)}
    cells = tuple(choose(offer, offer, wanted).shared)
    empty = Calibration(machine=machine, method=method(), minutes=minutes, rule=rule, cells=cells)
    calibration = known_calibration(machine) or empty
    if calibration.model_copy(update={"trials": (), "simulated": {}}) != empty:
        tell("the earlier calibration used another method, minutes, rule, or cells: starting again")
        calibration = empty
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        shutil.copytree(tree / "ganlab", Path(folder) / "ganlab", ignore=shutil.ignore_patterns("__pycache__"))
        for planted in missing_trials(calibration, counts):
            sides = Side.of_tree("base", Path(folder)), Side.of_tree("head", tree, planted)
            comparison = run(sides, wanted, 60 * minutes, device, rule, ("itself", f"itself + {100 * planted:g} %"))
            if comparison.verdict == "BROKEN":
                raise Broken(next(each.reason for each in comparison.judgements if each.verdict == "BROKEN"))
            trial = Trial(
                planted=planted,
                verdict=comparison.verdict,
                seconds=comparison.seconds,
                load=comparison.load,
                rounds=[
                    {cell: ratio - log1p(planted) for cell, ratio in ratios.items()} for ratios in comparison.rounds
                ],
                cells={judgement.cell: judgement.verdict for judgement in comparison.judgements},
                at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            calibration = calibration.model_copy(update={"trials": (*calibration.trials, trial)})
            write_atomically(calibration_file(machine), calibration.model_dump_json())
            done = len(calibration.planted(planted))
            tell(
                f"{done}/{counts[planted]} planted {100 * planted:g} %: {comparison.verdict}, "
                f"{comparison.seconds:.0f} s, {len(comparison.rounds)} rounds, load {comparison.load:.1f}"
            )
    calibration = calibration.model_copy(update={"simulated": simulate(calibration, counts, SIMULATED)})
    write_atomically(calibration_file(machine), calibration.model_dump_json())
    return calibration


def missing_trials(calibration: Calibration, counts: Mapping[float, int]) -> list[float]:
    """The planted slowdowns of the missing trials, evenly mixed, so that a busy hour affects all shares alike."""
    turns = [
        ((index + 0.5) / count, share)
        for share, count in counts.items()
        for index in range(len(calibration.planted(share)), count)
    ]
    return [share for _, share in sorted(turns)]


def simulate(calibration: Calibration, planted: Iterable[float], runs: int, seed: int = 0) -> dict[str, dict[str, int]]:
    """Verdicts of simulated comparisons by planted slowdown: the same rule on rounds that this machine has measured.

    Rounds are drawn with replacement in blocks of consecutive ones (Künsch, "The jackknife and the bootstrap for
    general stationary observations", Annals of Statistics 1989), unchanged: a bias of the check stays in.
    """
    complete = [
        [ratios for ratios in trial.rounds if set(ratios) == set(calibration.cells)] for trial in calibration.trials
    ]
    blocks = [kept[i : i + BLOCK] for kept in complete for i in range(len(kept) - BLOCK + 1)]
    rounds_measured = sum(len(trial.rounds) for trial in calibration.trials)
    round_s = sum(trial.seconds for trial in calibration.trials) / rounds_measured
    draw = random.Random(seed)
    return {
        str(share): dict(Counter(simulated_verdict(calibration, blocks, round_s, share, draw) for _ in range(runs)))
        for share in planted
    }


def simulated_verdict(
    calibration: Calibration,
    blocks: Sequence[Sequence[dict[str, float]]],
    round_s: float,
    planted: float,
    draw: random.Random,
) -> str:
    """The verdict of one simulated comparison."""
    elapsed = 0.0
    drawn: Iterator[dict[str, float]] = itertools.chain.from_iterable(draw.choice(blocks) for _ in itertools.count())

    def measure(names: Sequence[str]) -> dict[str, float]:
        nonlocal elapsed
        elapsed += round_s
        ratios = next(drawn)
        return {name: ratios[name] + log1p(planted) for name in names}

    return judge.overall(
        judge.judge(calibration.cells, measure, 60 * calibration.minutes, lambda: elapsed, calibration.rule)
    )
