"""Which published values does a suite compare with its own? A `[[published]]` entry, and the cells that measure it."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from bench.plan.cell import NO_SETTING, Cell
from bench.store.validation import LARGEST
from ganlab.errors import no_such
from ganlab.records import FrozenRecord
from ganlab.tasks import TASKS, Experiment

Line = Annotated[str, Field(min_length=1, max_length=1000)]
SELECTABLE = tuple(name for name in Experiment.model_fields if name not in ("seed", "evaluations"))


class Published(FrozenRecord):
    """A `[[published]]` value, which the report compares with the measurement of this suite.

    Attributes:
        what: the quantity; `source` names the publication, `differs` says why ours may differ.
        value: the published value, in `unit`.
        metric: our measurement of the same quantity, a column of cells.csv.
        cells: settings and their values, which select the cells that measure it: one group of seeds.
        minus: selects the cells whose measurement is subtracted, seed by seed, if the value is a difference.
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
        """Why a suite of these cells cannot measure it; None if it can."""
        cells = [cell for cell in cells if cell.role == "report"]
        for key, selection in (("cells", self.cells), ("minus", self.minus)):
            if selection is None:
                continue
            if unknown := next((name for name in selection if name not in SELECTABLE), None):
                return f"{key}: {no_such('setting', unknown, SELECTABLE)}"
            measuring = [cell for cell in cells if self.holds(selection, cell.model_dump())]
            groups = {  # of a tuned arm only one rate is trained
                cell.model_dump_json(exclude={"seed", *NO_SETTING, *(["lr"] if cell.tuned else [])})
                for cell in measuring
            }
            if len(groups) != 1:
                return f"{key} is of {len(groups)} groups of seeds among this suite's cells; name what singles out one"
            if self.metric not in (columns := TASKS[measuring[0].task].columns):
                return f"metric: {no_such(f'read-out of {measuring[0].task}', self.metric, columns)}"
        return None

    @staticmethod
    def holds(selection: Mapping[str, Any], setting: Mapping[str, Any]) -> bool:
        """Whether a cell's setting has the selected values; `settings` may select some of the task's own settings."""
        selected, actual = selection.get("settings", {}), setting["settings"]
        if not all(setting.get(key) == value for key, value in selection.items() if key != "settings"):
            return False
        return isinstance(selected, dict) and all(actual.get(key) == value for key, value in selected.items())
