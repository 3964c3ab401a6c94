"""Tool twists in, joint targets out: bounded speed, along walls rather than through them. No ROS.

`CommandGuard` has the last word on every command; this only asks for nothing that it would refuse,
so that the tool glides along the box and the table instead of standing still there.
"""

import numpy as np

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import KinematicsError
from vla_ros.core.limits import SafetyLimits
from vla_ros.core.rotations import matrix_from_rotvec, transform

# The target moves no joint faster than this [rad/s], nor than this share of the guard's limit: the
# command can follow it, and lags by what braking takes.
_JOINT_RAD_S, _JOINT_SHARE = 1.0, 0.8
# The target waits for a command that is further behind than this [rad].
_LEAD_RAD = 0.3
_ROUNDING_M = 1e-9
# What is tried of a twist where all of it leads outside: linear x, y, z of base_link, angular.
_PARTS = np.array(
    [
        (1.0, 1.0, 1.0, 1.0),
        (1.0, 1.0, 0.0, 1.0),
        (0.0, 1.0, 1.0, 1.0),
        (1.0, 0.0, 1.0, 1.0),
        (1.0, 1.0, 1.0, 0.0),
        (1.0, 1.0, 0.0, 0.0),
    ]
)


class TeleopMotion:
    """The target of an arm that a person drives; `begin`, then a `step` or `approach` a period.

    Args:
        limits: what the arm may do.
        period_s: time between two steps [s].

    Attributes:
        hindered: whether the last step was not what was asked for.
    """

    def __init__(self, limits: SafetyLimits, period_s: float):
        self._limits = limits
        self._period_s = period_s
        joint_rad_s = np.minimum(_JOINT_RAD_S, _JOINT_SHARE * limits.velocity_rad_s)
        self._joint_step_rad = float(joint_rad_s.min()) * period_s
        self.begin(arm.READY_RAD, 0.0)

    def begin(self, q_commanded: np.ndarray, opening: float) -> None:
        """Start from joints (6,) [rad] at rest, and an opening."""
        self._q = np.array(q_commanded, dtype=np.float64)
        self._T = kinematics.forward(self._q)
        self._opening = float(opening)
        self.hindered = False

    @property
    def target(self) -> tuple[np.ndarray, float]:
        """Joints (6,) [rad] and opening to head for."""
        return self._q.copy(), self._opening

    def toggle_gripper(self) -> None:
        """Close an open gripper, open a closed one."""
        self._opening = 0.0 if self._opening > 0.5 else 1.0

    def step(self, twist: np.ndarray, frame: str, q_commanded: np.ndarray) -> None:
        """Move the target by a period of a twist, or by as much of it as there is room for.

        Args:
            twist: (6,) linear [m/s] and angular [rad/s], about the tool point.
            frame: whose axes it is given in, "base" or "tool".
            q_commanded: (6,) [rad] the last command.
        """
        if not twist.any():
            self.hindered = False
            return
        self.hindered = True
        if self._leads(q_commanded):
            return
        if frame == "tool":
            twist = np.concatenate([self._T[:3, :3] @ twist[:3], self._T[:3, :3] @ twist[3:]])
        for number, part in enumerate(_PARTS):
            tried = twist * np.repeat(part, (1, 1, 1, 3))
            found = self._tried(tried, q_commanded) if tried.any() else None
            if found is not None:
                self._T, self._q = found
                self.hindered = number > 0
                return

    def approach(self, q_goal: np.ndarray, joint_rad_s: float, q_commanded: np.ndarray) -> None:
        """Move the target straight towards joints (6,) [rad], the fastest joint at most so fast.

        Where the way leads outside of the workspace it stays: the person has to drive round.
        """
        left = q_goal - self._q
        farthest = float(np.abs(left).max())
        step = min(joint_rad_s * self._period_s, self._joint_step_rad)
        q = self._q + left * min(1.0, step / farthest) if farthest > 0.0 else self._q
        self.hindered = self._leads(q_commanded) or not self._is_no_further_out(q, q_commanded)
        if not self.hindered:
            self._q, self._T = q, kinematics.forward(q)

    def _leads(self, q_commanded: np.ndarray) -> bool:
        return bool(np.abs(self._q - q_commanded).max() > _LEAD_RAD)

    def _tried(
        self, twist: np.ndarray, q_commanded: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return pose and joints a period along a twist in base_link; None where that cannot be."""
        share = 1.0
        for _ in range(2):
            T = moved(self._T, twist * share * self._period_s)
            try:
                q = kinematics.inverse(T, self._q)
            except KinematicsError:
                return None
            q = np.clip(q, self._limits.low_rad, self._limits.high_rad)
            fastest = float(np.abs(q - self._q).max())
            if fastest <= self._joint_step_rad:
                return (T, q) if self._is_no_further_out(q, q_commanded) else None
            # Near a singular pose: as slow as its joints.
            share *= 0.9 * self._joint_step_rad / fastest
        return None

    def _is_no_further_out(self, q: np.ndarray, q_commanded: np.ndarray) -> bool:
        """Return whether the guard takes q as a target: no further out than the command is."""
        *before, then = self._limits.excess(np.stack([self._q, q_commanded, q]))
        return bool(np.all(then <= np.minimum(*before) + _ROUNDING_M))


def moved(T_base_tool: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Return the pose (4, 4) after a displacement (6,) in base_link: [m], then rotation vector."""
    rotation = matrix_from_rotvec(displacement[3:]) @ T_base_tool[:3, :3]
    return transform(rotation, T_base_tool[:3, 3] + displacement[:3])
