"""What is run, recorded, judged, and drawn: suites, runner, run directory, statistics, figures, report.

Everything `python -m bench run` and `report` do is here in Python: `from bench import run, load, report`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import BenchError, load, report, run

__all__ = ["BenchError", "load", "report", "run"]


def __getattr__(name: str) -> Any:
    """The functions of `bench.api`, imported when first asked for: workers need none of it, and it takes a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bench import api

    return getattr(api, name)
