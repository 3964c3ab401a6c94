"""What broke a limit: counted by kind, and each one with its time and size."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vla_ros.core import arm

# More than so many are only counted: the first ones show what is wrong.
_MOST_EVENTS = 10_000


class Violation(NamedTuple):
    """One broken limit.

    Attributes:
        at_s: when [s].
        kind: like "goal velocity".
        detail: joints and size, like "elbow 131%" (of its limit), or the depth in mm.
    """

    at_s: float
    kind: str
    detail: str


class Tally:
    """Counts what breaks the limits.

    Attributes:
        violations: how often each kind was seen, like "goal velocity"; empty is good.
        apart: the same at moments that no commander makes, like "reference velocity, lost goals".
        peaks: the largest share of its limit that each kind of speed and acceleration came to.
        events: each violation of late, in the order in which they were found; whoever reads them
            may clear them.
    """

    def __init__(self) -> None:
        self.violations: Counter[str] = Counter()
        self.apart: Counter[str] = Counter()
        self.peaks: dict[str, float] = {}
        self.events: list[Violation] = []

    def one(self, at_s: float, kind: str, detail: str = "") -> None:
        """Count one violation."""
        self.violations[kind] += 1
        if len(self.events) < _MOST_EVENTS:
            self.events.append(Violation(at_s, kind, detail))

    def speeds(
        self,
        at_s: Sequence[float] | np.ndarray,
        kind: str,
        share_n6: np.ndarray,
        most: float,
        moment: str = "",
    ) -> None:
        """Count rows whose joints (N, 6) are above `most` of their limit, and note the peak."""
        name = f"{kind}, {moment}" if moment else kind
        share = share_n6.max(axis=1, initial=0.0)
        self.peaks[name] = max(self.peaks.get(name, 0.0), float(share.max(initial=0.0)))
        for index in np.flatnonzero(share > most):
            if moment:
                self.apart[name] += 1
            else:
                self.one(at_s[index], name, shares_said(share_n6[index], most))

    def places(
        self,
        at_s: Sequence[float] | np.ndarray,
        who: str,
        over_n7: np.ndarray,
        slack_m: float,
        moment: str = "",
    ) -> None:
        """Count rows that are further outside [m], as by `SafetyLimits.excess`, than the slack."""
        for kind, depth_m in (("workspace", over_n7[:, :6].max(axis=1)), ("table", over_n7[:, 6])):
            name = f"{who} {kind}, {moment}" if moment else f"{who} {kind}"
            for index in np.flatnonzero(depth_m > slack_m):
                if moment:
                    self.apart[name] += 1
                else:
                    self.one(at_s[index], name, f"{depth_m[index] * 1e3:.1f} mm")


def shares_said(share_6: np.ndarray, most: float) -> str:
    """Return the joints above `most` of their limit, and how far."""
    over = np.flatnonzero(share_6 > most)
    return ", ".join(f"{arm.ARM_JOINTS[joint]} {share_6[joint]:.0%}" for joint in over)
