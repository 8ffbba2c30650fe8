"""Which code, packages, and data does a run use? The entries of its manifest."""

import importlib.metadata
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import ganlab
from bench.plan.cell import Used
from ganlab.classifiers import FrozenClassifier
from ganlab.datasets import fingerprint, load
from ganlab.datasets.kinds import Data

PACKAGES = ("torch", "numpy", "scipy", "pandas", "scikit-image", "scikit-learn", "matplotlib", "seaborn", "pydantic")


def git_state() -> dict[str, Any]:
    """Commit and dirty flag of the checkout that holds the code; both are None outside a checkout."""
    root = Path(ganlab.__file__).parents[1]

    def git(*arguments: str) -> str | None:
        try:
            completed = subprocess.run(
                ["git", "-C", root, *arguments], capture_output=True, text=True, timeout=20, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return completed.stdout.strip()

    if git("ls-files", "--error-unmatch", "ganlab/__init__.py") is None:  # installed, or inside another checkout
        return {"commit": None, "dirty": None}
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--", "ganlab", "bench"))}


def package_versions() -> dict[str, str]:
    """Versions of the packages that compute the numbers; the version of torch is its own attribute."""
    versions = {"torch": str(torch.__version__)}
    for package in PACKAGES[1:]:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def data_provenance(used: Sequence[Used], classifiers: dict[str, FrozenClassifier]) -> dict[str, Any]:
    """Hashes of data and frozen classifiers, and credits. The second kind of a folder is in brackets in its label."""
    names = [name for name, _ in used]
    labels = [
        name if name not in names[:index] else f"{name} ({kind.__name__})" for index, (name, kind) in enumerate(used)
    ]
    loaded: dict[str, Data] = dict(zip(labels, (load(*pair) for pair in used), strict=True))
    return {
        "data": {label: fingerprint(data) for label, data in loaded.items()},
        "credits": list(dict.fromkeys(credit for data in loaded.values() for credit in data.credits)),
        "classifiers": {
            name: {
                "sha256": classifier.digest,
                "accuracy": round(classifier.accuracy, 4),
                "false_positive": round(classifier.false_positive, 4),
                "true_positive": {kind: round(rate, 4) for kind, rate in classifier.true_positive.items()},
            }
            for name, classifier in classifiers.items()
        },
    }
