"""Does data flow one way? There are no import circles between files or folders, and rooms import only lower ones."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [file for top in ("ganlab", "bench", "tools") for file in sorted((ROOT / top).rglob("*.py"))]
MODULES = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES}


def imported(file: Path) -> set[str]:
    """The modules a file imports, also inside functions, lazily, or for a type checker alone."""
    found = set()
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{name.name}" for name in node.names}
            found.update(name if name in MODULES else str(node.module) for name in names)
    return found


IMPORTS = {module: imported(file) for module, file in MODULES.items()}


def room(module: str) -> str:
    """The folder a module lies in; at the top of a package, beside its folders, each module is a room of its own."""
    folder = MODULES[module].parent
    return module if folder.parent == ROOT else ".".join(folder.relative_to(ROOT).parts)


def in_order(arrows: dict[str, set[str]]) -> list[str]:
    """Everything after what it imports."""
    try:
        return list(graphlib.TopologicalSorter(arrows).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"an import circle: {' <- '.join(error.args[1])}")


def test_no_circle_between_files():
    assert in_order({module: (imports & MODULES.keys()) - {module} for module, imports in IMPORTS.items()})


def test_no_circle_between_folders():
    arrows: dict[str, set[str]] = {}
    for module, imports in IMPORTS.items():
        others = {room(other) for other in imports & MODULES.keys()} - {room(module)}
        arrows.setdefault(room(module), set()).update(others)
    assert in_order(arrows)


@pytest.mark.parametrize(
    ("whose", "never"),
    [
        ("ganlab", ("bench", "tools")),
        ("bench", ("tools",)),
        ("bench.errors", ("bench",)),
        ("bench.running", ("bench.analysis", "bench.reports", "bench.api", "bench.cli")),
        ("bench.training", ("bench.running", "bench.executors", "bench.analysis", "bench.reports")),
        ("bench.analysis", ("bench.reports", "bench.running", "bench.api")),
        ("bench.reports", ("bench.api", "bench.cli", "bench.running")),
    ],
)
def test_data_flow_one_way(whose, never):
    for module in (module for module in MODULES if f"{module}.".startswith(f"{whose}.")):
        wrong = [name for name in IMPORTS[module] for other in never if f"{name}.".startswith(f"{other}.")]
        assert not wrong, f"{module} imports {wrong}"


def test_only_figures_draw():
    tops = {module: {name.partition(".")[0] for name in imports} for module, imports in IMPORTS.items()}
    drawing = {module for module, names in tops.items() if names & {"matplotlib", "seaborn"}}
    assert drawing
    assert all(module.startswith("bench.reports.figures.") for module in drawing)
