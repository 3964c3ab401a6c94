import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import KinematicsError
from vla_ros.core.rotations import matrix_from_rpy, rotvec_from_matrix, transform

joints = st.tuples(
    *[st.floats(low, high) for low, high in zip(arm.LOWER_RAD, arm.UPPER_RAD, strict=True)]
).map(np.array)


def tool_down(x, y, z, yaw=0.0, tilt=0.0):
    rotation = matrix_from_rpy(tilt, 0.0, yaw) @ matrix_from_rpy(0.0, np.pi / 2, 0.0)
    return transform(rotation, np.array([x, y, z]))


def assert_same_pose(T_a, T_b):
    assert np.linalg.norm(T_a[:3, 3] - T_b[:3, 3]) < 1e-4
    assert np.linalg.norm(rotvec_from_matrix(T_a[:3, :3] @ T_b[:3, :3].T)) < 1e-3


def test_all_zero_is_the_urdf_home_pose():
    T = kinematics.forward(arm.HOME_RAD)
    # 0.04975 + 0.175 + 0.075 + 0.065 + 0.093575 ahead, 0.072 + 0.03865 + 0.25 up.
    np.testing.assert_allclose(T[:3, 3], [0.458325, 0.0, 0.36065])
    np.testing.assert_allclose(T[:3, :3], np.eye(3))


def test_waist_turns_the_reach_to_the_left():
    q = np.array([np.pi / 2, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(kinematics.forward(q)[:3, 3], [0, 0.458325, 0.36065], atol=1e-12)


def test_elbow_up_points_the_forearm_at_the_ceiling():
    T = kinematics.forward(np.array([0, 0, -np.pi / 2, 0, 0, 0]))
    np.testing.assert_allclose(T[:3, 3], [0.04975, 0, 0.36065 + 0.408575], atol=1e-12)
    np.testing.assert_allclose(T[:3, 0], [0, 0, 1], atol=1e-12)


def test_ready_pose_points_the_tool_down_above_the_table():
    T = kinematics.forward(arm.READY_RAD)
    assert_same_pose(T, tool_down(0.25, 0.0, 0.15))


def test_wrist_rotation_moves_no_tool_point():
    q = np.array([0.3, -0.2, 0.4, 0.5, 1.0, 0.0])
    turned = q + [0, 0, 0, 0, 0, 1.0]
    np.testing.assert_allclose(kinematics.forward(q)[:3, 3], kinematics.forward(turned)[:3, 3])


@given(joints)
@settings(deadline=None, max_examples=50)
def test_jacobian_is_the_finite_difference_of_forward(q):
    step = 1e-6
    expected = np.empty((6, 6))
    for joint in range(6):
        up, down = q.copy(), q.copy()
        up[joint] += step
        down[joint] -= step
        T_up, T_down = kinematics.forward(up), kinematics.forward(down)
        expected[:3, joint] = (T_up[:3, 3] - T_down[:3, 3]) / (2 * step)
        expected[3:, joint] = rotvec_from_matrix(T_up[:3, :3] @ T_down[:3, :3].T) / (2 * step)
    np.testing.assert_allclose(kinematics.jacobian(q), expected, atol=1e-6)


@given(
    st.floats(0.14, 0.36),
    st.floats(-0.30, 0.30),
    st.floats(0.02, 0.15),
    st.floats(-1.3, 1.3),
    st.floats(-0.25, 0.25),
)
@settings(deadline=None, max_examples=100)
def test_inverse_finds_every_tool_down_pose_over_the_table_from_ready(x, y, z, yaw, tilt):
    shrink = min(1.0, 0.42 / np.hypot(x, y))
    T = tool_down(x * shrink, y * shrink, z, yaw, tilt)
    q = kinematics.inverse(T, arm.READY_RAD)
    assert np.all((q >= arm.LOWER_RAD) & (q <= arm.UPPER_RAD))
    assert_same_pose(kinematics.forward(q), T)


@given(
    st.tuples(
        st.floats(-2.0, 2.0),
        st.floats(-0.8, 0.5),
        st.floats(-0.3, 0.9),
        st.floats(-1.0, 1.0),
        st.floats(0.3, 1.8),
        st.floats(-2.0, 2.0),
    ).map(np.array)
)
@settings(deadline=None, max_examples=100)
def test_warm_started_inverse_returns_the_joints_that_made_the_pose(q):
    start = q + 0.05 * np.array([1, -1, 1, -1, 1, -1])
    np.testing.assert_allclose(kinematics.inverse(kinematics.forward(q), start), q, atol=0.02)


def test_pose_of_the_start_needs_no_step():
    q = kinematics.inverse(kinematics.forward(arm.SLEEP_RAD), arm.SLEEP_RAD)
    np.testing.assert_array_equal(q, arm.SLEEP_RAD)


def test_pose_out_of_reach_is_refused_with_its_position():
    with pytest.raises(KinematicsError, match=r"tool pose at \[0\.9, 0\.0, 0\.1\] m has no joint"):
        kinematics.inverse(tool_down(0.9, 0.0, 0.1), arm.READY_RAD)


@pytest.mark.parametrize("spoiled", ["pose", "start"])
def test_not_a_number_is_refused_by_inverse(spoiled):
    T, q = tool_down(0.25, 0.0, 0.1), arm.READY_RAD.copy()
    (T if spoiled == "pose" else q)[0] = np.nan
    with pytest.raises(KinematicsError, match="must be finite"):
        kinematics.inverse(T, q)


def test_finger_tips_reach_15_mm_under_the_tool_point_when_it_points_down():
    points = kinematics.link_points(arm.READY_RAD)
    assert points.shape == (9, 3)
    # 0.109 from the wrist to the tips, 0.093575 to the tool point at 0.15.
    assert points[:, 2].min() == pytest.approx(0.15 - 0.015425, abs=1e-4)


def test_link_points_hold_elbow_and_wrist():
    points = kinematics.link_points(arm.HOME_RAD)
    np.testing.assert_allclose(points[0], [0.04975, 0, 0.36065])
    np.testing.assert_allclose(points[1], [0.29975, 0, 0.36065])
    np.testing.assert_allclose(points[2], [0.36475, 0, 0.36065])
    # The level finger tips are 29 mm high.
    assert np.ptp(points[:, 2]) == pytest.approx(0.029)


def product_of_transforms(q):
    """Return T (4, 4) of each joint's frame and of the tool: the chain as the URDF has it."""
    T, frames = np.eye(4), []
    for offset, axis, angle in zip(arm.JOINT_OFFSETS_M, arm.JOINT_AXES, q, strict=True):
        rpy = {"x": (angle, 0, 0), "y": (0, angle, 0), "z": (0, 0, angle)}[axis]
        T = T @ transform(matrix_from_rpy(*rpy), offset)
        frames.append(T)
    return [*frames, T @ transform(np.eye(3), arm.TOOL_OFFSET_M)]


@given(joints)
@settings(deadline=None, max_examples=50)
def test_closed_form_is_the_product_of_the_chains_transforms(q):
    *frames, tool = product_of_transforms(q)
    np.testing.assert_allclose(kinematics.forward(q), tool, atol=1e-12)
    # Elbow, forearm's end (wrist_angle) and wrist (wrist_rotate), then the gripper in the tool.
    expected = [*(frames[joint][:3, 3] for joint in (2, 4, 5))]
    expected += [*(kinematics.GRIPPER_POINTS_M @ tool[:3, :3].T + tool[:3, 3])]
    np.testing.assert_allclose(kinematics.link_points(q), expected, atol=1e-12)
    # Column by column: the joint's axis, and its cross product with the lever to the tool.
    for joint, (frame, name) in enumerate(zip(frames, arm.JOINT_AXES, strict=True)):
        axis = frame[:3, "xyz".index(name)]
        lever = np.cross(axis, tool[:3, 3] - frame[:3, 3])
        np.testing.assert_allclose(kinematics.jacobian(q)[:, joint], [*lever, *axis], atol=1e-12)


def damped_least_squares(T, q):
    """The descent of `inverse` in plain matrices."""
    weight = np.diag([1, 1, 1, 0.3, 0.3, 0.3])
    for _ in range(60):
        now = kinematics.forward(q)
        turn = rotvec_from_matrix(T[:3, :3] @ now[:3, :3].T)
        if np.linalg.norm(T[:3, 3] - now[:3, 3]) < 1e-4 and np.linalg.norm(turn) < 1e-3:
            return q
        J, e = weight @ kinematics.jacobian(q), weight @ [*(T[:3, 3] - now[:3, 3]), *turn]
        outwards = np.where(J.T @ e > 0, q >= arm.UPPER_RAD, q <= arm.LOWER_RAD)
        J = J * ~outwards
        step = J.T @ np.linalg.inv(J @ J.T + 1e-6 * np.eye(6)) @ e
        step *= min(1.0, 0.3 / np.abs(step).max())
        q = np.clip(q + step, arm.LOWER_RAD, arm.UPPER_RAD)
    return None


@given(joints, st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_inverse_is_damped_least_squares_step_by_step(q, seed):
    start = q + np.random.default_rng(seed).uniform(-0.5, 0.5, 6)
    start = np.clip(start, arm.LOWER_RAD, arm.UPPER_RAD)
    T = kinematics.forward(q)
    expected = damped_least_squares(T, start)
    if expected is None:
        with pytest.raises(KinematicsError):
            kinematics.inverse(T, start)
    else:
        np.testing.assert_allclose(kinematics.inverse(T, start), expected, atol=1e-7)


@given(st.lists(joints, min_size=1, max_size=4))
@settings(deadline=None, max_examples=30)
def test_lowest_point_is_that_of_all_link_points(path):
    tool, points = kinematics.tool_and_link_points(np.array(path))
    fast_tool, lowest_m = kinematics.tool_and_lowest_m(np.array(path))
    np.testing.assert_allclose(fast_tool.T, tool, atol=1e-12)
    np.testing.assert_allclose(lowest_m, points[:, :, 2].min(axis=1), atol=1e-12)
    T = kinematics.forward(path[0])
    expected = kinematics.gripper_points(T)[:, 2].min()
    assert kinematics.lowest_gripper_point_m(T) == pytest.approx(expected, abs=1e-12)


@given(st.lists(joints, min_size=1, max_size=4))
@settings(deadline=None, max_examples=30)
def test_many_poses_at_a_time_equal_one_at_a_time(path):
    tool, points = kinematics.tool_and_link_points(np.array(path))
    for i, q in enumerate(path):
        T = kinematics.forward(q)
        np.testing.assert_allclose(tool[i], T[:3, 3], atol=1e-12)
        np.testing.assert_allclose(points[i], kinematics.link_points(q), atol=1e-12)
        np.testing.assert_allclose(points[i, 3:], kinematics.gripper_points(T), atol=1e-12)


def test_a_tool_is_held_up_by_how_much_higher_it_stands_than_commanded():
    # All zero, the tool stands 0.36065 m high.
    raised = np.array([0.0, -0.1, 0.0, 0.0, 0.0, 0.0])
    rise_m = kinematics.forward(raised)[2, 3] - 0.36065
    assert kinematics.held_up_m(raised, np.zeros(6)) == pytest.approx(rise_m, abs=1e-6)
    assert rise_m > 0.03
