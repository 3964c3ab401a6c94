"""Intervals of two recordings, whose resamples can be counted by hand."""

import numpy as np
import pytest

from training.learning.bootstrap import Interval, mean_interval, verdict
from vla_ros.core.errors import DatasetError

# Of recordings a = (1, 3) and b = (10,) a quarter of the draws is (a, a), a quarter (b, b).
VALUES = np.array([[1.0], [3.0], [10.0]])
RECORDINGS = np.array([5, 5, 9])


def test_recordings_are_drawn_and_not_frames():
    found = mean_interval(VALUES, RECORDINGS)
    assert found.mean == pytest.approx([14 / 3])
    assert (found.low[0], found.high[0]) == (2.0, 10.0)
    # Of frames, 1/27 of the draws would be nothing but 1.
    assert mean_interval(VALUES, np.arange(3)).low[0] == 1.0


def test_a_seed_gives_the_same_draws_for_every_contender():
    rng = np.random.default_rng(0)
    values, recordings = rng.normal(size=(40, 2)), np.repeat(np.arange(8), 5)
    first = mean_interval(values, recordings, seed=3, resamples=50)
    shifted = mean_interval(values + 1, recordings, seed=3, resamples=50)
    assert shifted.low == pytest.approx(first.low + 1)
    assert np.all(mean_interval(values, recordings, seed=4, resamples=50).low != first.low)


def test_missing_numbers_count_nowhere():
    values = np.array([[1.0, np.nan], [3.0, 4.0], [10.0, 8.0]])
    found = mean_interval(values, RECORDINGS)
    assert found.mean == pytest.approx([14 / 3, 6.0])
    assert (found.low[1], found.high[1]) == (4.0, 8.0)


def test_a_single_recording_has_no_interval():
    found = mean_interval(VALUES, np.zeros(3, int))
    assert found.mean == pytest.approx([14 / 3])
    assert np.isnan(found.low[0])
    assert np.isnan(found.high[0])
    assert verdict(found, mean_interval(VALUES + 100, RECORDINGS), 0) == "overlap"


def test_no_number_is_refused():
    with pytest.raises(DatasetError, match="no frame"):
        mean_interval(np.full((3, 1), np.nan), RECORDINGS)
    with pytest.raises(DatasetError, match="no frame"):
        mean_interval(np.zeros((0, 1)), np.zeros(0, int))


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.0, 0.9, "better"), (3.1, 4.0, "worse"), (0.5, 1.0, "overlap")]
)
def test_verdict(low, high, expected):
    ours = Interval(np.array([low]), np.array([low]), np.array([high]))
    theirs = Interval(np.array([2.0]), np.array([1.0]), np.array([3.0]))
    assert verdict(ours, theirs, 0) == expected
