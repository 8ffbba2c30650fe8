"""Can a reader trust these rows? Everything that makes a run directory stale, mixed, edited, or not what it says."""

from collections.abc import Iterator

import torch

from bench.provenance import base_code, code_fingerprint
from bench.statistics import MAIN_PSNR
from bench.store import Run


def doubts(run: Run) -> list[str]:
    """What a reader must be told before any number, one line each; files that were changed come first."""
    return [*run.warnings, *_mixed(run), *_stale(run), *_incomplete(run)]


def mixed_tasks(run: Run) -> set[str]:
    """Tasks whose finished cells were not all trained by the same code: their losses are not comparable."""
    codes = _trained(run).groupby("task")["code"].nunique()
    return set(codes.index[codes > 1])


def _trained(run: Run):
    """The finished cells, with the project's own part of their code: user code differs from loss to loss."""
    cells = run.cells.assign(code=run.cells["code"].map(base_code))
    return cells[(cells["code"] != "") & (cells["status"] == "done")]


def _mixed(run: Run) -> Iterator[str]:
    trained = _trained(run)
    counts = trained["code"].value_counts()
    if len(counts) > 1:
        versions = ", ".join(f"{count} cells of code {code}" for code, count in counts.items())
        where = ", ".join(sorted(mixed_tasks(run))) or "different tasks"
        yield f"rows of {len(counts)} versions of the code are mixed ({versions}; in {where}): do not compare them"
    devices = sorted(set(trained["device"]) - {""})
    if len(devices) > 1:
        yield f"rows of several devices are mixed ({', '.join(devices)})"


def _stale(run: Run) -> Iterator[str]:
    """Rows of other code than that of the checkout which writes the report."""
    kind = (run.manifest.get("device") or {}).get("type")
    codes = set(_trained(run)["code"])
    if kind and codes and (now := code_fingerprint(torch.device(kind))) not in codes:
        yield (
            f"stale: the cells were trained by code {', '.join(sorted(codes))}, while the checkout (or PyTorch) that"
            f" wrote this report is at {now}; python -m bench run does them again"
        )


def _incomplete(run: Run) -> Iterator[str]:
    """Cells that say done and lack what a done cell leaves."""
    done = run.cells[(run.cells["status"] == "done") & run.cells["task"].isin(MAIN_PSNR)]
    lacking = (~done["cell_id"].isin(run.images["cell_id"])).sum()
    if lacking:
        yield f"{lacking} cells of a reconstruction say done but have no rows in images.csv"
