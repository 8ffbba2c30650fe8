"""How do the defaults of a suite file complete its blocks? See `bench.plan.suite` for the format."""

from collections.abc import Mapping
from typing import Any

from bench.plan.block import Block
from bench.store.validation import shown
from ganlab.errors import no_such
from ganlab.tasks import TASKS

MOST_LETTERS = 2**20  # largest size of defaults in all blocks: a small file must not fill the memory
Table = Mapping[str, Any]


def with_defaults(content: Table) -> dict[str, Any]:
    """The content of a suite file with complete blocks instead of `defaults`.

    >>> with_defaults({"defaults": {"steps": 9, "sr": {"seeds": 2}}, "matrix": [{"task": "sr", "steps": 7}]})
    {'matrix': [{'steps': 7, 'seeds': 2, 'task': 'sr'}]}

    Raises:
        ValueError: no block can use a key of `defaults`.
    """
    completed = {key: value for key, value in content.items() if key != "defaults"}
    defaults, blocks = content.get("defaults", {}), content.get("matrix")
    if not isinstance(defaults, dict):
        raise ValueError(f"defaults: found {shown(defaults)}; it is a table of keys and their values")
    if not isinstance(blocks, list) or not blocks or not all(isinstance(block, dict) for block in blocks):
        return completed  # `Suite` reports the error
    if defaults:
        _check(defaults, blocks)
    return completed | {"matrix": [_merged(*inherited(defaults, block).values(), block) for block in blocks]}


def inherited(defaults: Table, block: Table) -> dict[str, Table]:
    """The tables of defaults for a block, by their names in the file; a later table wins."""
    general = {key: value for key, value in defaults.items() if key not in TASKS}
    task = block.get("task", general.get("task"))
    has_task_table = isinstance(task, str) and task in TASKS and task in defaults
    return {"defaults": general} | ({f"defaults.{task}": defaults[task]} if has_task_table else {})


def _merged(*tables: Table) -> dict[str, Any]:
    """The merged tables. A later table wins; `settings` are merged key by key."""
    merged: dict[str, Any] = {}
    for table in tables:
        earlier, later = merged.get("settings"), table.get("settings")
        merged |= table
        if isinstance(earlier, dict) and isinstance(later, dict):
            merged["settings"] = earlier | later
    return merged


def _check(defaults: Table, blocks: list[Table]) -> None:
    """Check that each key is a key of a block or the task of a block, and that each block's task exists."""
    if len(str(defaults)) * len(blocks) > MOST_LETTERS:
        raise ValueError(f"defaults: too long for {len(blocks)} blocks")
    keys = Block.model_fields
    tasks = [block.get("task", defaults.get("task")) for block in blocks]
    for number, task in enumerate(tasks, 1):
        if (
            isinstance(task, str) and task not in TASKS
        ):  # before `Suite` reports keys that are missing only because the task is unknown
            raise ValueError(f"matrix {number}: {no_such('task', task, TASKS)}")
    for key, value in defaults.items():
        if key in keys:
            continue
        if key not in TASKS:
            raise ValueError(f"defaults: {no_such('key', key, (*keys, *TASKS))}")
        if not isinstance(value, dict):
            raise ValueError(f"defaults.{key}: found {shown(value)}; it is a table of keys and their values")
        if key not in tasks and all(isinstance(task, str) for task in tasks):
            raise ValueError(f"defaults.{key}: no block has task {key!r}; there are {', '.join(dict.fromkeys(tasks))}")
        if "task" in value:
            raise ValueError(f"defaults.{key}.task: the name of the table is the task; leave this key out")
        if unknown := next((name for name in value if name not in keys), None):
            raise ValueError(f"defaults.{key}: {no_such('key', unknown, (name for name in keys if name != 'task'))}")
