"""Forward and inverse kinematics of the WidowX 250s.

The tool frame sits between the finger tips: x points out of the gripper, y is the fingers'
travel. `T_base_tool` (4, 4) takes points of the tool frame into base_link, in metres.
"""

import numpy as np

from vla_ros.core import arm
from vla_ros.core.errors import KinematicsError
from vla_ros.core.rotations import rotvec_from_matrix, skew

# One radian of rotation error weighs as much as this many metres in the solver's norm; 0.3 is
# about the arm's own length, which balances the two.
_ROTATION_WEIGHT_M = 0.3
_DAMPING = 1e-3
_STEP_LIMIT_RAD = 0.3
_MAX_ITERATIONS = 60
_POSITION_TOLERANCE_M = 1e-4
_ROTATION_TOLERANCE_RAD = 1e-3

# What a collision check must keep above the table (bounding boxes of the URDF meshes). Arm: points
# on the frame of one joint, the elbow's crank, the forearm's end and the wrist. Gripper: points in
# the tool frame, the ends of the finger bar and the corners of the finger tips at full opening.
_ARM_POINT_JOINTS = (2, 4, 5)
_BAR_X_M, _BAR_Y_M = 0.043, 0.052
_TIP_X_M, _TIP_Y_M, _TIP_Z_M = 0.109, 0.037, 0.0145
GRIPPER_POINTS_M = (
    np.array(
        [
            [_BAR_X_M, _BAR_Y_M, 0.0],
            [_BAR_X_M, -_BAR_Y_M, 0.0],
            [_TIP_X_M, _TIP_Y_M, _TIP_Z_M],
            [_TIP_X_M, _TIP_Y_M, -_TIP_Z_M],
            [_TIP_X_M, -_TIP_Y_M, _TIP_Z_M],
            [_TIP_X_M, -_TIP_Y_M, -_TIP_Z_M],
        ]
    )
    - arm.TOOL_OFFSET_M
)
GRIPPER_POINTS_M.setflags(write=False)

# A turn by `angle` about a unit axis is C + cos(angle) A + sin(angle) B with constant matrices
# (Rodrigues); one triple (C, A, B) a joint.
_TURN_PARTS = []
for _name in arm.JOINT_AXES:
    _k = skew(np.eye(3)["xyz".index(_name)])
    _TURN_PARTS.append((np.eye(3) + _k @ _k, -_k @ _k, _k))


def _turn(axis: str, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    if axis == "x":
        return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    if axis == "y":
        return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _chain(q: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Return each joint's origin (3,), axis (3,) and rotation after the joint (3, 3), in base."""
    origins, axes, rotations = [], [], []
    rotation, origin = np.eye(3), np.zeros(3)
    for offset, axis, angle in zip(arm.JOINT_OFFSETS_M, arm.JOINT_AXES, q, strict=True):
        origin = origin + rotation @ offset
        axes.append(rotation[:, "xyz".index(axis)])
        rotation = rotation @ _turn(axis, angle)
        origins.append(origin)
        rotations.append(rotation)
    return origins, axes, rotations


def forward(q: np.ndarray) -> np.ndarray:
    """Return T_base_tool (4, 4) for the arm joints q (6,) [rad]."""
    origins, _, rotations = _chain(q)
    pose = np.eye(4)
    pose[:3, :3] = rotations[-1]
    pose[:3, 3] = origins[-1] + rotations[-1] @ arm.TOOL_OFFSET_M
    return pose


def _pose_and_jacobian(q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    origins, axes, rotations = _chain(q)
    tool = origins[-1] + rotations[-1] @ arm.TOOL_OFFSET_M
    axes_3j = np.array(axes).T
    levers_3j = tool[:, None] - np.array(origins).T
    linear = np.array(
        [
            axes_3j[1] * levers_3j[2] - axes_3j[2] * levers_3j[1],
            axes_3j[2] * levers_3j[0] - axes_3j[0] * levers_3j[2],
            axes_3j[0] * levers_3j[1] - axes_3j[1] * levers_3j[0],
        ]
    )
    return tool, rotations[-1], np.vstack([linear, axes_3j])


def jacobian(q: np.ndarray) -> np.ndarray:
    """Return the tool's Jacobian (6, 6) in base_link: rows linear [m/rad], then angular."""
    return _pose_and_jacobian(np.asarray(q, dtype=np.float64))[2]


def inverse(T_base_tool: np.ndarray, q_start: np.ndarray) -> np.ndarray:
    """Return arm joints (6,) [rad], inside the limits, that bring the tool to T_base_tool.

    Damped least squares from `q_start`; it finds the solution nearest in the sense of that
    descent, so warm starts give continuous motion. Accurate to 0.1 mm and 1 mrad.

    Args:
        T_base_tool: wanted tool pose (4, 4), metres, in base_link.
        q_start: joints (6,) [rad] to start from, clipped to the limits.

    Raises:
        KinematicsError: no solution inside the joint limits was reached, or a number is not
            finite.
    """
    if not (np.all(np.isfinite(T_base_tool)) and np.all(np.isfinite(q_start))):
        raise KinematicsError(
            f"tool pose at {T_base_tool[:3, 3]} m and start joints {q_start} rad must be finite; "
            "check the measurement or the policy that gave them"
        )
    target_position = T_base_tool[:3, 3]
    target_rotation = T_base_tool[:3, :3]
    q = np.clip(np.asarray(q_start, dtype=np.float64), arm.LOWER_RAD, arm.UPPER_RAD)
    weight = np.array([1.0, 1.0, 1.0, *[_ROTATION_WEIGHT_M] * 3])
    position_error = rotation_error = np.inf
    for _ in range(_MAX_ITERATIONS):
        tool, rotation, jac = _pose_and_jacobian(q)
        error = np.concatenate(
            [target_position - tool, rotvec_from_matrix(target_rotation @ rotation.T)]
        )
        position_error = float(np.linalg.norm(error[:3]))
        rotation_error = float(np.linalg.norm(error[3:]))
        if position_error < _POSITION_TOLERANCE_M and rotation_error < _ROTATION_TOLERANCE_RAD:
            return q
        # A joint resting on its limit and pushed outwards is left out of the step.
        weighted = weight[:, None] * jac
        gradient = weighted.T @ (weight * error)
        stuck = ((q <= arm.LOWER_RAD) & (gradient < 0)) | ((q >= arm.UPPER_RAD) & (gradient > 0))
        weighted = np.where(stuck[None, :], 0.0, weighted)
        system = weighted @ weighted.T + _DAMPING**2 * np.eye(6)
        step = weighted.T @ np.linalg.solve(system, weight * error)
        largest = float(np.max(np.abs(step)))
        if largest > _STEP_LIMIT_RAD:
            step *= _STEP_LIMIT_RAD / largest
        q = np.clip(q + step, arm.LOWER_RAD, arm.UPPER_RAD)
    raise KinematicsError(
        f"tool pose at {np.round(target_position, 3).tolist()} m has no joint solution "
        f"({position_error * 1000:.1f} mm and {rotation_error:.3f} rad short); "
        "choose a pose nearer to the arm's workspace"
    )


def link_points(q: np.ndarray) -> np.ndarray:
    """Return points (9, 3) [m] in base_link on elbow, wrist, finger bar and finger tips.

    For the table and workspace check; the tips are taken at full opening.
    """
    return tool_and_link_points(np.asarray(q, dtype=np.float64)[None])[1][0]


def gripper_points(T_base_tool: np.ndarray) -> np.ndarray:
    """Return the gripper's part of `link_points` (6, 3) [m] in base_link for a tool pose."""
    return GRIPPER_POINTS_M @ T_base_tool[:3, :3].T + T_base_tool[:3, 3]


def tool_and_link_points(q_n6: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return tool positions (N, 3) and link points (N, 9, 3) [m] of N joint vectors (N, 6)."""
    cosines, sines = np.cos(q_n6), np.sin(q_n6)
    rotation = np.broadcast_to(np.eye(3), (len(q_n6), 3, 3))
    origin = np.zeros((len(q_n6), 3))
    points = []
    for joint, (constant, along_cos, along_sin) in enumerate(_TURN_PARTS):
        origin = origin + rotation @ arm.JOINT_OFFSETS_M[joint]
        if joint in _ARM_POINT_JOINTS:
            points.append(origin[:, None])
        turn = (
            constant
            + cosines[:, joint, None, None] * along_cos
            + sines[:, joint, None, None] * along_sin
        )
        rotation = rotation @ turn
    tool = origin + rotation @ arm.TOOL_OFFSET_M
    points.append(tool[:, None] + GRIPPER_POINTS_M @ rotation.transpose(0, 2, 1))
    return tool, np.concatenate(points, axis=1)


def held_up_m(q_measured: np.ndarray, q_commanded: np.ndarray) -> float:
    """Return how far the tool of joints (6,) [rad] is above where it was commanded to be [m]."""
    return float(forward(q_measured)[2, 3] - forward(q_commanded)[2, 3])
