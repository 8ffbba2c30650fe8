"""Which options do `compare`, `record`, and `calibrate` have?

`tell` is called with each line of progress.
"""

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated

from bench.plan.options import Device, Option

PathOrName = str | Path
Names = str | Iterable[str]
Tell = Callable[[str], None]


def silent(text: str) -> None:
    """Drop a line of progress."""


@dataclass(frozen=True)
class MeasureOptions:
    """What is measured, and for how long."""

    _: KW_ONLY
    head: Annotated[PathOrName, Option("the code to measure: a folder, or a git revision")] = "."
    task: Annotated[Names, Option("measure this task; repeatable [default: every task]", kind=list[str])] = ()
    loss: Annotated[Names, Option("under this loss; repeatable [default: every loss]", kind=list[str])] = ()
    minutes: Annotated[float | None, Option("time to take [default: 7; on a GPU 2.5]", least=0.05)] = None
    device: Device = "auto"
    tell: Tell = silent


@dataclass(frozen=True)
class CompareOptions(MeasureOptions):
    """What is compared with what."""

    base: Annotated[PathOrName, Option("a git revision, or a file that `record` wrote")] = field(kw_only=False)


@dataclass(frozen=True)
class RecordOptions(MeasureOptions):
    """What is measured, and where the record goes."""

    file: Annotated[PathOrName, Option("where to write the record (JSON)", kind=Path, positional=True)] = field(
        kw_only=False
    )


@dataclass(frozen=True)
class CalibrateOptions:
    """Which comparisons of a tree with itself are made."""

    runs: Annotated[
        Iterable[str], Option("PERCENT=COUNT comparisons with PERCENT % planted; repeatable", kind=list[str])
    ] = ("0=40", "3=10", "5=20", "10=20")
    _: KW_ONLY
    task: Annotated[Names, Option("measure this task; repeatable", kind=list[str])] = ("sr", "gan")
    loss: Annotated[Names, Option("under this loss; repeatable", kind=list[str])] = ("l2",)
    minutes: Annotated[float, Option("of each comparison", least=0.05)] = 0.5
    device: Device = "auto"
    tell: Tell = silent
