"""Which real images come with scikit-learn and scikit-image, and need no network?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ganlab.datasets.kinds import LabelledImages, Photographs

if TYPE_CHECKING:
    from torch import Tensor

DIGITS_TRAIN = 898  # half of the 1,797: the metrics need many held-out images
VALIDATION_PHOTOGRAPHS = ("coffee", "astronaut")
FOLDS = (  # each with two everyday photographs, a texture, and a picture of another kind
    ("camera", "china", "brick", "immunohistochemistry"),
    ("chelsea", "motorcycle_left", "grass", "coins"),
    ("flower", "rocket", "gravel", "moon"),
)
PHOTOGRAPH_CREDITS = (
    "astronaut: Eileen Collins, NASA Great Images database, public domain (scikit-image)",
    "brick: CC0Textures Bricks25, CC0 (scikit-image)",
    "camera: Lav Varshney, CC0 (scikit-image)",
    "chelsea: Stefan van der Walt, CC0 (scikit-image)",
    "china: danielbuechele on Flickr, CC BY 2.0 (scikit-learn)",
    "coffee: Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0 (scikit-image)",
    "coins: Brooklyn Museum Collection, no known copyright restrictions (scikit-image)",
    "flower: vultilion on Flickr, CC BY 2.0 (scikit-learn)",
    "grass: linolafett on DeviantArt, CC0 (scikit-image)",
    "gravel: CC0Textures Gravel04, CC0 (scikit-image)",
    "immunohistochemistry: Center for Microscopy and Molecular Imaging, no known copyright restrictions (scikit-image)",
    "moon: distributed with scikit-image, which states no source or licence",
    "motorcycle_left: Middlebury stereo benchmark, Scharstein et al. (GCPR 2014), no licence stated (scikit-image)",
    "rocket: SpaceX, public domain (scikit-image)",
)


def digits() -> LabelledImages:
    """The 8x8 digits of scikit-learn (test part of UCI Optdigits): 898 for training, 899 held out, at random.

    Not stratified: equal class counts would make the two parts more similar than independent samples, and would lower
    the real-against-real Fréchet distance (0.25 instead of 0.55 on average over 40 splits).
    """
    import sklearn.datasets
    import torch
    from sklearn.model_selection import train_test_split

    bunch = sklearn.datasets.load_digits()
    images = torch.from_numpy(bunch.images / 16).float()[:, None]
    labels = torch.from_numpy(bunch.target).long()
    train, test = train_test_split(np.arange(len(labels)), train_size=DIGITS_TRAIN, random_state=0)
    return LabelledImages(
        name="digits",
        train=images[train],
        train_labels=labels[train],
        test=images[test],
        test_labels=labels[test],
        classes=tuple(str(digit) for digit in bunch.target_names),
        credits=(
            "Optdigits: E. Alpaydin, C. Kaynak (1998), UCI Machine Learning Repository, CC BY 4.0 (scikit-learn)",
        ),
    )


def _photograph(name: str) -> Tensor:
    """One photograph (3, height, width) by its name in science.md section 7."""
    import skimage.data
    import sklearn.datasets
    import torch

    if name in ("china", "flower"):
        pixels = sklearn.datasets.load_sample_image(f"{name}.jpg")
    elif name == "motorcycle_left":
        pixels = skimage.data.stereo_motorcycle()[0]
    else:
        pixels = getattr(skimage.data, name)()
    pixels = np.atleast_3d(pixels)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div(255).expand(3, -1, -1).clone()


def photographs() -> Photographs:
    """Fourteen photographs that come with scikit-image and scikit-learn.

    Two are for validation; the other twelve take turns in the test set, a fold of four for each seed.
    """
    first, *others = FOLDS
    parts = ([name for fold in others for name in fold], VALIDATION_PHOTOGRAPHS, first)
    train, validation, test = ({name: _photograph(name) for name in names} for names in parts)
    return Photographs("photographs", train, validation, test, PHOTOGRAPH_CREDITS, folds=FOLDS)
