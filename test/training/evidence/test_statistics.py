"""Intervals and tests beside what was computed by hand or stands in tables."""

import math

import numpy as np
import pytest

from training.evidence.statistics import (
    difference_over_seeds,
    mcnemar_exact,
    over_seeds,
    paired,
    rate_over_seeds,
    student_quantile,
    wilson,
)
from vla_ros.core.errors import VlaError


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.706), (2, 4.303), (4.0, 2.776), (30, 2.042), (1e9, 1.960)]
)
def test_student_is_that_of_the_tables(freedom, expected):
    assert student_quantile(freedom) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_wilson(successes, trials, low, high):
    found = wilson(successes, trials)
    assert found == pytest.approx((successes / trials, low, high), abs=1e-4)


def test_wilson_of_half_the_trials_is_hand_computed():
    # n = 10, p = 0.5, z = 2: centre (0.5 + 4/20) / 1.4 = 0.5,
    # half 2 / 1.4 * sqrt(0.025 + 0.01) = 0.26726.
    level_of_z_2 = math.erf(math.sqrt(2.0))
    found = wilson(5, 10, level_of_z_2)
    assert (found.low, found.high) == pytest.approx((0.23274, 0.76726), abs=1e-5)


@pytest.mark.parametrize(("successes", "edge"), [(0, 0), (10, 1)])
def test_wilson_stays_inside_0_and_1(successes, edge):
    interval = wilson(successes, 10)[1:]
    assert interval[edge] == pytest.approx(edge, abs=1e-12)
    assert 0.0 <= interval[0] < interval[1] <= 1.0


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_no_rate_of_impossible_counts(successes, trials):
    with pytest.raises(VlaError, match="success rate"):
        wilson(successes, trials)


def test_mcnemar_counts_only_where_they_differ():
    # 2 (1 + 8) / 2^8
    assert mcnemar_exact(1, 7) == pytest.approx(0.0703125)
    assert mcnemar_exact(7, 1) == mcnemar_exact(1, 7)
    assert mcnemar_exact(0, 0) == mcnemar_exact(4, 4) == 1.0


def outcomes(both: int, only_first: int, only_second: int, neither: int):
    first = [1] * (both + only_first) + [0] * (only_second + neither)
    second = [1] * both + [0] * only_first + [1] * only_second + [0] * neither
    return np.array(first), np.array(second)


def test_newcombe_of_trials_that_do_not_hang_together():
    # 4 x 1 = 4 x 1, so phi is 0: of Wilson's (0.4902, 0.9433) and (0.2366, 0.7634),
    # 0.3 - sqrt(0.3098^2 + 0.2634^2) and 0.3 + sqrt(0.1433^2 + 0.2634^2).
    found = paired(*outcomes(4, 4, 1, 1))
    assert found.difference == pytest.approx((0.3, -0.1066, 0.5999), abs=2e-4)
    assert (found.only_first, found.only_second) == (4, 1)
    assert found.p_value == pytest.approx(2 * (1 + 5) / 2**5)


def test_newcombe_is_narrower_where_trials_are_alike():
    # 20 both, 12 and 2, 16 neither: phi = (320 - 24 - 25) / sqrt(32 * 18 * 22 * 28) = 0.4549.
    found = paired(*outcomes(20, 12, 2, 16)).difference
    one, other = wilson(32, 50), wilson(22, 50)
    down, up = one.mean - one.low, other.high - other.mean
    assert found.mean == pytest.approx(0.2)
    assert (found.mean - found.low) ** 2 == pytest.approx(
        down**2 + up**2 - 2 * 0.4549 * down * up, abs=1e-4
    )
    assert paired(*outcomes(10, 6, 1, 8)).difference.low < found.low


def test_a_test_of_other_trials_is_refused():
    with pytest.raises(VlaError, match="same trials"):
        paired(np.ones(3), np.ones(4))


def test_seeds_that_differ_as_a_whole_are_what_counts():
    # Nothing else varies: Student's interval of three numbers, 4.303 x 0.1 / sqrt(3).
    table = np.repeat([[0.1], [0.2], [0.3]], 4, axis=1)
    assert over_seeds(table) == pytest.approx((0.2, 0.2 - 0.2484, 0.2 + 0.2484), abs=1e-3)


def test_layouts_that_differ_as_a_whole_are_what_counts():
    # Three seeds that do the same know no more than one: the interval of four trials.
    table = np.repeat([[0.0, 0.0, 1.0, 1.0]], 3, axis=0)
    half = 3.182 * np.std([0, 0, 1, 1], ddof=1) / 2
    assert over_seeds(table) == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=1e-3)


def test_analysis_of_variance_by_hand():
    # Means 0.75; rows 0.5, 1; columns 1, 0.5: all three mean squares are 0.25, freedom 1/3 -> 1.
    assert over_seeds([[1, 0], [1, 1]]).high == pytest.approx(0.75 + 12.706 * 0.25, abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_holds_the_truth_as_often_as_it_says(seed):
    rng, held, rounds = np.random.default_rng(seed), 0, 300
    for _ in range(rounds):
        of_seed, of_trial = rng.normal(0, 0.1, (4, 1)), rng.normal(0, 0.3, (1, 30))
        found = over_seeds(0.5 + of_seed + of_trial + rng.normal(0, 0.3, (4, 30)))
        held += found.low <= 0.5 <= found.high
    assert 0.90 < held / rounds < 0.99


def test_a_rate_over_seeds_stays_a_rate_and_is_never_surer_than_its_trials():
    nothing = rate_over_seeds(np.zeros((3, 100)))
    assert nothing == wilson(0, 300)
    some = rate_over_seeds(np.eye(3, 100))
    assert some.low >= 0.0
    assert some.high >= wilson(3, 300).high
    assert rate_over_seeds(np.ones((1, 10))) == wilson(10, 10)


def test_a_difference_over_cells_takes_a_layout_as_one():
    rng = np.random.default_rng(0)
    first = rng.random((2, 3, 50)) < 0.8
    same = np.stack([first[0], first[0]])
    none = np.zeros_like(same)
    # A cell that is another's copy makes nothing surer.
    once = over_seeds(first[0].astype(float))
    assert difference_over_seeds(same, none) == pytest.approx(once)


def test_a_difference_of_one_seed():
    one, other = outcomes(4, 4, 1, 1)
    assert difference_over_seeds(one[None], other[None]) == paired(one, other).difference
    cells = difference_over_seeds(np.stack([one[None]] * 2), np.stack([other[None]] * 2))
    # 4 times +1, once -1, 5 times 0: standard deviation 0.6749, t(9) = 2.262.
    assert cells == pytest.approx((0.3, 0.3 - 0.4828, 0.3 + 0.4828), abs=1e-3)
    with pytest.raises(VlaError, match="same seeds"):
        difference_over_seeds(np.ones((2, 3)), np.ones((3, 3)))
