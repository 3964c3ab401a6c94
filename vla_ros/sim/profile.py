"""Motion profiles of a Dynamixel servo: how its reference travels to a new goal.

A profile is a trapezoid of velocity that starts at the current reference with the current
velocity and ends at the goal at rest. Source: the X-series control table (Drive_Mode,
Profile_Velocity, Profile_Acceleration).
"""

import math
from dataclasses import dataclass

# Unit of Profile_Velocity [rad/s] (0.229 rev/min) and of Profile_Acceleration [rad/s^2]
# (214.577 rev/min^2) of a velocity-based profile.
VELOCITY_UNIT_RAD_S = 0.229 * 2.0 * math.pi / 60.0
ACCELERATION_UNIT_RAD_S2 = 214.577 * 2.0 * math.pi / 3600.0


@dataclass(frozen=True)
class Trapezoid:
    """Velocity from `v0` to `cruise` in `t1_s`, constant for `t2_s`, down to 0 in `t3_s`.

    Positions in rad, velocities in rad/s.
    """

    start: float
    goal: float
    v0: float
    cruise: float
    t1_s: float
    t2_s: float
    t3_s: float

    @property
    def duration_s(self) -> float:
        """Time from the start to rest at the goal."""
        return self.t1_s + self.t2_s + self.t3_s

    def at(self, elapsed_s: float) -> tuple[float, float]:
        """Return (position [rad], velocity [rad/s]) after `elapsed_s`, the goal once it is over."""
        left_s = self.duration_s - elapsed_s
        # A nanosecond of tolerance: the caller adds up control ticks in floating point.
        if left_s <= 1e-9:
            return self.goal, 0.0
        if elapsed_s < self.t1_s:
            slope = (self.cruise - self.v0) / self.t1_s
            position = self.start + self.v0 * elapsed_s + 0.5 * slope * elapsed_s * elapsed_s
            return position, self.v0 + slope * elapsed_s
        if left_s <= self.t3_s:
            slope = self.cruise / self.t3_s
            return self.goal - 0.5 * slope * left_s * left_s, slope * left_s
        first = 0.5 * (self.v0 + self.cruise) * self.t1_s
        return self.start + first + self.cruise * (elapsed_s - self.t1_s), self.cruise


def time_trapezoid(
    start: float, v0: float, goal: float, move_ms: float, accel_ms: float
) -> Trapezoid:
    """Return the profile that takes `move_ms` in all, `accel_ms` of it each to speed up and brake.

    The servo never accelerates longer than half the move; `move_ms` 0 steps to the goal at once.
    """
    duration_s = move_ms * 1e-3
    ramp_s = min(accel_ms * 1e-3, duration_s / 2.0)
    if duration_s <= 0.0:
        return Trapezoid(start, goal, 0.0, 0.0, 0.0, 0.0, 0.0)
    if ramp_s <= 0.0:
        return Trapezoid(start, goal, v0, (goal - start) / duration_s, 0.0, duration_s, 0.0)
    # Area under the trapezoid = goal - start, solved for the cruise velocity.
    cruise = (goal - start - 0.5 * v0 * ramp_s) / (duration_s - ramp_s)
    return Trapezoid(start, goal, v0, cruise, ramp_s, duration_s - 2.0 * ramp_s, ramp_s)


def velocity_trapezoid(
    start: float, v0: float, goal: float, velocity_units: float, acceleration_units: float
) -> Trapezoid:
    """Return the fastest profile within a velocity and an acceleration given in servo units.

    `velocity_units` 0 means no profile (a step to the goal); `acceleration_units` 0 means that the
    velocity jumps.
    """
    limit = velocity_units * VELOCITY_UNIT_RAD_S
    acceleration = acceleration_units * ACCELERATION_UNIT_RAD_S2
    distance = goal - start
    if limit <= 0.0:
        return Trapezoid(start, goal, 0.0, 0.0, 0.0, 0.0, 0.0)
    if acceleration <= 0.0:
        return Trapezoid(
            start, goal, v0, math.copysign(limit, distance), 0.0, abs(distance) / limit, 0.0
        )
    # Braking at once would end here; the cruise goes towards the goal from there.
    braked = v0 * abs(v0) / (2.0 * acceleration)
    sign = 1.0 if distance >= braked else -1.0
    along, toward = sign * distance, sign * v0
    peak = min(limit, math.sqrt(max(0.0, acceleration * along + 0.5 * toward * toward)))
    if peak <= 0.0:
        return Trapezoid(start, goal, v0, 0.0, abs(v0) / acceleration, 0.0, 0.0)
    t1_s, t3_s = abs(peak - toward) / acceleration, peak / acceleration
    cruised = along - 0.5 * (toward + peak) * t1_s - 0.5 * peak * t3_s
    return Trapezoid(start, goal, v0, sign * peak, t1_s, max(0.0, cruised / peak), t3_s)
