"""When a policy is asked: where its motion wants a chunk, with pictures that have just come.

Pure: times are handed in. Who moves the arm says after each command and at each picture what time
it is, and is told whether to ask now.
"""

from vla_ros.core.picture_wait import PictureWait
from vla_ros.core.policy_motion import PolicyMotion


class AskTime:
    """Watches one motion and the pictures that it is asked about.

    Args:
        motion: what is made of the answers.
        wait: for pictures.
        period_s: time between two commands [s].
    """

    def __init__(self, motion: PolicyMotion, wait: PictureWait, period_s: float):
        self._motion, self._wait, self._period_s = motion, wait, period_s
        # After the last command of a motion that is under way a picture may be asked about for so
        # long.
        self._underway_ns = round(2e9 * period_s)
        self.rest()

    def rest(self) -> None:
        """Note that the motion is over: nothing is due."""
        self._due_ns: int | None = None
        self._commanded_ns = -(2**63)

    def at_command(self, now_ns: int, is_busy: bool) -> bool:
        """Return whether to ask, right after a command of the motion.

        Args:
            now_ns: time of the command [ns].
            is_busy: whether a question is being answered.
        """
        self._commanded_ns = now_ns
        self._note(self._motion.wants_chunk(now_ns), now_ns, is_busy)
        due_ns = self._due_ns
        return due_ns is not None and (
            self._motion.is_running_out or not self._wait.is_worth_it(due_ns, now_ns)
        )

    def at_picture(self, now_ns: int, is_busy: bool) -> bool:
        """Return whether to ask because a picture has just come; arguments as of `at_command`."""
        if not 0 <= now_ns - self._commanded_ns <= self._underway_ns:
            return False
        ahead_s = max(self._wait.period_s, self._period_s)
        self._note(self._motion.wants_chunk(now_ns, ahead_s), now_ns, is_busy)
        return self._due_ns is not None and self._wait.are_fresh(self._due_ns)

    def asked(self) -> None:
        """Note that it was asked."""
        self._due_ns = None

    def _note(self, is_due: bool, now_ns: int, is_busy: bool) -> None:
        """Note since when a question is due; None while none is, or one is being answered."""
        if not is_due or is_busy:
            self._due_ns = None
        elif self._due_ns is None or self._due_ns > now_ns:
            self._due_ns = now_ns
