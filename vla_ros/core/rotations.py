"""Rotations and rigid transforms: matrices inside, rotation vectors in actions.

One convention: `T_a_b` (4, 4) takes points of frame b into frame a. Rotation vectors are
axis x angle [rad]; quaternions are (w, x, y, z), unit, w >= 0.
"""

import math

import numpy as np

# Below this angle [rad] the series of sin and cos is exact to double precision.
_SMALL_ANGLE_RAD = 1e-6
_EYE_44 = np.eye(4)


def skew(v: np.ndarray) -> np.ndarray:
    """Return the (3, 3) matrix whose product with w is the cross product v x w."""
    x, y, z = v
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def matrix_from_rotvec(rotvec: np.ndarray) -> np.ndarray:
    """Return the rotation matrix (3, 3) of a rotation vector (3,) [rad] (Rodrigues)."""
    x, y, z = np.asarray(rotvec, dtype=np.float64).tolist()
    square = x * x + y * y + z * z
    angle = math.sqrt(square)
    if angle < _SMALL_ANGLE_RAD:
        sine, versine = 1.0, 0.5
    else:
        sine, versine = math.sin(angle) / angle, (1.0 - math.cos(angle)) / square
    # 1 + sine K + versine K^2 with K = skew(rotvec), written out: plain numbers are faster.
    xy, xz, yz = versine * x * y, versine * x * z, versine * y * z
    xx, yy, zz = versine * x * x, versine * y * y, versine * z * z
    x, y, z = sine * x, sine * y, sine * z
    return np.array(
        [
            [1.0 - yy - zz, xy - z, xz + y],
            [xy + z, 1.0 - xx - zz, yz - x],
            [xz - y, yz + x, 1.0 - xx - yy],
        ]
    )


def matrices_from_rotvecs(rotvecs: np.ndarray) -> np.ndarray:
    """Return the rotation matrices (..., 3, 3) float64 of rotation vectors (..., 3) [rad]."""
    rotvecs = np.asarray(rotvecs, dtype=np.float64)
    angle = np.linalg.norm(rotvecs, axis=-1)[..., None, None]
    # np.sinc(x) is sin(pi x) / (pi x), also at 0; 1 - cos a = 2 sin^2(a / 2).
    sine, versine = np.sinc(angle / np.pi), 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    x, y, z = np.moveaxis(rotvecs, -1, 0)
    zero = np.zeros_like(x)
    K = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*rotvecs.shape, 3)
    return np.eye(3) + sine * K + versine * (K @ K)


def rotvec_from_matrix(rotation: np.ndarray) -> np.ndarray:
    """Return the rotation vector (3,) [rad], angle in [0, pi], of a rotation matrix (3, 3)."""
    w, x, y, z = _quat(rotation)
    sine = math.hypot(x, y, z)
    scale = 2.0 / w if sine < _SMALL_ANGLE_RAD else 2.0 * math.atan2(sine, w) / sine
    return np.array([scale * x, scale * y, scale * z])


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
    return np.array(_quat(rotation))


def _quat(rotation: np.ndarray) -> tuple[float, float, float, float]:
    (a, b, c), (d, e, f), (g, h, i) = np.asarray(rotation, dtype=np.float64).tolist()
    squares = (1.0 + a + e + i, 1.0 + a - e - i, 1.0 - a + e - i, 1.0 - a - e + i)
    largest = squares.index(max(squares))
    if largest == 0:
        w, x, y, z = squares[0], h - f, c - g, d - b
    elif largest == 1:
        w, x, y, z = h - f, squares[1], d + b, c + g
    elif largest == 2:
        w, x, y, z = c - g, d + b, squares[2], h + f
    else:
        w, x, y, z = d - b, c + g, h + f, squares[3]
    length = math.copysign(math.sqrt(w * w + x * x + y * y + z * z), w if w != 0.0 else 1.0)
    return w / length, x / length, y / length, z / length


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
    result = _EYE_44.copy()
    result[:3, :3] = rotation
    result[:3, 3] = translation
    return result


def inverse_transform(T_a_b: np.ndarray) -> np.ndarray:
    """Return T_b_a (4, 4) of the rigid transform T_a_b (4, 4)."""
    rotation = T_a_b[:3, :3]
    return transform(rotation.T, -rotation.T @ T_a_b[:3, 3])
