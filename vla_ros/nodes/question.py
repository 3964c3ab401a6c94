"""A question to the driver that must be answered in time, whatever became of earlier ones."""

import time
from collections.abc import Callable

from rclpy.clock import Clock, ClockType

from vla_ros.nodes.lifetime import ShellNode

_LOOK_S = 0.1


class Question:
    """Waits for one answer at a time; asking again makes an answer to what was asked before void.

    Args:
        node: the node to live in.
        unanswered: called when the answer takes too long.
    """

    def __init__(self, node: ShellNode, unanswered: Callable[[], None]):
        self._unanswered = unanswered
        self._deadline_s: float | None = None
        self._round = 0
        node.create_timer(_LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def ask(self, patience_s: float) -> Callable[[], bool]:
        """Wait for so long [s, wall]; what is returned tells whether this question still waits."""
        self._round += 1
        this_round = self._round
        self._deadline_s = time.monotonic() + patience_s
        return lambda: this_round == self._round and self._deadline_s is not None

    @property
    def is_open(self) -> bool:
        """Whether an answer is waited for."""
        return self._deadline_s is not None

    def settle(self) -> None:
        """Note that it is answered."""
        self._deadline_s = None

    def _look(self) -> None:
        if self._deadline_s is not None and time.monotonic() > self._deadline_s:
            self._deadline_s = None
            self._unanswered()
