"""Trapezoids worked out by hand."""

import math

import pytest

from vla_ros.sim.profile import (
    ACCELERATION_UNIT_RAD_S2,
    VELOCITY_UNIT_RAD_S,
    time_trapezoid,
    velocity_trapezoid,
)


def test_time_profile_takes_the_move_time_and_accelerates_for_the_accel_time():
    # 1 rad in 2 s with 0.5 s ramps: cruise = 1 / (2 - 0.5) = 2/3 rad/s.
    motion = time_trapezoid(0.0, 0.0, 1.0, 2000, 500)
    assert motion.duration_s == pytest.approx(2.0)
    assert motion.at(0.5) == pytest.approx((1 / 6, 2 / 3))
    assert motion.at(1.0) == pytest.approx((0.5, 2 / 3))
    assert motion.at(1.5) == pytest.approx((5 / 6, 2 / 3))
    assert motion.at(1.75) == pytest.approx((1 - 1 / 24, 1 / 3))
    assert motion.at(2.0) == (1.0, 0.0)
    assert motion.at(9.0) == (1.0, 0.0)


def test_time_profile_never_accelerates_for_more_than_half_the_move():
    motion = time_trapezoid(0.0, 0.0, 1.0, 1000, 900)
    assert (motion.t1_s, motion.t2_s, motion.t3_s) == pytest.approx((0.5, 0.0, 0.5))
    assert motion.cruise == pytest.approx(2.0)


def test_time_profile_goes_on_from_the_present_velocity():
    # From 1 rad/s: 0.5 * 1 * 0.25 + cruise * (1 - 0.25) = 1, so cruise = 7/6 rad/s.
    motion = time_trapezoid(0.0, 1.0, 1.0, 1000, 250)
    assert motion.cruise == pytest.approx(7 / 6)
    assert motion.at(0.0) == pytest.approx((0.0, 1.0))
    assert motion.at(0.75)[0] == pytest.approx(1 - 0.5 * 7 / 6 * 0.25)


@pytest.mark.parametrize("make", [time_trapezoid, velocity_trapezoid])
def test_profile_velocity_zero_steps_to_the_goal(make):
    assert make(0.2, 0.0, 1.0, 0, 50).at(0.0) == (1.0, 0.0)


def test_velocity_profile_units_are_those_of_the_servo():
    # 131 units of 0.229 rev/min are pi rad/s; 214.577 rev/min^2 are 0.3745 rad/s^2.
    pi, acceleration = 131 * VELOCITY_UNIT_RAD_S, 1 * ACCELERATION_UNIT_RAD_S2
    assert pi == pytest.approx(math.pi, abs=1e-3)
    assert acceleration == pytest.approx(0.37451, abs=1e-5)


def test_velocity_profile_is_a_trapezoid_when_there_is_room():
    v, a = 40 * VELOCITY_UNIT_RAD_S, 20 * ACCELERATION_UNIT_RAD_S2
    motion = velocity_trapezoid(1.0, 0.0, -1.0, 40, 20)
    assert motion.cruise == pytest.approx(-v)
    assert motion.t1_s == pytest.approx(v / a)
    assert motion.duration_s == pytest.approx(2.0 / v + v / a)
    assert motion.at(motion.duration_s / 2) == pytest.approx((0.0, -v))


def test_velocity_profile_is_a_triangle_when_the_way_is_short():
    a = 10 * ACCELERATION_UNIT_RAD_S2
    motion = velocity_trapezoid(0.0, 0.0, 0.01, 131, 10)
    assert motion.duration_s == pytest.approx(2 * math.sqrt(0.01 / a))
    assert motion.at(motion.duration_s / 2)[0] == pytest.approx(0.005)


def test_velocity_profile_without_acceleration_is_a_ramp():
    v = 100 * VELOCITY_UNIT_RAD_S
    assert velocity_trapezoid(0.0, 0.0, 1.0, 100, 0).at(0.1) == pytest.approx((0.1 * v, v))


def test_velocity_profile_overshoots_and_returns_when_it_cannot_stop_in_time():
    a = 10 * ACCELERATION_UNIT_RAD_S2
    motion = velocity_trapezoid(0.0, 2.0, 0.0, 131, 10)
    braked = 4.0 / (2 * a)
    assert motion.cruise < 0.0
    # It passes the place where braking at once would end, then comes back.
    assert motion.at(2.0 / a)[0] == pytest.approx(braked)
    assert motion.at(motion.duration_s) == (0.0, 0.0)


@pytest.mark.parametrize("v0", [-2.0, 0.0, 0.7, 3.0])
@pytest.mark.parametrize("goal", [-1.0, 0.0, 0.05, 2.0])
def test_positions_are_continuous_at_the_corners(v0, goal):
    for motion in (
        time_trapezoid(0.3, v0, goal, 400, 100),
        velocity_trapezoid(0.3, v0, goal, 60, 30),
    ):
        for corner in (motion.t1_s, motion.t1_s + motion.t2_s, motion.duration_s):
            before, after = motion.at(corner - 1e-6)[0], motion.at(corner + 1e-6)[0]
            assert before == pytest.approx(after, abs=1e-4)
