"""Is any folder of video frames a data set of clips, in order and in separate parts?"""

import numpy as np
import pytest

from ganlab import datasets
from ganlab.datasets import DataMissing, Frames, folder_frames
from tests.support.folder_data import names_of, noise, save, train_on

pytestmark = pytest.mark.usefixtures("fresh_folders")


def test_frames_come_in_natural_order_and_clips_take_turns(tmp_path):
    for k in range(40):
        save(tmp_path / f"shot {k}.png", np.full((70, 64, 3), k, np.uint8))
    data = datasets.load(f"folder:{tmp_path}", Frames)
    clips = {
        name: (part, (255 * getattr(data, part)[name][:, 0, 0, 0]).round().int().tolist())
        for name, part in names_of(data).items()
    }
    # Clips of 5 every 8 frames: the three between are left out, so that no part has a neighbour in another
    name = tmp_path.name
    assert clips == {
        f"{name}-1": ("train", [0, 1, 2, 3, 4]),
        f"{name}-2": ("test", [8, 9, 10, 11, 12]),
        f"{name}-3": ("train", [16, 17, 18, 19, 20]),
        f"{name}-4": ("validation", [24, 25, 26, 27, 28]),
        f"{name}-5": ("train", [32, 33, 34, 35, 36]),
    }
    assert all(clip.shape == (5, 3, 64, 64) for clip in data.train.values())  # sides are multiples of 8


def test_a_frame_that_is_skipped_ends_a_clip(tmp_path):
    for k in range(40):
        save(tmp_path / f"{k}.png", np.full((64, 64, 3), k, np.uint8))
    (tmp_path / "3.png").write_bytes(b"torn")  # leaves 0 to 2 of the first clip
    save(tmp_path / "18.png", noise(80, 64, 3))  # of another size: leaves too little of the third on either side
    data = datasets.load(f"folder:{tmp_path}", Frames)
    assert sorted(len(clip) for clip in data.train.values()) == [3, 5]


def test_short_sub_folders_are_separate_clips(tmp_path):
    for shot in range(30):
        for k in range(3):
            save(tmp_path / f"{shot}" / f"{k}.png", np.full((64, 64, 3), shot, np.uint8))
    data = datasets.load(f"folder:{tmp_path}", Frames)
    assert len(names_of(data)) == 30
    assert all(part for part in (data.train, data.validation, data.test))
    with pytest.raises(DataMissing, match="two folders are for photographs"):
        datasets.load(f"folder:{tmp_path / '0'}::{tmp_path / '1'}", Frames)


def test_frames_beyond_the_budget_are_counted(tmp_path, monkeypatch):
    for k in range(80):
        save(tmp_path / f"{k}.png", np.full((64, 64, 3), k, np.uint8))
    monkeypatch.setattr(folder_frames, "MOST_FRAMES", 8)
    data = datasets.load(f"folder:{tmp_path}", Frames)
    # Ten clips of 5 start at 0, 8, ... 72: six for training, three for tests, one for validation. Two fill a part.
    assert [len(part) for part in (data.train, data.validation, data.test)] == [2, 1, 2]
    assert "25 of 50 frames in clips are used; a part is full at 8" in data.notes


def test_clips_whose_names_read_alike_stay_apart(tmp_path):
    for shot in range(30):  # $ cannot stand in a table, so each two sub-folders read alike
        for k in range(3):
            save(tmp_path / f"{shot // 2}{'$_'[shot % 2]}" / f"{k}.png", np.full((64, 64, 3), shot, np.uint8))
    data = datasets.load(f"folder:{tmp_path}", Frames)
    names = names_of(data)
    assert len(names) == 30  # over all parts
    assert sum(name.endswith(" (2)") for name in names) == 15


def test_networks_are_trained_on_a_folder_of_frames(tmp_path):
    scene = noise(64, 160, 3)
    for k in range(40):
        save(tmp_path / f"{k}.png", scene[:, k : k + 72])
    values = train_on(tmp_path, "interpolation", channels=4, blocks=1, patch=16).values
    # The average of the outer frames is off by pixels of uniform noise: E((a + b) / 2 - c)^2 = 3/2 of 1/12
    assert values["baseline_psnr_db"] == pytest.approx(-10 * np.log10(3 / 24), abs=0.2)
