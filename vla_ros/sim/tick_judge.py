"""What the servos made of the goals, and what moved, judged in batches of control ticks."""

from typing import NamedTuple

import numpy as np

from vla_ros.core import arm
from vla_ros.core.limits import SafetyLimits
from vla_ros.sim.tally import Tally

MOMENTS = ("", "lost goals", "torque back", "second commander")
# A profile of 25 ms a goal of 20 ms bends the way between two goals by so much.
_PROFILE_SHARE, _PROFILE_M = 0.25, 2e-3
# Gravity and contact bend the arm away from its reference by so much [m], [rad].
_BEND_M, _BEND_RAD = 0.03, 0.1
# Float32 on the wire [rad].
_WIRE_RAD = float(np.spacing(np.float32(np.pi))) / 2.0
_BATCH = 1000


class Tick(NamedTuple):
    """One tick of half a command period.

    Attributes:
        at_s: when [s].
        reference_rad, arm_rad: what the servos follow and where the joints are (6,) [rad].
        place_counts, speed_counts: whether place and speed are judged.
        moment: place in MOMENTS.
    """

    at_s: float
    reference_rad: np.ndarray
    arm_rad: np.ndarray
    place_counts: bool
    speed_counts: bool
    moment: int


class TickJudge:
    """Judges references and arm in batches, which numpy does at a fraction of the cost.

    Args:
        limits: what the arm may do.
        period_s: time between two commands [s], of two ticks.
        tally: what breaks them is counted there.
    """

    def __init__(self, limits: SafetyLimits, period_s: float, tally: Tally):
        self._limits, self._period_s, self._tally = limits, period_s, tally
        self._ticks: list[Tick] = []

    def add(self, tick: Tick) -> None:
        """Take the next tick."""
        self._ticks.append(tick)
        if len(self._ticks) == _BATCH:
            self.finish()

    def finish(self) -> None:
        """Judge what has not been judged yet."""
        if len(self._ticks) < 5:
            return
        at_s, reference, measured, place_counts, speed_counts, moment = (
            np.array(column) for column in zip(*self._ticks, strict=True)
        )
        # A servo that loses torque, or gets it back, sets its reference to where it is.
        steady = np.all([speed_counts[k : len(speed_counts) - 4 + k] for k in range(5)], axis=0)
        speed = (reference[4:] - reference[2:-2]) / self._period_s
        change = speed - (reference[2:-2] - reference[:-4]) / self._period_s
        moved = (measured[4:] - measured[2:-2]) / self._period_s
        limits = self._limits
        for kind, values, limit in (
            ("reference velocity", speed, limits.velocity_rad_s),
            ("reference acceleration", change / self._period_s, limits.acceleration_rad_s2),
            ("arm velocity", moved, arm.VELOCITY_LIMIT_RAD_S),
        ):
            share = np.abs(values) / limit
            for index, name in enumerate(MOMENTS):
                rows = steady & (moment[4:] == index)
                self._tally.speeds(at_s[4:][rows], kind, share[rows], 1.0 + _PROFILE_SHARE, name)
        rows = place_counts[4:]
        self._count_places(at_s[4:][rows], "reference", reference[4:][rows], 0.0, _PROFILE_M)
        self._count_places(at_s[4:][rows], "arm", measured[4:][rows], _BEND_RAD, _BEND_M)
        # The windows of the next batch begin with these.
        self._ticks = self._ticks[-4:]

    def _count_places(self, at_s, who, q_n6, slack_rad, slack_m) -> None:
        if not len(at_s):
            return
        low, high = self._limits.low_rad - slack_rad, self._limits.high_rad + slack_rad
        beyond_rad = np.maximum(low - q_n6, q_n6 - high).max(axis=1)
        for index in np.flatnonzero(beyond_rad > _WIRE_RAD):
            self._tally.one(at_s[index], f"{who} position", f"{beyond_rad[index]:.4f} rad")
        self._tally.places(at_s, who, self._limits.excess(q_n6), slack_m)
