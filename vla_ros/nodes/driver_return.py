"""What is done about a driver that fell silent and is back: it may be another process.

A driver that was started anew has put its own modes and profiles into the servos: a step of 20 ms
would take the arm two seconds, and the gripper would take radians for a duty.
"""

from collections.abc import Callable

from vla_ros.core.command_loop import BLIND_S, CommandLoop
from vla_ros.core.seen import Seen
from vla_ros.nodes.arm_start import ArmStart

_REASON = "the driver was silent: its servos are prepared again before anything moves"


class DriverReturn:
    """Keeps the arm at rest from a long silence until the servos are prepared again.

    Args:
        loop: what commands the arm.
        simulated: whether the node's time is simulated, and the only one that counts.
        start: what prepares the driver.
        done: called then, when targets are followed again.

    Attributes:
        reason: why the arm rests until then; empty where it does not.
    """

    def __init__(
        self,
        loop: CommandLoop,
        simulated: bool,
        start: ArmStart,
        done: Callable[[], object],
    ):
        self._loop, self._simulated, self._start, self._done = loop, simulated, start, done
        self.reason = ""

    def look(self, seen: Seen) -> None:
        """Take in what the loop has judged; to be called with every command."""
        unseen_s = abs(seen.age_s) if self._simulated else seen.silent_s
        if unseen_s > BLIND_S:
            # Also where it falls silent again while it is prepared.
            self._start.cancel()
            self.reason = _REASON
            self._loop.wait(_REASON)
        elif self.reason and self._loop.verdict.cause not in ("stale", "lost", "clock"):
            self._start.again(self._prepared)

    def _prepared(self) -> None:
        self.reason = ""
        self._loop.go_on()
        self._done()
