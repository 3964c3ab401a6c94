"""The bounds B of undirected play: where the tool may be, and how far a pose is inside."""

import math

import numpy as np

from vla_ros.core import kinematics
from vla_ros.core.play_parameters import NOISE_SPAN, ExplorationParameters
from vla_ros.core.rotations import matrix_from_rotvec, transform

# Tool x axis straight down, fingers along y: a quarter turn about y.
_TOOL_DOWN = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
# The finger tips' furthest distance from the tool point: what turning may lower them by, per rad.
_TIP_LEVER_M = float(np.linalg.norm(kinematics.GRIPPER_POINTS_M[2:], axis=1).max())


def height_m(T_base_tool: np.ndarray) -> float:
    """Return the height [m] of the lowest point of the gripper over the table."""
    return kinematics.lowest_gripper_point_m(T_base_tool)


def tilt_rad(T_base_tool: np.ndarray) -> float:
    """Return how far the tool leans from straight down [rad]."""
    return math.acos(min(max(-float(T_base_tool[2, 0]), -1.0), 1.0))


def clearances(parameters: ExplorationParameters, T_base_tool: np.ndarray) -> np.ndarray:
    """Return how far a tool pose (4, 4) is inside the bounds (8,); below 0 is outside.

    x low, x high, y low, y high, radius, height low, height high [m], tilt [rad].
    """
    p = parameters
    x, y = T_base_tool[:2, 3].tolist()
    height = height_m(T_base_tool)
    return np.array(
        [
            x - p.x_low_m,
            p.x_high_m - x,
            y + p.y_limit_m,
            p.y_limit_m - y,
            p.radius_limit_m - math.hypot(x, y),
            height - p.height_low_m,
            p.height_high_m - height,
            p.tilt_limit_rad - tilt_rad(T_base_tool),
        ]
    )


def noise_reach(parameters: ExplorationParameters) -> np.ndarray:
    """Return the largest that the noise may take from each of `clearances` (8,)."""
    shift = NOISE_SPAN * parameters.noise_position_m
    turn = np.sqrt(3) * NOISE_SPAN * parameters.noise_rotation_rad
    lower = shift + _TIP_LEVER_M * turn
    return np.array([shift] * 4 + [np.sqrt(2) * shift, lower, lower, turn])


def draw_pose(
    parameters: ExplorationParameters,
    generator: np.random.Generator,
    low_m: np.ndarray,
    high_m: np.ndarray,
) -> np.ndarray:
    """Return a random tool pose (4, 4) over a rectangle, at a height, inside tilt and yaw.

    Args:
        parameters: yaw and tilt limits.
        generator: the source of chance.
        low_m, high_m: (3,) x, y of the tool point and height of the gripper's lowest point.
    """
    p = parameters
    x, y, height = generator.uniform(low_m, high_m)
    yaw = generator.uniform(-p.yaw_limit_rad, p.yaw_limit_rad)
    tilt, towards = generator.uniform([0.0, -np.pi], [p.tilt_limit_rad, np.pi])
    turn = matrix_from_rotvec(np.array([0.0, 0.0, yaw]))
    lean = matrix_from_rotvec(tilt * np.array([np.cos(towards), np.sin(towards), 0.0]))
    return at_height(transform(lean @ turn @ _TOOL_DOWN, np.array([x, y, 0.0])), height)


def at_height(T_base_tool: np.ndarray, lowest_m: float) -> np.ndarray:
    """Return the pose (4, 4) raised or lowered until its lowest point is at `lowest_m` [m]."""
    pose = np.array(T_base_tool, dtype=np.float64)
    pose[2, 3] += lowest_m - height_m(pose)
    return pose
