"""What became of a topic's messages: received, lost, missing, late, out of order, silent.

Pure: bytes, counts and times are handed in.
"""

from dataclasses import dataclass

from vla_ros.core.resample import NS_PER_S

# The period is learnt from so many intervals, of which most must agree with their median.
_LEARN_INTERVALS = 50
_MIN_INTERVALS = 8
_STEADY_SHARE = 0.75
_STEADY_TOLERANCE = 0.3
# A clock that differs from steady time by more than this between two messages was set.
_CLOCK_STEP_NS = NS_PER_S // 2


def header_stamp_ns(data: bytes) -> int | None:
    """Return the stamp [ns] of a serialised message that starts with a std_msgs/Header.

    CDR: 4 bytes of encapsulation, the second of which tells the byte order, then int32 seconds and
    uint32 nanoseconds. None where the message is too short to hold them.
    """
    if len(data) < 12:
        return None
    order = "little" if data[1] & 1 else "big"
    sec = int.from_bytes(data[4:8], order, signed=True)
    return sec * NS_PER_S + int.from_bytes(data[8:12], order)


@dataclass(frozen=True)
class TopicCounts:
    """Counts of one topic.

    Attributes:
        received: messages that arrived.
        lost: messages that the middleware reported as lost on the way.
        missing: messages that gaps between the stamps of a periodic topic stand for; not published
            or lost, which cannot be told apart.
        late: messages that arrived more than the bound after their stamp.
        out_of_order: messages with a stamp before that of the message before; the gap that such a
            one fills counts as no missing message.
        duplicates: messages with the stamp of the message before.
        clock_jumps: how often the clock of the stamps was set, forwards or back; what that does to
            the stamps counts as no missing, late or out-of-order message.
        period_s: median time between two messages, None where it is not steady or not known.
        longest_gap_s: longest time between two messages, by stamps where there are any and no
            clock jumped.
        longest_delay_s: longest time from stamp to arrival, None without stamps.
    """

    received: int = 0
    lost: int = 0
    missing: int = 0
    late: int = 0
    out_of_order: int = 0
    duplicates: int = 0
    clock_jumps: int = 0
    period_s: float | None = None
    longest_gap_s: float = 0.0
    longest_delay_s: float | None = None


class TopicWatch:
    """Counts one topic's messages.

    Args:
        periodic: whether a gap in its stamps means missing messages.
        late_s: delay from stamp to arrival above which a message is late [s].
    """

    def __init__(self, periodic: bool, late_s: float):
        self._periodic = periodic
        self._late_ns = round(late_s * NS_PER_S)
        self._before_ns: int | None = None
        self._last_ns: int | None = None
        # The last message on each clock, whether it was in order or not.
        self._heard: tuple[int, int, int] | None = None
        self._clock_offset_ns = 0
        self._intervals: list[int] = []
        self._period_ns: int | None = None
        self._received = self._lost = self._missing = 0
        self._late = self._out_of_order = self._duplicates = self._clock_jumps = 0
        self._longest_gap_ns = 0
        self._longest_delay_ns: int | None = None

    def lose(self, count: int) -> None:
        """Note that the middleware lost `count` messages."""
        self._lost += count

    def hear(
        self, received_ns: int, stamp_ns: int | None = None, steady_ns: int | None = None
    ) -> None:
        """Note a message.

        Args:
            received_ns: when it arrived, on the clock of the stamps or one set by it.
            stamp_ns: its stamp, None where its type has none.
            steady_ns: when it arrived on a clock that nobody sets; None takes `received_ns`, as is
                right for simulated time, which runs at a speed of its own.
        """
        self._received += 1
        if stamp_ns is None:
            interval_ns = self._follow(received_ns)
            self._longest_gap_ns = max(self._longest_gap_ns, interval_ns or 0)
            return
        steady_ns = received_ns if steady_ns is None else steady_ns
        stepped_over_ns = self._clock_step(received_ns, stamp_ns, steady_ns)
        delay_ns = received_ns - stamp_ns + self._clock_offset_ns
        if self._longest_delay_ns is None or delay_ns > self._longest_delay_ns:
            self._longest_delay_ns = delay_ns
        self._late += delay_ns > self._late_ns
        if stepped_over_ns is not None:
            self._clock_jumps += 1
            self._before_ns, self._last_ns = None, stamp_ns
            self._note_interval(stepped_over_ns)
        elif not self._changed_places(stamp_ns):
            interval_ns = self._follow(stamp_ns)
            if interval_ns is not None and interval_ns > 0:
                self._note_interval(interval_ns)
            elif interval_ns is not None:
                self._duplicates += interval_ns == 0
                self._out_of_order += interval_ns < 0

    def _clock_step(self, received_ns: int, stamp_ns: int, steady_ns: int) -> int | None:
        """Return the steady time since the last message if the clock of the stamps was set since.

        The receiver's clock may be the same one and yet show the step a message sooner. Delays are
        counted as if neither had been set.
        """
        heard, self._heard = self._heard, (received_ns, stamp_ns, steady_ns)
        if heard is None:
            return None
        received, stamp, steady = (now - then for now, then in zip(self._heard, heard, strict=True))
        if abs(received - steady) > _CLOCK_STEP_NS:
            self._clock_offset_ns -= received - steady
        # Stamps that advance too little were held up; only a clock set back lets them return.
        if -_CLOCK_STEP_NS <= stamp <= steady + _CLOCK_STEP_NS:
            return None
        self._clock_offset_ns += stamp - steady
        return steady

    def _changed_places(self, stamp_ns: int) -> bool:
        """Count a message that belongs between the last two: the gap between them is filled."""
        before_ns, last_ns = self._before_ns, self._last_ns
        if before_ns is None or last_ns is None or not before_ns < stamp_ns < last_ns:
            return False
        self._out_of_order += 1
        self._fill_gap(last_ns - before_ns, (stamp_ns - before_ns, last_ns - stamp_ns))
        self._before_ns = stamp_ns
        return True

    def _follow(self, at_ns: int) -> int | None:
        """Take over the last message's time; return that since the one before, if there is one."""
        self._before_ns, self._last_ns = self._last_ns, at_ns
        return None if self._before_ns is None else at_ns - self._before_ns

    def _note_interval(self, interval_ns: int) -> None:
        self._longest_gap_ns = max(self._longest_gap_ns, interval_ns)
        if self._periodic:
            self._count_missing(interval_ns)

    def counts(self) -> TopicCounts:
        """Return the counts up to now."""
        period_ns, missing = self._period_ns, self._missing
        if period_ns is None:
            period_ns = _steady_period_ns(self._intervals)
            missing += sum(_missed(interval, period_ns) for interval in self._intervals)
        delay_ns = self._longest_delay_ns
        return TopicCounts(
            self._received,
            self._lost,
            missing,
            self._late,
            self._out_of_order,
            self._duplicates,
            self._clock_jumps,
            None if period_ns is None else period_ns / NS_PER_S,
            self._longest_gap_ns / NS_PER_S,
            None if delay_ns is None else delay_ns / NS_PER_S,
        )

    def _fill_gap(self, gap_ns: int, parts_ns: tuple[int, int]) -> None:
        if self._periodic and self._period_ns is not None:
            self._missing -= _missed(gap_ns, self._period_ns)
            self._missing += sum(_missed(part, self._period_ns) for part in parts_ns)
        elif self._periodic and gap_ns in self._intervals:
            self._intervals.remove(gap_ns)
            self._intervals += parts_ns

    def _count_missing(self, interval_ns: int) -> None:
        if self._period_ns is not None:
            self._missing += _missed(interval_ns, self._period_ns)
            return
        self._intervals.append(interval_ns)
        if len(self._intervals) < _LEARN_INTERVALS:
            return
        self._period_ns = _steady_period_ns(self._intervals)
        # What is not periodic stays unjudged; later intervals may turn out steady.
        self._missing += sum(_missed(interval, self._period_ns) for interval in self._intervals)
        self._intervals.clear()


def _steady_period_ns(intervals: list[int]) -> int | None:
    """Return the median interval [ns], None where too few agree with it."""
    if len(intervals) < _MIN_INTERVALS:
        return None
    median = sorted(intervals)[len(intervals) // 2]
    near = sum(abs(interval - median) <= _STEADY_TOLERANCE * median for interval in intervals)
    return median if near >= _STEADY_SHARE * len(intervals) else None


def _missed(interval_ns: int, period_ns: int | None) -> int:
    return 0 if period_ns is None else max(0, round(interval_ns / period_ns) - 1)


class Silence:
    """Tells when a topic has fallen silent, on wall time and on the node's.

    Simulated time may stand still for a while, and then a topic of the simulation says nothing
    without being gone. So both clocks must agree, up to five times the bound of wall time: a sim
    that has died lets its time stand still for ever.

    Args:
        silent_s: silence that is too long [s].
    """

    def __init__(self, silent_s: float):
        self._bound_ns = round(silent_s * NS_PER_S)
        self._last: dict[str, tuple[int, int]] = {}

    def hear(self, topic: str, wall_ns: int, node_ns: int) -> None:
        """Note a message of `topic`."""
        self._last[topic] = wall_ns, node_ns

    def excuse(self, wall_ns: int, node_ns: int) -> None:
        """Start all over: the listener itself was held up, and messages wait in its queues."""
        self._last = dict.fromkeys(self._last, (wall_ns, node_ns))

    def age_s(self, topic: str, wall_ns: int) -> float | None:
        """Return the wall time since the topic's last message [s], None before the first."""
        return (wall_ns - self._last[topic][0]) / NS_PER_S if topic in self._last else None

    def silent(self, topics: tuple[str, ...], wall_ns: int, node_ns: int) -> list[str]:
        """Return which of the topics were heard once and have fallen silent."""
        found = []
        for topic in topics:
            if topic not in self._last:
                continue
            wall_age, node_age = wall_ns - self._last[topic][0], node_ns - self._last[topic][1]
            on_both = wall_age > self._bound_ns and node_age > self._bound_ns
            if on_both or wall_age > 5 * self._bound_ns:
                found.append(topic)
        return found
