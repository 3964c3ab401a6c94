"""What the messages of one topic look like in time, in bounded memory however long the bag is."""

from dataclasses import dataclass

import numpy as np

from training.recordings.streams import CLOCK_STEP_NS
from vla_ros.core.resample import NS_PER_S

# An interval of so many periods is a gap: at least one message is missing.
GAP_PERIODS = 1.5
# Intervals tell a period if there are so many of them, most of which agree with their median.
_MIN_INTERVALS = 8
_STEADY_SHARE = 0.75
_STEADY_TOLERANCE = 0.3
# Messages that are looked at together, and those that wait for one that comes late.
_BATCH, _LATE = 4096, 64
_MOST_PLACES, _MOST_BINS, _DRIFT_BINS = 200, 512, 128
_BINS_PER_E = 100


class Spread:
    """How positive numbers are distributed, in bins 1 % wide that hold count and sum."""

    def __init__(self):
        size = _BINS_PER_E * 44  # e^44 ns are 400 years
        self.counts = np.zeros(size, np.int64)
        self._sums = np.zeros(size)

    def add(self, values: np.ndarray) -> None:
        """Take positive numbers (N,)."""
        places = (np.log(values) * _BINS_PER_E).astype(np.int64).clip(0, len(self.counts) - 1)
        self.counts += np.bincount(places, minlength=len(self.counts))
        self._sums += np.bincount(places, values, minlength=len(self.counts))

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the count of each bin that holds any, by size."""
        filled = self.counts > 0
        return self._sums[filled] / self.counts[filled], self.counts[filled]

    def quantile(self, share: float) -> float:
        """Return the mean of the bin below whose end lies this share of the numbers; 0 if none."""
        means, counts = self.rows()
        if not len(means):
            return 0.0
        return float(means[np.searchsorted(np.cumsum(counts), share * counts.sum())])


class Timeline:
    """Messages and delays over time, in at most 512 bins that grow with the time they cover.

    Attributes:
        start_ns: time of the first bin's start.
        width_ns: of a bin.
        counts: (512,) messages.
        least, greatest: (512,) float64 delay [ns]; inf and -inf where a bin has none.
        least_at: (512,) time of the least delay [ns], since `start_ns`.
        sums: (512,) of delays [ns].
    """

    def __init__(self, start_ns: int):
        self.start_ns, self.width_ns = start_ns, NS_PER_S // 10
        self.counts = np.zeros(_MOST_BINS, np.int64)
        self.least, self.greatest = np.full(_MOST_BINS, np.inf), np.full(_MOST_BINS, -np.inf)
        self.least_at, self.sums = np.zeros(_MOST_BINS), np.zeros(_MOST_BINS)

    def add(self, times_ns: np.ndarray, delays_ns: np.ndarray | None) -> None:
        """Take messages at `times_ns` (N,) with their delays (N,)."""
        since = np.maximum(times_ns - self.start_ns, 0)
        while since.max() >= _MOST_BINS * self.width_ns:
            self._widen()
        places = since // self.width_ns
        self.counts += np.bincount(places, minlength=_MOST_BINS)
        if delays_ns is None:
            return
        self.sums += np.bincount(places, delays_ns, minlength=_MOST_BINS)
        np.maximum.at(self.greatest, places, delays_ns)
        order = np.argsort(-delays_ns, kind="stable")
        least, least_at = np.full(_MOST_BINS, np.inf), np.zeros(_MOST_BINS)
        least[places[order]], least_at[places[order]] = delays_ns[order], since[order]
        self.least_at = np.where(least < self.least, least_at, self.least_at)
        self.least = np.minimum(least, self.least)

    def _widen(self) -> None:
        self.width_ns *= 2
        pairs = self.least.reshape(-1, 2)
        first = np.arange(len(pairs)) * 2 + pairs.argmin(axis=1)
        self.least, self.least_at = _half(pairs.min(axis=1), np.inf), _half(self.least_at[first], 0)
        self.greatest = _half(self.greatest.reshape(-1, 2).max(axis=1), -np.inf)
        self.counts = _half(self.counts.reshape(-1, 2).sum(axis=1), 0)
        self.sums = _half(self.sums.reshape(-1, 2).sum(axis=1), 0)

    def drift(self) -> float:
        """Return how the least delay grows with time [s/s]; 0 where there is too little.

        The median of the slopes between bins: a few late messages are no drift.
        """
        known = np.flatnonzero(np.isfinite(self.least))
        known = known[:: -(-len(known) // _DRIFT_BINS) or 1]
        first, second = np.triu_indices(len(known), 1)
        if not len(first):
            return 0.0
        times, delays = self.least_at[known], self.least[known]
        return float(np.median((delays[second] - delays[first]) / (times[second] - times[first])))


@dataclass(frozen=True)
class StreamReport:
    """One topic of one bag; times in seconds, those of day since the bag's first message.

    Attributes:
        messages, size_bytes: how many, and their size.
        start_s, end_s: arrival of the first and the last message.
        rate_hz: one by the median interval, None with fewer than two messages.
        is_steady: whether most intervals agree with the median.
        jitter_s: half of the way from the 5 % to the 95 % quantile of the intervals.
        missing: messages that gaps stand for.
        gaps: (start, length), the longest first, at most 200.
        num_gaps: all of them, also those of no room in `gaps`.
        duplicates: messages with the stamp of another one.
        out_of_order: messages with a stamp before one that came earlier.
        unset_stamps: messages stamped 0; they count for nothing else.
        unreadable: messages too short to hold their stamp, or that make no sense.
        clock_steps: (when, by how much) the clock of the stamps was set, at most 200.
        num_clock_steps: all of them.
        delay_s: typical time from stamp to arrival, None without stamps.
        greatest_delay_s: None without stamps.
        drift_s: how much the delay grew from start to end, None without stamps or where a clock
            was set.
    """

    messages: int
    size_bytes: int
    start_s: float
    end_s: float
    rate_hz: float | None
    is_steady: bool
    jitter_s: float
    missing: int
    gaps: list[tuple[float, float]]
    num_gaps: int
    duplicates: int
    out_of_order: int
    unset_stamps: int
    unreadable: int
    clock_steps: list[tuple[float, float]]
    num_clock_steps: int
    delay_s: float | None
    greatest_delay_s: float | None
    drift_s: float | None


class StreamWatch:
    """Counts one topic's messages.

    Args:
        start_ns: arrival of the bag's first message.
        is_stamped: whether the messages have stamps; else arrival takes their place.

    Attributes:
        timeline: messages over time of arrival.
        intervals: between neighbouring stamps [ns].
    """

    def __init__(self, start_ns: int, is_stamped: bool):
        self._start_ns, self.is_stamped = start_ns, is_stamped
        self.timeline, self.intervals = Timeline(start_ns), Spread()
        self._waiting: list[tuple[int, int, int]] = []  # arrival, stamp, size
        self.messages = self.size_bytes = self.unreadable = 0
        self._unset = self._duplicates = self._out_of_order = self._num_steps = 0
        self._steps: list[tuple[int, int]] = []
        self._longest = np.zeros((0, 2), np.int64)  # length, start
        self._carry = np.zeros(0, np.int64)
        self._last: tuple[int, int] | None = None
        self._latest, self._first_ns, self._last_ns = 0, None, start_ns
        # Arrival less stamp where this run of stamps began: turns a stamp into a time in the bag.
        self._base_ns = 0

    def hear(self, received_ns: int, stamp_ns: int, size: int) -> None:
        """Take a message; the stamp counts for nothing where there is none."""
        self._waiting.append((received_ns, stamp_ns, size))
        if len(self._waiting) >= _BATCH:
            self._look()

    def _look(self) -> None:
        rows = np.array(self._waiting, np.int64).reshape(-1, 3)
        self._waiting.clear()
        if not len(rows):
            return
        received, stamps, sizes = rows.T
        self.messages += len(rows)
        self.size_bytes += int(sizes.sum())
        if self._first_ns is None:
            self._first_ns = int(received[0])
        self._last_ns = int(received[-1])
        if not self.is_stamped:
            self.timeline.add(received, None)
            self._follow(received, received)
            return
        is_set = stamps != 0
        self._unset += int((~is_set).sum())
        received, stamps = received[is_set], stamps[is_set]
        if not len(stamps):
            return
        self.timeline.add(received, (received - stamps).astype(np.float64))
        before = self._last or (int(received[0]), int(stamps[0]))
        since = np.diff(received, prepend=before[0])
        moved = np.diff(stamps, prepend=before[1])
        stepped = (moved < -CLOCK_STEP_NS) | (moved > np.maximum(since, 0) + CLOCK_STEP_NS)
        for at in np.flatnonzero(stepped):
            self._num_steps += 1
            if len(self._steps) < _MOST_PLACES:
                self._steps.append((int(received[at]), int(moved[at] - since[at])))
        for part in np.split(np.arange(len(stamps)), np.flatnonzero(stepped)):
            if len(part) and stepped[part[0]]:
                self._end_run()
            if len(part):
                self._follow(received[part], stamps[part])
        self._last = int(received[-1]), int(stamps[-1])

    def _follow(self, received: np.ndarray, stamps: np.ndarray) -> None:
        """Take messages of one run of the clock."""
        if not len(self._carry):
            self._base_ns, self._latest = int(received[0] - stamps[0]), int(stamps[0])
        latest = np.maximum.accumulate(np.concatenate([[self._latest], stamps]))
        self._out_of_order += int((stamps < latest[:-1]).sum())
        self._latest = int(latest[-1])
        # What came late takes its place, so that it fills the gap that it left.
        everything = np.sort(np.concatenate([self._carry, stamps]))
        self._measure(everything[: max(len(everything) - _LATE, 1)])
        self._carry = everything[max(len(everything) - _LATE, 1) - 1 :]

    def _end_run(self) -> None:
        self._measure(self._carry)
        self._carry = np.zeros(0, np.int64)

    def _measure(self, stamps: np.ndarray) -> None:
        """Take the intervals between sorted stamps."""
        lengths = np.diff(stamps)
        self._duplicates += int((lengths == 0).sum())
        starts, lengths = stamps[:-1][lengths > 0], lengths[lengths > 0]
        if not len(lengths):
            return
        self.intervals.add(lengths)
        rows = np.column_stack([lengths, starts + self._base_ns])
        rows = np.concatenate([self._longest, rows])
        self._longest = rows[np.argsort(-rows[:, 0], kind="stable")[:_MOST_PLACES]]

    def report(self) -> StreamReport:
        """Return what was found, after the last message."""
        self._look()
        self._end_run()
        means, counts = self.intervals.rows()
        period = self.intervals.quantile(0.5)
        is_gap = means > GAP_PERIODS * period
        near = counts[np.abs(means - period) <= _STEADY_TOLERANCE * period].sum()
        found = self._longest[self._longest[:, 0] > GAP_PERIODS * period]
        lasted_s = self._since_s(self._last_ns) - self._since_s(self._first_ns or self._last_ns)
        known = np.isfinite(self.timeline.least)
        has_delays = bool(known.any())
        delays = self.timeline.sums[known] / self.timeline.counts[known]
        return StreamReport(
            messages=self.messages,
            size_bytes=self.size_bytes,
            start_s=self._since_s(self._last_ns) - lasted_s,
            end_s=self._since_s(self._last_ns),
            rate_hz=NS_PER_S / period if period else None,
            is_steady=bool(counts.sum() >= _MIN_INTERVALS and near >= _STEADY_SHARE * counts.sum()),
            jitter_s=(self.intervals.quantile(0.95) - self.intervals.quantile(0.05)) / 2e9,
            # When a message without stamp arrived says little of when it was sent.
            missing=0
            if not self.is_stamped
            else int(((np.rint(means / (period or 1)) - 1) * counts)[is_gap].sum()),
            gaps=[(self._since_s(start), length / NS_PER_S) for length, start in found.tolist()],
            num_gaps=int(counts[is_gap].sum()),
            duplicates=self._duplicates if self.is_stamped else 0,
            out_of_order=self._out_of_order if self.is_stamped else 0,
            unset_stamps=self._unset,
            unreadable=self.unreadable,
            clock_steps=[(self._since_s(at), step / NS_PER_S) for at, step in self._steps],
            num_clock_steps=self._num_steps,
            delay_s=float(np.median(delays)) / NS_PER_S if has_delays else None,
            greatest_delay_s=float(self.timeline.greatest[known].max()) / NS_PER_S
            if has_delays
            else None,
            drift_s=self.timeline.drift() * lasted_s
            if has_delays and not self._num_steps
            else None,
        )

    def _since_s(self, at_ns: int) -> float:
        return (at_ns - self._start_ns) / NS_PER_S


def _half(values: np.ndarray, rest: float) -> np.ndarray:
    """Return the values in the first half of the bins and `rest` in the second."""
    return np.concatenate([values, np.full(_MOST_BINS - len(values), rest, values.dtype)])
