"""Chunks of poses and displacements, as joint way-points."""

import numpy as np
import pytest

from vla_ros.core import arm, kinematics
from vla_ros.core.actions import apply_ee_delta
from vla_ros.core.chunk_joints import joint_way
from vla_ros.core.errors import KinematicsError
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.observation import Chunk

LIMITS = wx250s_limits()
READY = arm.READY_RAD
T_READY = kinematics.forward(READY)


def poses(*x_m):
    """Return a chunk of poses at distances along x from the ready pose."""
    T = np.tile(T_READY, (len(x_m), 1, 1))
    T[:, 0, 3] += x_m
    return Chunk(np.zeros((len(x_m), 10)), 0.2, np.ones(len(x_m)), T)


def tool_m(q):
    return kinematics.forward(q)[:3, 3]


def test_poses_become_joints_that_reach_them():
    plan, cut = joint_way(poses(0.02, 0.04), 7, READY, LIMITS)
    assert (cut, plan.stamp_ns, plan.step_s, plan.from_arrival) == ("", 7, 0.2, False)
    for q, x_m in zip(plan.q_rad, (0.02, 0.04), strict=True):
        np.testing.assert_allclose(tool_m(q), T_READY[:3, 3] + [x_m, 0, 0], atol=1e-5)


def test_what_comes_after_a_pose_out_of_reach_is_cut_and_the_rest_stays():
    limits = wx250s_limits(workspace_high_m=(0.8, 0.4, 0.5))
    plan, cut = joint_way(poses(0.02, 0.5, 0.04), 0, READY, limits)
    assert (len(plan.q_rad), len(plan.opening)) == (1, 1)
    assert cut.startswith("way-point 2 of 3: ")
    with pytest.raises(KinematicsError):
        joint_way(poses(0.5), 0, READY, limits)


def test_poses_outside_the_workspace_are_taken_at_its_bound():
    limits = wx250s_limits(workspace_high_m=(T_READY[0, 3] + 0.031, 0.4, 0.5))
    plan, _ = joint_way(poses(0.02, 0.06), 0, READY, limits)
    np.testing.assert_allclose(tool_m(plan.q_rad[1])[0] - T_READY[0, 3], 0.030, atol=1e-5)


def test_displacements_that_add_up_beyond_the_bound_come_back_with_the_first_one_back():
    limits = wx250s_limits(workspace_high_m=(T_READY[0, 3] + 0.031, 0.4, 0.5))
    actions = np.zeros((4, 7))
    actions[:, 0] = (0.02, 0.02, 0.02, -0.01)
    plan, _ = joint_way(Chunk(actions, 0.2, np.ones(4)), 0, READY, limits)
    assert plan.from_arrival
    x_m = [tool_m(q)[0] - T_READY[0, 3] for q in plan.q_rad]
    np.testing.assert_allclose(x_m, [0.02, 0.03, 0.03, 0.02], atol=1e-5)


def test_a_joint_at_its_limit_holds_up_its_own_part_of_the_motion_alone():
    q = READY.copy()
    q[0] = arm.UPPER_RAD[0] - 1e-3
    T = kinematics.forward(q)
    # To its left the waist is at its end; up there is a way on.
    left = np.array([-T[1, 3], T[0, 3], 0.0]) / np.hypot(*T[:2, 3])
    actions = np.zeros((3, 7))
    actions[0, :3] = 0.03 * left + [0.0, 0.0, 0.02]
    actions[2, :3] = -0.03 * left
    with pytest.raises(KinematicsError, match="mm and .* rad short"):
        kinematics.inverse(apply_ee_delta(T, actions[0])[0], q)
    behind = wx250s_limits(workspace_low_m=(-0.6, -0.4, 0.0))
    plan, cut = joint_way(Chunk(actions, 0.2, np.ones(3)), 0, q, behind)
    assert cut == ""
    assert (plan.q_rad <= arm.UPPER_RAD).all()
    moved = np.array([tool_m(one) - T[:3, 3] for one in plan.q_rad])
    np.testing.assert_allclose(moved[:2, 2], 0.02, atol=5e-3)
    # What was not reached need not be undone.
    assert moved[0] @ left < 0.025
    np.testing.assert_allclose((moved[2] - moved[1]) @ left, -0.03, atol=1e-3)


def test_what_is_farther_off_than_a_step_is_out_of_reach():
    far = T_READY.copy()
    far[0, 3] = 0.6
    near = kinematics.inverse(far, READY, 0.3, 1.0)
    short_m = float(np.linalg.norm(tool_m(near) - far[:3, 3]))
    assert 0.05 < short_m < 0.3
    with pytest.raises(KinematicsError, match="mm and .* rad short"):
        kinematics.inverse(far, READY, short_m - 0.01, 1.0)
