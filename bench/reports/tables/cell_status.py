"""What is the status of every cell of a run? Counts, unfinished cells with reasons, and the code that trained them."""

from bench.analysis.labels import arm_name, arms_of, condition_name, in_order, task_name
from bench.analysis.summary import pick
from bench.reports.tables.table import Table, TableCell, arm_cell, text_cell
from bench.store.reader import Run
from bench.store.schema import base_code
from bench.store.validation import STATUSES

MOST_ROWS = 40  # unfinished cells in the table; the others are counted, and are in cells.csv


def status_counts(run: Run) -> dict[str, int]:
    """The number of cells in each status, in the order of the contract; statuses that do not occur are left out."""
    counts = run.cells["status"].value_counts()
    return {status: int(counts[status]) for status in in_order(counts.index, STATUSES)}


def cell_status_table(run: Run) -> Table | None:
    """The counts of all statuses: a row per task, role, loss, and head."""
    if run.cells.empty:
        return None
    statuses = in_order(set(run.cells["status"]), STATUSES)
    lines = []
    for (task, role), role_cells in run.cells.groupby(["task", "role"]):
        for loss, head in arms_of(role_cells):
            cells = pick(role_cells, loss=loss, head=head)
            counts = [int((cells["status"] == status).sum()) for status in statuses]
            deaths = cells["dead_discriminator"].dropna()
            dead = (
                TableCell(f"{int(deaths.sum())} of {len(deaths)}", deaths.mean()) if len(deaths) else TableCell("–", "")
            )
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
    return Table("cell status", "The status of every cell", header, lines)


def unfinished_table(run: Run) -> Table | None:
    """The cells that ended without being done, with their reasons; pending cells are left out."""
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
    """Which version of the code trained which cells; None for a single version (user code does not count)."""
    done = run.cells[run.cells["code"] != ""]
    if done["code"].map(base_code).nunique() < 2:
        return None
    lines = [
        [text_cell(code), TableCell(str(len(group)), len(group)), text_cell(", ".join(sorted(set(group["task"]))))]
        for code, group in done.groupby("code")
    ]
    return Table("code", "Cells by version of the code", ["code", "cells", "tasks"], lines)
