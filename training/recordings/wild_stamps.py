"""Messages whose stamp is wrong by itself are taken out before they spoil a whole recording."""

from collections.abc import Callable

from training.recordings.bag_files import Raw
from training.recordings.cdr import stamp_ns
from training.recordings.streams import Clock, Drops


class WildStamps:
    """Hands messages on, each once the next of its topic has told whether its stamp is wild.

    Args:
        clock: what was trusted so far.
        drops: where wild ones are counted.
        hand_on: takes the number of the file and the message.
    """

    def __init__(self, clock: Clock, drops: Drops, hand_on: Callable[[int, Raw], None]):
        self._clock, self._drops, self._hand_on = clock, drops, hand_on
        self._held: dict[str, tuple[int, Raw]] = {}

    def take(self, file: int, raw: Raw) -> None:
        """Keep a message that begins with a header, and hand on the one before it."""
        held = self._held.get(raw.topic)
        self._held[raw.topic] = file, raw
        if held is None:
            return
        try:
            stamp, following = stamp_ns(held[1].data), stamp_ns(raw.data)
        except ValueError:  # too short for a stamp, which is for its reader to say
            self._hand_on(*held)
            return
        if self._clock.is_wild(raw.topic, stamp, following):
            self._drops.add(f"messages on {raw.topic} with a wild stamp", stamp)
        else:
            self._hand_on(*held)

    def take_last(self) -> None:
        """Hand on the last message of each topic."""
        for held in self._held.values():
            self._hand_on(*held)
        self._held.clear()
