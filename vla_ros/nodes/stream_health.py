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


class StampAge:
    """How far the stamps of a stream lie behind the clock of whoever hears it.

    The least of a while counts: what the way and a busy machine add passes, a wrong clock stays.

    Args:
        most_s: farther off than this, on either side, is too far [s].

    Attributes:
        is_off: whether they were too far off when last looked at.
    """

    def __init__(self, most_s: float):
        self._most_s = most_s
        self._least_s: float | None = None
        self._last_s = 0.0
        self._was_said = False
        self.is_off = False

    def note(self, age_s: float) -> None:
        """Note the age of a message when it arrived [s]; negative is from the future."""
        if self._least_s is None or age_s < self._least_s:
            self._least_s = age_s

    def look(self) -> tuple[float, bool]:
        """Return the least age since this was last called [s], and whether it is off at first."""
        if self._least_s is not None:
            self._last_s, self._least_s = self._least_s, None
            self.is_off = abs(self._last_s) > self._most_s
        begins = self.is_off and not self._was_said
        self._was_said |= begins
        return self._last_s, begins
