"""Which cell comes next, and how long will the run take? Known answers, computed by hand."""

import pytest

from bench.plan.cell import Cell
from bench.running.schedule import SIMULATED, Forecast
from tests.support.fake_runs import fake_suite

UNIT = 1000  # steps


def cells(*steps: int, loss: str = "l1") -> list[Cell]:
    """Cells whose costs stand to each other as these numbers."""
    return [
        fake_suite(1, [loss], steps=[UNIT * count]).cells[0].model_copy(update={"seed": seed})
        for seed, count in enumerate(steps)
    ]


def other_kind(cell: Cell) -> Cell:
    return cell.model_copy(update={"batch_size": 2 * cell.batch_size})


def sizes(forecast: Forecast) -> list[int]:
    return [forecast.take().steps // UNIT for _ in range(len(forecast))]


def test_the_longest_comes_first():
    assert sizes(Forecast(cells(1, 5, 2, 4, 3))) == [5, 4, 3, 2, 1]


def test_a_retried_cell_comes_before_its_kind():
    forecast = Forecast(cells(1, 2, 3))
    cell = forecast.take()
    forecast.put(cell)
    assert len(forecast) == 3
    assert forecast.take() is cell


def test_the_order_follows_what_the_kinds_have_taken():
    slow, fast = cells(2, 2, 2), [other_kind(cell) for cell in cells(3, 3, 3)]
    forecast = Forecast([*slow, *fast])
    first = forecast.take()
    assert first.batch_size == fast[0].batch_size  # by the guess: 3 times twice the batch, against 2
    forecast.learn(first, 6.0)
    forecast.learn(slow[0], 20.0)
    assert [forecast.take().batch_size for _ in range(3)] == [slow[0].batch_size] * 3  # 20 s each, against 6
    assert len(forecast) == 2


def test_time_left_is_unknown_before_the_first_finished_cell():
    forecast = Forecast(cells(1, 1))
    assert forecast.seconds_left([], 2) is None
    forecast.learn(forecast.take(), 10.0)
    assert forecast.seconds_left([], 2) == pytest.approx(10)


def test_times_of_a_kind_are_averaged():
    forecast = Forecast(cells(2, 1, 1))
    forecast.learn(forecast.take(), 10.0)
    forecast.learn(forecast.take(), 20.0)  # 30 s for 3 units
    assert forecast.seconds_left([], 1) == pytest.approx(10)


@pytest.mark.parametrize(
    ("waiting", "running", "slots", "expected"),
    [
        ([1], [], 4, 10),  # alone at the end: more slots do not help
        ([1, 1, 1], [], 2, 20),  # three equal ones in two slots take two rounds, not one and a half
        ([3, 1, 1, 1], [], 2, 30),  # the long one beside the three short ones
        ([1, 1], [(2, 5.0)], 2, 20),  # 15 s of the running one are left; two of 10 s beside it
        ([], [(2, 5.0), (1, 9.0)], 2, 15),
        ([], [(1, 30.0)], 1, 3),  # overdue: a tenth of what it has had
    ],
)
def test_time_left_counts_how_the_last_cells_fall_into_the_slots(waiting, running, slots, expected):
    forecast = Forecast([*cells(9), *cells(*waiting)])
    forecast.learn(forecast.take(), 90.0)
    under_way = [(cells(size)[0], seconds) for size, seconds in running]
    assert forecast.seconds_left(under_way, slots) == pytest.approx(expected)


def test_many_remaining_cells_are_divided_evenly():
    many = SIMULATED * 2 + 1
    forecast = Forecast([*cells(9), *cells(*[1] * many)])
    forecast.learn(forecast.take(), 90.0)
    assert forecast.seconds_left([(cells(1)[0], 4.0)], 2) == pytest.approx((10 * many + 6) / 2)
    forecast.take()  # now they are laid out one by one: 60 in two slots, one of which is free 6 s later
    assert forecast.seconds_left([(cells(1)[0], 4.0)], 2) == pytest.approx(306)


def test_an_unseen_kind_is_estimated_from_all_others():
    forecast = Forecast([*cells(9), other_kind(cells(1)[0])])
    forecast.learn(forecast.take(), 90.0)
    assert forecast.seconds_left([], 1) == pytest.approx(20)  # twice the batch, twice the guess
