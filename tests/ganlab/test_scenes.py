"""Sequences: the camera follows its path within the photograph."""

import math

import pytest
import torch

from ganlab import metrics
from ganlab.datasets import load
from ganlab.datasets.scenes import FRAMES, LARGEST_FRAME, MULTIPLE, SPEEDS, SUPERSAMPLING, CameraPath, draw_path, render


@pytest.fixture(scope="module")
def motion():
    return load("motion")


def test_sequences_follow_the_split_of_the_photographs(motion):
    photographs = load("photographs")
    for part in ("train", "validation", "test"):
        sequences = getattr(motion, part)
        assert {name.rpartition("-")[0] for name in sequences} == set(getattr(photographs, part))
        for frames in sequences.values():
            assert frames.shape[:2] == (FRAMES, 3)
            assert all(side % MULTIPLE == 0 and side <= LARGEST_FRAME for side in frames.shape[2:])
            assert torch.equal((255 * frames).round() / 255, frames)  # 8 bits
    assert (len(motion.train), len(motion.validation), len(motion.test)) == (32, 8, 16)


def test_no_frame_extends_beyond_its_photograph():
    """A white photograph stays white: beyond its border there is black."""
    for sides in ((300, 451), (303, 384), (512, 512)):
        frame = tuple(min((side - 28) // 2, LARGEST_FRAME) // 8 * 8 for side in sides)
        for number in range(40):
            path = draw_path(f"any-{number}", sides, frame)
            assert SPEEDS[0] <= math.hypot(*path.pan) <= SPEEDS[1]
            assert all(render(torch.ones(1, *sides), path, time, frame).min() == 1 for time in (-1, 1))


def ramp(height, width):
    """An image whose two channels say where a pixel's centre is, in eight hundredths."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([y, x, 0 * y]) / 400


@pytest.mark.parametrize(
    "path",
    [
        CameraPath((150, 160), (0, 0), 0, 0),
        CameraPath((150, 160), (1.5, -0.25), 0, 0),
        CameraPath((150, 160), (0, 0), 0.05, 0),
        CameraPath((150, 160), (0, 0), 0, 0.1),
        CameraPath((151.3, 158.9), (0.7, 1.1), -0.02, -0.03),
    ],
)
def test_motion_follows_the_camera_path(path):
    """A photograph that shows its own coordinates shows where each pixel of a frame comes from."""
    side, time = 64, 2.0
    frame = render(ramp(300, 320), path, time, (side, side))
    y, x = torch.meshgrid(*[torch.arange(side) + 0.5 - side / 2] * 2, indexing="ij")
    zoom = SUPERSAMPLING / (1 + path.zoom) ** time
    cosine, sine = math.cos(path.turn * time), math.sin(path.turn * time)
    expected_y = path.centre[0] + zoom * (cosine * y - sine * x) + SUPERSAMPLING * time * path.pan[0]
    expected_x = path.centre[1] + zoom * (sine * y + cosine * x) + SUPERSAMPLING * time * path.pan[1]
    torch.testing.assert_close(400 * frame[0], expected_y, rtol=0, atol=400 * 0.51 / 255 + 0.05)  # 8 bits, and bicubic
    torch.testing.assert_close(400 * frame[1], expected_x, rtol=0, atol=400 * 0.51 / 255 + 0.05)


def test_a_frame_moved_back_is_the_original_frame(motion):
    """A pan of whole pixels shifts the frame: what both show is the same, bit for bit."""
    photograph = load("photographs").train["chelsea"]
    still, moved = (render(photograph, CameraPath((150, 200), (3, -2), 0, 0), time, (96, 128)) for time in (0, 1))
    assert torch.equal(moved[:, :-3, 2:], still[:, 3:, :-2])
    assert metrics.psnr_db(moved, still) < 30  # it did move


def test_the_middle_frame_lies_between_its_neighbours(motion):
    for frames in motion.test.values():
        before, middle, after = frames
        average = metrics.psnr_db((before + after) / 2, middle)
        assert average > max(metrics.psnr_db(before, middle), metrics.psnr_db(after, middle))
        assert average < 35  # and is not to be had for nothing
