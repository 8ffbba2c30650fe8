"""What does every arm train? Cells like those of suite `claims`, and larger networks, whose cost is mostly arithmetic.

`sr edsr` is the baseline of Lim et al., "EDSR" (CVPRW 2017), as published: 16 blocks of 64 channels, 16 patches of
48x48 low-resolution pixels. `sr edsr wide` has the 256 channels of the paper's large model, but 8 of its 32 blocks and
4 patches: even then a step of the usual loop takes 2 s on 2 cores, and more blocks only repeat the same work.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ganlab import datasets
from ganlab.datasets import LabelledImages
from ganlab.tasks import Experiment

STEPS = 1_000_000  # more than any measurement takes
STAND_IN = "digits-28"  # used if Fashion-MNIST is not installed
COMMON: dict[str, Any] = {"seed": 0, "steps": STEPS, "evaluations": 1}
SR: dict[str, Any] = {"task": "sr", "dataset": "photographs", "loss": "l1", "head": "raw", "scale": 2, "value_range": 1}


def enlarged_digits() -> LabelledImages:
    """The 8x8 digits of scikit-learn, enlarged to the 28x28 pixels of Fashion-MNIST, in 256 grey levels."""
    digits = datasets.load("digits", LabelledImages)

    def enlarge(images: Tensor) -> Tensor:
        larger = F.interpolate(images, size=(28, 28), mode="bicubic", align_corners=False)
        return (255 * larger.clamp(0, 1)).round() / 255

    return LabelledImages(
        STAND_IN,
        enlarge(digits.train),
        digits.train_labels,
        enlarge(digits.test),
        digits.test_labels,
        digits.classes,
        digits.credits,
    )


def offer_stand_in() -> None:
    """Register the data set `STAND_IN` in this process; every process that may train on it calls this."""
    location = datasets.DATASETS["digits"].location
    description = "28x28 handwritten digits, enlarged from 8x8"
    datasets.DATASETS[STAND_IN] = datasets.Dataset(description, LabelledImages, enlarged_digits, location)


def workloads() -> dict[str, Experiment]:
    """The trained cells by name: the GAN and the super-resolver of suite `claims`, and three larger super-resolvers.

    28x28 images are Fashion-MNIST if it is installed, otherwise `STAND_IN`.
    """
    images = "fashion-mnist"
    if not datasets.available(images):
        offer_stand_in()
        images = STAND_IN
    gan_settings = {"width": 24, "latent": 64, "evaluation_images": 20}  # the minimum, because nothing is evaluated
    return {
        "gan 28x28": Experiment(
            task="gan", dataset=images, loss="bce", lr=2e-4, batch_size=64, settings=gan_settings, **COMMON
        ),
        "sr 16 channels": Experiment(lr=3e-3, batch_size=8, **SR, **COMMON),
        "sr 48 channels": Experiment(lr=1e-4, batch_size=8, settings={"channels": 48, "blocks": 6}, **SR, **COMMON),
        "sr edsr": Experiment(
            lr=1e-4, batch_size=16, settings={"channels": 64, "blocks": 16, "patch": 48}, **SR, **COMMON
        ),
        "sr edsr wide": Experiment(
            lr=1e-4, batch_size=4, settings={"channels": 256, "blocks": 8, "patch": 48}, **SR, **COMMON
        ),
    }
