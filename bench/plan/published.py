"""Which published figure does a suite set beside its own? A `[[published]]` entry, and the cells that measure it."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from bench.plan.cell import Cell
from bench.store.validation import LARGEST
from ganlab.errors import no_such
from ganlab.records import FrozenRecord
from ganlab.tasks import TASKS, Experiment

Line = Annotated[str, Field(min_length=1, max_length=1000)]
SINGLED_OUT_BY = tuple(name for name in Experiment.model_fields if name not in ("seed", "evaluations"))


class Published(FrozenRecord):
    """A `[[published]]` figure, which the report sets beside what this suite measures.

    Attributes:
        what: the quantity; `source` names the publication, `differs` says why ours may differ.
        value: the figure, in `unit`.
        metric: our measurement of the same quantity, a column of cells.csv.
        cells: which cells measure it: settings and their values, enough to single out one group of seeds.
        minus: the cells whose measurement is subtracted, seed by seed, where the figure is a difference.
    """

    what: Line
    value: Annotated[float, Field(ge=-LARGEST, le=LARGEST, strict=True, allow_inf_nan=False)]
    unit: Line
    metric: str
    source: Line
    differs: Line
    cells: dict[str, Any]
    minus: dict[str, Any] | None = None

    def reason_against(self, cells: Iterable[Cell]) -> str | None:
        """Why a suite of these cells cannot measure it; None: it can."""
        cells = [cell for cell in cells if cell.role == "report"]
        for key, which in (("cells", self.cells), ("minus", self.minus)):
            if which is None:
                continue
            if unknown := next((name for name in which if name not in SINGLED_OUT_BY), None):
                return f"{key}: {no_such('setting', unknown, SINGLED_OUT_BY)}"
            measuring = [cell for cell in cells if self.holds(which, cell.model_dump())]
            groups = {cell.model_dump_json(exclude={"seed", "shows_samples"}) for cell in measuring}
            if len(groups) != 1:
                return f"{key} is of {len(groups)} groups of seeds among this suite's cells; name what singles out one"
            if self.metric not in (columns := TASKS[measuring[0].task].columns):
                return f"metric: {no_such(f'read-out of {measuring[0].task}', self.metric, columns)}"
        return None

    @staticmethod
    def holds(which: Mapping[str, Any], setting: Mapping[str, Any]) -> bool:
        """Whether a cell's setting has these values; of the task's own settings (`settings`) those that are named."""
        own, theirs = which.get("settings", {}), setting["settings"]
        plain = all(setting.get(key) == value for key, value in which.items() if key != "settings")
        return plain and isinstance(own, dict) and all(theirs.get(key) == value for key, value in own.items())
