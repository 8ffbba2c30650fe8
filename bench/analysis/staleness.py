"""Can a reader trust these rows? Whether a run directory is stale, mixed, edited, or inconsistent."""

import ast
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from bench.executors.user_code import is_installed
from bench.store.reader import Run
from bench.store.schema import base_code
from bench.training.code import code_fingerprint
from ganlab.plugins import LOSSES_GROUP, REFERENCE, entry_points, fingerprint_of, is_reference


def warnings_of(run: Run) -> list[str]:
    """Warnings that a reader needs before any number, one line each; changed files come first."""
    return [*run.warnings, *_mixed(run), *_stale(run), *_incomplete(run)]


def mixed_tasks(run: Run) -> set[str]:
    """Tasks whose finished cells were not all trained by the same code: their losses are not comparable."""
    codes = _trained(run).groupby("task")["code"].nunique()
    return set(codes.index[codes > 1])


def stale_cells(run: Run) -> pd.Series:
    """Whether `run` would train each cell again because the project's or the user's files have changed since.

    Files of user code are read but never executed: the run directory is untrusted and may name any module. If only an
    import could find those files, the cell counts as up to date; `run` checks it again.
    """
    kind = (run.manifest.get("device") or {}).get("type") or "cpu"
    base = code_fingerprint(kind)
    networks = {text: json.loads(text).get("network") for text in set(run.cells["settings"])}
    settings = {text: network if isinstance(network, str) else None for text, network in networks.items()}
    rests_on = [
        tuple(filter(None, (_reference_of(loss), settings[text])))
        for loss, text in zip(run.cells["loss"], run.cells["settings"], strict=True)
    ]
    now = {references: _code_now(base, references) for references in set(rests_on)}
    codes = run.cells["code"].to_list()
    return pd.Series(
        [
            base_code(code) != base or (now[references] is not None and code != now[references])
            for code, references in zip(codes, rests_on, strict=True)
        ],
        run.cells.index,
        bool,
    )


def _reference_of(loss: str) -> str | None:
    return loss if is_reference(loss) else entry_points(LOSSES_GROUP).get(loss)


def _code_now(base: str, references: tuple[str, ...]) -> str | None:
    """The current code of cells that use these references, found without an import; None if it cannot be determined."""
    if not references:
        return base
    try:
        return f"{base}+{fingerprint_of({reference: _files_of(reference) for reference in references})}"
    except (ImportError, ValueError, IndexError, SyntaxError, OSError, RecursionError, MemoryError):
        return None


def _files_of(reference: str) -> list[Path]:
    """`plugins.source_files` without an import, for a plain function or class that a user's module defines itself.

    Raises:
        ImportError: there is no such user module, or the module may have imported the object from another one.
        Exception: of several kinds, if the module cannot be read or is not valid Python.
    """
    match = REFERENCE.fullmatch(reference)
    if not match:
        raise ImportError(reference)
    top, *inner = match["module"].split(".")
    spec = find_spec(top)  # a name without dots triggers no import
    if spec is None or spec.origin is None or is_installed(Path(spec.origin)):
        raise ImportError(reference)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    file = Path(spec.origin)
    if inner:
        module_path = folders[0].joinpath(*inner)
        file = module_path / "__init__.py" if module_path.is_dir() else module_path.with_name(f"{module_path.name}.py")
    defined = (node for node in ast.parse(file.read_bytes()).body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    if not any(node.name == match["attribute"] and not node.decorator_list for node in defined):
        raise ImportError(reference)
    return sorted({path.resolve() for path in (file, *(path for folder in folders for path in folder.rglob("*.py")))})


def _trained(run: Run) -> pd.DataFrame:
    """The finished cells; `code` keeps only the project's part, because user code differs between losses."""
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
    """Rows that other code trained than the checkout that writes the report."""
    kind = (run.manifest.get("device") or {}).get("type")
    codes = set(_trained(run)["code"])
    if kind and codes and (now := code_fingerprint(kind)) not in codes:
        yield (
            f"stale: the cells were trained by code {', '.join(sorted(codes))}, while the checkout (or PyTorch) that"
            f" wrote this report is at {now}; python -m bench run does them again"
        )


def _incomplete(run: Run) -> Iterator[str]:
    """Cells marked as done that lack the rows of a done cell."""
    from bench.analysis.summary import MAIN_PSNR  # imported late: it loads SciPy, which `status` does not need

    done = run.cells[(run.cells["status"] == "done") & run.cells["task"].isin(MAIN_PSNR)]
    lacking = (~done["cell_id"].isin(run.images["cell_id"])).sum()
    if lacking:
        yield f"{lacking} cells of a reconstruction say done but have no rows in images.csv"
