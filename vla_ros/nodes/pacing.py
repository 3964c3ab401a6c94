"""When simulated time may go on. Pure: wall time and simulated time are handed in."""


class Pacer:
    """Counts the control ticks that are due by absolute deadlines.

    Args:
        tick_ns: simulated time of one tick [ns].
        speed: simulated seconds in a second.
        max_catch_up: ticks that are caught up at once; the rest of a hiccup is given up.
    """

    def __init__(self, tick_ns: int, speed: float, max_catch_up: int = 5):
        self._wall_per_tick_ns = tick_ns / speed
        self._max_catch_up = max_catch_up
        self._origin_ns = 0
        self.ticks = 0
        self.given_up = 0

    def start(self, now_ns: int) -> None:
        """Let time begin at the wall time `now_ns`."""
        self._origin_ns = now_ns

    def due(self, now_ns: int) -> int:
        """Return how many ticks to do now; call `tick` after each."""
        due = min(self._behind(now_ns), self._max_catch_up)
        self._give_up_but(due, now_ns)
        return max(0, due)

    def tick(self) -> None:
        """Count one tick as done."""
        self.ticks += 1

    def pause(self, now_ns: int) -> None:
        """Keep at most the catch-up of the ticks that are due: somebody is waited for."""
        self._give_up_but(self._max_catch_up, now_ns)

    def _behind(self, now_ns: int) -> int:
        # Rounded, so that a timer that is a little early or late still means one tick.
        return round((now_ns - self._origin_ns) / self._wall_per_tick_ns) - self.ticks

    def _give_up_but(self, kept: int, now_ns: int) -> None:
        ticks = self._behind(now_ns) - kept
        if ticks > 0:
            self.given_up += ticks
            self._origin_ns += round(ticks * self._wall_per_tick_ns)


class Follower:
    """A stream that must keep up with simulated time, for as long as it is alive.

    Args:
        max_lag_ns: how far simulated time may run ahead of the stream [ns].
        alive_ns: silent for longer than this wall time, it is not waited for [ns].
    """

    def __init__(self, max_lag_ns: int, alive_ns: int = 2_000_000_000):
        self._max_lag_ns = max_lag_ns
        self._alive_ns = alive_ns
        self._last: tuple[int, int] | None = None
        self.times_lost = 0

    def heard(self, sim_ns: int, now_ns: int) -> None:
        """Note that the stream has come to `sim_ns`, at the wall time `now_ns`."""
        self._last = sim_ns, now_ns

    def lags(self, sim_ns: int, now_ns: int) -> bool:
        """Return whether simulated time `sim_ns` should wait for it at wall time `now_ns`."""
        if self._last is None or sim_ns - self._last[0] <= self._max_lag_ns:
            return False
        if now_ns - self._last[1] > self._alive_ns:
            self._last = None
            self.times_lost += 1
            return False
        return True
