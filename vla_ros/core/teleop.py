"""Whether the arm may follow a person's gamepad, and how fast. No ROS, no clock: times are given.

A pad that has lost its radio may repeat its last message for ever (ros-drivers/joystick_drivers,
issue 92), so a dead-man button alone is not enough: see `Gamepad`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_ros.core.errors import SafetyError
from vla_ros.core.teleop_pad import Pad, PadState
from vla_ros.core.thresholds import require_ranges, threshold

FRAMES = ("base", "tool")
# After so long without any message the stamps may be of another clock [s].
_NEW_LINK_S = 10.0
# How much slower the clock of the pad's computer may be [s/s].
_CLOCK_DRIFT = 1e-4
ANEW = "let the dead-man button go, and press it again"
_HELD_BEFORE = f"the dead-man button is held since before the first message; {ANEW}"


@dataclass(frozen=True)
class TeleopParameters:
    """What a person may set of driving the arm by a gamepad.

    Raises:
        SafetyError: a value is out of its range.
    """

    linear_m_s: float = threshold(0.10, 0.01, 0.25, "m/s", "speed of the tool at full stick")
    angular_rad_s: float = threshold(0.6, 0.05, 1.5, "rad/s", "same, turning")
    home_rad_s: float = threshold(0.3, 0.05, 1.0, "rad/s", "fastest joint on the way to a pose")
    slow_share: float = threshold(0.3, 0.05, 1.0, "1", "share of the speeds while slow is held")
    dead_zone: float = threshold(0.15, 0.0, 0.5, "1", "share of a stick's way that is nothing")
    stale_s: float = threshold(0.25, 0.05, 1.0, "s", "older messages of the pad stop the arm")
    unchanged_s: float = threshold(
        3.0, 0.5, 30.0, "s", "so long one message moves the arm; slow: as far"
    )

    def __post_init__(self):
        require_ranges(self)


def shaped(value: float, dead_zone: float) -> float:
    """Return a stick's way (-1 to 1) without its dead zone: 0 inside, steady, 1 at the end."""
    beyond = max(abs(value) - dead_zone, 0.0) / (1.0 - dead_zone)
    return math.copysign(min(beyond, 1.0), value) if beyond else 0.0


def twist_of(state: PadState, parameters: TeleopParameters) -> np.ndarray:
    """Return the twist (6,) that the sticks ask for: linear [m/s], then angular [rad/s].

    Each half is no longer than its largest speed: two sticks at their ends are no faster than one.
    """
    share = np.array([shaped(value, parameters.dead_zone) for value in state.directions])
    scale = parameters.slow_share if state.slow else 1.0
    halves = []
    for half, most in ((share[:3], parameters.linear_m_s), (share[3:], parameters.angular_rad_s)):
        halves.append(half / max(float(np.linalg.norm(half)), 1.0) * most * scale)
    return np.concatenate(halves)


class Gamepad:
    """Follows the messages of one pad, and says whether the arm may follow the person.

    It may from the press of the dead-man button on, with all sticks at rest, and for as long as the
    button is held and messages come. After any other end than that of letting go, the button has
    to be let go and pressed anew:
    - no message for `stale_s`, or one that lacks a control: the pad or its radio is gone;
    - one that arrives `stale_s` later than the quickest, judged by its stamp: a link that keeps
      messages back. No common clock is needed, and it is no judgement of the first one;
    - one and the same message moves the arm for `unchanged_s`, or as far: its radio may be gone;
    - somebody else says so, by `release`, or for as long as there is a reason, by `forbid`.

    Args:
        pad: where its controls are.
        parameters: bounds.

    Attributes:
        problem: why the arm does not follow, one sentence; empty where it may, or nobody asks.
    """

    def __init__(self, pad: Pad, parameters: TeleopParameters):
        self._pad = pad
        self._parameters = parameters
        self._state: PadState | None = None
        self._raw: tuple = ()
        self._heard_s = self._changed_s = self._arrival_s = -math.inf
        self._stamp_ns = 0
        self._least_lag_s = math.inf
        self._forbidden = ""
        self._engaged = self._was_open = False
        self.problem = "no message of a pad yet: does a joy node run?"

    def hear(
        self, now_s: float, stamp_ns: int, axes: Sequence[float], buttons: Sequence[int]
    ) -> tuple[str, ...]:
        """Take in a message; return which of `PRESSED` were pressed with it.

        Args:
            now_s: when it arrived [s].
            stamp_ns: when it was made [ns]; 0 where nobody says.
            axes, buttons: as in sensor_msgs/Joy.
        """
        if self._is_late(now_s, stamp_ns):
            self._lose(
                f"the pad's messages come more than {self._parameters.stale_s:g} s late, or its "
                f"clock was set: look at the link, or stop the joy node for {_NEW_LINK_S:g} s; "
                f"then {ANEW}"
            )
            return ()
        gap_s = now_s - self._heard_s
        if gap_s > self._parameters.stale_s:
            # Said no longer once the button is seen to be free.
            self._lose(self._silence if math.isfinite(gap_s) else _HELD_BEFORE)
        elif 0 < stamp_ns < self._stamp_ns:
            return ()  # overtaken on its way; it does not count as a sign of life either
        self._stamp_ns = stamp_ns
        try:
            state = self._pad.read(axes, buttons)
        except SafetyError as error:
            self._lose(str(error))
            return ()
        # What is no number differs from itself; on an axis in use it was refused.
        raw = (tuple(0.0 if math.isnan(axis) else axis for axis in axes), tuple(buttons))
        if raw != self._raw:
            self._raw, self._changed_s = raw, now_s
        before, self._state, self._heard_s = self._state, state, now_s
        self._judge(state)
        # A button that is down in the first message was not pressed now.
        return () if before is None else tuple(sorted(state.pressed - before.pressed))

    def follows(self, now_s: float, is_led: bool = False) -> bool:
        """Return whether the arm may move by this pad.

        Args:
            now_s: when [s].
            is_led: whether it moves for as long as the button is held, whatever the sticks say.
        """
        if self._state is not None and now_s - self._heard_s > self._parameters.stale_s:
            self._lose(self._silence)
        unchanged_s, limit_s = now_s - self._changed_s, self._parameters.unchanged_s
        is_driven = bool(self.twist.any())
        if is_driven and self._state is not None and self._state.slow:
            limit_s /= self._parameters.slow_share
        if self._engaged and (is_driven or is_led or self.wants_home) and unchanged_s > limit_s:
            self.release(
                f"nothing has changed on the pad for {limit_s:g} s: is it still there? "
                f"If so, {ANEW}"
            )
        return self._engaged

    def release(self, reason: str) -> None:
        """Follow no more until the dead-man button was let go and is pressed again."""
        if self._engaged:
            self.problem = reason
        self._engaged = self._was_open = False

    def forbid(self, reason: str) -> None:
        """Follow no more for as long as there is a reason; empty: a new press begins."""
        self._forbidden = reason
        if reason:
            self._engaged = self._was_open = False
            self.problem = reason

    @property
    def twist(self) -> np.ndarray:
        """What the sticks ask for, as `twist_of`; 0 without a message."""
        return np.zeros(6) if self._state is None else twist_of(self._state, self._parameters)

    @property
    def wants_home(self) -> bool:
        """Whether the button that leads to the ready pose is held."""
        return self._state is not None and self._state.home

    @property
    def _silence(self) -> str:
        return f"no message of the pad for {self._parameters.stale_s:g} s; {ANEW}"

    def _is_late(self, now_s: float, stamp_ns: int) -> bool:
        """Return whether a message took much longer than the quickest of this link."""
        since_s, self._arrival_s = now_s - self._arrival_s, now_s
        if since_s > _NEW_LINK_S:
            self._least_lag_s = math.inf
        if stamp_ns <= 0:
            return False
        lag_s = now_s - stamp_ns * 1e-9
        if math.isfinite(since_s):
            self._least_lag_s += _CLOCK_DRIFT * since_s
        self._least_lag_s = min(self._least_lag_s, lag_s)
        return lag_s - self._least_lag_s > self._parameters.stale_s

    def _judge(self, state: PadState) -> None:
        if self._forbidden:
            self.forbid(self._forbidden)
        elif not state.dead_man:
            self._engaged, self._was_open, self.problem = False, True, ""
        elif not self._engaged and self._was_open:
            if twist_of(state, self._parameters).any() or state.home:
                self.problem = (
                    "a stick is not at rest: let go of all but the dead-man button to begin"
                )
            else:
                self._engaged, self.problem = True, ""

    def _lose(self, problem: str) -> None:
        self._state = None
        self._engaged = self._was_open = False
        self.problem = problem
