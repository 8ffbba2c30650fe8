"""Source trees with a `ganlab` of three short files and a training step of one line, for tests of throughput."""

from pathlib import Path

FILES = {
    "__init__.py": "",
    "losses.py": "LOSSES = dict.fromkeys({losses!r})\n",
    "tasks.py": """
import math, os, sys, time, torch

class Experiment:
    def __init__(self, **fields):
        self.fields = fields

class Task:
    images_per_step = {images}

    def __init__(self, experiment, device):
        {build}
        self.network = torch.nn.Linear({parameters}, 1, bias=False)

    def step(self, index):
        {step}
        return torch.ones(1)

TASKS = dict.fromkeys({tasks!r}, Task)
{last}
""",
}
DEFAULTS = {
    "losses": ("l2",),
    "tasks": ("sr",),
    "images": 8,
    "parameters": 10,
    "build": "pass",
    "last": "",
    "step": "sum(range(1000))",
}


def write_tree(folder: Path, **fields: object) -> Path:
    """Write a tree and return its folder; `step`, `build`, and `last` are lines of Python."""
    (folder / "ganlab").mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        (folder / "ganlab" / name).write_text(text.format(**DEFAULTS | fields))
    return folder
