import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.core.topic_watch import Silence, TopicWatch, header_stamp_ns

MS = 1_000_000
S = 1_000 * MS
PERIOD = 10 * MS


def heard(stamps, periodic=True, delay_ns=0, late_s=0.5):
    watch = TopicWatch(periodic, late_s)
    for stamp in stamps:
        watch.hear(stamp + delay_ns, stamp)
    return watch.counts()


@pytest.mark.parametrize("order", ["little", "big"])
@given(sec=st.integers(-(2**31), 2**31 - 1), nanosec=st.integers(0, 10**9 - 1))
def test_the_stamp_is_read_in_the_byte_order_of_the_message(order, sec, nanosec):
    start = b"\0\1\0\0" if order == "little" else b"\0\0\0\0"
    data = start + sec.to_bytes(4, order, signed=True) + nanosec.to_bytes(4, order) + b"rest"
    assert header_stamp_ns(data) == sec * S + nanosec


@given(st.binary(max_size=11))
def test_a_message_too_short_for_a_header_has_no_stamp(data):
    assert header_stamp_ns(data) is None


def test_a_steady_stream_misses_nothing_and_tells_its_period():
    counts = heard(range(0, 3 * S, PERIOD), delay_ns=2 * MS)
    assert (counts.received, counts.missing, counts.late, counts.duplicates) == (300, 0, 0, 0)
    assert counts.period_s == 0.01
    assert counts.longest_gap_s == 0.01
    assert counts.longest_delay_s == 0.002


@given(st.sets(st.integers(1, 198), max_size=12))
def test_what_is_left_out_of_a_steady_stream_is_missing_wherever_it_was(left_out):
    stamps = [i * PERIOD for i in range(200) if i not in left_out]
    assert heard(stamps).missing == len(left_out)


def test_a_short_recording_is_judged_by_what_there_is_and_a_shorter_one_is_not():
    stamps = [i * PERIOD for i in range(12) if i != 5]
    assert heard(stamps).missing == 1
    assert heard(stamps[:7]).missing == 0


def test_a_topic_without_a_steady_period_misses_nothing():
    stamps = [(i + i // 3 * 5) * PERIOD for i in range(60)]
    assert heard(stamps).missing == 0
    assert heard(stamps).period_s is None


def test_a_topic_that_pauses_by_design_misses_nothing():
    stamps = [*range(0, S, PERIOD), *range(5 * S, 6 * S, PERIOD)]
    assert heard(stamps, periodic=False).missing == 0
    assert heard(stamps, periodic=False).longest_gap_s == pytest.approx(4.01)


def test_jitter_below_half_a_period_is_no_gap():
    stamps = [i * PERIOD + (i % 3) * 2 * MS for i in range(100)]
    assert heard(stamps).missing == 0


@pytest.mark.parametrize("count", [20, 200])
def test_two_messages_that_changed_places_are_out_of_order_and_none_is_missing(count):
    """Before and after the period is known."""
    order = list(range(count))
    order[-5], order[-4] = order[-4], order[-5]
    counts = heard([i * PERIOD for i in order])
    assert (counts.out_of_order, counts.missing) == (1, 0)


def test_a_late_message_fills_its_own_place_only():
    counts = heard([*(i * PERIOD for i in range(100)), 103 * PERIOD, 101 * PERIOD, 104 * PERIOD])
    assert (counts.out_of_order, counts.missing) == (1, 2)


def judged(counts):
    return counts.clock_jumps, counts.missing, counts.late, counts.out_of_order, counts.duplicates


def test_a_clock_set_back_is_a_jump_and_nothing_else():
    counts = heard([*range(S, 2 * S, PERIOD), *range(0, S // 2, PERIOD)])
    assert judged(counts) == (1, 0, 0, 0, 0)


steps = st.integers(S, 10_000 * S).flatmap(lambda size: st.sampled_from((size, -size)))


@given(
    step_ns=steps,
    step_at=st.integers(3, 199),
    left_out=st.sets(st.integers(1, 198), max_size=12),
    in_flight=st.integers(0, 2),
    shared=st.booleans(),
)
def test_a_clock_that_is_set_is_one_jump_wherever_it_was(
    step_ns, step_at, left_out, in_flight, shared
):
    """The sender's clock alone or the receiver's too, which shows it to what is on its way."""
    watch = TopicWatch(True, 0.5)
    for i in range(200):
        if i in left_out:
            continue
        stamp = i * PERIOD + (step_ns if i >= step_at else 0)
        received = i * PERIOD + 2 * MS + (step_ns if shared and i + in_flight >= step_at else 0)
        watch.hear(received, stamp, i * PERIOD + 2 * MS)
    counts = watch.counts()
    assert judged(counts) == (1, len(left_out), 0, 0, 0)
    assert counts.longest_delay_s == 0.002
    assert counts.longest_gap_s <= 13 * PERIOD / S


def test_an_outage_is_no_jump_and_its_messages_are_missing():
    counts = heard([*range(0, S, PERIOD), *range(5 * S, 6 * S, PERIOD)])
    assert judged(counts) == (0, 400, 0, 0, 0)


def test_a_listener_that_was_held_up_sees_late_messages_and_no_jump():
    watch = TopicWatch(True, 0.5)
    for i in range(300):
        arrival = max(i * PERIOD, 2 * S) if i >= 50 else i * PERIOD
        watch.hear(arrival, i * PERIOD, arrival)
    # Those stamped in [0.5, 1.5) s and heard at 2 s.
    assert judged(watch.counts()) == (0, 0, 100, 0, 0)


def test_simulated_time_at_any_speed_is_no_jump():
    watch = TopicWatch(True, 0.5)
    for i in range(100):
        watch.hear(i * 2 * S, i * 2 * S)
    assert judged(watch.counts()) == (0, 0, 0, 0, 0)


def test_a_repeated_stamp_is_a_duplicate():
    assert heard([0, PERIOD, PERIOD, 2 * PERIOD]).duplicates == 1


def test_late_is_over_the_bound_and_not_at_it():
    assert heard([0, PERIOD], delay_ns=S // 2).late == 0
    assert heard([0, PERIOD], delay_ns=S // 2 + 1).late == 2


def test_a_topic_without_stamps_counts_arrivals():
    watch = TopicWatch(True, 0.5)
    for at in (0, S, 4 * S):
        watch.hear(at)
    watch.lose(2)
    counts = watch.counts()
    assert (counts.received, counts.lost, counts.missing) == (3, 2, 0)
    assert counts.longest_gap_s == 3.0
    assert counts.longest_delay_s is None


def silence(wall_ns, node_ns, heard_at=(0, 0)):
    watched = Silence(2.0)
    watched.hear("/a", *heard_at)
    return watched.silent(("/a", "/never"), wall_ns, node_ns)


def test_silence_on_both_clocks_is_told():
    assert silence(2 * S + 1, 2 * S + 1) == ["/a"]
    assert silence(2 * S, 2 * S) == []


def test_time_that_stands_still_is_no_silence_until_the_sim_must_be_dead():
    assert silence(9 * S, 0) == []
    assert silence(10 * S + 1, 0) == ["/a"]


def test_fast_simulated_time_alone_is_no_silence():
    assert silence(1 * S, 8 * S) == []


def test_a_clock_set_back_does_not_hide_silence_for_ever():
    assert silence(10 * S + 1, -100 * S) == ["/a"]


def test_a_listener_that_was_held_up_starts_all_over():
    watched = Silence(2.0)
    watched.hear("/a", 0, 0)
    watched.excuse(5 * S, 5 * S)
    assert watched.silent(("/a",), 6 * S, 6 * S) == []
    assert watched.silent(("/a",), 8 * S, 8 * S) == ["/a"]
    assert watched.age_s("/a", 8 * S) == 3.0
    assert watched.age_s("/never", 8 * S) is None
