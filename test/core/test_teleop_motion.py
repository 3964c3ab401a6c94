"""Twists become targets that the guard takes, no faster than asked, along walls."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core import arm, kinematics
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.rotations import rotvec_from_matrix
from vla_ros.core.safety import CommandGuard
from vla_ros.core.teleop_motion import TeleopMotion, moved

PERIOD_S = 0.02
LIMITS = wx250s_limits()
DOWN = np.array([0.0, 0.0, -0.1, 0.0, 0.0, 0.0])


class Driven:
    """A guard at a pose, and the motion that gives it targets."""

    def __init__(self, q=arm.READY_RAD):
        self.guard, self.motion = CommandGuard(LIMITS, PERIOD_S), TeleopMotion(LIMITS, PERIOD_S)
        self.guard.reset(q, 1.0)
        self.motion.begin(*self.guard.commanded)

    def drive(self, twist, periods, frame="base"):
        for _ in range(periods):
            self.motion.step(np.asarray(twist, dtype=float), frame, self.guard.commanded[0])
            self.guard.step(*self.motion.target)
        return self

    @property
    def tool(self):
        return kinematics.forward(self.guard.commanded[0])


def test_a_pose_moves_and_turns_about_the_base_axes():
    T = moved(kinematics.forward(arm.READY_RAD), np.array([0.01, 0, -0.02, 0, 0, np.pi / 2]))
    np.testing.assert_allclose(T[:3, 3], [0.26, 0.0, 0.13], atol=2e-4)
    # The tool points down; its y axis turns from left to back.
    np.testing.assert_allclose(T[:3, 1], [-1, 0, 0], atol=1e-3)


def test_the_tool_follows_a_twist_and_comes_to_rest_where_it_ends():
    driven = Driven().drive([0.1, 0, 0, 0, 0, 0], 25)
    before = driven.tool[0, 3]
    assert before < 0.30
    driven.drive(np.zeros(6), 25)
    # 25 periods of 2 mm
    np.testing.assert_allclose(driven.tool[:3, 3], [0.30, 0.0, 0.15], atol=1e-3)
    np.testing.assert_allclose(driven.tool[:3, 0], [0, 0, -1], atol=5e-3)
    assert driven.guard.at_rest


def test_the_frame_says_whose_axes_are_meant():
    # Out of the gripper, which points down.
    driven = Driven().drive([0.1, 0, 0, 0, 0, 0], 25, "tool").drive(np.zeros(6), 25)
    np.testing.assert_allclose(driven.tool[:3, 3], [0.25, 0.0, 0.10], atol=1e-3)
    turned = Driven().drive([0, 0, 0, 0.5, 0, 0], 25, "tool").drive(np.zeros(6), 25)
    start = kinematics.forward(arm.READY_RAD)[:3, :3]
    rotvec = rotvec_from_matrix(turned.tool[:3, :3] @ start.T)
    np.testing.assert_allclose(rotvec, [0, 0, -0.25], atol=5e-3)


def test_at_the_table_it_glides_on_and_says_that_it_is_hindered():
    driven = Driven().drive(DOWN, 80)
    assert driven.motion.hindered
    floor = kinematics.tool_and_lowest_m(driven.guard.commanded[0][None])[1][0]
    assert 0.005 <= floor < 0.01
    x = driven.tool[0, 3]
    driven.drive([0.1, 0, -0.1, 0, 0, 0], 50)
    assert driven.tool[0, 3] > x + 0.05
    assert driven.motion.hindered
    driven.drive(-DOWN, 10)
    assert not driven.motion.hindered


def test_a_target_waits_for_an_arm_that_is_held():
    driven = Driven()
    for _ in range(400):
        driven.motion.step(np.array([0.1, 0, 0, 0, 0, 0]), "base", arm.READY_RAD)
    lead = np.abs(driven.motion.target[0] - arm.READY_RAD).max()
    assert 0.25 < lead < 0.35
    assert driven.motion.hindered


def test_from_the_sleep_pose_home_at_a_bounded_speed():
    driven, fastest = Driven(arm.SLEEP_RAD), 0.0
    for _ in range(400):
        before = driven.guard.commanded[0]
        driven.motion.approach(arm.READY_RAD, 0.3, before)
        driven.guard.step(*driven.motion.target)
        fastest = max(fastest, np.abs(driven.guard.commanded[0] - before).max() / PERIOD_S)
    np.testing.assert_allclose(driven.guard.commanded[0], arm.READY_RAD, atol=1e-6)
    assert 0.25 < fastest < 0.36


def test_the_gripper_closes_and_opens_by_turns():
    motion = TeleopMotion(LIMITS, PERIOD_S)
    motion.begin(arm.READY_RAD, 0.9)
    openings = []
    for _ in range(3):
        motion.toggle_gripper()
        openings.append(motion.target[1])
    assert openings == [0.0, 1.0, 0.0]


share = st.floats(-1.0, 1.0)
legs = st.tuples(st.tuples(*[share] * 6), st.sampled_from(["base", "tool"]), st.integers(1, 25))


@settings(max_examples=8, deadline=None)
@given(st.lists(legs, min_size=1, max_size=4))
def test_the_guard_takes_every_target_and_the_tool_is_never_faster_than_asked(sequence):
    driven = Driven()
    for shares, frame, periods in sequence:
        twist = np.array(shares) * [0.1, 0.1, 0.1, 0.6, 0.6, 0.6]
        for _ in range(periods):
            before = kinematics.forward(driven.motion.target[0])[:3, 3]
            driven.drive(twist, 1, frame)  # the guard raises SafetyError for what it refuses
            after = kinematics.forward(driven.motion.target[0])[:3, 3]
            step_m = np.linalg.norm(twist[:3]) * PERIOD_S
            # Inverse kinematics is accurate to 0.1 mm.
            assert np.linalg.norm(after - before) <= step_m + 2.5e-4
            assert not driven.guard.blocked
        assert np.all(LIMITS.excess(driven.guard.commanded[0][None]) <= 1e-9)


def test_stretched_out_of_the_box_no_joint_is_too_quick_and_the_way_in_is_free():
    # 4 cm outside, elbow nearly straight: it has to fold quickly for a little way.
    driven = Driven(np.array([0.0, 0.6, -0.65, 0.0, 0.9, 0.0]))
    outside = LIMITS.excess(driven.guard.commanded[0][None])[0]
    assert outside[3] > 0.03
    for twist in ([0.1, 0, 0.1, 0, 0, 0], [-0.1, 0, 0, 0, 0, 0]):
        for _ in range(60):
            before = driven.motion.target[0]
            driven.drive(twist, 1)  # the guard raises SafetyError for what it refuses
            assert np.abs(driven.motion.target[0] - before).max() <= 1.0 * PERIOD_S + 1e-9
    np.testing.assert_array_equal(LIMITS.excess(driven.guard.commanded[0][None])[0], 0.0)


@pytest.mark.parametrize("frame", ["base", "tool"])
def test_nothing_asked_is_nothing_moved(frame):
    driven = Driven()
    driven.drive(np.zeros(6), 3, frame)
    np.testing.assert_array_equal(driven.guard.commanded[0], arm.READY_RAD)
    assert not driven.motion.hindered
