"""What is a suite? A short TOML file that declares cells: they are the product of its lists.

    title = "L1 and L2"

    [defaults]                   # defaults of every block
    seeds = 5

    [defaults.sr]                # defaults of every block of task sr; they win over [defaults]
    dataset = "photographs"
    loss = ["l1", "l2"]
    head = "raw"
    lr = 3e-3
    steps = 500
    batch_size = 8
    settings = { channels = 32 }

    [[matrix]]                   # a block: only what differs from the defaults
    task = "sr"
    outliers = { clean = 0, salt = [0.1, 0.2] }

    [[matrix]]
    task = "sr"
    loss = "l1"
    settings = { blocks = 6 }    # with the 32 channels

`seeds = { first = 6, most = 24 }` trains more than the first six seeds only for what is not decided
(`bench.plan.seeds`); `lr = "tuned"` trains each arm at the rate that the suite's blocks of role `tune` find for it.

The keys are those of `Block`. A block's own key wins over `[defaults.TASK]`, which wins over `[defaults]`. A value is
replaced as a whole, also `lr` and `outliers`; only `settings` is merged key by key. `--set key=value` replaces the key
in every block. `bench.plan.reading` reads the file. A `Suite` and the manifest of a run have complete blocks.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, model_validator

from bench.plan.block import Block, Positive, listed, names_of_losses
from bench.plan.cell import NO_SETTING, Cell
from bench.plan.published import Published
from bench.store.manifest import SuiteName
from bench.store.validation import LONGEST_TEXT
from ganlab.records import FrozenRecord
from ganlab.tasks.experiment import Precision

TUNED = "tuned"
MOST_CELLS = 100_000  # a typing error must not fill the memory


def _with_grid(block: dict[str, Any], blocks: Sequence[dict[str, Any]], number: int) -> dict[str, Any]:
    """A block with every rate that is tuned for each of its losses, if its `lr` is "tuned"."""
    if block.get("lr") != TUNED:
        return block
    rates: dict[str, list[Any]] = {}
    for tuning in blocks:
        if tuning.get("role") == "tune" and all(tuning.get(key) == block.get(key) for key in ("task", "dataset")):
            grid = tuning.get("lr")
            for loss in names_of_losses(tuning):
                rates.setdefault(loss, []).extend(listed(grid.get(loss, []) if isinstance(grid, dict) else grid))
    losses = names_of_losses(block)
    if missing := next((loss for loss in losses if loss not in rates), None):
        raise ValueError(
            f"matrix {number}: lr = 'tuned', but no block of role tune has loss {missing} and this data set"
        )
    once = {loss: [rate for n, rate in enumerate(rates[loss]) if rate not in rates[loss][:n]] for loss in losses}
    return block | {"lr": once, "tuned": True}


class Timing(FrozenRecord):
    """How step times are measured, with no other work on the device: `rounds` over all losses, chunks of `chunk_ms`."""

    rounds: Annotated[int, Field(ge=0, strict=True)] = 8
    chunk_ms: Positive = 150.0


class Suite(FrozenRecord):
    """A suite as read from its file."""

    name: SuiteName
    title: Annotated[str, Field(max_length=LONGEST_TEXT)]
    timing: Timing = Timing()
    timeout_s: Positive = 3600.0
    matrix: tuple[Block, ...] = Field(min_length=1)
    published: Annotated[tuple[Published, ...], Field(max_length=100)] = ()

    @model_validator(mode="before")
    @classmethod
    def _grids_of_tuned_rates(cls, content: Any) -> Any:
        """Blocks with `lr = "tuned"` get the rates that blocks of role `tune` try."""
        blocks = content.get("matrix") if isinstance(content, dict) else None
        if not isinstance(blocks, list | tuple) or not all(isinstance(block, dict) for block in blocks):
            return content
        return content | {"matrix": [_with_grid(block, blocks, n) for n, block in enumerate(blocks, 1)]}

    @model_validator(mode="after")
    def _check_size(self) -> "Suite":
        count = sum(block.size for block in self.matrix)
        if count > MOST_CELLS:
            raise ValueError(f"declares {count} cells, at most {MOST_CELLS} fit: split it")
        for number, block in enumerate(self.matrix, 1):
            cells = block.settled("fp32").cells() if block.tuned else ()
            if cell := next((cell for cell in cells if cell.arm not in self._tuning), None):
                raise ValueError(
                    f"matrix {number}: lr = 'tuned', but no block of role tune has {cell.task} on {cell.dataset}, loss "
                    f"{cell.loss}, {cell.head} head, {cell.schedule}, {cell.optimizer}, {cell.steps} steps, and this "
                    "block's batch_size and settings"
                )
        return self

    @cached_property
    def _tuning(self) -> dict[tuple[Any, ...], set[float]]:
        """The rates that are tried for each arm (`Cell.arm`)."""
        rates: dict[tuple[Any, ...], set[float]] = {}
        for block in self.matrix:
            for cell in block.settled("fp32").cells() if block.role == "tune" else ():
                rates.setdefault(cell.arm, set()).add(cell.lr)
        return rates

    def settled(self, auto: Precision) -> "Suite":
        """The suite with `auto` replaced in its precisions."""
        return self.model_copy(update={"matrix": tuple(block.settled(auto) for block in self.matrix)})

    @cached_property
    def possible_cells(self) -> tuple[Cell, ...]:
        """Every cell that a run may train, once, in the order of the file."""
        return tuple(cell for cell, _ in self._unique_cells.values())

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell that a run trains in any case: fixed seeds and the first ones of each plan, at given rates."""
        return tuple(cell for cell, declared in self._unique_cells.values() if declared)

    @cached_property
    def _unique_cells(self) -> dict[str, tuple[Cell, bool]]:
        """Each possible cell, and whether it is trained in any case, by its setting.

        A cell of several blocks gets the widest of their plans, so that all seeds of an arm have the same.
        """
        unique: dict[str, tuple[Cell, bool]] = {}
        for block in self.matrix:
            for cell in block.cells():
                if cell.tuned and cell.lr not in self._tuning[cell.arm]:
                    continue
                key = cell.model_dump_json(exclude=set(NO_SETTING))
                known, declared = unique.get(key, (cell, False))
                if (cell.most_seeds or 0) > (known.most_seeds or 0):
                    plan = {"first_seeds": cell.first_seeds, "most_seeds": cell.most_seeds}
                    known = known.model_copy(update=plan)
                first = cell.first_seeds is None or cell.seed < cell.first_seeds
                unique[key] = known, declared or (first and not cell.tuned)
        return unique
