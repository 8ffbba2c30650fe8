"""How does the report print the recommendation: which loss to use in which situation?"""

from bench.analysis.labels import arm_name
from bench.analysis.metrics import JUDGED
from bench.analysis.recommend import (
    Advice,
    answer,
    differences,
    further_conditions,
    judged_on,
    not_as_tuned,
    reach,
    reasons,
)
from bench.reports.tables.results import GAN_METRICS, RECONSTRUCTION_METRICS
from bench.reports.tables.table import Table, TableCell


def advice_table(advices: list[Advice]) -> Table | None:
    """Which loss to use in which situation; None if the run has results for no situation."""
    lines = [_advice_line(position, advice) for position, advice in enumerate(advices)]
    header = ["situation", "use", "the others, against it", "not alike", "in further conditions", "judged by"]
    caption = (
        "Which loss to use, by paired differences; the intervals of one judged condition hold together at 95 %, those"
        " of its further conditions among themselves, and those of different rows do not"
    )
    return Table("recommendation", caption, header, lines) if any(advice.best for advice in advices) else None


def _advice_line(position: int, advice: Advice) -> list[TableCell]:
    if not advice.best:
        return [TableCell(advice.situation, position), TableCell(answer(advice), ""), *[TableCell("–", "")] * 4]
    notes = [*filter(None, [reach(advice)]), *(f"not as tuned: {text}" for text in not_as_tuned(advice))]
    if advice.first_look:
        notes.append("a first look only: 8x8 images")
    if advice.ahead:
        notes.append(f"best mean over all heads: {arm_name(*advice.ahead)}")
    if advice.missing:
        notes.append(f"{advice.missing} cells not done")
    names = RECONSTRUCTION_METRICS | GAN_METRICS
    seeds = f"{advice.shared_seeds} shared seed{'' if advice.shared_seeds == 1 else 's'}"
    by_metric = [
        f"by mean {names[metric][0]} over {seeds}: {arm_name(*arm)}" for metric, arm in advice.best_by_metric.items()
    ]
    return [
        TableCell(advice.situation, position, (judged_on(advice),)),
        TableCell(answer(advice), answer(advice), tuple(notes)),
        TableCell("", advice.rivals[-1].behind.interval.mean, reasons(advice)),
        _lines_cell(differences(advice), "nothing"),
        _lines_cell(further_conditions(advice), "none"),
        TableCell(JUDGED[advice.task].name, JUDGED[advice.task].name, tuple(by_metric)),
    ]


def _lines_cell(lines: tuple[str, ...], without: str) -> TableCell:
    return TableCell("" if lines else without, len(lines), lines)
