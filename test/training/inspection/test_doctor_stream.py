"""Messages of one topic in time: numbers worked out by hand."""

import numpy as np
import pytest

from training.inspection.doctor_stream import Spread, StreamWatch, Timeline

MS = 1_000_000
SECOND = 1_000_000_000
DELAY = 5 * MS


def report(stamps, received=None, is_stamped=True):
    """Return the report on messages that arrive 5 ms after their stamps."""
    stamps = [int(stamp) for stamp in stamps]
    received = [stamp + DELAY for stamp in stamps] if received is None else received
    watch = StreamWatch(int(received[0]), is_stamped)
    for arrival, stamp in zip(received, stamps, strict=True):
        watch.hear(int(arrival), stamp, 10)
    return watch.report()


def every(period_ms, count, start=SECOND):
    return [start + k * period_ms * MS for k in range(count)]


def test_a_steady_stream_has_its_rate_and_nothing_else():
    found = report(every(10, 101))
    assert found.rate_hz == pytest.approx(100)
    assert (found.messages, found.size_bytes, found.is_steady) == (101, 1010, True)
    assert found.jitter_s == pytest.approx(0, abs=1e-12)
    assert (found.missing, found.num_gaps, found.gaps) == (0, 0, [])
    assert (found.duplicates, found.out_of_order, found.num_clock_steps) == (0, 0, 0)
    assert (found.delay_s, found.greatest_delay_s, found.drift_s) == (0.005, 0.005, 0)
    assert (found.start_s, found.end_s) == (0, 1.0)


def test_a_gap_says_where_how_long_and_how_many():
    stamps = every(10, 101)
    # 0.40 to 0.49 s are gone: from 0.39 s to 0.50 s.
    found = report(stamps[:40] + stamps[50:])
    assert (found.missing, found.num_gaps) == (10, 1)
    assert found.gaps == [(0.39, 0.11)]


def test_jitter_is_half_of_the_spread_of_intervals():
    intervals = [8, 12] * 50
    found = report(SECOND + MS * np.cumsum([0, *intervals]))
    assert found.jitter_s == pytest.approx(0.002)
    assert found.missing == 0


def test_a_repeated_stamp_is_a_duplicate():
    stamps = every(10, 50)
    found = report([*stamps[:20], stamps[19], *stamps[20:]])
    assert (found.duplicates, found.out_of_order, found.missing) == (1, 0, 0)


def test_a_message_that_changed_places_leaves_no_gap():
    stamps = every(10, 50)
    stamps[20], stamps[21] = stamps[21], stamps[20]
    found = report(stamps, every(10, 50))
    assert (found.out_of_order, found.duplicates, found.missing) == (1, 0, 0)


@pytest.mark.parametrize("step_s", [-10, 10])
def test_a_clock_that_is_set_is_one_step_and_no_gap(step_s):
    arrivals = every(10, 100)
    stamps = [t - DELAY + (step_s * SECOND if k >= 50 else 0) for k, t in enumerate(arrivals)]
    found = report(stamps, arrivals)
    assert found.clock_steps == [(0.5, step_s)]
    assert (found.num_clock_steps, found.missing, found.out_of_order) == (1, 0, 0)
    assert found.drift_s is None


def test_a_pause_of_both_clocks_is_a_gap_and_no_step():
    stamps = every(10, 50) + every(10, 50, start=4 * SECOND)
    found = report(stamps)
    # From 1.49 s to 4 s: 2.51 s, or 250 messages that did not come.
    assert (found.num_clock_steps, found.missing) == (0, 250)
    assert found.gaps == [(0.49, 2.51)]


def test_a_clock_that_runs_slow_drifts():
    # Stamps lose 1 ms a second: the delay grows by 0.1 s in 100 s.
    arrivals = every(100, 1001)
    stamps = [t - (t - SECOND) // 1000 for t in arrivals]
    assert report(stamps, arrivals).drift_s == pytest.approx(0.1)


def test_a_few_late_messages_are_no_drift():
    stamps = every(100, 101)
    arrivals = [stamp + (SECOND // 2 if k < 3 else DELAY) for k, stamp in enumerate(stamps)]
    found = report(stamps, arrivals)
    assert found.drift_s == 0
    assert found.greatest_delay_s == 0.5


def test_stamps_that_nobody_set_are_counted_and_no_clock_step():
    stamps = every(10, 50)
    found = report([*stamps[:20], 0, *stamps[20:]], every(10, 51))
    assert (found.unset_stamps, found.num_clock_steps, found.missing) == (1, 0, 0)


def test_without_stamps_arrival_tells_the_rate_and_nothing_is_missing():
    arrivals = every(20, 10) + every(20, 10, start=2 * SECOND)
    found = report([0] * 20, arrivals, is_stamped=False)
    assert found.rate_hz == pytest.approx(50)
    assert (found.missing, found.delay_s, found.drift_s) == (0, None, None)
    assert found.gaps == [(0.18, 0.82)]


def test_one_message_has_no_rate():
    found = report([SECOND])
    assert (found.rate_hz, found.missing, found.is_steady) == (None, 0, False)


# Messages are looked at 4096 at a time.
@pytest.mark.parametrize(
    ("swap", "lost"), [(4094, 5000), (4095, 8190), (4096, 8191), (4031, 8192), (4032, 8128)]
)
def test_where_a_batch_ends_changes_no_count(swap, lost):
    stamps = every(10, 10000)
    stamps[swap], stamps[swap + 1] = stamps[swap + 1], stamps[swap]
    del stamps[lost]
    found = report(stamps, every(10, 9999))
    assert (found.messages, found.out_of_order, found.duplicates) == (9999, 1, 0)
    assert (found.missing, found.num_gaps) == (1, 1)


def test_a_timeline_grows_wider_and_loses_nothing():
    line = Timeline(0)
    times = np.arange(1000) * SECOND
    delays = np.full(1000, 7.0)
    delays[300] = 3.0
    for part in np.split(np.arange(1000), 10):
        line.add(times[part], delays[part])
    # 0.1 s doubled until 512 bins hold 1000 s.
    assert line.width_ns == 3_200_000_000
    assert line.counts.sum() == 1000
    assert len(line.counts) == 512
    assert line.sums.sum() == 6996
    # 300 s lies in the bin from 297.6 s on.
    assert (line.least[93], line.least_at[93], line.greatest[93]) == (3.0, 300 * SECOND, 7.0)


def test_a_spread_gives_back_equal_numbers_exactly():
    spread = Spread()
    spread.add(np.array([10.0] * 90 + [1000.0] * 10))
    assert [spread.quantile(share) for share in (0.05, 0.5, 0.9, 0.95)] == [10, 10, 10, 1000]
