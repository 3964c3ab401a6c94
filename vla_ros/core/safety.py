"""The last step before the wire: which measurements to believe and which commands to send.

The Interbotix driver clamps nothing, rejects no NaN and reports a failed read as -pi on every
joint. `JointStateFilter` therefore judges what comes in and `CommandGuard` what goes out.
Neither reads a clock: a guard's step is one command period, a filter's time is the stamps'.
What lies between the two - does the arm do what it is told? - is `monitor.ArmMonitor`'s.
"""

from collections.abc import Sequence

import numpy as np

from vla_ros.core.errors import SafetyError
from vla_ros.core.joint_states import JointStateFilter
from vla_ros.core.limits import (
    MEASURED_TOLERANCE_RAD,
    SafetyLimits,
    finite_joints,
    require_range,
    wx250s_limits,
)
from vla_ros.core.speed_profile import braked, braking_way, step_towards, straightened
from vla_ros.core.way_round import way_round

__all__ = ["CommandGuard", "JointStateFilter", "SafetyLimits", "wx250s_limits"]

# Inverse kinematics may end on a URDF limit, and hand-typed poses are rounded: up to this far
# outside, a target is clipped; further out it is refused.
_TARGET_TOLERANCE_RAD = 0.02
# A resting arm is measured this close to its command: gravity bends it, and at the servos' gains
# 0.1 rad takes about half of the stall current.
_RESYNC_RAD = 0.1
_ROUNDING_M = 1e-9
# A target that keeps to the limits may miss them by what sums of floats do.
_ROUNDING_RAD = 1e-11
# A command this much further outside than the arm is worth giving up [m]: more than noise makes.
_FURTHER_M = 1e-3
# Columns of `SafetyLimits.excess`. A straight way in joint space from outside the box bends, so
# it may go this much further out before it comes in; deeper into the table it may not go.
_DETOUR_M = np.array([0.05] * 6 + [0.0])


class CommandGuard:
    """Turns targets into commands that stay inside `SafetyLimits`, one period at a time.

    Position, velocity and acceleration of every joint hold by construction: a joint never goes
    faster than it can stop before its target. The workspace holds by induction: a step is taken
    only if the way to a full stop from it stays inside. Where it does not, nor does that of a
    step along the straight line, the arm brakes along the way that an earlier step has checked.
    Where targets are a motion to be followed as it is (`follow`), all limits hold by that
    induction. From a pose measured outside there is a way back: 5 cm more than there is room for
    on that side of the box, none more under the table clearance, and closed as soon as the arm is
    inside. The arm is not checked against itself.

    Args:
        limits: what the arm may do.
        period_s: time between two commands [s], above 0.
    """

    def __init__(self, limits: SafetyLimits, period_s: float = 0.02):
        if not 0 < period_s < np.inf:
            raise SafetyError(f"period_s must be above 0, got {period_s}")
        self.limits = limits
        self.period_s = period_s
        # Speeds are kept as radians a period, accelerations as radians a period squared.
        self._step_max = limits.velocity_rad_s * period_s
        self._step_change = limits.acceleration_rad_s2 * period_s**2
        self._q: np.ndarray | None = None
        self._u = np.zeros(6)
        self._opening = 0.0
        self._target = np.zeros(6)
        self._target_opening = 0.0
        self._blocked = False
        # Whether a way round was asked for since the last step.
        self._is_planned = False
        # What the way to rest from here may exceed the workspace by (7,) [m].
        self._allowed = np.zeros(7)

    @property
    def commanded(self) -> tuple[np.ndarray, float]:
        """The last command: joints (6,) [rad] and opening; SafetyError before `reset`."""
        return self._require_seed().copy(), self._opening

    @property
    def blocked(self) -> bool:
        """Whether the last step braked because the way to the target leaves the workspace."""
        return self._blocked

    @property
    def at_rest(self) -> bool:
        """Whether the last command moved no joint."""
        return not self._u.any()

    @property
    def arrived(self) -> bool:
        """Whether the last command is the target, at rest and with the gripper there."""
        reached = self._q is not None and np.array_equal(self._q, self._target)
        return reached and self._opening == self._target_opening and self.at_rest

    def reset(self, q_measured: np.ndarray, opening: float) -> None:
        """Start from the measured pose (6,) [rad] at rest; the first target is the pose itself.

        Raises:
            SafetyError: not finite, wrong shape, or far outside the joint limits.
        """
        q = finite_joints(q_measured, opening, "measured pose")
        require_range(q, self.limits, MEASURED_TOLERANCE_RAD, "measured pose")
        self._q = np.clip(q, self.limits.low_rad, self.limits.high_rad)
        self._u = np.zeros(6)
        self._target = self._q.copy()
        self._opening = self._target_opening = float(np.clip(opening, 0.0, 1.0))
        self._blocked = False
        excess = self.limits.excess(self._q[None])[0]
        self._allowed = np.where(excess > 0.0, excess + _DETOUR_M, 0.0)

    def resync(self, q_measured: np.ndarray, opening: float) -> bool:
        """Start anew after a time in which the arm may have gone elsewhere.

        Where it is measured within 0.1 rad of the command, that command stays: the arm does not
        twitch, nor sink a little each time. Otherwise, and where the command is further outside the
        workspace than the arm, this is `reset`, the one command that may jump, and only to where
        the arm is.

        Returns:
            Whether it was a `reset`.

        Raises:
            SafetyError: not finite, wrong shape, or far outside the joint limits.
        """
        q = finite_joints(q_measured, opening, "measured pose")
        if self._q is not None and np.all(np.abs(q - self._q) <= _RESYNC_RAD):
            commanded, measured = self.limits.excess(np.stack([self._q, q]))
            if np.all(commanded <= measured + _FURTHER_M):
                return False
        self.reset(q, opening)
        return True

    def drop(self, joints: Sequence[int], q_measured: np.ndarray) -> None:
        """Give joints without torque up: their command is where they are measured, at rest.

        The others go on and can brake. Where a joint has sunk so far that their way to rest
        leaves the workspace, they brake all the same, and there is a way back as after `reset`:
        nothing can be sent that holds a limp joint up, and a stop at once would whip the arm.

        Args:
            joints: their places.
            q_measured: the measured pose (6,) [rad].

        Raises:
            SafetyError: no seed, or not finite, wrong shape, or far outside the joint limits.
        """
        measured = finite_joints(q_measured, self._opening, "measured pose")
        require_range(measured, self.limits, MEASURED_TOLERANCE_RAD, "measured pose")
        given_up = np.isin(np.arange(6), joints)
        measured = np.clip(measured, self.limits.low_rad, self.limits.high_rad)
        q = np.where(given_up, measured, self._require_seed())
        u = np.where(given_up, 0.0, self._u)
        self._q, self._u, self._target = q, u, np.where(given_up, q, self._target)
        braked = self._braked(u)
        way = np.concatenate([q[None], q + braked + self._braking(braked)])
        worst = self.limits.excess(way).max(axis=0)
        self._allowed = np.where(worst > 0.0, worst + _DETOUR_M, 0.0)

    def halt(self) -> None:
        """Note that commands paused until the servos came to rest at the last one."""
        self._u = np.zeros(6)

    def step(self, target_q: np.ndarray, target_opening: float) -> tuple[np.ndarray, float]:
        """Return the next command (6,) [rad] and opening, one period further towards a target.

        The opening is clipped to [0, 1].

        Raises:
            SafetyError: no seed, or the target is not finite, of another shape, outside the
                joint limits or outside the workspace. Nothing has changed then: the last good
                target stays, and `advance` or `hold` gives this period's command.
        """
        q = self._require_seed()
        target = finite_joints(target_q, target_opening, "target")
        require_range(target, self.limits, _TARGET_TOLERANCE_RAD, "target")
        target = self._clipped(target)
        if not np.array_equal(target, self._target):
            excess_target = self.limits.excess(target[None])[0]
            is_out = (excess_target > _ROUNDING_M).any()
            if is_out and (excess_target > self.limits.excess(q[None])[0] + _ROUNDING_M).any():
                raise SafetyError(
                    f"target {np.round(target, 3).tolist()} rad puts the arm "
                    f"{excess_target.max() * 1000:.0f} mm outside the workspace or under the "
                    "table clearance; command a pose inside, or widen the limits"
                )
        self._target, self._target_opening = target, min(max(float(target_opening), 0.0), 1.0)
        return self.advance()

    def advance(self) -> tuple[np.ndarray, float]:
        """Return the next command towards the last good target; SafetyError before `reset`."""
        q, self._is_planned = self._require_seed(), False
        u = step_towards(self._target - q, self._u, self._step_max, self._step_change)
        self._blocked = not self._stop_is_inside(q, u)
        if self._blocked:
            u = straightened(self._target - q, u)
            may_change = np.abs(u - self._u) <= self._step_change + _ROUNDING_RAD
            self._blocked = not (u.any() and may_change.all() and self._stop_is_inside(q, u))
        if self._blocked:
            u = self._braked(self._u)
        self._move(u)
        self._move_gripper()
        return self.commanded

    def way_round(self, target_q: np.ndarray, seed: int) -> list[np.ndarray]:
        """Return targets (6,) [rad] by way of which `step` gets where it was `blocked`.

        Empty where it was not, where the arm still brakes, and once asked, until blocked anew.

        Raises:
            SafetyError: no such way is found, or the target is not finite or of another shape.
        """
        q, target = self._require_seed(), finite_joints(target_q, self._opening, "target")
        if not (self._blocked and self.at_rest) or self._is_planned:
            return []
        self._is_planned = True
        # The guard sets out a little beside the line: straight there is what it was blocked on.
        is_new = not np.array_equal(target, self._target)
        return way_round(self.limits, self._allowed, q, target, seed, is_new)

    def follow(self, target_q: np.ndarray, target_opening: float) -> tuple[np.ndarray, float]:
        """Return the target itself as the next command if it may be, else that of braking to rest.

        For who plans each period within the same limits: `step` would take every target for a
        stop, and come after it with corners of its own. It may be where the step to it, its change
        since the last one, and the way to a full stop from it are inside every limit. The opening
        is clipped to [0, 1], and goes there at its rate.

        Raises:
            SafetyError: no seed, or the target is not finite, of another shape, or outside the
                joint limits. Nothing has changed then; `hold` gives this period's command.
        """
        q = self._require_seed()
        target = finite_joints(target_q, target_opening, "target")
        require_range(target, self.limits, _TARGET_TOLERANCE_RAD, "target")
        target = self._clipped(target)
        self._blocked = not self._may_follow(q, target - q)
        if self._blocked:
            self._move(self._braked(self._u))
        else:
            # To the last bit, so that who compares the two sees that it was followed.
            self._q, self._u = target, target - q
        self._target = self._require_seed().copy()
        self._target_opening = min(max(float(target_opening), 0.0), 1.0)
        self._move_gripper()
        return self.commanded

    def hold(self) -> tuple[np.ndarray, float]:
        """Return the next command of braking to rest; the gripper stays where it is.

        Raises:
            SafetyError: before `reset`.
        """
        self._require_seed()
        self._move(self._braked(self._u))
        return self.commanded

    def _require_seed(self) -> np.ndarray:
        if self._q is None:
            raise SafetyError(
                "command guard has no measured pose to start from; wait for a valid joint state"
            )
        return self._q

    def _move(self, u: np.ndarray) -> None:
        # Clipping only removes rounding: no step is taken that cannot stop inside.
        self._q = self._clipped(self._require_seed() + u)
        self._u = u

    def _move_gripper(self) -> None:
        change = self.limits.opening_rate_s * self.period_s
        self._opening += min(max(self._target_opening - self._opening, -change), change)

    def _clipped(self, q: np.ndarray) -> np.ndarray:
        # Several times faster than np.clip for so few numbers.
        return np.minimum(np.maximum(q, self.limits.low_rad), self.limits.high_rad)

    def _braked(self, u: np.ndarray) -> np.ndarray:
        return braked(u, self._step_change)

    def _braking(self, u: np.ndarray) -> np.ndarray:
        return braking_way(u, self._step_change)

    def _may_follow(self, q: np.ndarray, u: np.ndarray) -> bool:
        """Return whether stepping u from q keeps to every limit, and can stop so."""
        limits = self.limits
        if (np.abs(u) > self._step_max + _ROUNDING_RAD).any():
            return False
        if (np.abs(u - self._u) > self._step_change + _ROUNDING_RAD).any():
            return False
        rest = q + u + self._braking(u)[-1]
        if (rest < limits.low_rad - _ROUNDING_RAD).any():
            return False
        if (rest > limits.high_rad + _ROUNDING_RAD).any():
            return False
        if self._allowed.any():
            # As a target of `step`: from outside the way leads in, whatever room there is.
            now, then = limits.excess(np.stack([q, rest]))
            if (then > now + _ROUNDING_M).any():
                return False
        return self._stop_is_inside(q, u)

    def _stop_is_inside(self, q: np.ndarray, u: np.ndarray) -> bool:
        """Return whether stepping u from q and then braking to rest stays where it may be.

        If so, what it did not need of the room outside is given up.
        """
        worst = self.limits.excess(q + u + self._braking(u)).max(axis=0)
        if not worst.any():
            self._allowed = np.zeros(7)
            return True
        if (worst > self._allowed + _ROUNDING_M).any():
            return False
        self._allowed = np.where(worst > 0.0, np.minimum(self._allowed, worst + _DETOUR_M), 0.0)
        return True
