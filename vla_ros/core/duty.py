"""When an arm that plays unattended rests, what is tried again, and when it is given up.

Every time is handed in: the node's own [ns] for work and rest, wall time [s] for trying again.
"""

import math

from vla_ros.core.errors import EpisodeError

_NS_PER_MIN = 60_000_000_000


class Reminder:
    """Falls due once every so often, counted from when it was last attended to.

    Args:
        every_min: time between two [min]; 0: never.
    """

    def __init__(self, every_min: float):
        if not every_min >= 0:
            raise EpisodeError(f"every_min must be 0 or more, got {every_min}")
        self._every_ns = every_min * _NS_PER_MIN
        self._since_ns = 0

    def attended(self, now_ns: int) -> None:
        """Count anew from `now_ns`."""
        self._since_ns = now_ns

    def due(self, now_ns: int) -> bool:
        """Return whether it is time."""
        return self._every_ns > 0 and now_ns - self._since_ns >= self._every_ns

    def minutes(self, now_ns: int) -> float:
        """Return how long ago it was attended to [min]."""
        return (now_ns - self._since_ns) / _NS_PER_MIN


class Backoff:
    """Growing pauses between tries, until it has failed for too long.

    Args:
        first_s: pause after the first failure [s]; each further one doubles it.
        longest_s: no pause is longer [s].
        give_up_s: after failing for this long there is no further try [s].
    """

    def __init__(self, first_s: float, longest_s: float, give_up_s: float):
        if not 0 < first_s <= longest_s:
            raise EpisodeError(f"first_s must be above 0 and at most {longest_s}, got {first_s}")
        self._first_s, self._longest_s, self._give_up_s = first_s, longest_s, give_up_s
        self.succeeded()

    def succeeded(self) -> None:
        """Forget all failures."""
        self._pause_s = self._first_s
        self._since_s: float | None = None

    def failed(self, now_s: float) -> float | None:
        """Return the pause before the next try [s]; None where it is time to give up."""
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s >= self._give_up_s:
            return None
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, self._longest_s)
        return pause_s


class Cooling:
    """How long motors that rest may take to cool.

    Args:
        now_s: when they begin to [s].
        longest_s: by then they have cooled [s]: a servo from 70 to 55 degrees Celsius within a
            quarter of an hour or two.
        unread_s: for no longer than this [s] may nothing be heard of one that was warm.
    """

    def __init__(self, now_s: float, longest_s: float = 3600.0, unread_s: float = 300.0):
        if not 0 < unread_s <= longest_s:
            raise EpisodeError(f"unread_s must be above 0 and at most {longest_s}, got {unread_s}")
        self._end_s, self._longest_s, self._unread_s = now_s + longest_s, longest_s, unread_s
        self._readings, self._read_s = -1, now_s

    def judge(self, now_s: float, readings: int) -> str:
        """Return why it is given up; empty while it is not.

        Args:
            now_s: steady time [s].
            readings: how often the warm servo that was read the least was read so far.
        """
        if readings != self._readings:
            self._readings, self._read_s = readings, now_s
        if now_s > self._end_s:
            return (
                f"the motors have not cooled within {self._longest_s / 60:g} min: look what warms "
                "them, and whether their sensors tell the truth"
            )
        if now_s - self._read_s > self._unread_s:
            return (
                f"the driver has not told for {self._unread_s / 60:g} min how warm the motors "
                "are: look at the driver and the servos' cables"
            )
        return ""


class Row:
    """Counts failures that follow each other without a success in between.

    Args:
        limit: so many in a row are too many, 1 or more.
        apart_s: failures further apart than this [s] are not of one row; inf: all are.
    """

    def __init__(self, limit: int, apart_s: float = math.inf):
        if limit < 1 or not apart_s > 0:
            raise EpisodeError(
                f"limit must be 1 or more, got {limit}, and apart_s above 0, got {apart_s}"
            )
        self.limit, self._apart_s = limit, apart_s
        self.succeeded()

    def succeeded(self) -> None:
        """Begin a new row."""
        self._failures, self._last_s = 0, -math.inf

    def failed(self, now_s: float = 0.0) -> bool:
        """Note a failure; return whether there were too many in a row."""
        self._failures = self._failures + 1 if now_s - self._last_s <= self._apart_s else 1
        self._last_s = now_s
        return self._failures >= self.limit
