"""What can a user add to a suite? Losses, images, and networks of their own, in every block that can use them.

The result is an ordinary suite, which the manifest of a run shows with all additions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from bench.plan.block import Block
from bench.plan.cell import Cell, kind_of
from bench.plan.reading import SuiteError, explain
from bench.plan.suite import Suite
from ganlab.datasets import DataMissing, LabelledImages, UnknownDataset, is_folder, kinds, load
from ganlab.losses import family_hint
from ganlab.plugins import PluginError, is_reference
from ganlab.tasks import TASKS
from ganlab.tasks.experiment import known_loss

RATE_SOURCE = "l1"  # a user's loss is trained at the learning rates of this loss if a block has it


@dataclass(frozen=True)
class Additions:
    """The additions of a user.

    Attributes:
        losses: names or references to add to the losses of each block.
        dataset: replaces the data set of every block, such as `folder:PATH`.
        network: reference to `build(role, **sizes)`, see `ganlab.networks.user_network`.
    """

    losses: tuple[str, ...] = ()
    dataset: str | None = None
    network: str | None = None

    def __bool__(self) -> bool:
        return bool(self.losses or self.dataset or self.network)


def extended(suite: Suite, additions: Additions) -> tuple[Suite, list[str]]:
    """The suite with the user's additions, and a line for every block that an addition does not apply to.

    Raises:
        SuiteError: an addition applies to no block, or contradicts one.
        PluginError: the user's code cannot be used.
    """
    if not additions:
        return suite, []
    notes: list[str] = []
    blocks = [block.model_dump() for block in suite.matrix]
    if additions.dataset:
        blocks = _with_data(suite, blocks, additions.dataset, notes)
    for name in additions.losses:
        _join(suite, blocks, name, notes)
    if additions.network:
        _rebuild(suite, blocks, additions.network, notes)
    try:
        result = Suite.model_validate(suite.model_dump() | {"matrix": blocks})
        result.cells  # noqa: B018 - finds a cell that contradicts itself
    except ValidationError as error:
        raise SuiteError(f"suite {suite.name} with what was added: {explain(error)}") from None
    measured = tuple(figure for figure in result.published if not figure.reason_against(result.possible_cells))
    return result.model_copy(update={"published": measured}), list(dict.fromkeys(notes))


def _with_data(suite: Suite, blocks: list[dict[str, Any]], dataset: str, notes: list[str]) -> list[dict[str, Any]]:
    """The blocks whose task can read a data set, with this data set."""
    kept, reasons = [], []
    for block in blocks:
        kind = TASKS[block["task"]].data_kind
        try:
            if kind not in kinds(dataset):
                raise ValueError(f"it holds nothing that task {block['task']!r} can train on")
            load(dataset, kind)
        except UnknownDataset as error:
            folder = f"; the images of a folder are 'folder:{dataset}'" if Path(dataset).is_dir() else ""
            raise SuiteError(f"--data: {error}{folder}") from None
        except (DataMissing, ValueError) as error:
            reason = str(error).removeprefix(f"{dataset}: ")
            reasons.append(reason)
            notes.append(f"without {_block_name(block)}, which cannot use {dataset}: {reason}")
        else:
            kept.append(block | {"dataset": dataset})
    if not kept:
        raise SuiteError(f"no block of suite {suite.name} can use {dataset}: {reasons[0]}")
    return kept


def _join(suite: Suite, blocks: list[dict[str, Any]], name: str, notes: list[str]) -> None:
    """Add a loss to every block where it applies, at the learning rates of L1.

    Expected-loss references predict it too; other references predict particular losses.
    """
    try:
        loss = known_loss(name)
    except PluginError:
        raise
    except ValueError as error:
        hint = "" if is_reference(name) or family_hint(name) else "; one of your own is mymodule:MyLoss"
        raise SuiteError(f"--loss: {error}{hint}") from None
    reasons = []
    fitting = [block for block in blocks if block["role"] != "reference" or block["expected"]]
    for block in fitting:
        reason = Block.model_validate(block).reason_against(loss)
        if reason:
            reasons.append(reason)
            notes.append(f"{name} is left out of {_block_name(block)}: {reason}")
        elif name not in block["loss"]:
            rates = block["lr"].get(RATE_SOURCE) or next(iter(block["lr"].values()))
            block["loss"], block["lr"] = (*block["loss"], name), block["lr"] | {name: rates}
    if len(reasons) == len(fitting):
        raise SuiteError(f"--loss: {name} applies nowhere in suite {suite.name}: {reasons[0]}")


def _rebuild(suite: Suite, blocks: list[dict[str, Any]], network: str, notes: list[str]) -> None:
    """Set the user's network in every block whose task lets the user choose one."""
    chosen = [block for block in blocks if "network" in TASKS[block["task"]].Settings.model_fields]
    if not chosen:
        raise SuiteError(f"--network: no task of suite {suite.name} takes a network of your own")
    for block in blocks:
        if block in chosen:
            block["settings"] = block["settings"] | {"network": network}
        else:
            notes.append(f"{network} is left out of {_block_name(block)}: that task has no network to choose")


def try_out(
    suite: Suite, selected: Callable[[Cell], bool] = lambda cell: True, note: Callable[[str], None] = lambda text: None
) -> None:
    """Set up, on the CPU, one training of each kind that uses the user's network or images.

    Args:
        selected: whether a cell will be run.
        note: is called with a line before slow work.

    Raises:
        SuiteError: the images do not fit the settings.
        PluginError: the network does not fit its role.
    """
    users = [
        cell for cell in suite.cells if selected(cell) and (cell.settings.get("network") or is_folder(cell.dataset))
    ]
    if labelled := sorted({cell.dataset for cell in users if TASKS[cell.task].data_kind is LabelledImages}):
        note(f"trying out what is yours; that takes the frozen classifier for {', '.join(labelled)}, trained once")
    for cell in {(cell.head, *kind_of(cell)): cell for cell in users}.values():
        try:
            TASKS[cell.task](cell, torch.device("cpu"))
        except PluginError:
            raise
        except ValueError as error:
            raise SuiteError(f"suite {suite.name}, {cell.task} on {cell.dataset}: {error}") from None


def _block_name(block: dict[str, Any]) -> str:
    return f"{block['task']} on {block['dataset']}"
