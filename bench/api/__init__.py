"""What can be done from Python? Everything that the command line does: `from bench import run, load, report`, ...

    runs        run, load, report, status, list_suites
    inspection  list_losses, check_loss, list_data, fetch_data, check_data, and evaluate_sr
    throughput  compare, record, calibrate

The verbs of the command line print what these functions return. An invalid call raises a `BenchError` with a message of
one line. Each function imports what it needs when it is called, so importing this package takes little time.
"""

from bench.api.inspection import check_data, check_loss, evaluate_sr, fetch_data, list_data, list_losses
from bench.api.runs import list_suites, load, report, run, status
from bench.api.throughput import calibrate, compare, record
from bench.errors import BenchError

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
