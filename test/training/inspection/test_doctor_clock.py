"""Stamps are judged alike, whether a message waits for the one after it or is beyond doubt."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from training.inspection.doctor_clock import ClockCheck
from training.inspection.doctor_report import CAMERA, JOINTS
from training.inspection.doctor_stream import StreamWatch
from training.recordings.streams import Clock, Drops
from training.recordings.wild_stamps import WildStamps
from vla_ros.core.resample import NS_PER_S

ROLES = {"joints": JOINTS, "camera": CAMERA}
# Steps between stamps: regular, late, gaps, a clock that is set, and None for one that is unset.
steps = st.sampled_from([10_000_000, 10_000_000, 0, -5_000_000, -40_000_000, NS_PER_S, -NS_PER_S])
recordings = st.lists(st.tuples(st.sampled_from(sorted(ROLES)), steps | st.none()), max_size=40)


class _Heard(StreamWatch):
    """A watch that keeps what it hears."""

    def __init__(self):
        super().__init__(0, True)
        self.stamps: list[int] = []

    def hear(self, received_ns: int, stamp_ns: int, size: int) -> None:
        self.stamps.append(stamp_ns)


def _stamps(recording: list[tuple[str, int | None]]) -> list[tuple[str, int]]:
    at, found = dict.fromkeys(ROLES, 100 * NS_PER_S), []
    for topic, step in recording:
        at[topic] += step or 0
        found.append((topic, 0 if step is None else at[topic]))
    return found


@given(recordings)
def test_what_is_beyond_doubt_is_judged_as_if_it_had_waited_for_the_next(recording):
    check, heard = ClockCheck(), {topic: _Heard() for topic in ROLES}
    for topic, stamp_ns in _stamps(recording):
        check.take(topic, ROLES[topic], 0, stamp_ns, heard[topic], 1)
    check.take_last()

    clock, waited, wild = Clock(Drops()), {topic: [] for topic in ROLES}, Counter()
    distrusted = []

    def hand_on(item: tuple[str, int]) -> None:
        topic, stamp_ns = item
        if not clock.trusts(topic, stamp_ns, ROLES[topic] == JOINTS):
            distrusted.append(item)
        waited[topic].append(stamp_ns)

    def leave_out(item: tuple[str, int]) -> None:
        topic, stamp_ns = item
        wild[topic] += stamp_ns != 0
        waited[topic].append(0)

    held = WildStamps(clock, hand_on, leave_out)
    for topic, stamp_ns in _stamps(recording):
        held.take(topic, stamp_ns, (topic, stamp_ns))
    held.take_last()

    assert {topic: watch.stamps for topic, watch in heard.items()} == waited
    assert +check.wild == +wild
    assert (check.set_back is None) == (not distrusted)
