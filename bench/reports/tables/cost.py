"""What does a training step cost under each loss? Tables of speed, phases, memory, and arithmetic for the report.

Times come from timing.csv: each was measured alone on the device, in interleaved rounds, so each ratio to BCE is paired
by round. The error rates of the throughput check come from the manifest, if the machine was calibrated.
"""

import pandas as pd

from bench.analysis.cost import TimedArm, arms, images_per_step
from bench.analysis.labels import task_name
from bench.analysis.summary import pick
from bench.reports.tables.table import Table, TableCell
from bench.store.reader import Run
from bench.throughput.records import Rate

PHASES = ("data", "forward", "loss", "backward", "optimizer")
NETWORKS = {"": "", "g_": "G", "d_": "D"}  # prefixes of phases
CALLED = ("SLOWER", "FASTER", "SAME", "UNSURE")
NOTHING = TableCell("–", "")


def names(arm: TimedArm) -> list[TableCell]:
    """The first columns of the row of an arm in any table."""
    where = f"{task_name(arm.task)}, {arm.dataset}"
    return [TableCell(arm.name, arm.name), TableCell(where, where)]


def speed_table(run: Run) -> Table | None:
    """Images per second, step time, its ratio to BCE's, and the memory of the cells of each loss."""
    lines, timed = [], list(arms(run))
    for arm in timed:
        cells, steps = arm.cells(run), pick(arm.rows, phase="step")["ms"]
        count, memory_mib = images_per_step(cells), cells["peak_memory_mib"].dropna()
        spread = f"{steps.min():.3g} to {steps.max():.3g}, {len(steps)} rounds"
        per_s = 1e3 * (count or 0) / arm.step_ms
        other = sorted({*cells["precision"]} - {arm.precision})
        lines.append(
            [
                *names(arm),
                TableCell(f"{per_s:.0f}", per_s, (f"{count} per step",)) if count else NOTHING,
                TableCell(f"{arm.step_ms:.3g}", arm.step_ms, (spread,)),
                ratio_cell(arm),
                TableCell(
                    f"{memory_mib.max():.0f}", float(memory_mib.max()), tuple(f"trained in {name}" for name in other)
                )
                if len(memory_mib)
                else NOTHING,
            ]
        )
    header = ["loss and head", "task", "images per second", "step (ms, median)", "step time over BCE's", "memory (MiB)"]
    caption = "Does the loss cost anything? Training steps alone on the device, and the peak memory of its cells"
    if any(arm.mixed for arm in timed):
        caption += "; ratios are of steps in one precision"
    return Table("speed", caption, header, lines) if lines else None


def ratio_cell(arm: TimedArm) -> TableCell:
    """The ratio to BCE, with its interval below it."""
    ratio = arm.ratio()
    if not ratio:
        return NOTHING
    interval, n = ratio
    ends = f"{interval.low:.3f} to {interval.high:.3f}, " if interval.defined else ""
    return TableCell(f"{interval.mean:.3f}", interval.mean, (f"{ends}n = {n}",))


def phase_table(run: Run) -> Table | None:
    """Milliseconds of each phase of a step and its share of the step; for a GAN, the sum of both networks."""
    lines = []
    for arm in arms(run):
        phase_ms = arm.rows.groupby("phase")["ms"].median()
        lines.append([*names(arm), *(phase_cell(phase_ms, phase) for phase in PHASES)])
    header = ["loss and head", "task", *(f"{phase} (ms)" for phase in PHASES)]
    caption = "Where the time of a step goes: median of each phase, and its share"
    return Table("phases", caption, header, lines) if lines else None


def phase_cell(phase_ms: pd.Series, phase: str) -> TableCell:
    """The time of a phase of a step; below it its share, and the times of G and D."""
    parts = {name: phase_ms[prefix + phase] for prefix, name in NETWORKS.items() if prefix + phase in phase_ms}
    if not parts:
        return NOTHING
    total = float(sum(parts.values()))
    notes = [f"{100 * total / phase_ms['step']:.0f} %"]
    if len(parts) > 1:
        notes.append(", ".join(f"{name} {ms:.2g}" for name, ms in parts.items()))
    return TableCell(f"{total:.3g}", total, tuple(notes))


def roofline_table(run: Run) -> Table | None:
    """The floating-point work of a step, its speed, and the share of the matrix-multiply peak."""
    roofline = run.manifest.get("roofline") or {}
    peaks, steps = roofline.get("matmul_gflop_per_s", {}), roofline.get("steps", [])
    lines = []
    for arm in arms(run):
        measured_step = next(
            (
                step
                for step in steps
                if all(step[key] == getattr(arm, key) for key in ("task", "dataset", "loss", "head"))
            ),
            None,
        )
        if measured_step is None:
            continue
        reached, peak = 1e3 * measured_step["gflop"] / arm.step_ms, peaks.get(measured_step["precision"])
        share = TableCell(f"{100 * reached / peak:.1f} %", reached / peak) if peak else NOTHING
        lines.append(
            [
                *names(arm),
                TableCell(f"{1e3 * measured_step['gflop']:.0f}", measured_step["gflop"]),
                TableCell(f"{reached:.3g}", reached),
                share,
            ]
        )
    measured = ", ".join(f"{name} {peak:.0f}" for name, peak in peaks.items())
    header = ["loss and head", "task", "work of a step (Mflop)", "reached (Gflop/s)", "of the peak"]
    caption = f"Roofline: a step's arithmetic against the measured matrix-multiply peak (Gflop/s: {measured})"
    return Table("roofline", caption, header, lines) if lines else None


def calibration_table(run: Run) -> Table | None:
    """How often the throughput check was wrong on the machine of this run; None without a calibration."""
    calibration = run.manifest.get("calibration") or {}
    lines = []
    for share, verdicts in sorted(calibration.get("trials", {}).items(), key=lambda item: float(item[0])):
        planted, simulated = float(share), calibration.get("simulated", {}).get(share, {})
        label = f"{100 * planted:g} % slower" if planted else "unchanged code"
        lines.append([TableCell(label, planted), *(rate_cell(verdicts, simulated, name) for name in CALLED)])
    header = ["planted", *(f"called {name}" for name in CALLED)]
    caption = (
        f"How far the throughput check can be trusted on this machine: whole comparisons of "
        f"{calibration.get('minutes', 0):g} min each ({', '.join(calibration.get('cells', ()))})"
    )
    return Table("calibration", caption, header, lines) if lines else None


def rate_cell(verdicts: dict[str, int], simulated: dict[str, int], name: str) -> TableCell:
    """How often a verdict occurred, with the exact interval; below it, the share in simulated comparisons."""
    rate = Rate.of(verdicts.get(name, 0), sum(verdicts.values()))
    notes = [f"{100 * rate.low:.1f} to {100 * rate.high:.1f} %"]
    if simulated:
        share = simulated.get(name, 0) / sum(simulated.values())
        notes.append(f"simulated {100 * share:.1f} % of {sum(simulated.values())}")
    return TableCell(f"{rate.count} of {rate.trials}", rate.count / rate.trials, tuple(notes))
