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
