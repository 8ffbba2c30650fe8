"""How is a comparison shown? A row for each cell, the error rates from calibration, and the overall verdict."""

from rich.table import Table

from bench.throughput.compare import Comparison
from bench.throughput.judge import Judgement, Verdict
from bench.throughput.records import Calibration, Rate

PLANTED = 0.05  # the planted slowdown for which SAME is wrong
SAYS: dict[Verdict, str] = {
    "BROKEN": "nothing was compared",
    "SLOWER": "training got slower, seen in two batches of fresh processes",
    "UNSURE": "this machine could not tell in this time; more --minutes or a quieter machine may",
    "FASTER": "training got faster, seen in two batches of fresh processes",
    "SAME": "every cell lies within the margin",
}


def percent(ratio: float | None) -> str:
    """A ratio of step times as a change; a dash if it was not measured.

    >>> percent(1.053), percent(0.99), percent(None)
    ('+5.3 %', '−1.0 %', '–')
    """
    if ratio is None:
        return "–"
    return f"{100 * (ratio - 1):+.1f} %".replace("-", "−")


def cell_table(comparison: Comparison, calibration: Calibration | None) -> Table:
    """A row for each cell; on a calibrated machine with the rate at which such a verdict was wrong."""
    table = Table(box=None, pad_edge=False)
    for name in ("cell", "verdict", "step time", "interval", "rounds", "wrong before"):
        table.add_column(name, no_wrap=True)
    for judgement in comparison.judgements:
        table.add_row(
            judgement.cell,
            judgement.verdict,
            percent(judgement.ratio),
            "–" if judgement.low is None else f"{percent(judgement.low)} to {percent(judgement.high)}",
            " + ".join(map(str, judgement.rounds)) or "–",
            str(wrong(judgement, calibration) or "–"),
        )
    return table


def lines(comparison: Comparison, calibration: Calibration | None) -> list[str]:
    """Everything below the table, the verdict last."""
    counted = f"{len(comparison.rounds)} rounds in {comparison.seconds / 60:.1f} min, load {comparison.load:.1f} before"
    rule = comparison.rule
    means = (
        f"step time of head against base; intervals hold together at {100 * (1 - rule.level):g} %; SLOWER: beyond "
        f"{100 * rule.tolerance:g} %, twice; SAME: within {100 * rule.margin:g} %"
    )
    reasons = [f"{judgement.cell}: {judgement.reason}" for judgement in comparison.judgements if judgement.reason]
    return [
        *reasons,
        "",
        f"base {comparison.base}",
        f"head {comparison.head}",
        counted,
        means,
        *comparison.notes,
        *calibration_lines(calibration),
        "",
        f"{comparison.verdict}: {SAYS[comparison.verdict]}",
    ]


def wrong(judgement: Judgement, calibration: Calibration | None) -> Rate | None:
    """How often a verdict of this kind was wrong in calibration; None if that was not measured.

    SLOWER and FASTER are wrong for unchanged code, SAME for a planted 5 %. UNSURE, NEW, and BROKEN make no claim.
    """
    if calibration is None:
        return None
    if judgement.verdict in ("SLOWER", "FASTER"):
        return calibration.rate(0.0, "SLOWER", "FASTER")
    return calibration.rate(PLANTED, "SAME") if judgement.verdict == "SAME" else None


def calibration_lines(calibration: Calibration | None) -> list[str]:
    """How often the check erred in calibration."""
    if calibration is None or not calibration.trials:
        return ["this machine is not calibrated: `make calibrate` measures how often the check errs on it"]
    count, last = len(calibration.trials), calibration.trials[-1].at
    lines = [
        f"calibrated on this machine, until {last}, with {count} comparisons of {calibration.minutes:g} min each "
        f"({', '.join(calibration.cells)}):"
    ]
    if rate := calibration.rate(0.0, "SLOWER", "FASTER"):
        lines.append(f"  unchanged code was called SLOWER or FASTER in {rate}{simulated(calibration, 0.0, 'FASTER')}")
    for share in sorted({trial.planted for trial in calibration.trials} - {0.0}):
        detected, missed = calibration.rate(share, "SLOWER"), calibration.rate(share, "SAME")
        lines.append(
            f"  a planted {100 * share:g} % was detected in {detected}{simulated(calibration, share)}; "
            f"it was called SAME in {missed}"
        )
    return lines


def simulated(calibration: Calibration, share: float, *others: Verdict) -> str:
    """The rate of SLOWER (and of `others`) over simulated comparisons, in brackets; empty if there are none."""
    verdicts = calibration.simulated.get(str(share))
    if not verdicts:
        return ""
    count = sum(verdicts.get(verdict, 0) for verdict in ("SLOWER", *others))
    return f" [simulated on its noise: {Rate.of(count, sum(verdicts.values()))}]"
