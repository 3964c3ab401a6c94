"""When a policy of single actions is asked again: one action after the other, none heaped up."""

import math

from vla_ros.core.resample import NS_PER_S

# Sums of floats are off by less [s].
_ROUNDING_S = 1e-9


class SinglePace:
    """Keeps questions apart by the time that an action takes at the speed it is done at.

    Args:
        slack_s: a question may go early by so much [s], and the next one is due later by as much:
            pictures come a little before their time as often as after it.
    """

    def __init__(self, slack_s: float):
        self._slack_s = slack_s
        self.restart()

    def restart(self) -> None:
        """Forget what was asked."""
        self._counted_ns: int | None = None

    def note_asked(self, now_ns: int, step_s: float, speed_scale: float) -> None:
        """Note a question of now; times and speed as of `until_due_s`."""
        early_s = self.until_due_s(now_ns, step_s, speed_scale)
        credit_s = early_s if early_s <= self._slack_s else 0.0
        self._counted_ns = now_ns + round(credit_s * NS_PER_S)

    def until_due_s(self, now_ns: int, step_s: float, speed_scale: float) -> float:
        """Return in which time the next question is due [s]; 0 where it is, inf where never.

        Args:
            now_ns: time [ns]; one of before the last question is another run of the clock.
            step_s: how long an action takes [s]; 0 where there is none.
            speed_scale: at which share of its speed it is done.
        """
        counted_ns = self._counted_ns
        if counted_ns is None or step_s <= 0.0 or counted_ns - now_ns > self._slack_s * NS_PER_S:
            return 0.0
        if speed_scale <= 0.0:
            return math.inf
        left_s = step_s / speed_scale - (now_ns - counted_ns) / NS_PER_S
        return left_s if left_s > _ROUNDING_S else 0.0
