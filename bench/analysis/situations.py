"""Which situations can a user be in, and which conditions of a run belong to each?"""

from collections.abc import Callable
from typing import NamedTuple

from bench.analysis.summary import one_sided_at
from ganlab.outliers import CLEAN, OUTLIERS

FEW = 0.1  # up to this rate outliers count as few
HALF = 0.5  # from this rate on outliers are the majority; if all are on one side, the median is an outlier


class Situation(NamedTuple):
    """A situation of a user: its name, its task, which conditions belong to it, and the preferred outlier rate."""

    name: str
    task: str
    holds: Callable[[str, float], bool]
    rate: float = 0.0


def _corrupts(corrupted: str) -> Callable[[str, float], bool]:
    return lambda kind, rate: kind in OUTLIERS and OUTLIERS[kind].corrupts == corrupted


def one_sided(kind: str) -> bool:
    """Whether all outliers of a kind lie at one end of the pixel range."""
    return one_sided_at(kind) is not None


def _is_control(kind: str) -> bool:
    return kind in OUTLIERS and OUTLIERS[kind].corrupts == "target" and OUTLIERS[kind].mean is None


def _is_outlier(kind: str) -> bool:
    return kind != CLEAN and not _is_control(kind)


def _two_sided(kind: str) -> bool:
    return _is_outlier(kind) and not one_sided(kind)


SITUATIONS = (
    Situation("Clean targets", "sr", lambda kind, rate: kind == CLEAN),
    Situation("Few outliers (up to 10 %)", "sr", lambda kind, rate: _is_outlier(kind) and rate <= FEW, FEW),
    Situation("Many outliers, to both sides", "sr", lambda kind, rate: _two_sided(kind) and FEW < rate < HALF, 0.4),
    Situation("Many outliers, one-sided", "sr", lambda kind, rate: one_sided(kind) and FEW < rate < HALF, 0.2),
    Situation("One-sided outliers in the majority", "sr", lambda kind, rate: one_sided(kind) and rate >= HALF, 0.6),
    Situation(
        "Outliers to both sides in the majority", "sr", lambda kind, rate: _two_sided(kind) and rate >= HALF, 0.7
    ),
    Situation("Zero-mean noise, no outliers", "sr", lambda kind, rate: _is_control(kind), 0.5),
    Situation("Depth: true disparity", "depth", lambda kind, rate: kind == CLEAN),
    Situation("Depth: missing values", "depth", lambda kind, rate: kind == "missing", 0.2),
    Situation(
        "Depth: wrong matches or other outliers",
        "depth",
        lambda kind, rate: _is_outlier(kind) and kind != "missing",
        0.2,
    ),
    Situation("Frame interpolation: clean frames", "interpolation", lambda kind, rate: kind == CLEAN),
    Situation(
        "Frame interpolation: outliers in the frames", "interpolation", lambda kind, rate: _is_outlier(kind), 0.2
    ),
    Situation("Restoration: clean targets", "restoration", lambda kind, rate: kind == CLEAN),
    Situation("Restoration: spoiled targets (Noise2Noise)", "restoration", lambda kind, rate: _is_outlier(kind), 0.25),
    Situation("GAN: clean images and labels", "gan", lambda kind, rate: kind == CLEAN),
    Situation("GAN: outliers among the real images", "gan", _corrupts("real"), 0.2),
    Situation("GAN: flipped labels", "gan", _corrupts("label"), 0.2),
    Situation("Mean of a cloud with outliers (location GAN)", "location", _corrupts("sample"), 0.2),
)
