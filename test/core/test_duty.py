import pytest

from vla_ros.core.duty import Backoff, Cooling, Reminder, Row
from vla_ros.core.errors import EpisodeError

MINUTE_NS = 60 * 10**9


def test_a_reminder_is_due_after_its_time_and_counts_anew_once_attended():
    reminder = Reminder(30.0)
    reminder.attended(5 * MINUTE_NS)
    assert not reminder.due(35 * MINUTE_NS - 1)
    assert reminder.due(35 * MINUTE_NS)
    assert reminder.due(50 * MINUTE_NS)
    assert reminder.minutes(50 * MINUTE_NS) == 45.0
    reminder.attended(50 * MINUTE_NS)
    assert not reminder.due(79 * MINUTE_NS)
    assert reminder.due(80 * MINUTE_NS)


def test_a_reminder_of_zero_minutes_is_never_due():
    assert not Reminder(0.0).due(10**18)


def test_pauses_double_up_to_the_longest_and_end_when_it_failed_for_too_long():
    backoff = Backoff(2.0, 10.0, 60.0)
    assert [backoff.failed(now_s) for now_s in (100, 110, 120, 130, 159)] == [2, 4, 8, 10, 10]
    assert backoff.failed(160.0) is None


def test_a_success_begins_the_pauses_anew():
    backoff = Backoff(2.0, 10.0, 60.0)
    backoff.failed(0.0)
    backoff.failed(30.0)
    backoff.succeeded()
    assert backoff.failed(70.0) == 2.0
    assert backoff.failed(129.0) == 4.0
    assert backoff.failed(130.0) is None


def test_cooling_ends_after_an_hour_or_when_nothing_was_heard_for_five_minutes():
    cooling = Cooling(100.0)
    assert cooling.judge(101.0, 7) == ""
    assert cooling.judge(401.0, 7) == ""
    assert "not told for 5 min" in cooling.judge(401.1, 7)
    assert cooling.judge(402.0, 8) == ""
    assert cooling.judge(3700.0, 9) == ""
    assert "not cooled within 60 min" in cooling.judge(3700.1, 10)


def test_only_failures_in_a_row_count():
    row = Row(3)
    assert [row.failed(), row.failed()] == [False, False]
    row.succeeded()
    assert [row.failed(), row.failed(), row.failed()] == [False, False, True]


def test_failures_far_apart_are_not_of_one_row():
    row = Row(3, apart_s=5.0)
    assert [row.failed(t) for t in (0.0, 5.0, 11.0, 12.0)] == [False, False, False, False]
    assert row.failed(17.0)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Reminder(-1.0), "every_min must be 0 or more"),
        (lambda: Reminder(float("nan")), "every_min must be 0 or more"),
        (lambda: Backoff(0.0, 1.0, 1.0), "first_s must be above 0"),
        (lambda: Row(0), "limit must be 1 or more"),
        (lambda: Row(1, 0.0), "apart_s above 0, got 0.0"),
    ],
)
def test_senseless_numbers_are_refused(make, sentence):
    with pytest.raises(EpisodeError, match=sentence):
        make()
