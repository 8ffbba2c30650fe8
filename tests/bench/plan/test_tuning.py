"""Is a plan whose tuning cannot decide told before any training?"""

import pytest

from bench.plan.reading import read_suite, shipped
from bench.plan.tuning import notes_on_tuning
from tests.bench.plan.test_suite import BLOCK, suite

REPORT = BLOCK | {"loss": "l1", "lr": 1e-3}
TUNE = REPORT | {"role": "tune", "lr": [1e-4, 1e-3, 1e-2], "seeds": [100, 101, 102]}
ARM = "sr photographs l1 sigmoid adam constant"


@pytest.mark.parametrize(
    ("tune", "report", "notes"),
    [
        ({}, {}, []),
        ({"seeds": [100, 101]}, {}, [f"tuned by 2 seed(s), too few to tell its rates apart: {ARM}"]),
        ({"seeds": [100]}, {}, [f"tuned by 1 seed(s), too few to tell its rates apart: {ARM}"]),
        ({"lr": [1e-4, 1e-3]}, {}, [f"tuned among 2 rate(s), while an optimum needs one on both sides: {ARM}"]),
        ({}, {"lr": 2e-3}, [f"reported at 0.002, which its tuning does not try: {ARM}"]),
        ({}, {"lr": 2e-3, "steps": 20}, []),  # another training, which nothing tunes
        ({}, {"lr": 2e-3, "head": "raw"}, []),
        ({}, {"lr": 1e-2, "outliers": {"salt": 0.2}}, []),
        ({}, {"lr": 2e-3, "role": "reference"}, []),
    ],
)
def test_what_cannot_decide_is_told(tune, report, notes):
    assert notes_on_tuning(suite(TUNE | tune, REPORT | report)) == notes


@pytest.mark.parametrize("name", sorted(shipped()))
def test_the_tuning_of_shipped_suites_can_decide(name):
    assert notes_on_tuning(read_suite(name)) == []
