"""From streams with their own clocks to frames on one grid; the same class for bag and live.

A sample holds from its stamp on: a tick sees the newest sample whose stamp is not later than the
tick, and only if it is recent enough. Nothing is interpolated or filled.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Generic, TypeVar

import numpy as np

from vla_ros.core.errors import StaleDataError

Value = TypeVar("Value")
NS_PER_S = 1_000_000_000


def tick_grid(start_ns: int, end_ns: int, rate_hz: float) -> np.ndarray:
    """Return ticks (N,) int64 [ns] at `rate_hz` on the half-open interval [start_ns, end_ns).

    Tick i is start + round(i / rate), so that rounding never accumulates.
    """
    if rate_hz <= 0:
        raise ValueError(f"rate must be above 0 Hz, got {rate_hz}")
    count = max(0, int(np.ceil((end_ns - start_ns) * rate_hz / NS_PER_S)))
    ticks = start_ns + np.round(np.arange(count) * (NS_PER_S / rate_hz)).astype(np.int64)
    return ticks[ticks < end_ns]


def tick_at(start_ns: int, index: int, rate_hz: float) -> int:
    """Return the tick [ns] that `tick_grid` has at `index`, however far from its start."""
    return start_ns + round(index * (NS_PER_S / rate_hz))


def first_tick_from(start_ns: int, time_ns: int, rate_hz: float) -> int:
    """Return the index of the first tick at or after `time_ns`, at least 0."""
    index = max(0, int((time_ns - start_ns) * (rate_hz / NS_PER_S)) - 1)
    while tick_at(start_ns, index, rate_hz) < time_ns:
        index += 1
    return index


class StreamBuffer(Generic[Value]):
    """The samples of one stream, by header stamp [ns].

    Args:
        name: the stream's name, for messages.
        max_age_ns: how long a sample may be held; older than that is stale.
        capacity: how many samples to keep, the newest by stamp; None keeps all (a bag).
    """

    def __init__(self, name: str, max_age_ns: int, capacity: int | None = None):
        if max_age_ns <= 0:
            raise ValueError(f"max_age_ns of {name!r} must be above 0, got {max_age_ns}")
        self.name = name
        self.max_age_ns = max_age_ns
        self.capacity = capacity
        self._stamps: list[int] = []
        self._values: list[Value] = []

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def first_ns(self) -> int | None:
        """The earliest stamp kept [ns], None while empty."""
        return self._stamps[0] if self._stamps else None

    @property
    def last_ns(self) -> int | None:
        """The latest stamp kept [ns], None while empty."""
        return self._stamps[-1] if self._stamps else None

    def push(self, stamp_ns: int, value: Value) -> None:
        """Add a sample. A late one is put in its place; an equal stamp replaces the older value."""
        at = bisect_right(self._stamps, stamp_ns)
        if at and self._stamps[at - 1] == stamp_ns:
            self._values[at - 1] = value
            return
        self._stamps.insert(at, stamp_ns)
        self._values.insert(at, value)
        if self.capacity is not None and len(self._stamps) > self.capacity:
            del self._stamps[0], self._values[0]

    def extend(self, samples: Iterable[tuple[int, Value]]) -> None:
        """Push every (stamp [ns], value)."""
        for stamp_ns, value in samples:
            self.push(stamp_ns, value)

    def next_ns(self, tick_ns: int) -> int | None:
        """Return the earliest stamp after `tick_ns` [ns], None where there is none."""
        at = bisect_right(self._stamps, tick_ns)
        return self._stamps[at] if at < len(self._stamps) else None

    def clear(self) -> None:
        """Forget every sample, as after a jump of the clock."""
        self._stamps.clear()
        self._values.clear()

    def sample(self, tick_ns: int) -> tuple[int, Value]:
        """Return (stamp [ns], value) of the sample that holds at `tick_ns`.

        Raises:
            StaleDataError: there is none, or it is older than `max_age_ns`.
        """
        at = bisect_right(self._stamps, tick_ns) - 1
        if at < 0:
            raise StaleDataError(
                f"no sample of {self.name} at or before {tick_ns} ns; "
                "check that its publisher runs and its stamps use the same clock"
            )
        age_ns = tick_ns - self._stamps[at]
        if age_ns > self.max_age_ns:
            raise StaleDataError(
                f"newest sample of {self.name} is {age_ns / 1e6:.0f} ms old at {tick_ns} ns, "
                f"over the bound of {self.max_age_ns / 1e6:.0f} ms; check its publisher's rate"
            )
        return self._stamps[at], self._values[at]
