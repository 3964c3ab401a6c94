import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.core.errors import StaleDataError
from vla_ros.core.resample import NS_PER_S, StreamBuffer, first_tick_from, tick_at, tick_grid

MS = 1_000_000


def buffer_of(*stamps, max_age_ns=100 * MS, capacity=None):
    stream = StreamBuffer("front", max_age_ns, capacity)
    stream.extend((stamp, f"value{stamp}") for stamp in stamps)
    return stream


def test_five_hertz_ticks_are_200_ms_apart_and_half_open():
    ticks = tick_grid(1000 * MS, 2000 * MS, 5.0)
    assert ticks.dtype == np.int64
    np.testing.assert_array_equal(ticks // MS, [1000, 1200, 1400, 1600, 1800])


def test_ticks_of_a_third_of_a_second_do_not_drift():
    np.testing.assert_array_equal(tick_grid(0, 10**9, 3.0), [0, 333_333_333, 666_666_667])


def test_empty_interval_has_no_ticks():
    assert tick_grid(5, 5, 10.0).size == 0
    assert tick_grid(5, 4, 10.0).size == 0


@given(st.integers(0, 10**10), st.integers(1, 10**10), st.floats(0.5, 200.0))
def test_ticks_stay_inside_the_interval(start, length, rate_hz):
    ticks = tick_grid(start, start + length, rate_hz)
    assert ticks[0] == start
    assert ticks[-1] < start + length
    assert ticks[-1] + 1e9 / rate_hz >= start + length - 1


@pytest.mark.parametrize("rate", [0.0, -5.0])
def test_rate_must_be_positive(rate):
    with pytest.raises(ValueError, match="rate must be above 0 Hz"):
        tick_grid(0, 1, rate)


def test_sample_on_the_tick_is_seen_and_a_later_one_is_not():
    stream = buffer_of(10 * MS, 20 * MS, 30 * MS)
    assert stream.sample(20 * MS) == (20 * MS, f"value{20 * MS}")
    assert stream.sample(20 * MS - 1)[0] == 10 * MS
    assert stream.sample(29 * MS)[0] == 20 * MS


def test_sample_is_held_up_to_its_bound_and_no_longer():
    stream = buffer_of(0)
    assert stream.sample(100 * MS)[0] == 0
    with pytest.raises(StaleDataError, match="newest sample of front is 101 ms old"):
        stream.sample(101 * MS)


@pytest.mark.parametrize("stamps", [(), (50 * MS,)])
def test_tick_before_the_first_sample_is_refused(stamps):
    with pytest.raises(StaleDataError, match="no sample of front at or before"):
        buffer_of(*stamps).sample(49 * MS)


def test_late_samples_are_put_in_order_and_equal_stamps_replace():
    stream = buffer_of(30, 10, 20)
    stream.push(20, "newer")
    assert len(stream) == 3
    assert stream.sample(25) == (20, "newer")
    assert (stream.first_ns, stream.last_ns) == (10, 30)


def test_capacity_keeps_the_newest_by_stamp():
    stream = buffer_of(30, 10, 20, 40, capacity=2)
    assert (len(stream), stream.first_ns, stream.last_ns) == (2, 30, 40)


def test_cleared_buffer_is_empty():
    stream = buffer_of(10)
    stream.clear()
    assert (len(stream), stream.first_ns, stream.last_ns) == (0, None, None)


def test_maximum_age_must_be_positive():
    with pytest.raises(ValueError, match="max_age_ns of 'front' must be above 0"):
        StreamBuffer("front", 0)


@given(st.lists(st.integers(0, 1000)), st.integers(0, 1000))
def test_sample_is_the_newest_not_after_the_tick_whatever_the_order(stamps, tick):
    stream = buffer_of(*stamps, max_age_ns=2000)
    before = [stamp for stamp in stamps if stamp <= tick]
    if before:
        assert stream.sample(tick)[0] == max(before)
    else:
        with pytest.raises(StaleDataError, match="no sample"):
            stream.sample(tick)


@given(
    start_ns=st.integers(-(10**15), 10**18),
    rate_hz=st.sampled_from([1.0, 3.0, 5.0, 29.97, 30.0, 50.0]),
)
def test_a_single_tick_is_that_of_the_grid(start_ns, rate_hz):
    grid = tick_grid(start_ns, start_ns + 20 * NS_PER_S, rate_hz)
    assert [tick_at(start_ns, i, rate_hz) for i in range(len(grid))] == grid.tolist()


@given(
    time_ns=st.integers(-(10**9), 20 * 10**9), rate_hz=st.sampled_from([1.0, 3.0, 5.0, 29.97, 30.0])
)
def test_the_first_tick_from_a_time_is_not_before_it_and_the_one_before_is(time_ns, rate_hz):
    index = first_tick_from(7, time_ns, rate_hz)
    assert tick_at(7, index, rate_hz) >= time_ns
    assert index == 0 or tick_at(7, index - 1, rate_hz) < time_ns


def test_the_next_stamp_is_later_than_the_tick():
    buffer = StreamBuffer("s", 10)
    buffer.extend([(5, "a"), (9, "b")])
    assert [buffer.next_ns(t) for t in (4, 5, 8, 9)] == [5, 9, 9, None]
