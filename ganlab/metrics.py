"""How good is a predicted image, and how close is a set of generated images to real ones? Pure functions, no state.

The first half scores one predicted image against its target (super-resolution), the second half scores a set of
samples against held-out real ones by the features and labels of a frozen classifier (`ganlab.classifiers`).
Definitions: science.md sections 5 to 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ganlab.lazy import lazily

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    lazily(globals(), torch="torch")

PSNR_CAP_DB = 100.0  # identical images have no finite PSNR; this error is a thousand times smaller than 8-bit rounding
BCE_CLIP = 1e-4  # a raw head may predict exactly 0 or 1, where BCE is infinite; a pixel costs at most 9.2 nats
COVERED_PART = 0.1  # a class counts as covered if it holds at least this part of its fair share


def _check_shapes(prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in shape")


def luma(rgb: Tensor) -> Tensor:
    """Y of BT.601 in studio range, (16 + 65.481 R + 128.553 G + 24.966 B) / 255, as in super-resolution papers.

    Args:
        rgb: (..., 3, height, width), values in [0, 1].

    Returns:
        (..., height, width), values in [16/255, 235/255].

    Raises:
        ValueError: not three channels.

    >>> luma(torch.ones(3, 1, 1)) * 255
    tensor([[235.]])
    """
    if rgb.ndim < 3 or rgb.shape[-3] != 3:
        raise ValueError(f"luma takes images of 3 channels (..., 3, height, width), got {tuple(rgb.shape)}")
    red, green, blue = rgb.unbind(-3)
    return (16 + 65.481 * red + 128.553 * green + 24.966 * blue) / 255


def crop_border(image: Tensor, pixels: int) -> Tensor:
    """`image` (..., height, width) without `pixels` on each side; the whole image for 0.

    Raises:
        ValueError: nothing would be left.
    """
    height, width = image.shape[-2:]
    if not 0 <= 2 * pixels < min(height, width):
        raise ValueError(f"a border of {pixels} pixels leaves nothing of an image of {height} x {width}")
    return image[..., pixels : height - pixels, pixels : width - pixels]


def psnr_db(prediction: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB for data range 1, 10 log10(1 / MSE); higher is better.

    Capped at 100 dB (`PSNR_CAP_DB`), so identical images give 100 instead of infinity. NaN stays NaN.

    Args:
        prediction: any shape, values in [0, 1]: (channels, height, width), or (height, width) for Y.
        target: the same shape.

    Raises:
        ValueError: shapes differ.

    >>> psnr_db(torch.zeros(2, 2), torch.ones(2, 2))  # MSE = 1
    0.0
    """
    from skimage.metrics import peak_signal_noise_ratio

    _check_shapes(prediction, target)
    with np.errstate(divide="ignore"):  # identical images: infinite, and so capped
        decibels = peak_signal_noise_ratio(target.double().numpy(), prediction.double().numpy(), data_range=1)
    return min(float(decibels), PSNR_CAP_DB)


def ssim(prediction: Tensor, target: Tensor) -> float:
    """Structural similarity on Y in [-1, 1]; higher is better.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment" (2004): Gaussian window of sigma 1.5 (11 x 11),
    K1 = 0.01, K2 = 0.03, data range 1.

    Args:
        prediction: (3, height, width), compared on `luma`, or (height, width), already Y; values in [0, 1], at least
            11 x 11 pixels.
        target: the same shape.

    Raises:
        ValueError: shapes differ, or the image is smaller than the window.

    >>> ssim(torch.eye(16), torch.eye(16))
    1.0
    """
    from skimage.metrics import structural_similarity

    _check_shapes(prediction, target)
    planes = (luma(image) if image.ndim == 3 else image for image in (prediction, target))
    return float(
        structural_similarity(
            *(plane.cpu().numpy() for plane in planes),  # single precision changes the mean by about 1e-9
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
        )
    )


def mae(prediction: Tensor, target: Tensor) -> float:
    """Mean absolute error, in units of the data range [0, 1]; lower is better. Any shape, the same for both.

    Raises:
        ValueError: shapes differ.

    >>> mae(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 1.0]))
    0.25
    """
    _check_shapes(prediction, target)
    return float((prediction.double() - target.double()).abs().mean())


def entropy(target: Tensor) -> Tensor:
    """Elementwise entropy -t ln t - (1 - t) ln(1 - t) in nats: the minimum of BCE for soft targets in [0, 1]."""
    least = torch.finfo(target.dtype).tiny  # 0 ln 0 is 0; torch.special.entr is ten times slower
    other = 1 - target
    return -(target * target.clamp(min=least).log() + other * other.clamp(min=least).log())


def bce_excess(prediction: Tensor, target: Tensor) -> float:
    """Mean binary cross-entropy above its minimum, the target's entropy, in nats; lower is better, 0 is perfect.

    It is the mean Kullback-Leibler divergence from target to prediction, each pixel read as a probability. The
    prediction is clipped to [1e-4, 1 - 1e-4] (`BCE_CLIP`), so a perfect pure black or white costs 1e-4.

    Args:
        prediction: values in [0, 1], any shape.
        target: values in [0, 1], the same shape.

    Raises:
        ValueError: shapes differ.

    >>> round(bce_excess(torch.tensor([0.5]), torch.tensor([1.0])), 4)  # ln 2, and the target has no entropy
    0.6931
    """
    _check_shapes(prediction, target)
    p, t = prediction.clamp(BCE_CLIP, 1 - BCE_CLIP), target
    return float((-t * p.log() - (1 - t) * (1 - p).log() - entropy(t)).mean(dtype=torch.float64))


def _samples(features: Tensor, least: int = 2) -> np.ndarray:
    """`features` (n, d) in double precision; ValueError for fewer than `least` rows or a value that is not finite."""
    samples = features.detach().double().cpu().numpy()
    if samples.ndim != 2 or len(samples) < least:
        raise ValueError(f"features must be (n, d) with n >= {least}, got {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError("features contain NaN or infinity; the samples they came from have diverged")
    return samples


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features; lower is better, never negative.

    |mean_a - mean_b|^2 + tr(A + B - 2 (A^(1/2) B A^(1/2))^(1/2)) with unbiased covariances A, B. For any factors A =
    F^T F and B = G^T G the last trace is the sum of the singular values of F G^T; with the triangular factors of the
    centred samples this needs no matrix square root, and stays exact for fewer samples than dimensions and for constant
    features. This is not the FID, which uses features of Inception. Small n biases it upwards: compare at equal counts,
    and with the distance between two sets of real images. Dowson, Landau (1982); Heusel et al. (NeurIPS 2017).

    Args:
        a: features (n, d), n >= 2.
        b: features (m, d), m >= 2.

    Raises:
        ValueError: too few samples, or values that are not finite.

    >>> frechet_distance(torch.tensor([[-1.0], [1.0]]), torch.tensor([[2.0], [4.0]]))  # equal spread, means 3 apart
    9.0
    """
    x, y = _samples(a), _samples(b)
    factor_x, factor_y = (np.linalg.qr(z - z.mean(0), mode="r") / np.sqrt(len(z) - 1) for z in (x, y))
    spread = np.square(factor_x).sum() + np.square(factor_y).sum() - 2 * np.linalg.norm(factor_x @ factor_y.T, "nuc")
    return float(np.square(x.mean(0) - y.mean(0)).sum() + max(spread, 0.0))


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Kernel distance (KID): unbiased squared MMD with the kernel (x.y / d + 1)^3; lower is better.

    Its mean is 0 for equal distributions at every n, so it can come out slightly negative. All samples are used at
    once (no subsets), which takes n m doubles of memory. Bińkowski et al., "Demystifying MMD GANs" (ICLR 2018).

    Args:
        a: features (n, d), n >= 2.
        b: features (m, d), m >= 2.

    Raises:
        ValueError: too few samples, or values that are not finite.

    >>> kernel_distance(torch.zeros(3, 1), torch.ones(3, 1))  # kernels 1 and 8 within, 1 between: 1 + 8 - 2
    7.0
    """
    x, y = _samples(a), _samples(b)

    def kernel(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return (u @ v.T / u.shape[1] + 1) ** 3

    def mean_off_diagonal(gram: np.ndarray) -> float:
        return (gram.sum() - np.trace(gram)) / (len(gram) * (len(gram) - 1))

    return float(mean_off_diagonal(kernel(x, x)) + mean_off_diagonal(kernel(y, y)) - 2 * kernel(x, y).mean())


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, float]:
    """Density (fidelity) and coverage (diversity) of generated samples; higher is better for both.

    The ball of a real sample reaches to its k-th nearest other real sample. Density is the mean number of balls that
    hold a generated sample, over k: about 1 for equal distributions, unbounded above. Coverage is the share of balls
    that hold at least one generated sample, in [0, 1]: about 1 - 2^-k for equal distributions and counts.
    Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models" (ICML 2020).

    Args:
        real: features (n, d), n > k.
        fake: features (m, d), m >= 1.
        k: which neighbour sets the radius.

    Returns:
        (density, coverage)

    Raises:
        ValueError: too few samples, or values that are not finite.

    >>> density_coverage(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[0.5]]), k=1)  # in the balls of 0 and 1
    (2.0, 0.6666666666666666)
    """
    x, y = torch.from_numpy(_samples(real, least=k + 1)), torch.from_numpy(_samples(fake, least=1))
    radius = torch.cdist(x, x).fill_diagonal_(torch.inf).kthvalue(k).values
    inside = torch.cdist(x, y) < radius[:, None]
    return float(inside.double().sum(0).mean() / k), float(inside.any(1).double().mean())


def classes_covered(labels: Tensor, n_classes: int, count: int) -> int:
    """Number of real classes with at least a tenth of their fair share of all samples; higher is better.

    Args:
        labels: predicted class indices (n,) int64; indices of `n_classes` and above are outliers.
        n_classes: the number of real classes.
        count: the number of all samples, whose fair share is count / n_classes.

    >>> classes_covered(torch.tensor([0] * 95 + [1] * 5 + [2] * 100), n_classes=2, count=200)  # 5 < 0.1 * 100
    1
    """
    held = torch.bincount(labels, minlength=n_classes)[:n_classes]
    return int((held >= COVERED_PART * count / n_classes).sum())


def corrected_share(share: float, false_positive: float, true_positive: float) -> float:
    """The share of outliers, estimated from the share that a classifier calls outliers; clipped to [0, 1].

    (share - fpr) / (tpr - fpr): the classifier calls the share `false_positive` of clean images outliers, and the share
    `true_positive` of outliers. Rogan, Gladen, "Estimating prevalence from the results of a screening test"
    (1978).

    Raises:
        ValueError: true_positive <= false_positive, so there is no estimate.

    >>> round(corrected_share(0.28, false_positive=0.1, true_positive=1.0), 4)
    0.2
    """
    if true_positive <= false_positive:
        raise ValueError(
            f"a classifier with true positive rate {true_positive} and false positive rate {false_positive} "
            "cannot estimate a share"
        )
    return min(max((share - false_positive) / (true_positive - false_positive), 0.0), 1.0)
