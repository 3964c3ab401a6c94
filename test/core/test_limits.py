from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import SafetyError
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.rotations import matrix_from_rpy, transform


def test_defaults_are_slower_and_narrower_than_the_servos():
    limits = wx250s_limits()
    assert np.all(limits.velocity_rad_s < arm.VELOCITY_LIMIT_RAD_S)
    assert np.all(limits.acceleration_rad_s2 < arm.ACCELERATION_LIMIT_RAD_S2)
    assert np.all((limits.low_rad > arm.LOWER_RAD) & (limits.high_rad < arm.UPPER_RAD))


@pytest.mark.parametrize("pose", [arm.HOME_RAD, arm.SLEEP_RAD, arm.READY_RAD])
def test_named_poses_are_inside_the_workspace(pose):
    np.testing.assert_array_equal(wx250s_limits().excess(pose[None]), np.zeros((1, 7)))


def test_excess_tells_by_how_much_and_where():
    limits = replace(
        wx250s_limits(),
        workspace_low_m=np.array([0.3, -0.1, 0.2]),
        workspace_high_m=np.array([0.4, 0.1, 0.5]),
        table_clearance_m=0.35,
    )
    # Home: tool at (0.458325, 0, 0.36065), its finger tips 14.5 mm lower.
    np.testing.assert_allclose(
        limits.excess(arm.HOME_RAD[None]),
        [[0, 0, 0, 0.058325, 0, 0, 0.35 - (0.36065 - 0.0145)]],
        atol=1e-12,
    )
    # Ready: tool at (0.25, 0, 0.15), tips 15.4 mm lower.
    np.testing.assert_allclose(
        limits.excess(arm.READY_RAD[None]),
        [[0.05, 0, 0.05, 0, 0, 0, 0.35 - 0.134575]],
        atol=2e-5,
    )


def test_limits_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        wx250s_limits().velocity_rad_s[0] = 9.0


@given(
    st.tuples(*[st.floats(-1.0, 1.0)] * 3),
    st.tuples(st.floats(-0.5, 0.5), st.floats(0.5, 2.0), st.floats(-3.0, 3.0)),
)
@settings(deadline=None, max_examples=50)
def test_clamped_pose_is_inside_and_keeps_its_orientation(position, rpy):
    limits = wx250s_limits()
    pose = transform(matrix_from_rpy(*rpy), np.array(position))
    clamped = limits.clamp_pose(pose)
    np.testing.assert_array_equal(clamped[:3, :3], pose[:3, :3])
    assert kinematics.gripper_points(clamped)[:, 2].min() > limits.table_clearance_m
    assert np.all(clamped[:3, 3] > limits.workspace_low_m)
    assert np.all(clamped[:3, 3] < limits.workspace_high_m)


def test_pose_inside_is_not_clamped():
    pose = kinematics.forward(arm.READY_RAD)
    np.testing.assert_array_equal(wx250s_limits().clamp_pose(pose), pose)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"velocity_rad_s": 0.0}, r"velocity_rad_s \(.*\) must be from 0.1 to 3.14 rad/s, got 0.0"),
        ({"velocity_rad_s": 3.2}, "velocity_rad_s .* must be from"),
        ({"velocity_rad_s": np.nan}, "velocity_rad_s .* must be from"),
        ({"acceleration_rad_s2": 5.1}, "acceleration_rad_s2 .* must be from 0.5 to 5.0"),
        ({"table_clearance_m": -0.01}, "table_clearance_m .* must be from 0.0 to 0.2 m"),
        ({"table_clearance_m": 0.2}, "leaves out the sleep pose"),
        ({"workspace_low_m": (0.2, -0.4, 0.0)}, r"leaves out the sleep pose \(tool at \[0\.123"),
        ({"workspace_low_m": (0.6, -0.4, 0.0)}, "workspace_low_m must be below workspace_high_m"),
        ({"workspace_low_m": (0.1, -0.4)}, "workspace_low_m .* must be 3 numbers"),
        ({"workspace_high_m": (np.inf, 1.0, 1.0)}, "workspace_high_m .* must be from"),
    ],
)
def test_illegal_limits_are_refused(arguments, message):
    with pytest.raises(SafetyError, match=message):
        wx250s_limits(**arguments)


def test_rates_must_be_positive():
    with pytest.raises(SafetyError, match="opening_rate_s must be above 0, got 0"):
        replace(wx250s_limits(), opening_rate_s=0.0)
    with pytest.raises(SafetyError, match="acceleration_rad_s2 must be above 0"):
        replace(wx250s_limits(), acceleration_rad_s2=np.zeros(6))
