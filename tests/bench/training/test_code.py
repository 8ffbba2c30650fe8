"""Fingerprints of code: comments and layout change nothing; everything that determines a result does."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.training import code
from bench.training.code import DECIDES, TRAINED_BY, code_fingerprint
from ganlab import fingerprint
from ganlab.fingerprint import code_digest, imported_files

ROOT = Path(__file__).parents[3]
SOURCE = '''"""What a module says."""

from math import pi

HALF = 0.5  # a comment
NAME = "half"


class Scale:
    """What a class says."""

    def by(self, value, factor=2.0):
        """What a function says."""
        if value < 0:
            raise ValueError("no length")
        return factor * value + HALF


async def later():
    """What a coroutine says."""
    return pi
'''


def digest_of(folder: Path, source: str, name: str = "scale.py") -> str:
    (folder / name).write_text(source)
    return code_digest([folder / name])


def edited(old: str, new: str) -> str:
    assert SOURCE.count(old) == 1
    return SOURCE.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another"),
        ("  # a comment", ""),
        ("        if value", "        # a line of its own\n        if value"),
        ("What a module says.", "Something else."),
        ('"""What a module says."""', ""),
        ("What a class says.", "Something\n\n    in several lines."),
        ('    """What a class says."""\n', ""),
        ("What a function says.", "Something else."),
        ('        """What a function says."""\n', ""),
        ("What a coroutine says.", "Something else."),
        ("HALF = 0.5", "\n\nHALF = 0.5"),
        ("factor * value + HALF", "(\n            factor * value\n            + HALF\n        )"),
        ('"half"', "'half'"),
    ],
)
def test_comments_and_layout_do_not_count_as_code(tmp_path, old, new):
    assert digest_of(tmp_path, edited(old, new)) == digest_of(tmp_path, SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("HALF = 0.5", "HALF = 0.25"),
        ('"half"', '"Half"'),
        ("no length", "not a length"),
        ("factor * value", "factor / value"),
        ("value + HALF", "value - HALF"),
        ("value < 0", "value <= 0"),
        ("factor=2.0", "factor=3.0"),
        ("factor=2.0", "factor=2"),  # no float any more
        ("factor=2.0", "factor"),
        ("def by", "def times"),
        ("class Scale", "class Size"),
        ("NAME =", "LABEL ="),
        ("import pi", "import tau as pi"),
        ("async def", "def"),
        ("        return factor", "        return -factor"),
        ('        """What a function says."""\n', '        """What a function says."""\n        "and again"\n'),
    ],
)
def test_constants_operators_defaults_and_names_count_as_code(tmp_path, old, new):
    assert digest_of(tmp_path, edited(old, new)) != digest_of(tmp_path, SOURCE)


def test_the_name_of_a_file_and_further_facts_count(tmp_path):
    digests = {digest_of(tmp_path, SOURCE), digest_of(tmp_path, SOURCE, "size.py")}
    file = tmp_path / "scale.py"
    digests |= {code_digest([file], "cpu"), code_digest([file], "cuda"), code_digest([file, file])}
    assert len(digests) == 5


def test_imports_inside_functions_are_followed_within_the_packages(tmp_path, monkeypatch):
    files = {
        "followed/__init__.py": "",
        "followed/start.py": "import os\nfrom followed.top import x\nimport beside.one\n",
        "followed/top.py": "def late():\n    from followed import inner\n    import followed.sub.deep\n",
        "followed/inner.py": "from followed import start\n",  # a circle
        "followed/sub/__init__.py": "",
        "followed/sub/deep.py": "",
        "followed/sub/alone.py": "",
        "followed/unused.py": "from followed import start\n",
        "beside/__init__.py": "",
        "beside/one.py": "",
    }
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    names = {str(file.relative_to(tmp_path)) for file in imported_files(["followed.start"], ["followed"])}
    everything = {name for name in files if name.startswith("followed/")}
    assert names == everything - {"followed/unused.py", "followed/sub/alone.py"}


def test_the_fingerprint_has_exactly_the_code_that_determines_results():
    files = set(imported_files(TRAINED_BY, DECIDES))
    rooms = {file for room in DECIDES for file in (ROOT / room.replace(".", "/")).rglob("*.py")}
    left_out = {str(file.relative_to(ROOT)) for file in rooms - files}
    assert left_out == {"bench/training/device.py", "bench/training/timing.py", "ganlab/equilibria.py"}
    assert files <= rooms


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """A copy of the packages, whose fingerprints are taken from here on."""
    for top in ("ganlab", "bench"):
        shutil.copytree(ROOT / top, tmp_path / top, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(
        fingerprint, "find_spec", lambda top: SimpleNamespace(origin=str(tmp_path / top / "__init__.py"))
    )
    return tmp_path


def test_a_cell_is_stale_when_a_file_that_trains_it_has_changed(copy):
    before = code_fingerprint("cpu")
    for name in ("bench/training/timing.py", "ganlab/equilibria.py", "bench/store/files.py"):
        (copy / name).write_text((copy / name).read_text() + "\nONE_MORE = 1\n")
    for name in ("bench/training/train.py", "ganlab/tasks/gan.py"):
        (copy / name).write_text("# a word\n" + (copy / name).read_text().replace('"""', '"""Indeed: ', 1))
    assert code_fingerprint("cpu") == before
    seen = {before}
    for name in ("bench/training/checkpoints.py", "bench/training/weights.py", "ganlab/losses.py"):
        (copy / name).write_text((copy / name).read_text() + "\nONE_MORE = 1\n")
        seen.add(code_fingerprint("cpu"))
    assert len(seen) == 4


def test_torch_and_the_kind_of_device_count(monkeypatch):
    here = code_fingerprint("cpu")
    assert len(here) == 12
    assert code_fingerprint("cuda") != here
    monkeypatch.setattr(code, "torch_version", lambda: "0.0")
    assert code_fingerprint("cpu") != here
