"""Rotations and rigid transforms: matrices inside, rotation vectors in actions.

One convention: `T_a_b` (4, 4) takes points of frame b into frame a. Rotation vectors are
axis x angle [rad]; quaternions are (w, x, y, z), unit, w >= 0.
"""

import numpy as np

# Below this angle [rad] the series of sin and cos is exact to double precision.
_SMALL_ANGLE_RAD = 1e-6


def skew(v: np.ndarray) -> np.ndarray:
    """Return the (3, 3) matrix whose product with w is the cross product v x w."""
    x, y, z = v
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def matrix_from_rotvec(rotvec: np.ndarray) -> np.ndarray:
    """Return the rotation matrix (3, 3) of a rotation vector (3,) [rad] (Rodrigues)."""
    rotvec = np.asarray(rotvec, dtype=np.float64)
    angle = float(np.linalg.norm(rotvec))
    k = skew(rotvec)
    if angle < _SMALL_ANGLE_RAD:
        return np.eye(3) + k + 0.5 * k @ k
    return np.eye(3) + np.sin(angle) / angle * k + (1.0 - np.cos(angle)) / angle**2 * k @ k


def rotvec_from_matrix(rotation: np.ndarray) -> np.ndarray:
    """Return the rotation vector (3,) [rad], angle in [0, pi], of a rotation matrix (3, 3)."""
    w, x, y, z = quat_from_matrix(rotation)
    axis = np.array([x, y, z])
    sine = float(np.linalg.norm(axis))
    if sine < _SMALL_ANGLE_RAD:
        return 2.0 * axis / w
    return 2.0 * np.arctan2(sine, w) / sine * axis


def matrix_from_quat(quat_wxyz: np.ndarray) -> np.ndarray:
    """Return the rotation matrix (3, 3) of a quaternion (4,) (w, x, y, z) of any length > 0."""
    w, x, y, z = np.asarray(quat_wxyz, dtype=np.float64) / np.linalg.norm(quat_wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quat_from_matrix(rotation: np.ndarray) -> np.ndarray:
    """Return the unit quaternion (4,) (w, x, y, z) with w >= 0 of a rotation matrix (3, 3).

    Takes the largest of the four components first, so that nothing is divided by a small number.
    """
    m = np.asarray(rotation, dtype=np.float64)
    squares = np.array(
        [
            1.0 + m[0, 0] + m[1, 1] + m[2, 2],
            1.0 + m[0, 0] - m[1, 1] - m[2, 2],
            1.0 - m[0, 0] + m[1, 1] - m[2, 2],
            1.0 - m[0, 0] - m[1, 1] + m[2, 2],
        ]
    )
    largest = int(np.argmax(squares))
    rows = (
        (squares[0], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]),
        (m[2, 1] - m[1, 2], squares[1], m[1, 0] + m[0, 1], m[0, 2] + m[2, 0]),
        (m[0, 2] - m[2, 0], m[1, 0] + m[0, 1], squares[2], m[2, 1] + m[1, 2]),
        (m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2], squares[3]),
    )
    quat = np.array(rows[largest])
    quat /= np.linalg.norm(quat)
    return -quat if quat[0] < 0 else quat


def matrix_from_rpy(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Return Rz(yaw) Ry(pitch) Rx(roll) (3, 3), angles in rad (the URDF's fixed-axis order)."""
    cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (np.cos, np.sin))
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def transform(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Return T (4, 4) with the rotation (3, 3) and the translation (3,) [m]."""
    result = np.eye(4)
    result[:3, :3] = rotation
    result[:3, 3] = translation
    return result


def inverse_transform(T_a_b: np.ndarray) -> np.ndarray:
    """Return T_b_a (4, 4) of the rigid transform T_a_b (4, 4)."""
    rotation = T_a_b[:3, :3]
    return transform(rotation.T, -rotation.T @ T_a_b[:3, 3])
