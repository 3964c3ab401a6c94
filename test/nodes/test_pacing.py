import pytest

from vla_ros.nodes.pacing import Follower, Pacer

MS = 1_000_000


def ticks_done(pacer: Pacer, now_ns: int) -> int:
    due = pacer.due(now_ns)
    for _ in range(due):
        pacer.tick()
    return due


@pytest.mark.parametrize(("speed", "expected"), [(1.0, 3), (0.5, 2), (2.0, 6)])
def test_ticks_are_due_by_absolute_deadlines(speed, expected):
    pacer = Pacer(10 * MS, speed, max_catch_up=100)
    pacer.start(1000 * MS)
    assert ticks_done(pacer, 1031 * MS) == expected
    assert ticks_done(pacer, 1031 * MS) == 0


def test_a_timer_a_little_early_still_means_one_tick():
    pacer = Pacer(10 * MS, 1.0)
    pacer.start(0)
    assert [ticks_done(pacer, t * MS) for t in (9, 21, 29, 40)] == [1, 1, 1, 1]


def test_after_a_hiccup_the_rest_of_the_time_is_given_up():
    pacer = Pacer(10 * MS, 1.0, max_catch_up=5)
    pacer.start(0)
    assert ticks_done(pacer, 200 * MS) == 5
    assert pacer.given_up == 15
    assert ticks_done(pacer, 210 * MS) == 1


def test_after_a_pause_no_more_than_the_catch_up_is_due():
    pacer = Pacer(10 * MS, 1.0, max_catch_up=2)
    pacer.start(0)
    pacer.pause(30 * MS)
    assert pacer.given_up == 1
    assert ticks_done(pacer, 30 * MS) == 2
    assert ticks_done(pacer, 40 * MS) == 1


def test_time_waits_for_a_follower_that_is_behind():
    follower = Follower(max_lag_ns=20 * MS)
    follower.heard(100 * MS, now_ns=0)
    assert not follower.lags(120 * MS, now_ns=0)
    assert follower.lags(121 * MS, now_ns=0)


def test_time_waits_neither_for_one_never_heard_nor_for_one_that_fell_silent():
    follower = Follower(max_lag_ns=20 * MS, alive_ns=500 * MS)
    assert not follower.lags(1000 * MS, now_ns=0)
    follower.heard(0, now_ns=0)
    assert follower.lags(1000 * MS, now_ns=500 * MS)
    assert not follower.lags(1000 * MS, now_ns=501 * MS)
    assert follower.times_lost == 1
