"""User code by reference: how is it loaded, which messages do mistakes give, and which files does it depend on?"""

import pytest

from ganlab.plugins import PluginError, entry_points, fingerprint, is_reference, load_plugin, source_files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder a user starts from; nothing of it stays on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", __import__("sys").path.copy())
    return tmp_path


def test_the_current_folder_counts_as_installed(folder):
    (folder / "h1_single.py").write_text("class Outer:\n    inner = 3\n")
    assert load_plugin("h1_single:Outer.inner") == 3
    assert source_files("h1_single:Outer") == (folder / "h1_single.py",)


def test_every_file_of_a_package_counts(folder):
    package = folder / "h1_package"
    (package / "deep").mkdir(parents=True)
    for name, text in (
        ("__init__.py", ""),
        ("losses.py", "from h1_package.deep.arithmetic import answer\n"),
        ("deep/__init__.py", ""),
        ("deep/arithmetic.py", "answer = 42\n"),
    ):
        (package / name).write_text(text)
    (package / "notes.txt").write_text("no code")
    assert load_plugin("h1_package.losses:answer") == 42
    files = source_files("h1_package.losses:answer")
    assert [str(file.relative_to(package)) for file in files] == [
        "__init__.py",
        "deep/__init__.py",
        "deep/arithmetic.py",
        "losses.py",
    ]


def test_a_file_that_an_attribute_comes_from_counts_too(folder):
    (folder / "h1_origin.py").write_text("def loss(p, t):\n    return p - t\n")
    (folder / "h1_shop.py").write_text("from h1_origin import loss\n")
    assert source_files("h1_shop:loss") == (folder / "h1_origin.py", folder / "h1_shop.py")


def test_a_fingerprint_follows_the_content(folder):
    for name in ("h1_one", "h1_two"):
        (folder / f"{name}.py").write_text("a = 1\nb = 2\n")
    one = fingerprint(["h1_one:a"])
    assert len(one) == 8
    assert int(one, 16) >= 0
    assert fingerprint(["h1_one:a", "h1_one:a"]) == one
    assert fingerprint(["h1_one:b"]) != one
    assert fingerprint(["h1_two:a", "h1_one:a"]) == fingerprint(["h1_one:a", "h1_two:a"]) != one
    (folder / "h1_one.py").write_text("a = 1\nb = 3\n")
    assert fingerprint(["h1_one:a"]) != one


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("h1_absent:x", "there is no module 'h1_absent' in .* or among the installed packages; start from the folder"),
        ("json.h1_absent:x", "there is no module 'json.h1_absent'"),
        ("h1_file:lss", r"h1_file\.py has no 'lss'; did you mean 'loss'\?"),
        ("h1_file:loss.x", "has no 'x'"),
        ("h1_file.py:loss", "expected package.module:attribute, .*; a module's name has neither folders nor .py"),
        ("folder/h1_file:loss", "expected package.module:attribute"),
        ("h1_file:", "expected package.module:attribute"),
        ("a:b:c", "expected package.module:attribute"),
        ("h1_syntax:loss", r"cannot be imported: SyntaxError: '\(' was never closed \(.*h1_syntax\.py, line 2\)"),
        ("h1_import:loss", r"ModuleNotFoundError: No module named 'h1_nowhere' \(.*h1_import\.py, line 1\)"),
        ("h1_fails:loss", r"ZeroDivisionError: division by zero \(.*h1_fails\.py, line 3\)"),
        ("h1_exits:loss", r"cannot be imported: SystemExit: 3 \(.*h1_exits\.py, line 2\)"),
    ],
)
def test_mistakes_are_one_line_that_says_where(folder, reference, message):
    for name, text in (
        ("file", "loss = 1\n"),
        ("syntax", "x = 1\nloss = (\n"),
        ("import", "import h1_nowhere\n"),
        ("fails", "\n\n1 / 0\n"),
        ("exits", "import sys\nsys.exit(3)\n"),
    ):
        (folder / f"h1_{name}.py").write_text(text)
    assert is_reference(reference)
    with pytest.raises(PluginError, match=message) as caught:
        load_plugin(reference)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_entry_points_of_installed_packages(folder, monkeypatch):
    metadata = folder / "h1_dist-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: h1-dist\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[ganlab.losses]\nquartic = h1_quartic:loss\n")
    monkeypatch.syspath_prepend(folder)
    entry_points.cache_clear()
    assert entry_points("ganlab.losses")["quartic"] == "h1_quartic:loss"
    entry_points.cache_clear()
