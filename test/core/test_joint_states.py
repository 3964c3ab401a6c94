"""A driver that repeats itself, and arms that only seem so: at rest, a start, a turn, stuck."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core import arm
from vla_ros.core.joint_states import RepeatWatch

PERIOD_S = 0.02
COUNT_RAD = 2.0 * np.pi / 4096.0
IDLE_MA = np.full(7, 60.0)
WAIST = np.array([1.0, 0, 0, 0, 0, 0])


def counts(q_rad):
    return np.round(q_rad / COUNT_RAD) * COUNT_RAD


class Story:
    """Tells a watch of an arm whose waist is told to be at `path(t)` and is measured otherwise."""

    def __init__(self, **limits):
        self.watch = RepeatWatch(**limits)
        self.period = 0

    def tell(self, commanded_rad, measured_rad, effort_ma=IDLE_MA, is_new=True):
        self.period += 1
        self.stamp_ns = self.period * 20_000_000 if is_new else self.stamp_ns
        return self.watch.repeats_for(
            self.period * PERIOD_S,
            arm.READY_RAD + WAIST * commanded_rad,
            counts(arm.READY_RAD + WAIST * measured_rad),
            effort_ma,
            self.stamp_ns,
        )

    def moves(self, speed_rad_s, periods=20):
        """Follow a command at this speed, three periods behind; return where it is told to be."""
        for k in range(periods):
            self.tell(0.02 * speed_rad_s * k, 0.02 * speed_rad_s * max(0, k - 3))
        return 0.02 * speed_rad_s * (periods - 1), 0.02 * speed_rad_s * (periods - 4)


@pytest.mark.parametrize(
    ("speed_rad_s", "periods"),
    # 0.006 rad take 3 periods at 0.11 rad/s, 4 at 0.09; below 0.05 s nothing is said.
    [(1.5, 3), (0.5, 3), (0.11, 3), (0.09, 4)],
)
def test_a_driver_that_repeats_itself_in_motion_is_found(speed_rad_s, periods):
    story = Story()
    commanded, measured = story.moves(speed_rad_s, periods=50)
    found = [story.tell(commanded + 0.02 * speed_rad_s * k, measured) for k in range(1, 10)]
    assert [repeats_s > 0.0 for repeats_s in found].index(True) + 1 == periods
    assert found[8] == pytest.approx(0.18)
    assert story.tell(commanded, measured + 0.002) == 0.0, "one other count is life"


def test_a_driver_that_repeats_itself_at_rest_is_found_once_the_arm_must_have_begun():
    story = Story()
    assert [story.tell(0.0, 0.0) for _ in range(50)] == [0.0] * 50
    # 0.1 rad/s: more than 0.006 rad 4 periods after the first step, and 6 periods for the lag.
    found = [story.tell(0.002 * k, 0.0) > 0.0 for k in range(1, 15)]
    assert found.index(True) + 1 == 4 + 6


def test_what_sticks_pushes_harder_and_where_no_current_is_measured_more_is_waited_for():
    story = Story()
    for k in range(100):
        effort_ma = IDLE_MA + 2.69 * np.round(10.0 * k)
        assert story.tell(0.002 * k, 0.0, effort_ma) == 0.0
    story = Story()
    found = [story.tell(0.002 * k, 0.0, effort_ma=None) > 0.0 for k in range(50)]
    # The 26th step is past 0.05 rad, then 6 periods of lag.
    assert found.index(True) == 26 + 6


def test_a_message_that_has_not_come_is_no_repetition():
    story = Story()
    commanded, measured = story.moves(1.0)
    late = [story.tell(commanded + 0.02 * k, measured, is_new=False) for k in range(1, 5)]
    assert late == [0.0] * 4
    assert story.tell(commanded + 0.1, measured) > 0.0


def test_a_reset_forgets_the_commands_but_not_that_the_driver_repeats_itself():
    story = Story()
    commanded, measured = story.moves(1.0)
    story.watch.reset()
    assert [story.tell(commanded + 0.02 * k, measured) for k in range(1, 5)] == [0.0] * 4
    assert [story.tell(commanded + 0.02 * k, measured) > 0 for k in range(5, 12)][-1]
    story.watch.reset()
    assert story.tell(commanded, measured) > 0.0


@settings(max_examples=40, deadline=None)
@given(
    legs=st.lists(
        st.tuples(st.floats(-0.6, 0.6), st.floats(0.3, 3.0), st.integers(0, 20)), max_size=4
    ),
    lag_s=st.floats(0.0, 0.12),
)
def test_an_arm_that_follows_by_any_lag_is_never_taken_for_a_repeating_driver(legs, lag_s):
    # Cosine legs within 4 rad/s^2, with rests, measured in counts, at a current that never changes.
    told = [0.0]
    for way_rad, duration_s, rest in legs:
        duration_s = max(duration_s, np.pi * np.sqrt(abs(way_rad) / 8.0))
        steps = max(2, round(duration_s / PERIOD_S))
        share = (1.0 - np.cos(np.pi * np.arange(1, steps + 1) / steps)) / 2.0
        told += list(told[-1] + way_rad * share) + [told[-1] + way_rad] * rest
    times_s = PERIOD_S * np.arange(len(told))
    measured = np.interp(times_s - lag_s, times_s, told)
    story = Story()
    assert [story.tell(*pair) for pair in zip(told, measured, strict=True)] == [0.0] * len(told)
