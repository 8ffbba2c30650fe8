"""In which environments do arms compute? The number of threads and the environment variables."""

import os
from pathlib import Path

from bench.executors.local import ENVIRONMENT

ROOT = Path(__file__).parents[2]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
DEFAULT, ONE_THREAD, HARNESS = "default", "one thread", "harness"
HOMES: dict[str, dict[str, str]] = {  # environment variables by home
    DEFAULT: {},  # PyTorch then uses one thread per core
    ONE_THREAD: dict.fromkeys(THREAD_VARIABLES, "1"),
    HARNESS: ENVIRONMENT,  # as in the workers of `python -m bench run`
}


def environment(home: str) -> dict[str, str]:
    """A worker's environment: the current one without its thread settings, with this source tree and the variables of
    `HOMES`."""
    inherited = {key: value for key, value in os.environ.items() if key not in THREAD_VARIABLES}
    path = os.pathsep.join(filter(None, (str(ROOT), inherited.get("PYTHONPATH"))))
    return HOMES[home] | inherited | {"PYTHONPATH": path}
