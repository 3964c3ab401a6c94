"""Which steps a stream may have had where some of its goals are lost, worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core.limits import wx250s_limits
from vla_ros.sim.goal_speeds import GoalSpeeds

# 1 rad/s is 0.02 rad a period, 4 rad/s^2 a change of 0.0016 rad from step to step.
LIMITS = wx250s_limits(velocity_rad_s=1.0, acceleration_rad_s2=4.0)
D = 0.0016


def told(*ways):
    """Return the speeds, and what was broken, after ways (waist [rad], periods, sent) from rest.

    Where it does not say how many goals were sent, there was one each period.
    """
    speeds, broken = GoalSpeeds(LIMITS, 0.02), []
    for waist_rad, periods, *sent in ways:
        found = speeds.step(np.array([waist_rad, 0, 0, 0, 0, 0]), periods, *(sent or [periods]))
        broken.append({name: shares[0] for name, shares in found.items()})
    return speeds, broken


def test_one_goal_after_another_is_one_number():
    speeds, broken = told((D, 1), (2 * D, 1), (4 * D, 1))
    assert broken == [{}, {}, {"goal acceleration": pytest.approx(2.0)}]
    assert speeds.low[0] == speeds.high[0] == 4 * D


def test_the_last_of_two_steps_follows_from_the_way_that_both_made():
    # From rest 2 d in two steps: (d, d), or (d / 2, 3 d / 2), which is as uneven as it gets.
    speeds, broken = told((2 * D, 2))
    assert broken == [{}]
    np.testing.assert_allclose((speeds.low[0], speeds.high[0]), (D, 1.5 * D), atol=1e-5)
    # 3 d are d and 2 d, no more.
    assert told((3 * D, 2))[1] == [{}]
    assert told((3.1 * D, 2))[1][0].keys() == {"goal acceleration"}


@pytest.mark.parametrize(
    ("step", "broken"), [(D, False), (-D, False), (1.1 * D, True), (-1.1 * D, True)]
)
def test_a_stream_that_braked_unseen_goes_on_from_there(step, broken):
    # From 2 d the lost step was d and this one none: nothing else makes d in two steps.
    assert bool(told((D, 1), (2 * D, 1), (D, 2), (step, 1))[1][-1]) == broken


def test_after_a_pause_a_stream_may_begin_from_rest_with_the_steps_that_are_left():
    fast = [(k * D, 1) for k in range(1, 8)]
    # Three periods without a goal rest the servos: the goal after them is a first step.
    assert told(*fast, (D, 3, 1))[1][-1] == {}
    assert told(*fast, (1.1 * D, 3, 1))[1][-1].keys() == {"goal acceleration"}
    assert told(*fast, (D, 2, 1))[1][-1].keys() == {"goal acceleration"}
    # Goals that were sent and lost are no pause: from 7 d to d within three steps is no braking.
    assert told(*fast, (D, 3, 3))[1][-1].keys() == {"goal acceleration"}
    # One more goal makes two steps: d + 2 d.
    assert told(*fast, (3 * D, 4, 2))[1][-1] == {}
    assert told(*fast, (3.1 * D, 4, 2))[1][-1].keys() == {"goal acceleration"}


def test_a_time_in_which_nothing_was_sent_is_no_time_to_travel_in():
    # At the limits 0.2 rad take 13 periods; here one goal makes them after a pause of 50.
    assert told((0.0, 1), (0.2, 50, 50))[1][-1] == {}
    assert told((0.0, 1), (0.2, 50, 1))[1][-1].keys() == {"goal velocity", "goal acceleration"}
    # A process that is held up for a moment goes on where it was in its plan.
    assert told((D, 1), (2 * D, 2, 1))[1][-1] == {}


def test_a_way_too_long_for_its_time_is_too_fast():
    assert told((0.0601, 3))[1] == [{"goal velocity": pytest.approx(0.0601 / 0.06)}]


def test_a_first_step_counts_beside_what_was_before_until_a_goal_has_come():
    for step, broken, began in (
        (2.4 * D, False, True),
        (1.9 * D, False, False),
        (2.6 * D, True, 0),
    ):
        speeds, _ = told((D, 1))
        speeds.may_start(np.array([[1.5 * D, *[np.nan] * 5]]))
        assert bool(speeds.step(np.array([step, 0, 0, 0, 0, 0]), 1, 1)) == broken
        assert speeds.began == began
    speeds, _ = told((D, 1))
    speeds.may_start(np.array([[1.5 * D, *[np.nan] * 5]]))
    speeds.begin(np.array([True, *[False] * 5]))
    assert speeds.step(np.array([0.4 * D, 0, 0, 0, 0, 0]), 1, 1).keys() == {"goal acceleration"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-1.0, 1.0), st.booleans()), min_size=2, max_size=40))
def test_no_legal_stream_breaks_anything_whichever_of_its_goals_are_lost(story):
    speeds, way_rad, periods, step = GoalSpeeds(LIMITS, 0.02), 0.0, 0, 0.0
    for change, is_lost in story:
        step = min(max(step + change * D, -0.02), 0.02)
        way_rad, periods = way_rad + step, periods + 1
        if not is_lost:
            assert speeds.step(np.full(6, way_rad), periods, periods) == {}
            assert speeds.low[0] - 1e-6 <= step <= speeds.high[0] + 1e-6
            way_rad, periods = 0.0, 0
