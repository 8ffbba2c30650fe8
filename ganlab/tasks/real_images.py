"""Which held-out real images are generated ones compared with? Two disjoint sets: one for reports, one for tuning."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ganlab import metrics
from ganlab.datasets import LabelledImages, load
from ganlab.lazy import lazily

if TYPE_CHECKING:
    from torch import Tensor

    from ganlab import classifiers
    from ganlab.classifiers import FrozenClassifier
else:
    lazily(globals(), classifiers="ganlab.classifiers")


class RealImages(NamedTuple):
    """Features (n, d) of held-out real images, which the classifier was not trained on.

    Attributes:
        classifier: extracts the features.
        reported: those that every report compares with.
        validation: as many others; learning rates are chosen by the distance from them, which leaves the reported
            distances untouched.
        floor: the Fréchet distance between the two: that of a perfect generator, at the same counts.
    """

    classifier: FrozenClassifier
    reported: Tensor
    validation: Tensor
    floor: float


@lru_cache(maxsize=4)
def held_out_images(dataset: str, count: int) -> RealImages:
    """Twice `count` held-out images of a data set; half of them for each set where it has fewer."""
    data = load(dataset, LabelledImages)
    classifier = classifiers.frozen_classifier(data)
    n = min(count, len(data.test) // 2)
    reported, validation = classifier.features(data.test[:n]), classifier.features(data.test[-n:])
    return RealImages(classifier, reported, validation, metrics.frechet_distance(validation, reported))
