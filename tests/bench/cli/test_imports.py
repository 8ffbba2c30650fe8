"""Do verbs that neither train nor draw avoid slow imports? Each is run, and its imported modules are listed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_runs import fake_run, fake_suite

ROOT = Path(__file__).parents[3]
TRAINS_OR_DRAWS = {"torch", "scipy", "sklearn", "skimage", "matplotlib", "seaborn", "ray"}
SCRIPT = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from bench.cli.main import main
main()
"""


def imported(*words: str) -> set[str]:
    """The modules that `python -m bench WORDS` has imported, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", SCRIPT, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("verb", [(), ("run",), ("compare",), ("calibrate",), ("status",)])
def test_help(verb):
    modules = imported(*verb, "--help")
    assert "typer" in modules
    assert not modules & (TRAINS_OR_DRAWS | {"numpy", "pandas"})


@pytest.mark.parametrize("words", [("suites",), ("loss", "list"), ("data", "list")], ids=" ".join)
def test_lists(words):
    assert not imported(*words) & TRAINS_OR_DRAWS


def test_status(tmp_path):
    fake_run(tmp_path / "r", fake_suite(2))
    assert not imported("status", str(tmp_path / "r")) & TRAINS_OR_DRAWS
