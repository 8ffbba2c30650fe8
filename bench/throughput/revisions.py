"""Which code is compared? A folder as it is, or a revision of the user's repository in a temporary worktree."""

import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.throughput import Misuse

DEPENDENCIES = ("pyproject.toml", "constraints.txt")


def git(repository: Path, *arguments: str) -> str:
    """The output of a git command, stripped.

    Raises:
        Misuse: git is missing, or fails.
    """
    command = ["git", "-C", str(repository), "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except FileNotFoundError:
        raise Misuse("git is not installed; `record` and `compare --base FILE` work without it") from None
    except subprocess.CalledProcessError as error:
        raise Misuse(f"git {arguments[0]}: {error.stderr.strip().splitlines()[-1:] or error}") from None


def resolve(repository: Path, revision: str) -> str:
    """The commit (40 hex digits) that a revision names.

    Raises:
        Misuse: `repository` is not in a git repository, or the revision does not exist.
    """
    try:
        git(repository, "rev-parse", "--git-dir")
    except Misuse as error:
        if "not installed" in str(error):
            raise
        raise Misuse(
            f"{repository.resolve()} is in no git repository, so there is no revision {revision!r}; "
            "`record` and `compare --base FILE` work without one"
        ) from None
    try:
        return git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except Misuse:
        raise Misuse(
            f"no revision and no file {revision!r} in {repository.resolve()}; in a shallow clone "
            f"fetch it first (git fetch origin {revision})"
        ) from None


@contextmanager
def worktree(repository: Path, commit: str) -> Iterator[Path]:
    """A temporary folder that holds a commit; it is also removed after Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        tree = Path(folder) / commit[:12]
        try:
            git(repository, "worktree", "add", "--detach", "--quiet", str(tree), commit)
            yield tree
        finally:
            subprocess.run(
                ["git", "-C", str(repository), "worktree", "remove", "--force", str(tree)],
                capture_output=True,
                check=False,
            )
            subprocess.run(["git", "-C", str(repository), "worktree", "prune"], capture_output=True, check=False)


@contextmanager
def source_tree(name: str, repository: Path) -> Iterator[tuple[Path, str]]:
    """The tree of `name`, a folder or a revision, and its label in messages.

    Raises:
        Misuse: `name` is neither a folder with a `ganlab` nor a revision.
    """
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "ganlab").is_dir():
            raise Misuse(f"{folder.resolve()} holds no ganlab to measure")
        yield folder.resolve(), "this tree" if folder.samefile(Path()) else name
        return
    commit = resolve(repository, name)
    with worktree(repository, commit) as tree:
        yield tree, f"{name} ({commit[:12]})"


def declared_dependencies(tree: Path) -> dict[str, object]:
    """The dependencies and constraints that a tree declares, by file."""
    project, constraints = (tree / name for name in DEPENDENCIES)
    declared: dict[str, object] = {}
    if project.exists():
        declared[project.name] = (
            tomllib.loads(project.read_text(encoding="utf-8")).get("project", {}).get("dependencies")
        )
    if constraints.exists():
        declared[constraints.name] = constraints.read_text(encoding="utf-8")
    return declared


def differing_dependencies(base: Path, head: Path) -> list[str]:
    """The files in which the trees declare different packages."""
    before, after = declared_dependencies(base), declared_dependencies(head)
    return [name for name in DEPENDENCIES if before.get(name) != after.get(name)]
