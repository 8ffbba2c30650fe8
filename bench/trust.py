"""Can a reader trust these rows? Everything that makes a run directory stale, mixed, edited, or not what it says."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import torch

from bench.executors.user_code import is_installed
from bench.provenance import base_code, code_fingerprint, full_code
from bench.statistics import MAIN_PSNR
from bench.store import Run
from ganlab.plugins import LOSSES_GROUP, PluginError, entry_points, is_reference


def doubts(run: Run) -> list[str]:
    """What a reader must be told before any number, one line each; files that were changed come first."""
    return [*run.warnings, *_mixed(run), *_stale(run), *_incomplete(run)]


def mixed_tasks(run: Run) -> set[str]:
    """Tasks whose finished cells were not all trained by the same code: their losses are not comparable."""
    codes = _trained(run).groupby("task")["code"].nunique()
    return set(codes.index[codes > 1])


def stale_cells(run: Run) -> pd.Series:
    """Of each cell, whether `run` would do it again: the project or the user's own files have changed since.

    User code is imported for that, but only such as lies where the user's own does: in the current folder, or elsewhere
    on the path of imports. What cannot be imported counts as it was.
    """
    kind = (run.manifest.get("device") or {}).get("type", "cpu")
    base = code_fingerprint(torch.device(kind))
    settings = {text: json.loads(text).get("network") for text in set(run.cells["settings"])}
    rests_on = [tuple(filter(None, (_reference_of(loss), settings[text])))
                for loss, text in zip(run.cells["loss"], run.cells["settings"], strict=True)]  # fmt: skip
    now = {references: _code_now(base, references) for references in set(rests_on)}
    codes = run.cells["code"].to_list()
    return pd.Series([
        base_code(code) != base or (now[references] is not None and code != now[references])
        for code, references in zip(codes, rests_on, strict=True)
    ], run.cells.index, bool)  # fmt: skip


def _reference_of(loss: str) -> str | None:
    return loss if is_reference(loss) else entry_points(LOSSES_GROUP).get(loss)


def _code_now(base: str, references: tuple[str, ...]) -> str | None:
    """The code of cells that rest on these; None where nobody can tell without running what is not the user's own."""
    tops = {reference.partition(":")[0].partition(".")[0] for reference in references}
    try:
        found = [find_spec(top) for top in tops]
        if any(spec is None or spec.origin is None or is_installed(Path(spec.origin)) for spec in found):
            return None
        return full_code(base, references)
    except (PluginError, ImportError, ValueError):
        return None


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
