import pytest

from vla_ros.core.disk_budget import DiskBudget, in_words, left_s


def test_the_tighter_bound_counts():
    budget = DiskBudget(min_free_bytes=100, max_session_bytes=1000)
    assert budget.left_bytes(free_bytes=500, session_bytes=0) == 400
    assert budget.left_bytes(free_bytes=500, session_bytes=900) == 100
    assert budget.left_bytes(free_bytes=50, session_bytes=900) == -50


def test_without_a_session_bound_only_the_disk_counts():
    budget = DiskBudget(min_free_bytes=100)
    assert budget.left_bytes(free_bytes=500, session_bytes=10**15) == 400
    assert not budget.is_spent(10**15)


def test_bounds_are_reached_exactly():
    budget = DiskBudget(min_free_bytes=100, max_session_bytes=1000)
    assert (budget.is_spent(999), budget.is_spent(1000)) == (False, True)
    assert (budget.is_full(100), budget.is_full(99)) == (False, True)


def test_time_left_follows_the_rate_so_far():
    assert left_s(left_bytes=3000, written_bytes=100, elapsed_s=2.0) == 60.0
    assert left_s(left_bytes=-5, written_bytes=100, elapsed_s=2.0) == 0.0
    assert left_s(3000, 0, 2.0) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "unknown"), (90.0, "2 min"), (5400.0, "90 min"), (9000.0, "2.5 h")],
)
def test_time_left_in_words(seconds, words):
    assert in_words(seconds) == words
