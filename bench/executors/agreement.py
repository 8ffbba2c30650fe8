"""What must be the same on every machine for their rows to stand in one table? A worker that differs does no work.

The code is sent to the machines, but may be shadowed there, or rest on another torch; data sets are each machine's own;
the frozen classifiers are the runner's, for the same training gives other last digits on another kind of CPU.
"""

import os
import platform
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from bench.executors import ExecutorError
from bench.plan.cell import Used
from bench.training.code import code_fingerprint
from ganlab import classifiers, datasets
from ganlab.classifiers import CACHE_FOLDER_VARIABLE, FrozenClassifier, frozen_classifier


@dataclass(frozen=True)
class Agreement:
    """What the runner has, by which every worker is measured.

    Attributes:
        device: what the cells are trained on.
        torch: the version of torch.
        code: the fingerprint that the rows carry, see `code_fingerprint`.
        data: the fingerprint of each data set the cells need, by its name and what it is read as.
        classifiers: the frozen classifier of each labelled one.
    """

    device: torch.device
    torch: str
    code: str
    data: dict[Used, str]
    classifiers: dict[str, FrozenClassifier]

    @classmethod
    def here(cls, used: Iterable[Used], device: torch.device) -> Self:
        """What this process has: for cells on these data sets and this device."""
        data = {one: datasets.load(*one) for one in used}
        labelled = {name: own for (name, _), own in data.items() if isinstance(own, datasets.LabelledImages)}
        return cls(
            device=device,
            torch=str(torch.__version__),
            code=code_fingerprint(device.type),
            data={one: datasets.fingerprint(own) for one, own in data.items()},
            classifiers={name: frozen_classifier(own) for name, own in labelled.items()},
        )

    def join(self) -> None:
        """Take over the classifiers, in a worker; from then on it trains and measures as the runner would.

        Raises:
            ExecutorError: it would not.
        """
        node = platform.node()
        if str(torch.__version__) != self.torch:
            raise ExecutorError(f"{node} has torch {torch.__version__}, the runner {self.torch}; install that there")
        if (code := code_fingerprint(self.device.type)) != self.code:
            raise ExecutorError(
                f"{node} would run code {code}, the runner started with {self.code}; "
                "was a file of the project changed meanwhile? Run the same command again"
            )
        same_data(self.data)
        for name, classifier in self.classifiers.items():
            adopt(classifier, datasets.load(name, datasets.LabelledImages))


def same_data(expected: Mapping[Used, str]) -> None:
    """In a worker: read these data sets; `expected` are the runner's fingerprints.

    Raises:
        ExecutorError: one is not here, or is not what the runner has.
    """
    node = platform.node()
    for (name, kind), theirs in expected.items():
        try:
            ours = datasets.fingerprint(datasets.load(name, kind))
        except datasets.DataMissing as error:
            raise ExecutorError(f"{node}: {error}") from None
        if ours != theirs:
            raise ExecutorError(
                f"{node} holds another {name} (fingerprint {ours[:12]}) than the runner started with "
                f"({theirs[:12]}); copy the runner's there, or, where it was changed meanwhile, run "
                "the same command again"
            )


def adopt(classifier: FrozenClassifier, data: datasets.LabelledImages) -> None:
    """Make `classifier` what `frozen_classifier(data)` gives in this process; the machine's own cache is left alone."""
    usual = os.environ.get(CACHE_FOLDER_VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[CACHE_FOLDER_VARIABLE] = folder
        try:
            classifiers._store(classifier, Path(folder) / classifiers._cache_name(data))
            taken = frozen_classifier(data)
        finally:
            if usual is None:
                del os.environ[CACHE_FOLDER_VARIABLE]
            else:
                os.environ[CACHE_FOLDER_VARIABLE] = usual
    if taken.digest != classifier.digest:
        raise ExecutorError(f"{platform.node()}: the frozen classifier of {data.name} did not survive the journey")
