"""When a policy is asked: at pictures where they come, without where none is on its way."""

import pytest

from vla_ros.core.ask_time import AskTime
from vla_ros.core.picture_wait import PictureWait

MS = 1_000_000
PERIOD_S = 0.02


class Motion:
    """Wants a chunk from a time on; notes how far ahead it was asked."""

    def __init__(self, from_ms: float):
        self.from_ms, self.is_running_out, self.aheads_s = from_ms, False, []

    def wants_chunk(self, now_ns, ahead_s=0.0):
        self.aheads_s.append(ahead_s)
        return now_ns / MS + 1e3 * ahead_s >= self.from_ms


def made(from_ms, picture_ms=()):
    """Return the motion, the wait and what is tested, after pictures at these times."""
    wait = PictureWait(("front",), 0.5, PERIOD_S)
    for ms in picture_ms:
        wait.came("front", ms * MS, ms * MS)
    motion = Motion(from_ms)
    return motion, wait, AskTime(motion, wait, PERIOD_S)


def test_what_is_due_waits_for_the_picture_that_is_on_its_way():
    _, wait, when = made(120, (0, 100))
    assert not when.at_command(140 * MS, False)
    wait.came("front", 200 * MS, 200 * MS)
    assert when.at_picture(200 * MS, False) is False  # no command for longer than two periods
    when.at_command(200 * MS, False)
    assert when.at_picture(200 * MS, False)


def test_a_camera_of_one_picture_is_not_waited_for():
    _, _, when = made(120, (0,))
    assert not when.at_command(100 * MS, False)
    assert when.at_command(120 * MS, False)


def test_who_runs_out_does_not_wait():
    motion, _, when = made(120, (0, 100))
    assert not when.at_command(140 * MS, False)
    motion.is_running_out = True
    assert when.at_command(160 * MS, False)


def test_nobody_is_asked_while_a_question_is_answered():
    _, _, when = made(0)
    assert not when.at_command(0, True)
    assert not when.at_picture(0, True)
    assert when.at_command(0, False)


def test_after_a_question_it_has_to_become_due_anew():
    motion, _, when = made(0)
    assert when.at_command(0, False)
    when.asked()
    motion.from_ms = 1e9
    assert not when.at_command(20 * MS, False)


def test_of_a_motion_that_rests_no_picture_asks():
    _, wait, when = made(0)
    when.at_command(0, False)
    when.rest()
    wait.came("front", 10 * MS, 10 * MS)
    assert not when.at_picture(10 * MS, False)


def test_at_a_picture_what_is_due_before_the_next_one_is_asked():
    motion, wait, when = made(230, (0, 100))
    when.at_command(200 * MS, False)
    wait.came("front", 200 * MS, 200 * MS)
    assert when.at_picture(200 * MS, False)
    assert motion.aheads_s[-1] == pytest.approx(0.1)
