"""When to look: with pictures that have just come, or without where none is on its way.

A policy is due for a question at times of its own, a camera brings pictures at its own. Asked at
once, the newest picture may be as old as the camera's period. Pure: times are handed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vla_ros.core.resample import NS_PER_S

# A picture that is later than expected by this share of its camera's period is not waited for.
_LATE_SHARE = 0.5


@dataclass
class _Arrivals:
    """Of one camera: stamp and arrival of its newest picture, and how long after the one before."""

    stamp_ns: int
    last_ns: int
    period_ns: int = 0


class PictureWait:
    """Watches pictures come in.

    Args:
        cameras: whose pictures a question needs.
        longest_s: a question waits for so long at most [s].
        slack_s: pictures that came so shortly before a question was due are fresh [s].
    """

    def __init__(self, cameras: Sequence[str], longest_s: float, slack_s: float):
        self._arrivals: dict[str, _Arrivals | None] = dict.fromkeys(cameras)
        self._longest_ns = round(longest_s * NS_PER_S)
        self._slack_ns = round(slack_s * NS_PER_S)

    @property
    def period_s(self) -> float:
        """How long it takes until all cameras have brought another picture [s]; 0: not known."""
        periods_ns = [arrivals.period_ns for arrivals in self._arrivals.values() if arrivals]
        return min(max(periods_ns, default=0), self._longest_ns) / NS_PER_S

    def came(self, camera: str, stamp_ns: int, now_ns: int) -> None:
        """Note a picture by its stamp; one that is not newer than the last is no news."""
        last = self._arrivals[camera]
        if last is None or not 0 <= now_ns - last.last_ns <= self._longest_ns * 10:
            self._arrivals[camera] = _Arrivals(stamp_ns, now_ns)
        elif stamp_ns > last.stamp_ns:
            self._arrivals[camera] = _Arrivals(stamp_ns, now_ns, now_ns - last.last_ns)

    def are_fresh(self, due_ns: int) -> bool:
        """Return whether each camera has brought a picture since a question was due."""
        return all(
            arrivals is not None and arrivals.last_ns >= due_ns - self._slack_ns
            for arrivals in self._arrivals.values()
        )

    def is_worth_it(self, due_ns: int, now_ns: int) -> bool:
        """Return whether a question that is due since then should wait for pictures.

        Not where a camera's is late, or comes only after `longest_s`: what there is has to do then,
        or is too old for a question anyway.
        """
        for arrivals in self._arrivals.values():
            if arrivals is None or not arrivals.period_ns:
                return False
            if arrivals.last_ns >= due_ns - self._slack_ns:
                continue
            next_ns = arrivals.last_ns + arrivals.period_ns
            late_ns = next_ns + round(_LATE_SHARE * arrivals.period_ns)
            if next_ns - due_ns > self._longest_ns or not due_ns <= now_ns <= late_ns:
                return False
        return True
