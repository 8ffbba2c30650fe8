"""What is run, recorded, judged, and drawn: suites, runner, run directory, statistics, figures, report.

All that `python -m bench` does is here in Python (`bench.api`): `from bench import run, load, report`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import (
        BenchError,
        calibrate,
        check_data,
        check_loss,
        compare,
        evaluate_sr,
        fetch_data,
        list_data,
        list_losses,
        list_suites,
        load,
        record,
        report,
        run,
        status,
    )

__all__ = [
    "BenchError",
    "calibrate",
    "check_data",
    "check_loss",
    "compare",
    "evaluate_sr",
    "fetch_data",
    "list_data",
    "list_losses",
    "list_suites",
    "load",
    "record",
    "report",
    "run",
    "status",
]


def __getattr__(name: str) -> Any:
    """The functions of `bench.api`, imported when first asked for: workers need none of it, and it takes a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bench import api

    return getattr(api, name)
