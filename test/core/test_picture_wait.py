"""Questions wait for pictures that are on their way, and for nothing else."""

from vla_ros.core.picture_wait import PictureWait

MS = 1_000_000


def waits(*cameras):
    """Return one for a policy of 5 Hz whose commands are 20 ms apart."""
    return PictureWait(cameras or ("front",), 0.2, 0.02)


def film(wait, *at_ms, camera="front"):
    for ms in at_ms:
        wait.came(camera, ms * MS, ms * MS)


def test_what_has_come_since_a_question_was_due_is_fresh():
    wait = waits()
    assert not wait.are_fresh(0)
    film(wait, 0, 100, 200)
    assert wait.period_s == 0.1
    assert wait.are_fresh(200 * MS)
    assert wait.are_fresh(220 * MS)
    assert not wait.are_fresh(221 * MS)


def test_the_next_picture_is_waited_for_until_it_is_late():
    wait = waits()
    film(wait, 0)
    assert not wait.is_worth_it(20 * MS, 20 * MS)  # nobody knows when the next one comes
    film(wait, 100)
    assert wait.is_worth_it(130 * MS, 130 * MS)
    assert wait.is_worth_it(130 * MS, 250 * MS)
    assert not wait.is_worth_it(130 * MS, 251 * MS)
    # Time that was set back is no time to wait for.
    assert not wait.is_worth_it(130 * MS, 129 * MS)


def test_a_camera_slower_than_the_policy_is_waited_for_where_its_picture_is_near():
    wait = waits()
    film(wait, 0, 500)
    assert not wait.is_worth_it(700 * MS, 700 * MS)
    assert wait.is_worth_it(800 * MS, 800 * MS)
    # Nobody is told of a longer time than the policy's own.
    assert wait.period_s == 0.2


def test_all_cameras_are_waited_for():
    wait = waits("front", "side")
    film(wait, 0, 100)
    assert not wait.is_worth_it(120 * MS, 120 * MS)
    film(wait, 40, 140, camera="side")
    assert wait.is_worth_it(130 * MS, 150 * MS)
    assert not wait.are_fresh(130 * MS)
    film(wait, 200)
    assert wait.are_fresh(130 * MS)
    # Only those count that have not come yet.
    film(wait, 300)
    assert wait.is_worth_it(290 * MS, 290 * MS)
    assert not wait.is_worth_it(290 * MS, 291 * MS)


def test_a_picture_that_is_sent_again_is_no_news_and_a_clock_set_back_is_another_one():
    wait = waits()
    film(wait, 9000, 9100)
    wait.came("front", 9100 * MS, 9200 * MS)
    assert not wait.are_fresh(9200 * MS)
    film(wait, 50)
    assert wait.are_fresh(50 * MS)
    assert not wait.is_worth_it(100 * MS, 100 * MS)
    film(wait, 150)
    assert wait.is_worth_it(200 * MS, 200 * MS)
