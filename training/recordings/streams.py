"""Streams of one recording, filled message by message; what cannot be used is counted."""

import math
from array import array

import numpy as np

from training.datasets.drop_list import Drop
from training.recordings import messages
from training.recordings.source import Joints
from vla_ros.core import arm
from vla_ros.core.errors import SafetyError
from vla_ros.core.joint_states import JointStateFilter
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.resample import NS_PER_S

# Stamps of one stream that go back further are another time, not a message that came late; a clock
# that changes by more against another one between two messages was set.
CLOCK_STEP_NS = NS_PER_S // 2
# Messages after which a stream's mean period is believed.
_PERIODS_KNOWN = 10


class Drops:
    """Counts messages that cannot be used, by reason, with the first and the last stamp."""

    def __init__(self):
        self._drops: dict[str, Drop] = {}

    def add(self, reason: str, stamp_ns: int) -> None:
        """Count one message."""
        known = self._drops.get(reason, Drop(reason, 0, stamp_ns, stamp_ns))
        first, last = min(known.first_ns, stamp_ns), max(known.last_ns, stamp_ns)
        self._drops[reason] = Drop(reason, known.count + 1, first, last)

    def as_list(self) -> list[Drop]:
        """Return what was counted, by reason."""
        return [self._drops[reason] for reason in sorted(self._drops)]


class Clock:
    """Notices that a clock was set back while a recording ran.

    From there on no stamp of any stream can be told from one before, so none is used. One message
    whose stamp is far from those of both its neighbours, or 0, is no clock: see `is_wild`.
    """

    def __init__(self, drops: Drops):
        self._drops = drops
        self._latest: dict[str, int] = {}
        self._begun: dict[str, tuple[int, int]] = {}
        self._is_set_back = False

    def is_wild(self, stream: str, stamp_ns: int, following_ns: int) -> bool:
        """Tell whether a stamp is wrong by itself: the next one goes on where the last was."""
        latest = self._latest.get(stream)
        if stamp_ns and latest is not None and latest <= stamp_ns <= latest + CLOCK_STEP_NS:
            return False  # nearly every message: what follows would say the same, later
        if stamp_ns == 0 and latest:  # not filled in, however many follow one another
            return True
        if latest is None or not 0 <= following_ns - latest <= CLOCK_STEP_NS:
            return False
        back_ns = self._back_ns(stream)
        return not latest - back_ns <= stamp_ns <= latest + CLOCK_STEP_NS

    def goes_on(self, stream: str, stamp_ns: int, is_ordered: bool = False) -> bool:
        """Take a message beyond doubt, whatever follows it, as `is_wild` and `trusts` would.

        Returns False, and has taken nothing, where it is in doubt: ask those two.
        """
        latest = self._latest.get(stream)
        is_sound = latest is None or (stamp_ns and latest <= stamp_ns <= latest + CLOCK_STEP_NS)
        if self._is_set_back or not is_sound:
            return False
        self._latest[stream] = stamp_ns
        if is_ordered:
            first, count = self._begun.get(stream, (stamp_ns, 0))
            self._begun[stream] = first, count + 1
        return True

    def trusts(self, stream: str, stamp_ns: int, is_ordered: bool = False) -> bool:
        """Tell whether a message of the stream, next in the recording, is to be used.

        Messages of a stream that `is_ordered`, as those of one publisher of joint states, never
        overtake one another: three of its periods back are a clock that was set back.
        """
        latest = self._latest.setdefault(stream, stamp_ns)
        if stamp_ns >= latest:
            self._latest[stream] = stamp_ns
        else:
            self._is_set_back |= stamp_ns < latest - self._back_ns(stream)
        if self._is_set_back:
            self._drops.add("after the clock was set back", stamp_ns)
        elif is_ordered:
            first, count = self._begun.get(stream, (stamp_ns, 0))
            self._begun[stream] = first, count + 1
        return not self._is_set_back

    def _back_ns(self, stream: str) -> int:
        """Return how far a stamp may go back."""
        first, count = self._begun.get(stream, (0, 0))
        if count < _PERIODS_KNOWN:
            return CLOCK_STEP_NS
        period_ns = (self._latest[stream] - first) // (count - 1)
        return min(CLOCK_STEP_NS, 3 * period_ns)


class JointStream:
    """Joint states of one topic: by name, whatever their order and whatever else is there.

    Args:
        wanted: topic and names.
        what: the stream's name, for reasons.
        is_believed: whether the live filter for the wx250s judges them.
    """

    def __init__(self, wanted: Joints, what: str, is_believed: bool, clock: Clock, drops: Drops):
        self.wanted = wanted
        self.what = what
        self.names_seen: set[str] = set()
        self._clock, self._drops = clock, drops
        self._filter = JointStateFilter(wx250s_limits()) if is_believed else None
        self._messages = messages.JointStates()
        self._names: tuple[str, ...] | None = None
        self._places: list[int] = []
        self.stamps = array("q")
        self._values = array("d")

    def take(self, raw: bytes | memoryview) -> None:
        """Add a JointState; raises ValueError where it is damaged."""
        stamp_ns, names, position = self._messages.read(raw)
        if names is not self._names or len(position) != len(names):
            known = names[: len(position)]
            self._names, self._places = names, self.wanted.places_in(known)
            self.names_seen.update(() if self._places else known)
        if not self._places:
            self._drops.add(f"{self.what} without the arm's joints", stamp_ns)
        elif self._clock.trusts(self.wanted.topic, stamp_ns, is_ordered=True):
            reason = self._keep(stamp_ns, position[self._places].tolist())
            if reason:
                self._drops.add(reason, stamp_ns)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return stamps (N,) int64 [ns], joints (N, J) float64, openings (N,) float64."""
        values = np.array(self._values).reshape(-1, len(self.wanted.names) + 1)
        return np.array(self.stamps), values[:, :-1], values[:, -1]

    def _keep(self, stamp_ns: int, values: list[float]) -> str | None:
        """Add a sample, or return why not."""
        q, gripper = np.array(values[:-1]), self.wanted.gripper
        opening = gripper.opening(values[-1])
        if self._filter is not None:
            # As measured where it is measured so: the way there and back would turn the last bit.
            is_finger = (gripper.closed, gripper.open) == (arm.FINGER_CLOSED_M, arm.FINGER_OPEN_M)
            finger_m = values[-1] if is_finger else arm.finger_from_opening(opening)
            names = (*arm.ARM_JOINTS, "left_finger")
            try:
                q, opening = self._filter.accept(stamp_ns, names, np.array([*q, finger_m]))
            except SafetyError:
                return f"refused {self.what}"
        elif not all(map(math.isfinite, values)) or not math.isfinite(opening):
            return f"{self.what} not finite"
        elif self.stamps and stamp_ns <= self.stamps[-1]:
            return f"{self.what} not later than the last"
        self.stamps.append(stamp_ns)
        self._values.extend((*q, opening))
        return None
