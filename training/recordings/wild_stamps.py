"""Messages whose stamp is wrong by itself are taken out before they spoil a whole recording."""

from collections.abc import Callable
from typing import Generic, TypeVar

from training.recordings.streams import Clock

Item = TypeVar("Item")


class WildStamps(Generic[Item]):
    """Hands messages on, each once the next of its stream has told whether its stamp is wild.

    Args:
        clock: what was trusted so far.
        hand_on: takes a message.
        leave_out: takes one whose stamp is wild.
    """

    def __init__(
        self, clock: Clock, hand_on: Callable[[Item], None], leave_out: Callable[[Item], None]
    ):
        self._clock, self._hand_on, self._leave_out = clock, hand_on, leave_out
        self._held: dict[str, tuple[int, Item]] = {}

    def take(self, stream: str, stamp_ns: int, item: Item) -> None:
        """Keep a message, and hand on the one before it in its stream."""
        self.judge(stream, stamp_ns)
        self._held[stream] = stamp_ns, item

    def judge(self, stream: str, following_ns: int) -> None:
        """Hand on the message that was kept of a stream, now that the next one has this stamp."""
        held = self._held.pop(stream, None)
        if held is None:
            return
        if self._clock.is_wild(stream, held[0], following_ns):
            self._leave_out(held[1])
        else:
            self._hand_on(held[1])

    def take_last(self) -> None:
        """Hand on the last message of each stream."""
        for _, item in self._held.values():
            self._hand_on(item)
        self._held.clear()
