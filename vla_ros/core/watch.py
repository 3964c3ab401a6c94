"""Are the streams alive and is time sane? Pure: every time is handed in.

Three clocks meet here: stamps [ns] of whoever made a message, the node's own time [ns], and a
steady one [s] that nobody can set.
"""

from dataclasses import dataclass

import numpy as np

from vla_ros.core.errors import SafetyError
from vla_ros.core.monitor import GO, Verdict


class JointStateAge:
    """Holds the arm while its joint states are old, gives it up when they stay away.

    Args:
        max_age_s: seven periods of the driver's 100 Hz, two of xs_sdk_sim's 30 Hz [s]; with the
            20 ms to the next command, an arm is held within 0.1 s.
        lost_s: silent for longer than this, the driver or its cable is gone [s].
    """

    def __init__(self, max_age_s: float = 0.075, lost_s: float = 10.0):
        if not 0 < max_age_s < lost_s:
            raise SafetyError(f"max_age_s must be above 0 and below lost_s, got {max_age_s}")
        self.max_age_s = max_age_s
        self.lost_s = lost_s

    def judge(self, age_s: float, silent_s: float | None) -> Verdict:
        """Return what the last believed joint state's age means.

        Args:
            age_s: the node's time less its stamp [s]; negative where the driver's clock is ahead.
            silent_s: steady time since it arrived [s]; None under simulated time, which may
                stand still.
        """
        if silent_s is not None and silent_s > self.lost_s:
            return Verdict("stop", "lost", lost_sentence(self.lost_s))
        oldest_s = max(age_s, silent_s or 0.0)
        if oldest_s > self.max_age_s:
            return Verdict(
                "hold",
                "stale",
                f"the joint states are {oldest_s:.2f} s old: holding until they are back; check "
                "the driver, and the clocks where it runs on another machine",
            )
        if age_s < -self.max_age_s:
            return Verdict(
                "hold",
                "stale",
                f"the joint states are stamped {-age_s:.2f} s in the future: holding; check that "
                "the driver's clock and this one agree",
            )
        return GO


def lost_sentence(lost_s: float) -> str:
    """Return why a driver that was silent for `lost_s` [s] is given up."""
    return (
        f"no believable joint state for {lost_s:g} s: the driver or its cable is gone; the servos "
        "hold their last goal, restart the driver"
    )


@dataclass(frozen=True)
class Tick:
    """What the clocks say at one command.

    Attributes:
        late: the commands paused for so long that the servos have come to rest.
        jump_s: by how much the node's clock jumped [s]; 0 where it did not.
    """

    late: bool = False
    jump_s: float = 0.0


class CommandClock:
    """Watches the spacing of the commands and the clock they follow.

    Args:
        period_s: time between two commands [s].
        simulated: whether the node's time is the only clock; then it is what spacing means, and
            any step back or far ahead is a jump.
        late_periods: a longer pause than so many periods is a stop: the servos' profile of 25 ms
            has run out by then.
        jump_s: the node's clock may deviate by so much within one period [s]; time servers slew
            by far less.
    """

    def __init__(
        self,
        period_s: float,
        simulated: bool,
        late_periods: float = 2.5,
        jump_s: float = 0.5,
    ):
        if not (period_s > 0 and late_periods >= 1 and jump_s > 0):
            raise SafetyError(
                f"period_s and jump_s must be above 0 and late_periods 1 or more, got {period_s}, "
                f"{jump_s}, {late_periods}"
            )
        self._late_s = late_periods * period_s
        self._simulated = simulated
        self._jump_s = jump_s
        self._last: tuple[int, float] | None = None
        self.late = 0
        self.jumps = 0

    def restart(self) -> None:
        """Forget the last command, as when the stream begins."""
        self._last = None

    def tick(self, now_ns: int, steady_s: float) -> Tick:
        """Return what happened since the last command, and count it."""
        last, self._last = self._last, (now_ns, steady_s)
        if last is None:
            return Tick()
        own_s, real_s = (now_ns - last[0]) / 1e9, steady_s - last[1]
        if self._simulated:
            jump_s = own_s if not 0.0 <= own_s <= self._jump_s else 0.0
            late = own_s > self._late_s
        else:
            jump_s = own_s - real_s if abs(own_s - real_s) > self._jump_s else 0.0
            late = real_s > self._late_s
        self.late += late
        self.jumps += jump_s != 0.0
        return Tick(late, jump_s)


class CameraWatch:
    """Holds the arm while a camera that it needs is blind.

    Args:
        frozen_rad: a joint moved by so much [rad] and the picture is the same to the last bit:
            the camera repeats itself. A real camera's noise changes every picture, and a
            simulated one sees the arm.
    """

    def __init__(self, frozen_rad: float = 0.3):
        if not 0 < frozen_rad < np.inf:
            raise SafetyError(f"frozen_rad must be above 0, got {frozen_rad}")
        self._frozen_rad = frozen_rad
        self._max_age_s: dict[str, float] = {}
        self._seen_ns: dict[str, int] = {}
        self._moved_rad: dict[str, float] = {}
        self._first_seen: dict[str, tuple[int, np.ndarray]] = {}

    def need(self, name: str, max_age_s: float | None) -> None:
        """Hold from now on while the last picture of this camera is older than this [s]; None: not.

        Raises:
            SafetyError: the age is not above 0.
        """
        if max_age_s is None:
            self._max_age_s.pop(name, None)
            return
        if not 0 < max_age_s < np.inf:
            raise SafetyError(f"max_age_s of camera {name} must be above 0, got {max_age_s}")
        self._max_age_s[name] = max_age_s

    def saw(self, name: str, stamp_ns: int, digest: int, q_measured: np.ndarray) -> None:
        """Note a picture by its stamp [ns], a hash of its bytes, and the arm (6,) [rad] now."""
        self._seen_ns[name] = stamp_ns
        if name not in self._first_seen or self._first_seen[name][0] != digest:
            self._first_seen[name] = digest, np.array(q_measured, dtype=np.float64)
        # Looked at when a picture comes: between two, however slow, there is nothing to compare.
        self._moved_rad[name] = float(np.abs(q_measured - self._first_seen[name][1]).max())

    def judge(self, now_ns: int) -> Verdict:
        """Return whether every needed camera sees."""
        for name, max_age_s in self._max_age_s.items():
            if name not in self._seen_ns:
                return Verdict(
                    "hold", "camera", f"camera {name} has sent no picture yet; start camera_node"
                )
            age_s = (now_ns - self._seen_ns[name]) / 1e9
            if abs(age_s) > max_age_s:
                return Verdict(
                    "hold",
                    "camera",
                    f"the last picture of camera {name} is {age_s:.2f} s old, allowed "
                    f"{max_age_s:g} s: holding until it is back; check its cable",
                )
            if self._moved_rad[name] > self._frozen_rad:
                return Verdict(
                    "hold",
                    "camera",
                    f"camera {name} shows the same picture while the arm moved "
                    f"{self._moved_rad[name]:.2f} rad: holding until it changes; restart "
                    "camera_node",
                )
        return GO
