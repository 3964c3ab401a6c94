"""Motion of one axis, one period at a time, with position to jerk inside their limits.

Plain floats: for a handful of axes they are several times quicker than arrays.
"""

import math
from dataclasses import dataclass

from vla_ros.core.errors import SafetyError

# What rounding may take a position beyond its bound before the last clip removes it.
_ROUNDING = 1e-12
# Shares of the way from braking to what is wanted that are tried where all of it is too much.
_SHARES = (1.0, 0.75, 0.5, 0.25)


@dataclass(frozen=True)
class AxisLimits:
    """What an axis may do, in units of its position and seconds.

    Raises:
        SafetyError: velocity, acceleration or jerk is not above 0.
    """

    velocity: float
    acceleration: float
    jerk: float

    def __post_init__(self):
        if not min(self.velocity, self.acceleration, self.jerk) > 0.0:
            raise SafetyError(f"velocity, acceleration and jerk must be above 0, got {self}")


class JerkLimited:
    """An axis whose position, velocity, acceleration and jerk hold in every sample.

    They are those of the samples: velocity is the last step over the period, acceleration and
    jerk its differences. Limits hold by induction: a period's motion is taken only if the axis can
    still come to rest from it inside all limits; otherwise it brakes, along the way that was
    checked a period before.

    Args:
        low, high: where it may be.
        limits: how it may move.
        period_s: time between two samples [s], above 0.

    Attributes:
        high: may be raised at any time, and lowered down to `rest_position`.
        position: where it is.
        step: the last period's motion.
        change: how much that differed from the motion before.

    Raises:
        SafetyError: the range is empty.
    """

    def __init__(self, low: float, high: float, limits: AxisLimits, period_s: float):
        if not low <= high:
            raise SafetyError(f"low must not be above high, got {low} and {high}")
        self.low, self.high = float(low), float(high)
        # All motion is counted in periods: a step, its change, and the change of that.
        self._step_max = float(limits.velocity) * period_s
        self._change_max = float(limits.acceleration) * period_s**2
        self._jerk_max = float(limits.jerk) * period_s**3
        self.reset(0.0)

    @property
    def at_rest(self) -> bool:
        """Whether it does not move, nor is about to."""
        return self.step == 0.0 and self.change == 0.0

    def reset(self, position: float) -> None:
        """Be at a position, clipped into the range, at rest."""
        self.position = min(max(float(position), self.low), self.high)
        self.step = self.change = 0.0

    def rest_position(self) -> float:
        """Return where it comes to rest if it brakes now."""
        q, u, c = self.position, self.step, self.change
        while u or c:
            c = self._landing(-u, c)
            u += c
            q += u
        return q

    def cruise(self, step: float) -> float:
        """Return the next position on the quickest way to a motion a period.

        It brakes where that is no number.
        """
        wanted = min(max(step, -self._step_max), self._step_max) if math.isfinite(step) else 0.0
        return self.move(self._landing(wanted - self.step, self.change))

    def move(self, change: float) -> float:
        """Return the next position, with the motion changed by `change` if it may be.

        It brakes where that is no number.
        """
        wanted = change if math.isfinite(change) else self._landing(-self.step, self.change)
        wanted = min(max(wanted, self.change - self._jerk_max), self.change + self._jerk_max)
        wanted = min(max(wanted, -self._change_max), self._change_max)
        if not self._is_clear(wanted):
            wanted = self._allowed(wanted)
        self.change = wanted
        self.step += wanted
        self.position = min(max(self.position + self.step, self.low), self.high)
        return self.position

    def _allowed(self, wanted: float) -> float:
        """Return as much of a change as leaves room to stop; braking does."""
        braking = self._landing(-self.step, self.change)
        for share in _SHARES:
            tried = braking + share * (wanted - braking)
            if self._can_stop(tried):
                return tried
        return braking

    def _landing(self, missing: float, change: float) -> float:
        """Return the next change of a motion that still differs by `missing` from its goal.

        Changes that fall by the jerk limit J a period, x, x - J, ... add up to
        (n + 1) x - J n (n + 1) / 2 with n = floor(x / J). Solved for x: the largest change that
        is back at 0 when nothing is missing any more.
        """
        distance, jerk = abs(missing), self._jerk_max
        n = math.floor((math.sqrt(1.0 + 8.0 * distance / jerk) - 1.0) / 2.0)
        x = min((distance + jerk * n * (n + 1.0) / 2.0) / (n + 1.0), self._change_max)
        return min(max(math.copysign(x, missing), change - jerk), change + jerk)

    def _is_clear(self, change: float) -> bool:
        """Return whether a change is far from every limit; quick, and True only where sure."""
        c, most, jerk = abs(change), self._change_max, self._jerk_max
        # At most as fast as this while the change goes to 0, then half of that on average.
        peak = abs(self.step + change) + c * (c / jerk + 1.0) / 2.0
        way = peak * (c / jerk + 2.0 + (peak / most + most / jerk + 3.0) / 2.0)
        q = self.position + self.step + change
        return peak <= self._step_max and self.low <= q - way and q + way <= self.high

    def _can_stop(self, change: float) -> bool:
        """Return whether it can come to rest inside its limits after a change."""
        c = change
        u = self.step + c
        q = self.position + u
        fastest, low, high = self._step_max + _ROUNDING, self.low - _ROUNDING, self.high + _ROUNDING
        while abs(u) <= fastest and low <= q <= high:
            if not (u or c):
                return True
            c = self._landing(-u, c)
            u += c
            q += u
        return False
