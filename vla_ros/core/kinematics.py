"""Forward and inverse kinematics of the WidowX 250s.

The tool frame sits between the finger tips: x points out of the gripper, y is the fingers'
travel. `T_base_tool` (4, 4) takes points of the tool frame into base_link, in metres.
"""

import math
from collections.abc import Sequence

import numpy as np

from vla_ros.core import arm
from vla_ros.core.errors import KinematicsError
from vla_ros.core.rotations import rotvec_from_matrix

# One radian of rotation error weighs as much as this many metres in the solver's norm; 0.3 is
# about the arm's own length, which balances the two.
_ROTATION_WEIGHT_M = 0.3
_WEIGHT = np.array([1.0, 1.0, 1.0, *[_ROTATION_WEIGHT_M] * 3])
_DAMPING_66 = 1e-3**2 * np.eye(6)
_STEP_LIMIT_RAD = 0.3
_MAX_ITERATIONS = 60
_POSITION_TOLERANCE_M = 1e-4
_ROTATION_TOLERANCE_RAD = 1e-3

# What a collision check must keep above the table (bounding boxes of the URDF meshes). Arm: points
# on the frame of one joint, the elbow's crank, the forearm's end and the wrist. Gripper: points in
# the tool frame, the ends of the finger bar and the corners of the finger tips at full opening.
_BAR_X_M, _BAR_Y_M = 0.043, 0.052
_TIP_X_M, _TIP_Y_M, _TIP_Z_M = 0.109, 0.037, 0.0145
_TOOL_X_M = float(arm.TOOL_OFFSET_M[0])
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

# The closed form of the chain z y y x y x (`arm.JOINT_AXES`), with the offsets that are not 0. The
# shoulder and the elbow turn about the same axis, so their angles add up; the three wrist axes meet
# in one point, the wrist (Siciliano et al., Robotics, 2.9: anthropomorphic arm, spherical wrist).
_SHOULDER_Z_M = float(arm.JOINT_OFFSETS_M[:2, 2].sum())
_CRANK_M, _UPPER_M = (float(arm.JOINT_OFFSETS_M[2, i]) for i in (0, 2))
_FOREARM_M = float(arm.JOINT_OFFSETS_M[3:5, 0].sum())
_WRIST_M = float(arm.JOINT_OFFSETS_M[5, 0])
_HAND_M = _WRIST_M + float(arm.TOOL_OFFSET_M[0])
# Up to so many poses, plain numbers one after the other are faster than arrays.
_FEW = 10
_LOWER_RAD, _UPPER_RAD = arm.LOWER_RAD.tolist(), arm.UPPER_RAD.tolist()


class _Chain:
    """The chain at one pose (numbers), or at N poses at a time (arrays (N,)).

    Seen in the arm's plane, which the waist turns about z: r ahead, y to the left, z up. Plain
    numbers are several times faster than arrays of three: one pose is needed 50 times a second.

    Args:
        c, s: cosines and sines of waist, shoulder, shoulder + elbow, and the three wrist joints.

    Attributes:
        elbow, wrist, tool: points (r, z), (r, z) and (r, y, z) [m].
        x: the tool's x axis (r, y, z); y, z: the other two before the last joint's turn.
    """

    __slots__ = ("c", "elbow", "s", "tool", "wrist", "x", "y", "z")

    def __init__(self, c, s):
        self.c, self.s = c, s
        _, c1, cp, c3, c4, _ = c
        _, s1, sp, s3, s4, _ = s
        cp_c3, sp_c3 = cp * c3, sp * c3
        elbow_r, elbow_z = (
            _CRANK_M * c1 + _UPPER_M * s1,
            _SHOULDER_Z_M - _CRANK_M * s1 + _UPPER_M * c1,
        )
        wrist_r, wrist_z = elbow_r + _FOREARM_M * cp, elbow_z - _FOREARM_M * sp
        # Ry(p) Rx(roll) Ry(pitch), column by column.
        x = cp * c4 - sp_c3 * s4, s3 * s4, -sp * c4 - cp_c3 * s4
        self.x, self.y = x, (sp * s3, c3, cp * s3)
        self.z = cp * s4 + sp_c3 * c4, -s3 * c4, cp_c3 * c4 - sp * s4
        self.elbow, self.wrist = (elbow_r, elbow_z), (wrist_r, wrist_z)
        self.tool = wrist_r + _HAND_M * x[0], _HAND_M * x[1], wrist_z + _HAND_M * x[2]

    @classmethod
    def of(cls, q: Sequence[float]) -> "_Chain":
        """Return the chain of 6 plain numbers [rad]."""
        waist, shoulder, elbow, roll, pitch, turn = q
        angles = (waist, shoulder, shoulder + elbow, roll, pitch, turn)
        return cls([math.cos(a) for a in angles], [math.sin(a) for a in angles])

    @classmethod
    def of_many(cls, q_n6: np.ndarray) -> "_Chain":
        """Return the chains of N joint vectors (N, 6) [rad]."""
        angles = q_n6.T.copy()
        angles[2] += angles[1]
        return cls(np.cos(angles), np.sin(angles))

    def turned(self, r, y, z):
        """Return a vector of the arm's plane in base_link."""
        c, s = self.c[0], self.s[0]
        return c * r - s * y, s * r + c * y, z

    def axes(self):
        """Return the tool's three axes in base_link."""
        c, s = self.c[5], self.s[5]
        pairs = tuple(zip(self.y, self.z, strict=True))
        y = (c * along_y + s * along_z for along_y, along_z in pairs)
        z = (c * along_z - s * along_y for along_y, along_z in pairs)
        return self.turned(*self.x), self.turned(*y), self.turned(*z)

    def axes_z(self):
        """Return the third rows of the tool's axes: how much each points up."""
        c, s, along_y, along_z = self.c[5], self.s[5], self.y[2], self.z[2]
        return self.x[2], c * along_y + s * along_z, c * along_z - s * along_y

    def tool_and_lowest(self, least):
        """Return the tool point in base_link and the least height of the link points [m].

        Args:
            least: takes the lesser of two: `min`, or `np.minimum` for arrays.
        """
        x, y, z = self.turned(*self.tool)
        hand = z + least(*_bar_and_tips_m(*self.axes_z()))
        wrist_z = self.wrist[1]
        arm_z = least(least(self.elbow[1], wrist_z), wrist_z + _WRIST_M * self.x[2])
        return x, y, z, least(hand, arm_z)

    def jacobian_columns(self) -> tuple:
        """Return the tool's Jacobian in base_link, a column a joint: axis x lever, then axis."""
        c, s = self.c[0], self.s[0]
        (elbow_r, elbow_z), (r, y, z) = self.elbow, self.tool
        up, ahead = z - _SHOULDER_Z_M, z - elbow_z
        roll, pitch, turn = ((self.c[2], 0.0, -self.s[2]), self.y, self.x)
        hand = [_HAND_M * one for one in turn]
        base = self.turned
        return (
            (*base(-y, r, 0.0), 0.0, 0.0, 1.0),
            (c * up, s * up, -r, -s, c, 0.0),
            (c * ahead, s * ahead, elbow_r - r, -s, c, 0.0),
            (*base(*_cross(roll, hand)), *base(*roll)),
            (*base(*_cross(pitch, hand)), *base(*pitch)),
            (0.0, 0.0, 0.0, *base(*turn)),
        )


def _cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _numbers(q: np.ndarray) -> list[float]:
    return np.asarray(q, dtype=np.float64).tolist()


def forward(q: np.ndarray) -> np.ndarray:
    """Return T_base_tool (4, 4) for the arm joints q (6,) [rad], finite."""
    chain = _Chain.of(_numbers(q))
    rows = zip(*chain.axes(), chain.turned(*chain.tool), strict=True)
    return np.array([*rows, (0.0, 0.0, 0.0, 1.0)])


def jacobian(q: np.ndarray) -> np.ndarray:
    """Return the tool's Jacobian (6, 6) in base_link: rows linear [m/rad], then angular."""
    return np.array(_Chain.of(_numbers(q)).jacobian_columns()).T


def inverse(
    T_base_tool: np.ndarray, q_start: np.ndarray, short_m: float = 0.0, short_rad: float = 0.0
) -> np.ndarray:
    """Return arm joints (6,) [rad], inside the limits, that bring the tool to T_base_tool.

    Damped least squares from `q_start`; it finds the solution nearest in the sense of that
    descent, so warm starts give continuous motion. Accurate to 0.1 mm and 1 mrad.

    Args:
        T_base_tool: wanted tool pose (4, 4), metres, in base_link.
        q_start: joints (6,) [rad] to start from, clipped to the limits.
        short_m, short_rad: where there is no solution, the joints that come nearest will do if
            they fall short by no more than this.

    Raises:
        KinematicsError: no solution inside the joint limits was reached, or a number is not
            finite.
    """
    q = _numbers(q_start)
    if not all(map(math.isfinite, (*T_base_tool.ravel().tolist(), *q))):
        raise KinematicsError(
            f"tool pose at {T_base_tool[:3, 3]} m and start joints {q_start} rad must be finite; "
            "check the measurement or the policy that gave them"
        )
    x_m, y_m, z_m = target_m = _numbers(T_base_tool[:3, 3])
    target_rotation = np.array(T_base_tool[:3, :3], dtype=np.float64)
    q = list(map(min, map(max, q, _LOWER_RAD), _UPPER_RAD))
    nearest, least, position_short, rotation_short = q, math.inf, math.inf, math.inf
    for _ in range(_MAX_ITERATIONS):
        chain = _Chain.of(q)
        x, y, z = chain.turned(*chain.tool)
        error_m = x_m - x, y_m - y, z_m - z
        # The axes as rows are the transposed rotation.
        error_rad = rotvec_from_matrix(target_rotation @ np.array(chain.axes())).tolist()
        position_error, rotation_error = math.hypot(*error_m), math.hypot(*error_rad)
        if position_error < _POSITION_TOLERANCE_M and rotation_error < _ROTATION_TOLERANCE_RAD:
            return np.array(q)
        apart = math.hypot(position_error, _ROTATION_WEIGHT_M * rotation_error)
        if apart < least:
            nearest, least = q, apart
            position_short, rotation_short = position_error, rotation_error
        step = _damped_step(q, chain, np.array([*error_m, *error_rad]))
        q = [
            min(max(angle + change, low), high)
            for angle, change, low, high in zip(q, step, _LOWER_RAD, _UPPER_RAD, strict=True)
        ]
    if position_short <= short_m and rotation_short <= short_rad:
        return np.array(nearest)
    raise KinematicsError(
        f"tool pose at {np.round(target_m, 3).tolist()} m has no joint solution "
        f"({position_short * 1000:.1f} mm and {rotation_short:.3f} rad short); "
        "choose a pose nearer to the arm's workspace"
    )


def _damped_step(q: list[float], chain: _Chain, error: np.ndarray) -> list[float]:
    """Return the step [rad] of damped least squares (Nakamura and Hanafusa 1986) for an error (6,).

    A joint resting on its limit and pushed outwards is left out of it.
    """
    # Joint by joint: the transposed Jacobian (6, 6).
    weighted = np.array(chain.jacobian_columns()) * _WEIGHT
    error = _WEIGHT * error
    if not all(low < a < high for low, a, high in zip(_LOWER_RAD, q, _UPPER_RAD, strict=True)):
        gradient = weighted @ error
        stuck = ((q <= arm.LOWER_RAD) & (gradient < 0)) | ((q >= arm.UPPER_RAD) & (gradient > 0))
        weighted[stuck] = 0.0
    step = (weighted @ np.linalg.solve(weighted.T @ weighted + _DAMPING_66, error)).tolist()
    largest = max(max(step), -min(step))
    if largest > _STEP_LIMIT_RAD:
        step = [change * _STEP_LIMIT_RAD / largest for change in step]
    return step


def link_points(q: np.ndarray) -> np.ndarray:
    """Return points (9, 3) [m] in base_link on elbow, wrist, finger bar and finger tips.

    For the table and workspace check; the tips are taken at full opening.
    """
    return tool_and_link_points(np.asarray(q, dtype=np.float64)[None])[1][0]


def gripper_points(T_base_tool: np.ndarray) -> np.ndarray:
    """Return the gripper's part of `link_points` (6, 3) [m] in base_link for a tool pose."""
    return GRIPPER_POINTS_M @ T_base_tool[:3, :3].T + T_base_tool[:3, 3]


def lowest_gripper_point_m(T_base_tool: np.ndarray) -> float:
    """Return the least height [m] of `gripper_points` for a tool pose (4, 4)."""
    *up, height = _numbers(T_base_tool[2])
    return height + min(_bar_and_tips_m(*up))


def _bar_and_tips_m(x_up, y_up, z_up):
    """Return how high the lowest ends of finger bar and tips are over the tool point [m].

    Args:
        x_up, y_up, z_up: how much each of the tool's axes points up (numbers or arrays).
    """
    y_down, z_down = abs(y_up), abs(z_up)
    bar = (_BAR_X_M - _TOOL_X_M) * x_up - _BAR_Y_M * y_down
    return bar, (_TIP_X_M - _TOOL_X_M) * x_up - _TIP_Y_M * y_down - _TIP_Z_M * z_down


def tool_and_link_points(q_n6: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return tool positions (N, 3) and link points (N, 9, 3) [m] of N joint vectors (N, 6)."""
    chain = _Chain.of_many(q_n6)
    tool = np.stack(chain.turned(*chain.tool), axis=1)
    rotation = np.stack([np.stack(axis, axis=1) for axis in chain.axes()], axis=2)
    (elbow_r, elbow_z), (wrist_r, wrist_z) = chain.elbow, chain.wrist
    elbow = np.stack(chain.turned(elbow_r, 0.0, elbow_z), axis=1)
    wrist = np.stack(chain.turned(wrist_r, 0.0, wrist_z), axis=1)
    links = np.stack([elbow, wrist, wrist + _WRIST_M * rotation[:, :, 0]], axis=1)
    gripper = tool[:, None] + GRIPPER_POINTS_M @ rotation.transpose(0, 2, 1)
    return tool, np.concatenate([links, gripper], axis=1)


def tool_and_lowest_m(q_n6: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return tool positions (3, N) and the least height (N,) of the link points [m].

    The same as from `tool_and_link_points`, several times faster: for every command's checks.
    """
    if len(q_n6) <= _FEW:
        rows = [chain.tool_and_lowest(min) for chain in map(_Chain.of, q_n6.tolist())]
        columns = np.array(rows).reshape(-1, 4).T
    else:
        columns = np.array(_Chain.of_many(q_n6).tool_and_lowest(np.minimum))
    return columns[:3], columns[3]


def held_up_m(q_measured: np.ndarray, q_commanded: np.ndarray) -> float:
    """Return how far the tool of joints (6,) [rad] is above where it was commanded to be [m]."""
    measured, commanded = (_Chain.of(_numbers(q)).tool[2] for q in (q_measured, q_commanded))
    return measured - commanded
