import pytest

pytest.importorskip("rclpy")

from vla_ros.nodes.ticker import Schedule

MS = 1_000_000


def ticks(schedule: Schedule, times_ms: list[int]) -> list[int]:
    return [t for t in times_ms if schedule.due(t * MS)]


def test_the_first_time_heard_is_a_tick_and_then_each_period():
    assert ticks(Schedule(20 * MS), [7, 17, 27, 37, 47, 57]) == [7, 27, 47]


def test_the_same_time_told_twice_is_one_tick():
    assert ticks(Schedule(20 * MS), [20, 20, 40, 40, 40, 60]) == [20, 40, 60]


def test_periods_jumped_over_are_one_tick_and_the_grid_stays():
    assert ticks(Schedule(20 * MS), [0, 70, 75, 80, 99, 100]) == [0, 70, 80, 100]


def test_a_clock_that_starts_again_ticks_again():
    assert ticks(Schedule(20 * MS), [5000, 5020, 0, 10, 20]) == [5000, 5020, 0, 20]


def test_a_small_step_back_is_no_tick():
    assert ticks(Schedule(20 * MS), [100, 110, 100, 119, 120]) == [100, 120]
