"""How is a comparison done? Find the code of both sides and their common cells, measure rounds, and judge them."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.errors import Broken
from bench.throughput import Misuse, processes, rounds
from bench.throughput.cells import Choice, choose
from bench.throughput.judge import Clock, Judgement, Rule, Verdict, judge, overall
from bench.throughput.options import Tell
from bench.throughput.processes import REFERENCE, ForkServer, Side
from bench.throughput.records import Baseline, Machine, RecordedCell, read_baseline
from bench.throughput.revisions import differing_dependencies, source_tree
from bench.throughput.rounds import Round
from ganlab.records import FrozenRecord

MORE_MEMORY = 0.10  # growth of peak GPU memory (share) above which it is reported
BUSY = 0.25  # load per core before the comparison above which it is reported

Wanted = Callable[[str, str], bool]  # whether (task, loss) is compared


class Comparison(FrozenRecord):
    """The result of a comparison. `rounds` holds, for each round, the log ratio of every cell that it measured."""

    base: str
    head: str
    rule: Rule
    judgements: tuple[Judgement, ...]
    notes: tuple[str, ...] = ()
    rounds: tuple[dict[str, float], ...] = ()
    seconds: float = 0.0
    load: float

    @property
    def verdict(self) -> Verdict:
        """The verdict on the whole."""
        return overall(self.judgements)


def load_now() -> float:
    """The load average over the last minute."""
    return os.getloadavg()[0]


def compare(base: str, head: str, wanted: Wanted, seconds: float, device: str, tell: Tell) -> Comparison:
    """Compare `head`, a folder or a revision, with `base`, a revision or a file that `record` wrote.

    Args:
        base, head: as on the command line.
        wanted: which (task, loss).
        seconds: for the whole, about.
        device: as for torch.
        tell: takes lines of progress.

    Raises:
        Misuse: there is no such revision, no code in such a folder, or no such cell on both sides.
    """
    rule = Rule()
    with ExitStack() as stack:
        tree, head_label = stack.enter_context(source_tree(head, Path()))
        after = Side.of_tree("head", tree)
        if Path(base).is_file():
            labels = base, f"{head_label}: {after}"
            try:
                baseline = read_baseline(Path(base), Machine.current(device))
            except Broken as error:
                return Comparison(base=base, head=head_label, rule=rule, judgements=(broken(error),), load=load_now())
            return run((REFERENCE, after), wanted, seconds, device, rule, labels, baseline, tell=tell)
        if Path(base).is_dir():
            raise Misuse(f"base {base!r} is a folder; name a git revision, or a file that `record` wrote")
        old_tree, base_label = stack.enter_context(source_tree(base, tree if Path(head).is_dir() else Path()))
        before = Side.of_tree("base", old_tree)
        notes = [
            f"{name} differs between base and head: both ran with the packages of this interpreter"
            for name in differing_dependencies(old_tree, tree)
        ]
        if before.digest == after.digest:
            notes.append("ganlab is the same on both sides")
        labels = f"{base_label}: {before}", f"{head_label}: {after}"
        return run((before, after), wanted, seconds, device, rule, labels, notes=notes, tell=tell)


def broken(error: Broken) -> Judgement:
    """The BROKEN verdict of an error."""
    return Judgement(cell=error.cell or "all", verdict="BROKEN", reason=str(error))


def survey(server: ForkServer, sides: tuple[Side, Side], device: str, wanted: Wanted) -> Choice:
    """Which cells can be measured. Every import is checked, and every cell built, before the first round.

    Raises:
        Broken: a side fails, or the sides do different work.
        Misuse: there is no such cell on both sides.
    """
    with ExitStack() as stack:
        pair = processes.start(server, sides, device, None, stack)
        offers = [process.description for process in pair if process.side.root]
        choice = choose(offers[0], offers[-1], wanted)
        for name, cell in choice.shared.items():
            for process in pair:
                process.cell = name
            rounds.same_work(pair, [process.ask("build", cell=cell) for process in pair])
    if not choice.shared and not choice.missing:
        possible = choose(offers[0], offers[-1], lambda task, loss: True).shared
        raise Misuse(f"nothing to measure: no such cell on both sides; there are {', '.join(possible)}")
    return choice


def run(
    sides: tuple[Side, Side],
    wanted: Wanted,
    seconds: float,
    device: str,
    rule: Rule,
    labels: tuple[str, str],
    baseline: Baseline | None = None,
    notes: Sequence[str] = (),
    tell: Tell = lambda text: None,
    clock: Clock = time.monotonic,
) -> Comparison:
    """Compare two sides; with a `baseline`, compare head with the record. `Broken` becomes a verdict."""
    history: list[Round] = []
    load, started, judgements, notes = load_now(), clock(), [], list(notes)
    recorded = baseline.cells if baseline else {}
    per_core = load / len(rounds.cores())
    if per_core > BUSY:
        notes.append(f"other work is running: load {load:.1f} on {len(rounds.cores())} cores")
    try:
        with ForkServer() as server:
            choice = survey(server, sides, device, wanted)
            if baseline:
                choice = recorded_choice(choice, recorded, wanted)
            judgements += [Judgement(cell=name, verdict="NEW") for name in choice.new]
            if choice.missing:
                raise Broken("head lacks it, base has it", choice.missing[0])

            def measure(names: Sequence[str]) -> dict[str, float]:
                tell(
                    f"round {len(history) + 1}, {(clock() - started) / 60:.1f} of at most {seconds / 60:.1f} min: "
                    + ", ".join(names)
                )
                cells = {name: choice.shared[name] for name in names}
                measured = rounds.measure(server, sides, cells, device, len(history))
                for name, cell in recorded.items():
                    if name in names and measured.work[name] != cell.work:
                        raise Broken(f"other work than recorded: {measured.work[name]}, not {cell.work}", name)
                history.append(measured)
                return measured.log_ratio

            left = seconds - (clock() - started)
            baselines = {name: cell.log_ratio for name, cell in recorded.items()}
            judgements = judge(list(choice.shared), measure, left, clock, rule, baselines) + judgements
    except Broken as error:
        judgements.append(broken(error))
    notes += memory_notes(history) if not baseline else []
    notes += history[-1].notes if history else []
    return Comparison(
        base=labels[0],
        head=labels[1],
        rule=rule,
        judgements=tuple(judgements),
        notes=tuple(notes),
        rounds=tuple(measured.log_ratio for measured in history),
        seconds=clock() - started,
        load=load,
    )


def recorded_choice(choice: Choice, baseline: Iterable[str], wanted: Wanted) -> Choice:
    """The choice where base is a record with these cells."""
    recorded = [name for name in baseline if wanted(*name.split(" ", 1))]
    return Choice(
        {name: choice.shared[name] for name in recorded if name in choice.shared},
        [name for name in choice.shared if name not in recorded],
        [name for name in recorded if name not in choice.shared],
    )


def memory_notes(history: Sequence[Round]) -> list[str]:
    """A line on each cell whose peak GPU memory grew by more than `MORE_MEMORY`."""
    peaks = {cell: peak for measured in history for cell, peak in measured.peak_memory_mib.items()}
    return [
        f"{cell}: peak GPU memory {head:.0f} MiB, {100 * (head / base - 1):.0f} % more than {base:.0f} MiB"
        for cell, (base, head) in peaks.items()
        if head > (1 + MORE_MEMORY) * base
    ]


def record(
    tree: Path, wanted: Wanted, seconds: float, device: str, tell: Tell, clock: Clock = time.monotonic
) -> Baseline:
    """Measure a tree against the reference workload for about `seconds`.

    Raises:
        Broken: it cannot be measured.
    """
    side, load, started = Side.of_tree("head", tree), load_now(), clock()
    history: list[Round] = []
    with ForkServer() as server:
        shared = survey(server, (REFERENCE, side), device, wanted).shared
        least = Rule().least_rounds
        while len(history) < least or (clock() - started) * (1 + 1 / len(history)) < seconds:
            tell(f"round {len(history) + 1}, {(clock() - started) / 60:.1f} of {seconds / 60:.1f} min")
            history.append(rounds.measure(server, (REFERENCE, side), shared, device, len(history)))
    cells = {
        name: RecordedCell(
            log_ratio=tuple(measured.log_ratio[name] for measured in history),
            step_ms=median(measured.step_ms[name][1] for measured in history),
            work=history[0].work[name],
        )
        for name in shared
    }
    return Baseline(
        machine=Machine.current(device),
        code=side.digest[:12],
        load=load,
        cells=cells,
        recorded=datetime.now(UTC).isoformat(timespec="seconds"),
    )
