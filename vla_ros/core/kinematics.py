"""Forward and inverse kinematics of the WidowX 250s.

The tool frame sits between the finger tips: x points out of the gripper, y is the fingers'
travel. `T_base_tool` (4, 4) takes points of the tool frame into base_link, in metres.
"""

import numpy as np

from vla_ros.core import arm
from vla_ros.core.errors import KinematicsError
from vla_ros.core.rotations import rotvec_from_matrix

# One radian of rotation error weighs as much as this many metres in the solver's norm; 0.3 is
# about the arm's own length, which balances the two.
_ROTATION_WEIGHT_M = 0.3
_DAMPING = 1e-3
_STEP_LIMIT_RAD = 0.3
_MAX_ITERATIONS = 60
_POSITION_TOLERANCE_M = 1e-4
_ROTATION_TOLERANCE_RAD = 1e-3

# Points that a collision check must keep above the table, each on the frame of one joint: the
# elbow's crank, the wrist, the ends of the finger bar and the finger tips (bounding boxes of the
# URDF meshes).
_CHECKED_POINTS = (
    (2, (0.0, 0.0, 0.0)),
    (4, (0.0, 0.0, 0.0)),
    (5, (0.0, 0.0, 0.0)),
    (5, (0.043, 0.052, 0.0)),
    (5, (0.043, -0.052, 0.0)),
    (5, (0.109, 0.037, 0.0)),
    (5, (0.109, -0.037, 0.0)),
)


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
        KinematicsError: no solution inside the joint limits was reached.
    """
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
    """Return points (7, 3) [m] in base_link on elbow, wrist, finger bar and finger tips.

    For the table and workspace check; the tips are taken at full opening.
    """
    origins, _, rotations = _chain(q)
    return np.array(
        [origins[joint] + rotations[joint] @ np.array(point) for joint, point in _CHECKED_POINTS]
    )
