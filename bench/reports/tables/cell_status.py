"""What became of every cell of a run? How many ended how, which are not done and why, and which code trained them."""

from bench.analysis.labels import arm_name, arms_of, condition_name, in_order, task_name
from bench.analysis.summary import pick
from bench.reports.tables.table import Table, TableCell, arm_cell, text_cell
from bench.store.reader import Run
from bench.store.schema import base_code
from bench.store.validation import STATUSES

MOST_ROWS = 40  # of cells that are not done; the rest is counted and stands in cells.csv


def status_counts(run: Run) -> dict[str, int]:
    """How many cells ended in each status, in the contract's order; statuses that did not occur are left out."""
    counts = run.cells["status"].value_counts()
    return {status: int(counts[status]) for status in in_order(counts.index, STATUSES)}


def cell_status_table(run: Run) -> Table | None:
    """What became of every cell: a row per task, role, loss, and head."""
    if run.cells.empty:
        return None
    statuses = in_order(set(run.cells["status"]), STATUSES)
    lines = []
    for (task, role), here in run.cells.groupby(["task", "role"]):
        for loss, head in arms_of(here):
            cells = pick(here, loss=loss, head=head)
            counts = [int((cells["status"] == status).sum()) for status in statuses]
            known = cells["dead_discriminator"].dropna()
            dead = TableCell(f"{int(known.sum())} of {len(known)}", known.mean()) if len(known) else TableCell("–", "")
            lines.append(
                [
                    arm_cell(loss, head),
                    text_cell(task_name(task)),
                    text_cell(role),
                    *(TableCell(str(count), count) for count in counts),
                    dead,
                ]
            )
    header = ["loss and head", "task", "role", *statuses, "dead discriminators"]
    return Table("fate", "What became of every cell", header, lines)


def unfinished_table(run: Run) -> Table | None:
    """The cells that are not done, with their reasons; pending ones are only counted."""
    cells = run.cells[~run.cells["status"].isin(("done", "pending"))]
    if cells.empty:
        return None
    lines = [
        [
            *(text_cell(text) for text in (row.cell_id, row.task, row.dataset, arm_name(row.loss, row.head))),
            *(text_cell(condition_name(row.outlier, row.rate)), text_cell(row.role)),
            *(text_cell(f"{row.optimizer}, {row.schedule}"), TableCell(f"{row.lr:g}", row.lr)),
            *(
                TableCell(f"{row.seed:.0f}", row.seed),
                text_cell(row.status),
                TableCell(row.reason or "no reason given", ""),
            ),
        ]
        for row in cells.head(MOST_ROWS).itertuples()
    ]
    more = len(cells) - len(lines)
    caption = "Cells that are not done" + (f" (first {MOST_ROWS}; {more} more are in cells.csv)" if more else "")
    header = [
        *("cell", "task", "data set", "loss and head", "condition", "role", "training", "learning rate", "seed"),
        *("status", "reason"),
    ]
    return Table("not done", caption, header, lines)


def code_table(run: Run) -> Table | None:
    """Which cells were trained by which version of the code; None where it is one, user code aside."""
    done = run.cells[run.cells["code"] != ""]
    if done["code"].map(base_code).nunique() < 2:
        return None
    lines = [
        [text_cell(code), TableCell(str(len(here)), len(here)), text_cell(", ".join(sorted(set(here["task"]))))]
        for code, here in done.groupby("code")
    ]
    return Table("code", "Cells by version of the code", ["code", "cells", "tasks"], lines)
