"""Records of the journal: valid ones are restored unchanged, and each rule rejects its violations."""

import math

import pytest
from pydantic import ValidationError

from bench.store.records import CELL_RECORD, SESSION_RECORD, TIMING_RECORD

CELL = {
    "kind": "cell",
    "key": "a",
    "session_s": 1.5,
    "attempts": 1,
    "status": "done",
    "reason": "",
    "steps": 10,
    "sharing": 2,
    "measured": {"train_s": 1},
    "values": {"psnr_db": 30.0, "ssim": None},
    "images": [{"image": "camera", "mae": 0}],
    "curves": [{"step": 10, "metric": "ssim", "value": -1.0}],
    "layout": {"kind": "gan", "rows": 1, "columns": 2, "tile": 3},
    "of a later version": [1],
}
STEP = {"task": "sr", "dataset": "folder:/a/100 $", "loss": "l1", "head": "raw", "device": "cpu", "round": 0, "ms": 1.5}
WHOLE, PHASE = STEP | {"phase": "step"}, STEP | {"phase": "forward"}


def test_a_record_comes_back_unchanged():
    record = CELL_RECORD.validate_python(CELL)
    assert record == CELL
    assert isinstance(record["measured"]["train_s"], int)  # a number that was read as a float would be written as one


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"measured": {"train_s": True}}, "valid"),
        ({"measured": {"train_s": math.nan}}, "finite"),
        ({"measured": {"train_s": -1}}, "train_s is -1, out of its bounds"),
        ({"values": {"train_s": 1}}, r"not columns: \['train_s'\]"),
        ({"status": "well"}, "Input should be 'done'"),
        ({"status": "oom"}, "read-outs of a cell that is not done"),
        ({"session_s": 1.01e9}, "less than or equal"),
        ({"images": [{"mae": 0}]}, "image is missing"),
        ({"images": [{"image": "a$"}]}, "image is 'a\\$', not 1 to 200 printable"),
        ({"images": [{"image": "a"}, {"image": "a"}]}, "the same row twice"),
        ({"curves": [{"step": 0.5, "metric": "mae", "value": 1}]}, "step is 0.5, out of its bounds"),
        ({"curves": [{"step": 1, "metric": "ssim", "value": -1.1}]}, "ssim leaves -1 to 1"),
        ({"layout": {"kind": "gan"}}, "Field required"),
    ],
)
def test_invalid_records_are_rejected(change, says):
    with pytest.raises(ValidationError, match=says):
        CELL_RECORD.validate_python(CELL | change)


def test_a_cell_that_failed_has_no_read_outs():
    failed = {"status": "oom", "values": {"ssim": None}, "images": [], "layout": {}}
    assert CELL_RECORD.validate_python(CELL | failed)["status"] == "oom"


def test_phases_are_recorded_with_the_whole_step():
    record = {"kind": "timing", "key": "t", "rows": [WHOLE, PHASE]}
    assert TIMING_RECORD.validate_python(record) == record
    TIMING_RECORD.validate_python(record | {"rows": [WHOLE]})
    with pytest.raises(ValidationError, match="a phase of a step that was not timed whole"):
        TIMING_RECORD.validate_python(record | {"rows": [WHOLE, PHASE | {"round": 1}]})
    with pytest.raises(ValidationError, match="phase is missing"):
        TIMING_RECORD.validate_python(record | {"rows": [STEP]})


def test_a_session_started_in_a_time_zone():
    session = {"kind": "session", "key": "s", "started": "2024-05-01T10:00:00+00:00", "seconds": 3}
    assert SESSION_RECORD.validate_python(session) == session
    with pytest.raises(ValidationError, match="a time needs its zone"):
        SESSION_RECORD.validate_python(session | {"started": "2024-05-01T10:00:00"})
