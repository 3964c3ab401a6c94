"""The time that a plan is followed by: it brakes at the plan's end and never runs backward."""

from collections import deque

from vla_ros.core.jerk_limit import AxisLimits, JerkLimited


class PlanClock:
    """Seconds along the plans, one period at a time.

    Args:
        acceleration_s2, jerk_s3: how quickly its rate changes [1/s^2 and 1/s^3 of 1 s/s].
        period_s: time between two readings [s].
        memory_s: for how long readings are remembered [s].
    """

    def __init__(self, acceleration_s2: float, jerk_s3: float, period_s: float, memory_s: float):
        self._period_s, self._period_ns = period_s, round(period_s * 1e9)
        limits = AxisLimits(1.0, acceleration_s2, jerk_s3)
        self._axis = JerkLimited(0.0, 0.0, limits, period_s)
        self._read: deque[tuple[int, float]] = deque(maxlen=int(memory_s / period_s) + 2)

    @property
    def now_s(self) -> float:
        """The plan time [s]."""
        return self._axis.position

    @property
    def left_s(self) -> float:
        """What is left until the end [s]."""
        return max(self._axis.high - self.now_s, 0.0)

    @property
    def at_end(self) -> bool:
        """Whether it stands because nothing is left."""
        return self._axis.at_rest and self.left_s < self._period_s

    @property
    def rate(self) -> float:
        """Seconds of plan time a second, 0 to 1."""
        return self._axis.step / self._period_s

    @property
    def braking_s(self) -> float:
        """How much plan time it takes to stop from here [s]."""
        return self._axis.rest_position() - self.now_s

    def restart(self) -> None:
        """Stand at 0, with nothing left."""
        self._axis.high = 0.0
        self._axis.reset(0.0)
        self._read.clear()

    def stand(self, plan_s: float) -> None:
        """Stand at a plan time not before now, where what follows it has come to rest."""
        self._axis.reset(max(plan_s, self.now_s))

    def end_at(self, end_s: float) -> None:
        """Run until a plan time, or for as long as braking takes [s]."""
        self._axis.high = max(end_s, self._axis.rest_position())

    def advance(self, now_ns: int, rate: float) -> float:
        """Return the plan time that the arm is to be at a period from now [s].

        Args:
            now_ns: the time that stamps are told in.
            rate: what it is headed for, 0 to 1.
        """
        if not self._read:
            self._read.append((now_ns, self.now_s))
        self._axis.cruise(rate * self._period_s)
        self._read.append((now_ns + self._period_ns, self.now_s))
        return self.now_s

    def at(self, stamp_ns: int) -> float:
        """Return the plan time at a moment [s]; between two readings it runs evenly.

        Before the first reading it stood there, after the last one it still does.
        """
        if not self._read:
            return self.now_s
        later_ns, later_s = self._read[-1]
        if stamp_ns >= later_ns:
            return later_s
        for earlier_ns, earlier_s in reversed(self._read):
            if earlier_ns <= stamp_ns:
                share = (stamp_ns - earlier_ns) / max(later_ns - earlier_ns, 1)
                return earlier_s + share * (later_s - earlier_s)
            later_ns, later_s = earlier_ns, earlier_s
        return later_s
