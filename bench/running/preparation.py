"""What do all cells of a suite share? Data sets and frozen classifiers, loaded before the workers start."""

from collections.abc import Callable
from typing import Any

from bench.plan.cell import used_data
from bench.plan.suite import Suite
from bench.running.provenance import data_provenance
from ganlab.classifiers import FrozenClassifier, frozen_classifier
from ganlab.datasets import DataMissing, LabelledImages, is_folder, load


def prepare(suite: Suite, note: Callable[[str], None]) -> dict[str, Any]:
    """Load the data sets, and train each frozen classifier or load it from the cache; returns their provenance.

    Args:
        note: is called with each line that a user should read.

    Raises:
        DataMissing: a data set is missing or cannot be used.
    """
    used = used_data(suite.cells)
    for name, kind in used:
        for text in getattr(load(name, kind), "notes", ()):
            note(f"{name}: {text}")
    labelled = [name for name, kind in used if kind is LabelledImages]
    if labelled:
        note(f"frozen classifier for {', '.join(labelled)}: trained once, then cached")
    classifiers = {name: frozen_classifier(load(name, LabelledImages)) for name in labelled}
    for name in filter(is_folder, labelled):
        note(f"{name}: {classifier_note(name, classifiers[name])}")
    return data_provenance(used, classifiers)


def classifier_note(name: str, classifier: FrozenClassifier) -> str:
    """A line on the accuracy of the classifier of a user's own images.

    Raises:
        DataMissing: it does not distinguish them from outliers, so its read-outs would be meaningless.
    """
    undetected = [kind for kind, rate in classifier.true_positive.items() if rate <= classifier.false_positive]
    if undetected:
        raise DataMissing(
            f"{name}: a classifier trained on these images cannot tell them from outliers of kind "
            f"{', '.join(undetected)}; a GAN on them cannot be read out, use other images"
        )
    return f"the frozen classifier is right on {classifier.accuracy:.1%} of the held-out images"
