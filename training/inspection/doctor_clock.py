"""Stamps of the streams that a dataset needs, judged by what convert itself trusts them by."""

from collections import Counter
from collections.abc import Iterator

from training.inspection.doctor_report import (
    COMMANDED,
    ERROR,
    JOINTS,
    WARNING,
    BagReport,
    DoctorLimits,
    Finding,
)
from training.inspection.doctor_stream import StreamWatch
from training.recordings.streams import Clock, Drops
from training.recordings.wild_stamps import WildStamps
from vla_ros.core.resample import NS_PER_S

# A plain tuple, of which there are millions: topic, role, arrival, stamp, what hears of it, size.
_Heard = tuple[str, str, int, int, StreamWatch, int]

# Roles of which one publisher's messages never overtake one another.
_ORDERED = (JOINTS, COMMANDED)


class ClockCheck:
    """Takes the messages that convert would read, in the order of the recording.

    Attributes:
        wild: how many messages of each topic have a stamp that is wrong by itself.
        set_back: the topic whose stamps went back, and when it was received [ns]; None where
            convert uses all.
    """

    def __init__(self):
        self._clock = Clock(Drops())
        self._held: WildStamps[_Heard] = WildStamps(self._clock, self._trust, self._leave_out)
        self.wild: Counter[str] = Counter()
        self.set_back: tuple[str, int] | None = None

    def take(
        self, topic: str, role: str, received_ns: int, stamp_ns: int, watch: StreamWatch, size: int
    ) -> None:
        """Take a message; `watch` hears of it once its stamp is judged, of 0 where that is wild."""
        self._held.judge(topic, stamp_ns)
        if self._clock.goes_on(topic, stamp_ns, role in _ORDERED):
            watch.hear(received_ns, stamp_ns, size)
        else:
            self._held.take(topic, stamp_ns, (topic, role, received_ns, stamp_ns, watch, size))

    def take_last(self) -> None:
        """Tell of the last message of each topic."""
        self._held.take_last()

    def _trust(self, heard: _Heard) -> None:
        topic, role, received_ns, stamp_ns, watch, size = heard
        is_trusted = self._clock.trusts(topic, stamp_ns, role in _ORDERED)
        if not is_trusted and self.set_back is None:
            self.set_back = topic, received_ns
        watch.hear(received_ns, stamp_ns, size)

    def _leave_out(self, heard: _Heard) -> None:
        topic, _, received_ns, stamp_ns, watch, size = heard
        if stamp_ns:  # one that was not filled in is counted as such
            self.wild[topic] += 1
        watch.hear(received_ns, 0, size)


def of_clock(
    check: ClockCheck, report: BagReport, start_ns: int, limits: DoctorLimits
) -> Iterator[Finding]:
    """Yield what convert does not use for its stamps."""
    for topic, count in sorted(check.wild.items()):
        which = "message on {} has a stamp" if count == 1 else "messages on {} have stamps"
        yield Finding(
            "wild stamps",
            WARNING,
            topic,
            f"{count} {which.format(topic)} far from those of both neighbours",
            "check the clock of what publishes there; convert leaves these out",
        )
    if check.set_back is None:
        return
    topic, received_ns = check.set_back
    at_s = (received_ns - start_ns) / NS_PER_S
    share = (report.length_s - at_s) / max(report.length_s, 1e-9)
    yield Finding(
        "clock set back",
        ERROR if share > limits.gap_share else WARNING,
        topic,
        f"the stamps of {topic} go back at {at_s:.1f} s: what comes after, {share:.0%} of the "
        "recording, is another time",
        "convert uses nothing after it, of no stream; have the clocks set before recording, and "
        "look for a second publisher",
        [(at_s, 0.0)],
    )
