"""What is known of the arm at one moment."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Seen:
    """What is known of the arm when a command falls due.

    Attributes:
        now_ns: the node's time [ns], simulated where there is a simulated clock.
        steady_s: steady time [s].
        stamp_ns: when the last believed joint state was measured [ns].
        silent_s: steady time since it arrived [s].
        q_rad, opening: what it said: joints (6,) [rad] and opening.
        effort_ma: currents (7,) [mA] of arm joints and gripper, None where not measured.
    """

    now_ns: int
    steady_s: float
    stamp_ns: int
    silent_s: float
    q_rad: np.ndarray
    opening: float
    effort_ma: np.ndarray | None = None

    @property
    def age_s(self) -> float:
        """How long ago that was measured, by the node's time [s]."""
        return (self.now_ns - self.stamp_ns) / 1e9
