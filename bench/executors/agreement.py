"""What must be equal on every machine, so that their rows are comparable? A worker that differs fails.

The code is sent to the machines, but other code may shadow it there, or torch may differ. Each machine reads its own
data sets. The frozen classifiers are sent by the runner, since training gives other last digits on another CPU.
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
from ganlab.datasets.kinds import Data


@dataclass(frozen=True)
class Agreement:
    """What the runner uses and every worker must use too.

    Attributes:
        device: the device that the cells are trained on.
        torch_version: the version of the runner.
        code: the fingerprint in the rows, see `code_fingerprint`.
        data: the fingerprint of each data set of the cells, by its name and kind.
        classifiers: the frozen classifier of each labelled data set.
    """

    device: torch.device
    torch_version: str
    code: str
    data: dict[Used, str]
    classifiers: dict[str, FrozenClassifier]

    @classmethod
    def of_this_process(cls, used: Iterable[Used], device: torch.device) -> Self:
        """What this process uses for cells on these data sets and this device."""
        loaded: dict[Used, Data] = {pair: datasets.load(*pair) for pair in used}
        labelled = {name: data for (name, _), data in loaded.items() if isinstance(data, datasets.LabelledImages)}
        return cls(
            device=device,
            torch_version=str(torch.__version__),
            code=code_fingerprint(device.type),
            data={pair: datasets.fingerprint(data) for pair, data in loaded.items()},
            classifiers={name: frozen_classifier(data) for name, data in labelled.items()},
        )

    def join(self) -> None:
        """In a worker: check that it agrees with the runner, and take over the classifiers.

        Raises:
            ExecutorError: the worker differs.
        """
        node = platform.node()
        if str(torch.__version__) != self.torch_version:
            raise ExecutorError(
                f"{node} has torch {torch.__version__}, the runner {self.torch_version}; install that there"
            )
        if (code := code_fingerprint(self.device.type)) != self.code:
            raise ExecutorError(
                f"{node} would run code {code}, the runner started with {self.code}; "
                "was a file of the project changed since? Run the same command again"
            )
        same_data(self.data)
        for name, classifier in self.classifiers.items():
            adopt(classifier, datasets.load(name, datasets.LabelledImages))


def same_data(expected: Mapping[Used, str]) -> None:
    """In a worker: check these data sets against the runner's fingerprints.

    Raises:
        ExecutorError: a data set is missing on this machine, or differs.
    """
    node = platform.node()
    for (name, kind), expected_hash in expected.items():
        try:
            local_hash = datasets.fingerprint(datasets.load(name, kind))
        except datasets.DataMissing as error:
            raise ExecutorError(f"{node}: {error}") from None
        if local_hash != expected_hash:
            raise ExecutorError(
                f"{node} holds another {name} (fingerprint {local_hash[:12]}) than the runner started with "
                f"({expected_hash[:12]}); copy the runner's there, or, if it was changed since, "
                "run the same command again"
            )


def adopt(classifier: FrozenClassifier, data: datasets.LabelledImages) -> None:
    """Make `frozen_classifier(data)` return `classifier` in this process; the machine's cache stays unchanged."""
    previous = os.environ.get(CACHE_FOLDER_VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[CACHE_FOLDER_VARIABLE] = folder
        try:
            classifiers._store(classifier, Path(folder) / classifiers._cache_name(data))
            adopted = frozen_classifier(data)
        finally:
            if previous is None:
                del os.environ[CACHE_FOLDER_VARIABLE]
            else:
                os.environ[CACHE_FOLDER_VARIABLE] = previous
    if adopted.digest != classifier.digest:
        raise ExecutorError(f"{platform.node()}: the frozen classifier of {data.name} was not read back as it was sent")
