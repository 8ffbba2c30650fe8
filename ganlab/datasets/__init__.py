"""Which real images are there, where do they come from, and may they be used? Tensors in memory, with credits.

`digits` and `photographs` come with scikit-learn and scikit-image and need no network; `fashion-mnist` is read from
where a package manager, torchvision, or `fetch` put it; `gaussian` is drawn; `folder:PATH` holds a user's images. To
add a data set, write a function that returns one of the kinds in `kinds.py`, and add a line to `DATASETS` in
`registry.py`.
"""

from ganlab.datasets.embedded import DIGITS_TRAIN, digits, photographs
from ganlab.datasets.fashion import (
    IdxFile,
    data_folder,
    fashion_mnist,
    fashion_mnist_folder,
    fetch_fashion_mnist,
    parse_idx,
)
from ganlab.datasets.kinds import (
    Data,
    DataMissing,
    Frames,
    GaussianSamples,
    LabelledImages,
    Photographs,
    StereoScenes,
    fingerprint,
)
from ganlab.datasets.registry import (
    DATASETS,
    Dataset,
    FolderCheck,
    UnknownDataset,
    available,
    check_folder,
    fetch,
    is_folder,
    kinds,
    known,
    load,
    location,
)
from ganlab.datasets.scenes import motion
from ganlab.datasets.stereo import stereo

__all__ = [
    "DATASETS",
    "DIGITS_TRAIN",
    "Data",
    "DataMissing",
    "Dataset",
    "FolderCheck",
    "Frames",
    "GaussianSamples",
    "IdxFile",
    "LabelledImages",
    "Photographs",
    "StereoScenes",
    "UnknownDataset",
    "available",
    "check_folder",
    "data_folder",
    "digits",
    "fashion_mnist",
    "fashion_mnist_folder",
    "fetch",
    "fetch_fashion_mnist",
    "fingerprint",
    "is_folder",
    "kinds",
    "known",
    "load",
    "location",
    "motion",
    "parse_idx",
    "photographs",
    "stereo",
]
