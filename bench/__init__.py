"""What is run, recorded, judged, and drawn: suites, runner, run directory, statistics, figures, report.

All that `python -m bench` does is here in Python (`bench.api`): `from bench import run, load, report`.
"""

from bench.api import *  # noqa: F403 - what that is, it lists
from bench.api import __all__ as __all__
