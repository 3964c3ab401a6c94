"""Whether images still come, and how many. Pure: wall times are handed in."""


class StreamHealth:
    """How a stream of images does.

    Args:
        stall_s: without life this long it counts as stalled [s].

    Attributes:
        images: how many there were.
        stalls: how often it stalled.
        stalled: whether it does.
    """

    def __init__(self, stall_s: float):
        self._stall_s = stall_s
        self.images = self.stalls = 0
        self.stalled = False
        self._alive_s = 0.0
        self._window: tuple[float, int] = (0.0, 0)

    def restart(self, now_s: float) -> None:
        """Begin to wait for the first sign of life."""
        self._alive_s = now_s
        self._window = now_s, self.images
        self.stalled = False

    def alive(self, now_s: float) -> None:
        """Note a sign of life."""
        self._alive_s = now_s

    def count(self, now_s: float) -> None:
        """Note an image."""
        self.images += 1
        self.alive(now_s)

    def silent_s(self, now_s: float) -> float:
        """Return the time since the last sign of life [s]."""
        return now_s - self._alive_s

    def changed(self, now_s: float) -> bool:
        """Return whether `stalled` changed just now."""
        if (self.silent_s(now_s) > self._stall_s) == self.stalled:
            return False
        self.stalled = not self.stalled
        self.stalls += self.stalled
        return True

    def rate_hz(self, now_s: float) -> float:
        """Return the images a second of wall time since this was last asked."""
        then_s, images = self._window
        self._window = now_s, self.images
        return (self.images - images) / (now_s - then_s) if now_s > then_s else 0.0
