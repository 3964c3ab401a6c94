"""What the arm may do: joint ranges, speeds and the space it may be in."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import SafetyError
from vla_ros.core.thresholds import require_ranges, threshold

# A measured joint may stand this far outside its limits (zero offset, or resting
# without torque against its stop).
MEASURED_TOLERANCE_RAD = 0.1
# Goals at a register's last count are refused by the servo without a word: stay 3 counts inside.
_POSITION_MARGIN_RAD = 0.005
# Kept between a clamped tool pose and the bound, for the solver's and the servo's inaccuracy.
_CLAMP_MARGIN_M = 1e-3


@dataclass(frozen=True, eq=False)
class SafetyLimits:
    """What the arm may do.

    Attributes:
        low_rad, high_rad: joint range (6,) [rad].
        velocity_rad_s: largest joint speed (6,) [rad/s], above 0.
        acceleration_rad_s2: largest joint acceleration (6,) [rad/s^2], above 0.
        opening_rate_s: largest change of the gripper's opening [1/s], above 0.
        workspace_low_m, workspace_high_m: box for the tool point (3,) [m] in base_link.
        table_clearance_m: least height [m] over z = 0 of elbow, wrist, finger bar and tips.
    """

    low_rad: np.ndarray
    high_rad: np.ndarray
    velocity_rad_s: np.ndarray
    acceleration_rad_s2: np.ndarray
    opening_rate_s: float
    workspace_low_m: np.ndarray
    workspace_high_m: np.ndarray
    table_clearance_m: float

    def __post_init__(self):
        sizes = {"low_rad": 6, "high_rad": 6, "velocity_rad_s": 6, "acceleration_rad_s2": 6}
        for name, size in {**sizes, "workspace_low_m": 3, "workspace_high_m": 3}.items():
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.shape != (size,) or not np.all(np.isfinite(value)):
                raise SafetyError(f"{name} must be {size} finite numbers, got {value}")
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        for low, high in (("low_rad", "high_rad"), ("workspace_low_m", "workspace_high_m")):
            if not np.all(getattr(self, low) < getattr(self, high)):
                raise SafetyError(
                    f"{low} must be below {high}, got {getattr(self, low)}, {getattr(self, high)}"
                )
        for name in ("velocity_rad_s", "acceleration_rad_s2", "opening_rate_s"):
            if not np.all(np.asarray(getattr(self, name)) > 0):
                raise SafetyError(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0.0 <= self.table_clearance_m < np.inf:
            raise SafetyError(f"table_clearance_m must be 0 or more, got {self.table_clearance_m}")

    def excess(self, q_n6: np.ndarray) -> np.ndarray:
        """Return how far N joint vectors (N, 6) leave the workspace: (N, 7) [m], 0 inside.

        Columns: tool below the box on x, y, z; tool above it on x, y, z; deepest link point
        under the table clearance.
        """
        tool, lowest = kinematics.tool_and_lowest_m(q_n6)
        excess = np.empty((7, len(q_n6)))
        np.subtract(self.workspace_low_m[:, None], tool, out=excess[:3])
        np.subtract(tool, self.workspace_high_m[:, None], out=excess[3:6])
        np.subtract(self.table_clearance_m, lowest, out=excess[6])
        return np.maximum(excess, 0.0).T

    def clamp_pose(self, T_base_tool: np.ndarray) -> np.ndarray:
        """Return the tool pose (4, 4) moved into the box, with the gripper above the table.

        For end-effector commands that ask for a little too much; the orientation stays.
        """
        pose = np.array(T_base_tool, dtype=np.float64)
        low, high = self.workspace_low_m + _CLAMP_MARGIN_M, self.workspace_high_m - _CLAMP_MARGIN_M
        pose[:3, 3] = np.clip(pose[:3, 3], low, high)
        lowest = kinematics.lowest_gripper_point_m(pose)
        pose[2, 3] += max(0.0, self.table_clearance_m + _CLAMP_MARGIN_M - lowest)
        return pose


@dataclass(frozen=True)
class SafetyParameters:
    """What a person may set of the limits of a WidowX 250s on a table at z = 0.

    The defaults are under half of the servos' own speed limit (pi) and under the acceleration of
    Interbotix's MoveIt configuration (5). The arm repeats to 1 mm and is accurate to 5-8 mm.

    Raises:
        SafetyError: a value is out of its range.
    """

    velocity_rad_s: float = threshold(1.5, 0.1, 3.14, "rad/s", "largest speed of every joint")
    acceleration_rad_s2: float = threshold(4.0, 0.5, 5.0, "rad/s^2", "same, acceleration")
    opening_rate_s: float = threshold(2.0, 0.1, 10.0, "1/s", "largest change of the opening")
    workspace_low_m: tuple[float, ...] = threshold(
        (0.10, -0.40, 0.01), (-0.8, -0.8, 0.0), 0.8, "m", "low corner of the tool point's box"
    )
    workspace_high_m: tuple[float, ...] = threshold(
        (0.50, 0.40, 0.50), (-0.8, -0.8, 0.0), 0.8, "m", "high corner of the tool point's box"
    )
    table_clearance_m: float = threshold(
        0.005, 0.0, 0.2, "m", "least height of elbow, wrist and gripper over z = 0"
    )

    def __post_init__(self):
        require_ranges(self)

    def limits(self) -> SafetyLimits:
        """Return the limits.

        Raises:
            SafetyError: the box is none, or leaves out the sleep pose, to which the arm must be
                able to return.
        """
        limits = SafetyLimits(
            low_rad=arm.LOWER_RAD + _POSITION_MARGIN_RAD,
            high_rad=arm.UPPER_RAD - _POSITION_MARGIN_RAD,
            velocity_rad_s=np.full(6, self.velocity_rad_s),
            acceleration_rad_s2=np.full(6, self.acceleration_rad_s2),
            opening_rate_s=self.opening_rate_s,
            workspace_low_m=np.array(self.workspace_low_m),
            workspace_high_m=np.array(self.workspace_high_m),
            table_clearance_m=self.table_clearance_m,
        )
        if np.any(limits.excess(arm.SLEEP_RAD[None]) > 0):
            raise SafetyError(
                f"the box from workspace_low_m {self.workspace_low_m} to workspace_high_m "
                f"{self.workspace_high_m} m, at least table_clearance_m {self.table_clearance_m} m "
                "over the table, leaves out the sleep pose (tool at "
                f"{np.round(kinematics.forward(arm.SLEEP_RAD)[:3, 3], 3).tolist()} m); widen it"
            )
        return limits


def wx250s_limits(**changes: Any) -> SafetyLimits:
    """Return limits for the WidowX 250s on a table at z = 0.

    Args:
        changes: fields of `SafetyParameters` that shall not be the default.

    Raises:
        SafetyError: as `SafetyParameters` and its `limits`.
    """
    return SafetyParameters(**changes).limits()


def finite_joints(q: np.ndarray, opening: float, what: str) -> np.ndarray:
    """Return q as (6,) float64; SafetyError unless it and the opening are finite."""
    try:
        q = np.array(q, dtype=np.float64)
        opening = float(opening)
    except (TypeError, ValueError):
        raise SafetyError(f"{what} must be 6 joints [rad] and an opening, got {q!r}") from None
    if q.shape != (6,) or not all(map(math.isfinite, (*q.tolist(), opening))):
        raise SafetyError(
            f"{what} must be 6 finite joints [rad] and a finite opening, got {q.tolist()} and "
            f"{opening}; nothing is sent for it"
        )
    return q


def require_range(q: np.ndarray, limits: SafetyLimits, tolerance_rad: float, what: str) -> None:
    """Raise SafetyError where q (6,) is further than the tolerance outside the joint range."""
    outside = np.maximum(limits.low_rad - q, q - limits.high_rad)
    joint = int(outside.argmax())
    if outside[joint] > tolerance_rad:
        raise SafetyError(
            f"{what} has {arm.ARM_JOINTS[joint]} at {q[joint]:.3f} rad, outside "
            f"[{limits.low_rad[joint]:.3f}, {limits.high_rad[joint]:.3f}] rad; "
            "send a reachable pose, or check the servo's zero"
        )
