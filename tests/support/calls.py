"""Calls for worker processes; this module imports nothing slow, so a worker starts fast."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

held = []


def double(number):
    return 2 * number


def process_id():
    return os.getpid()


def group_id():
    return os.getpgid(0)


def signalled(number):
    os.kill(os.getpid(), number)


def leave(code):
    os._exit(code)


def never():
    time.sleep(600)


def fail():
    raise KeyError("missing")


class Awkward(Exception):
    """Cannot be unpickled: it takes two arguments and stores one."""

    def __init__(self, name, number):
        super().__init__(name)


def fail_awkwardly():
    raise Awkward("odd", 3)


def unpicklable():
    return lambda: None


def leak():
    while True:
        held.append(bytearray(b"x" * 2**24))
        time.sleep(0.01)


def hold(mib):
    held.append(bytearray(b"x" * (mib * 2**20)))
    return os.getpid()


def answer_at_length(mib):
    return b"x" * (mib * 2**20)


def start_grandchild(file):
    """Start a process that is independent of runners; its id is written to the file."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(file).write_text(str(child.pid))
    return child.pid


def start_grandchild_and_wait(file):
    start_grandchild(file)
    time.sleep(600)


def grandchild_and_death(file):
    start_grandchild(file)
    signalled(signal.SIGKILL)
