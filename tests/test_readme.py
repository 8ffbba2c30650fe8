"""Do the files, verbs, options, make targets, and suites in README and docs exist?

The user loss in the README is also checked.
"""

import re
import shlex
from pathlib import Path

import pytest
import typer

from bench.cli.main import app
from bench.loss_check.examine import examine

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)
CODE = [
    *re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", TEXT, flags=re.S)),
    *(line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S) for line in block.splitlines()),
]
VERBS = typer.main.get_command(app).commands
SUITES = {path.stem for path in (ROOT / "bench" / "suites").glob("*.toml")}


def commands() -> list[list[str]]:
    """The words after `python -m bench` of every command that is shown."""
    shown = (code.partition("python -m bench ")[2] for code in CODE if "python -m bench " in code)
    return [shlex.split(command.partition(";")[0], comments=True) for command in shown]


def test_commands_are_present():
    assert len(commands()) > 15


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_verbs_and_options_exist(words):
    verb = VERBS[words[0]]
    options = {option for parameter in verb.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= {*options, "--debug"}
    if words[0] == "run" and len(words) > 1:
        assert words[1] in SUITES | {"mine.toml"}


def test_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    shown = {word for code in CODE for word in re.findall(r"\bmake ([a-z][\w-]*)", code)}
    assert len(shown) > 8
    assert shown <= targets
    assert set(re.findall(r"SUITE=([\w-]+)", TEXT)) <= SUITES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_are_valid(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_files_exist():
    named = [code for code in CODE if re.fullmatch(r"(ganlab|bench|tests|tools|docs|examples)/[\w./]*", code)]
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_loss_of_the_readme_passes(tmp_path, monkeypatch):
    (code,) = re.findall(r"cat > my_losses\.py <<'EOF'\n(.*?)\nEOF", TEXT, re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 5
    (tmp_path / "of_the_readme.py").write_text(code)  # no other test imports it
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found = examine("of_the_readme:log_cosh")
    assert not found.failed
    assert "near 0 like L2, far out like L1" in code
    assert "neither" in " ".join(finding.answer for finding in found.findings if finding.asked == "minimiser")


def test_names_in_the_python_example_exist():
    import bench

    listed = TEXT.partition("Every other verb is a function")[2].partition("help(bench.api)")[0]
    names = set(re.findall(r"`([a-z_]+)`", listed))
    assert len(names) >= 10
    assert names <= set(bench.__all__)
    assert set(bench.__all__) - {"BenchError", "run", "load", "report"} <= names
