"""Where the straight way leaves the workspace there is another, and the guard can follow it."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import SafetyError
from vla_ros.core.rotations import transform
from vla_ros.core.safety import CommandGuard, wx250s_limits
from vla_ros.core.way_round import way_round

PERIOD_S = 0.02
LIMITS = wx250s_limits()
INSIDE = np.zeros(7)
# As a simulated arm lies after an hour without torque: the wrist has sunk from 0.8 rad. The tool is
# 1 mm inside the box, at its back.
SUNK_RAD = np.array([0.008, -1.821, 1.583, 0.001, 1.028, -0.009])


def drive(guard, target, seed=0, tries=20):
    """Step towards a target as a mission does; return the commands."""
    way, path = [target], []
    for number in range(seed, seed + tries):
        while way:
            for _ in range(600):
                path.append(guard.step(way[0], 1.0)[0])
                if guard.arrived or (guard.blocked and guard.at_rest):
                    break
            if not guard.arrived:
                break
            way = way[1:]
        if not way:
            return np.array(path)
        way = guard.way_round(target, number)
    raise AssertionError(f"never arrived: {guard.commanded}")


def excess_between(poses, limits=LIMITS, points=200):
    """Return what straight lines between poses exceed the workspace by, at most [m]."""
    shares = np.linspace(0.0, 1.0, points)[:, None]
    lines = [q + shares * (p - q) for q, p in pairwise(poses)]
    return limits.excess(np.concatenate(lines)).max()


def test_an_arm_that_sank_at_rest_gets_up():
    guard = CommandGuard(LIMITS, PERIOD_S)
    guard.reset(SUNK_RAD, 1.0)
    assert not LIMITS.excess(SUNK_RAD[None]).any()
    for _ in range(100):
        guard.step(arm.READY_RAD, 1.0)
    # The straight way swings the tool out behind the box.
    assert guard.blocked
    assert guard.at_rest
    path = drive(guard, arm.READY_RAD)
    np.testing.assert_array_equal(path[-1], arm.READY_RAD)
    np.testing.assert_array_equal(LIMITS.excess(path), 0.0)


def test_a_free_straight_way_is_the_way():
    (only,) = way_round(LIMITS, INSIDE, arm.SLEEP_RAD, arm.READY_RAD, 0)
    np.testing.assert_array_equal(only, arm.READY_RAD)


def test_a_way_is_asked_for_once_and_only_where_the_arm_rests_before_something():
    guard = CommandGuard(LIMITS, PERIOD_S)
    guard.reset(arm.READY_RAD, 1.0)
    guard.step(arm.READY_RAD + [0.5, 0, 0, 0, 0, 0], 1.0)
    assert guard.way_round(arm.READY_RAD, 0) == []
    guard.reset(SUNK_RAD, 1.0)
    for _ in range(100):
        guard.step(arm.READY_RAD, 1.0)
    assert len(guard.way_round(arm.READY_RAD, 0)) > 1
    assert guard.way_round(arm.READY_RAD, 0) == []


@st.composite
def sunk(draw):
    """Joints as after a rest without torque, a wrist deeper or less deep, on either side."""
    spans = (0.02, 0.05, 0.05, 0.02, 0.3, 0.02)
    q = SUNK_RAD + [draw(st.floats(-span, span)) for span in spans]
    return np.clip(q, LIMITS.low_rad, LIMITS.high_rad)


@settings(max_examples=100, deadline=None)
@given(q=sunk(), seed=st.integers(0, 5))
def test_however_it_sank_it_gets_up_and_no_deeper(q, seed):
    excess_m = LIMITS.excess(q[None])[0]
    room_m = np.where(excess_m > 0.0, excess_m + np.array([0.05] * 6 + [0.0]), 0.0)
    guard = CommandGuard(LIMITS, PERIOD_S)
    guard.reset(q, 1.0)
    path = drive(guard, arm.READY_RAD, seed)
    assert np.all(LIMITS.excess(path) <= room_m + 1e-8)


def test_where_the_straight_way_grazes_the_border_it_goes_round():
    # The line from here leaves the box by 20 um, some 0.01 rad further on.
    q = np.array([0.58008382, 0.64041752, -0.60102305, -0.39359488, 0.41661055, 0.23422068])
    guard = CommandGuard(LIMITS, PERIOD_S)
    guard.reset(q, 1.0)
    path = drive(guard, arm.READY_RAD)
    np.testing.assert_array_equal(path[-1], arm.READY_RAD)


def test_straight_there_is_no_way_round_for_a_guard_that_was_blocked_on_it():
    guard = CommandGuard(LIMITS, PERIOD_S)
    guard.reset(SUNK_RAD, 1.0)
    for _ in range(100):
        guard.step(arm.READY_RAD, 1.0)
    q, _ = guard.commanded
    above = q + [0.0, 0.0, 0.0, 0.0, -0.05, 0.0]
    # Free as a line, and not where just that was tried.
    assert len(way_round(LIMITS, INSIDE, q, above, 0)) == 1
    assert len(way_round(LIMITS, INSIDE, q, above, 0, may_be_straight=False)) > 1
    way = guard.way_round(arm.READY_RAD, 0)
    assert len(way) > 1
    np.testing.assert_array_equal(way[-1], arm.READY_RAD)


@pytest.mark.parametrize(
    "q",
    [
        [0.34, 1.54, 1.6, -0.48, 2.14, -0.07],
        [-0.27, 1.63, 1.6, 0.49, 2.09, 0.43],
        [0.14, 1.61, 1.6, -0.57, 2.14, 1.23],
    ],
)
def test_an_arm_that_is_folded_up_gets_out(q):
    way = way_round(LIMITS, INSIDE, np.array(q), arm.READY_RAD, 0)
    np.testing.assert_array_equal(way[-1], arm.READY_RAD)
    assert excess_between([np.array(q), *way]) < 2e-4


def test_a_target_that_is_no_pose_is_refused_in_words():
    guard = CommandGuard(LIMITS, PERIOD_S)
    guard.reset(arm.READY_RAD, 1.0)
    with pytest.raises(SafetyError, match="target"):
        guard.way_round(np.full(6, np.nan), 0)


# Two of five such poses have no straight way to the ready pose.
legal = st.tuples(*[st.floats(-1.5, 1.5)] * 6).map(
    lambda d: np.clip(arm.READY_RAD + np.array(d), LIMITS.low_rad, LIMITS.high_rad)
)


@settings(max_examples=60, deadline=None)
@given(q=legal, seed=st.integers(0, 5))
def test_a_way_is_inside_the_workspace_all_along(q, seed):
    assume(not LIMITS.excess(q[None]).any())
    way = way_round(LIMITS, INSIDE, q, arm.READY_RAD, seed)
    np.testing.assert_array_equal(way[-1], arm.READY_RAD)
    # Looked at every 0.04 rad, in which a tool half a metre away moves in an arc of 0.1 mm.
    assert excess_between([q, *way]) < 2e-4


def test_room_outside_is_the_first_piece_s_alone():
    # Behind the box by a centimetre, as an arm may be measured; the straight way from x = 0.14 m to
    # 0.40 m at one height rises by 37 mm, and the box ends 10 mm above both.
    limits = replace(
        LIMITS,
        workspace_low_m=np.array([0.15, -0.4, 0.01]),
        workspace_high_m=np.array([0.5, 0.4, 0.22]),
    )
    down = kinematics.forward(arm.READY_RAD)[:3, :3]
    start, target = (
        kinematics.inverse(transform(down, np.array([x, 0.0, 0.21])), arm.READY_RAD)
        for x in (0.14, 0.40)
    )
    with pytest.raises(SafetyError, match="no way inside the workspace was found"):
        way_round(limits, INSIDE, start, target, 0)
    way = way_round(limits, np.array([0.06, 0, 0, 0, 0, 0, 0]), start, target, 0)
    assert len(way) > 1
    assert not limits.excess(np.array(way)).any()
    assert excess_between(way, limits) < 2e-4


def test_no_way_is_one_sentence():
    outside = arm.READY_RAD + [2.5, 0, 0, 0, 0, 0]
    with pytest.raises(SafetyError, match=r"no way inside the workspace was found .* move the arm"):
        way_round(LIMITS, INSIDE, arm.READY_RAD, outside, 0)
