"""Single actions one after the other, with pictures that are not quite on time."""

import math

import pytest

from vla_ros.core.single_pace import SinglePace

MS = 1_000_000


def test_a_question_that_goes_early_makes_the_next_one_later():
    pace = SinglePace(0.02)
    assert pace.until_due_s(0, 0.2, 1.0) == 0.0
    pace.note_asked(0, 0.2, 1.0)
    assert pace.until_due_s(185 * MS, 0.2, 1.0) == pytest.approx(0.015)
    pace.note_asked(185 * MS, 0.2, 1.0)
    # As if it had been asked at 200 ms.
    assert pace.until_due_s(185 * MS, 0.2, 1.0) == pytest.approx(0.215)
    assert pace.until_due_s(400 * MS, 0.2, 1.0) == 0.0
    # One that goes late is counted from where it went: nothing is made up for.
    pace.note_asked(450 * MS, 0.2, 1.0)
    assert pace.until_due_s(450 * MS, 0.2, 1.0) == pytest.approx(0.2)


def test_pictures_a_little_early_and_late_are_asked_about_at_the_policys_rate():
    pace, asked = SinglePace(0.02), 0
    for k in range(1000):  # a camera of 10 Hz, now 8 ms early, now late
        now_ns = (100 * k + (8 if k % 4 else -8)) * MS
        if pace.until_due_s(now_ns, 0.2, 1.0) <= 0.02:
            pace.note_asked(now_ns, 0.2, 1.0)
            asked += 1
    assert asked == 500


def test_what_is_asked_much_too_early_is_counted_from_then():
    pace = SinglePace(0.02)
    pace.note_asked(0, 0.2, 1.0)
    pace.note_asked(50 * MS, 0.2, 1.0)
    assert pace.until_due_s(50 * MS, 0.2, 1.0) == pytest.approx(0.2)


def test_slower_is_later_standing_is_never_and_a_clock_set_back_is_now():
    pace = SinglePace(0.02)
    pace.note_asked(1000 * MS, 0.2, 1.0)
    assert pace.until_due_s(1000 * MS, 0.2, 0.5) == pytest.approx(0.4)
    assert pace.until_due_s(1000 * MS, 0.2, 0.0) == math.inf
    assert pace.until_due_s(900 * MS, 0.2, 1.0) == 0.0
    assert pace.until_due_s(1000 * MS, 0.0, 0.0) == 0.0  # no action, nothing to wait for
    pace.restart()
    assert pace.until_due_s(1000 * MS, 0.2, 1.0) == 0.0
