import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core.errors import SafetyError
from vla_ros.core.jerk_limit import AxisLimits, JerkLimited

PERIOD_S = 0.02


def limited(low=-1.0, high=1.0, velocity=1.0, acceleration=4.0, jerk=60.0):
    return JerkLimited(low, high, AxisLimits(velocity, acceleration, jerk), PERIOD_S)


def require_within(path, velocity, acceleration, jerk):
    """Check samples (N,) that begin at rest."""
    path = np.concatenate([np.repeat(path[:1], 3), path])
    for order, limit in enumerate((velocity, acceleration, jerk), 1):
        found = np.abs(np.diff(path, n=order)).max() / PERIOD_S**order
        assert found <= limit * (1 + 1e-6) + 1e-5, f"order {order}: {found} > {limit}"


wishes = st.one_of(st.floats(-1.0, 1.0), st.sampled_from([np.nan, np.inf, -np.inf, 1e300, 0.0]))


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.2, 3.0),
    st.floats(0.5, 5.0),
    st.floats(5.0, 300.0),
    st.floats(-1.0, 1.0),
    st.lists(st.tuples(st.booleans(), wishes, st.integers(1, 20)), min_size=1, max_size=6),
)
def test_no_wish_breaks_a_limit(velocity, acceleration, jerk, start, orders):
    axis = limited(-1.0, 1.0, velocity, acceleration, jerk)
    axis.reset(start)
    path = [axis.position]
    for cruises, wish, periods in orders:
        for _ in range(periods):
            path.append((axis.cruise if cruises else axis.move)(wish))
    path = np.array(path)
    assert np.all(np.abs(path) <= 1.0)
    require_within(path, velocity, acceleration, jerk)


def test_a_cruise_lands_on_its_speed_and_stays():
    axis = limited(0.0, 100.0)
    axis.reset(0.0)
    for _ in range(60):
        axis.cruise(0.5 * PERIOD_S)
    assert axis.step == pytest.approx(0.5 * PERIOD_S)
    assert axis.change == pytest.approx(0.0)


def test_it_stops_at_its_bound_and_comes_close():
    axis = limited(0.0, 0.5)
    axis.reset(0.0)
    for _ in range(200):
        axis.cruise(1.0 * PERIOD_S)
    assert axis.at_rest
    assert 0.499 < axis.position <= 0.5


def test_braking_ends_where_it_was_told_to():
    axis = limited()
    axis.reset(-0.9)
    for _ in range(20):
        axis.cruise(0.8 * PERIOD_S)
    expected = axis.rest_position()
    while not axis.at_rest:
        axis.cruise(0.0)
    assert axis.position == pytest.approx(expected)


def test_a_path_within_the_limits_is_followed_to_the_digit():
    axis = limited()
    times_s = PERIOD_S * np.arange(1, 100)
    path = 0.3 * (1 - np.cos(times_s))
    axis.reset(0.0)
    steps = np.diff(np.concatenate([[0.0, 0.0], path]))
    for q, change in zip(path, np.diff(steps), strict=True):
        assert axis.move(change) == pytest.approx(q, abs=1e-12)


@pytest.mark.parametrize("wrong", [{"jerk": 0.0}, {"velocity": -1.0}, {"low": 2.0}])
def test_limits_that_are_none_are_refused(wrong):
    with pytest.raises(SafetyError):
        limited(**wrong)
