"""What are the processes like in which arms compute? How many threads, and whose environment."""

import os
from pathlib import Path

from bench.executors.local import ENVIRONMENT

ROOT = Path(__file__).parents[2]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
AS_IT_COMES, ONE_THREAD, HARNESS = "as it comes", "one thread", "harness"
HOMES: dict[str, dict[str, str]] = {  # what the environment of a process says
    AS_IT_COMES: {},  # PyTorch then takes one thread for each core
    ONE_THREAD: dict.fromkeys(THREAD_VARIABLES, "1"),
    HARNESS: ENVIRONMENT,  # that of the processes in which `python -m bench run` trains cells
}


def environment(home: str) -> dict[str, str]:
    """A worker's environment: this one's but for its threads, with this source tree and what `HOMES` says."""
    inherited = {key: value for key, value in os.environ.items() if key not in THREAD_VARIABLES}
    path = os.pathsep.join(filter(None, (str(ROOT), inherited.get("PYTHONPATH"))))
    return HOMES[home] | inherited | {"PYTHONPATH": path}
