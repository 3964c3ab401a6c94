"""How fast a stream of goals goes: which speeds it may have where goals were lost or it began anew.

All in radians a command period and each joint for itself. What is known of a joint's last step is
an interval: one number where goal follows goal; after lost goals whatever a legal stream can have
had that made this way in this time; beside it the first steps from poses where a stream may have
begun. A step is legal if some step before it allows it.
"""

import numpy as np

from vla_ros.core.limits import SafetyLimits

# Half the distance of two float32 numbers near pi [rad], by which a goal may be off on the wire.
WIRE_RAD = float(np.spacing(np.float32(np.pi))) / 2.0
# With no goal for so many periods the servos come to rest; a commander that was silent for as long
# begins from rest.
_PAUSE_PERIODS = 3
_HALVINGS = 30


class GoalSpeeds:
    """Follows the steps of a stream from goal to goal.

    Args:
        limits: what the arm may do.
        period_s: time between two goals [s].

    Attributes:
        low, high: what the last step of each joint may have been (6,) [rad a period].
        began: whether the last step shows that the goal before it began a stream.
        paused: whether the last step came after a pause in which the servos came to rest.
    """

    def __init__(self, limits: SafetyLimits, period_s: float):
        self._step_max = limits.velocity_rad_s * period_s
        self.step_change = limits.acceleration_rad_s2 * period_s**2
        self.low, self.high = np.zeros(6), np.zeros(6)
        self._starts = np.empty((0, 6))
        self.began = self.paused = False

    @property
    def rested(self) -> bool:
        """Whether the last step moved no joint."""
        return bool(np.all((np.abs(self.low) <= WIRE_RAD) & (np.abs(self.high) <= WIRE_RAD)))

    @property
    def fastest(self) -> np.ndarray:
        """How large the last step of each joint was at most (6,) [rad a period]."""
        known = np.concatenate([self.low[None], self.high[None], self._starts])
        return np.fmax.reduce(np.abs(known), axis=0)

    def step(self, way_rad: np.ndarray, periods: int, sent: int) -> dict[str, np.ndarray]:
        """Take a way (6,) [rad] from the last goal that arrived to this one.

        Args:
            way_rad: how far.
            periods: in so many of them.
            sent: goals for it that left the commander, with the one that arrived. A time in which
                nothing was sent is none in which a stream may go on.

        Returns:
            Which limits it breaks, each with its joints' shares (6,), 0 where they keep it.
        """
        mean = way_rad / sent
        self.paused = periods >= _PAUSE_PERIODS
        if sent == 1 and self._goes_on(mean):
            self.low = self.high = mean
            self._starts, self.began = self._starts[:0], False
            return {}
        was_silent = periods - sent >= _PAUSE_PERIODS - 1
        rest = np.zeros((1 if was_silent else 0, 6))
        low = np.concatenate([self.low[None], self._starts, rest])
        high = np.concatenate([self.high[None], self._starts, rest])
        self._starts = self._starts[:0]
        velocity = np.abs(mean) / self._step_max
        too_fast = np.abs(mean) > self._step_max + 2.0 * WIRE_RAD / sent
        if sent == 1:
            # NaN, which is no start, is infinitely far.
            change = np.fmax(np.nan_to_num(np.maximum(low - mean, mean - high), nan=np.inf), 0.0)
            most = self.step_change + 4.0 * WIRE_RAD
            went_on, change = change[0], np.fmin.reduce(change, axis=0)
            too_sudden = change > most
            self.began = bool(np.any((went_on > most) & ~too_sudden))
            acceleration = change / self.step_change
            self.low = self.high = mean
        else:
            self.began = False
            too_sudden = self._pass_gap(low, high, way_rad, sent) & ~too_fast
            # There is no legal stream at all: one number would mean nothing.
            acceleration = np.full(6, np.inf)
        return {
            name: np.where(broken, share, 0.0)
            for name, broken, share in (
                ("goal velocity", too_fast, velocity),
                ("goal acceleration", too_sudden, acceleration),
            )
            if broken.any()
        }

    def _goes_on(self, step: np.ndarray) -> bool:
        """Return whether a step (6,) goes on legally, as nearly all do; not where NaN is known."""
        change = np.maximum(self.low - step, step - self.high)
        slow = np.abs(step) <= self._step_max + 2.0 * WIRE_RAD
        return bool((slow & (change <= self.step_change + 4.0 * WIRE_RAD)).all())

    def begin(self, joints: np.ndarray) -> None:
        """Note that these joints (6,) bool began anew: only their starts count from here."""
        self.low = np.where(joints, np.nan, self.low)
        self.high = np.where(joints, np.nan, self.high)

    def may_start(self, steps_k6: np.ndarray) -> None:
        """Note first steps (K, 6) that may have led to the last goal; NaN where one cannot."""
        self._starts = steps_k6

    def _pass_gap(self, low, high, way_rad, sent) -> np.ndarray:
        """Set the steps that a legal stream can end with; return which joints (6,) have none."""
        ends = self._ends(low, high, way_rad, sent)
        lowest, highest = np.fmin.reduce(ends[0], axis=0), np.fmax.reduce(ends[1], axis=0)
        broken = np.isnan(lowest)
        self.low = np.where(broken, way_rad / sent, lowest)
        self.high = np.where(broken, way_rad / sent, highest)
        return broken

    def _ends(self, low, high, way_rad, periods) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and largest last step (H, 6) of a way from steps low to high (H, 6).

        The shortest way that ends with a step v brakes as long as it can, then speeds up to v; the
        longest the other way round. Both grow with v, which is therefore found by halving.
        """
        d, most = self.step_change, self._step_max
        k = np.arange(1, periods + 1)[:, None, None]
        slack = 2.0 * WIRE_RAD * (periods + 1)

        def shortest(last):
            return np.maximum(np.maximum(low - d * k, last - d * (periods - k)), -most).sum(axis=0)

        def longest(last):
            return np.minimum(np.minimum(high + d * k, last + d * (periods - k)), most).sum(axis=0)

        first, final = np.maximum(low - d * periods, -most), np.minimum(high + d * periods, most)
        top_ok, top = first, final
        bottom, bottom_ok = first, final
        for _ in range(_HALVINGS):
            middle = (top_ok + top) / 2.0
            fits = shortest(middle) <= way_rad + slack
            top_ok, top = np.where(fits, middle, top_ok), np.where(fits, top, middle)
            middle = (bottom + bottom_ok) / 2.0
            fits = longest(middle) >= way_rad - slack
            bottom_ok, bottom = np.where(fits, middle, bottom_ok), np.where(fits, bottom, middle)
        possible = (shortest(first) <= way_rad + slack) & (longest(final) >= way_rad - slack)
        possible &= bottom_ok <= top_ok + slack
        return np.where(possible, bottom_ok, np.nan), np.where(possible, top_ok, np.nan)
