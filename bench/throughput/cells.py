"""Which training steps are timed? One cell for each task and loss, at the sizes that the shipped suites train with."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

SETTINGS: dict[str, dict[str, Any]] = {
    "sr": {"dataset": "photographs", "lr": 3e-3, "batch_size": 8, "scale": 2, "value_range": 1},
    "gan": {"dataset": "digits", "lr": 2e-4, "batch_size": 32},
    "location": {"dataset": "gaussian", "lr": 0.02, "batch_size": 500, "optimizer": "sgd"},
}
"""Clean data, the sigmoid head, and the default sizes of each task. If the sizes differ between the sides, so do the
counts of parameters; the verdict is then BROKEN."""
STEPS = 1_000_000  # more than any round runs

Offer = Mapping[str, list[str]]  # `tasks` and `losses` of a side


class Choice(NamedTuple):
    """The cells of both sides (name -> fields of an Experiment), and the names of those that one side lacks."""

    shared: dict[str, dict[str, Any]]
    new: list[str]
    missing: list[str]


def experiment(task: str, loss: str) -> dict[str, Any]:
    """The fields of the Experiment that times `loss` in `task`."""
    return {"task": task, "loss": loss, "seed": 0, "steps": STEPS, "evaluations": 1} | SETTINGS[task]


def choose(base: Offer, head: Offer, wanted: Callable[[str, str], bool]) -> Choice:
    """Every task under every loss for which `wanted(task, loss)` is true."""
    sides = [{(task, loss) for task in side["tasks"] for loss in side["losses"]} for side in (base, head)]
    losses = dict.fromkeys((*head["losses"], *base["losses"]))
    pairs = [(task, loss) for task in SETTINGS for loss in losses if wanted(task, loss)]
    old, now = ([pair for pair in pairs if pair in side] for side in sides)
    return Choice(
        {f"{task} {loss}": experiment(task, loss) for task, loss in now if (task, loss) in old},
        [f"{task} {loss}" for task, loss in now if (task, loss) not in old],
        [f"{task} {loss}" for task, loss in old if (task, loss) not in now],
    )
