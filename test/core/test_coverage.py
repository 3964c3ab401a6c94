from dataclasses import replace

import numpy as np
import pytest

from vla_ros.core.coverage import InterestMap
from vla_ros.core.play_parameters import ExplorationParameters

P = replace(
    ExplorationParameters(),
    cell_m=0.02,
    visit_s=2.0,
    coverage_memory_s=100.0,
    interest_memory_s=50.0,
    interest_radius_m=0.05,
)
# The middle of a cell: x from 0.14, y from -0.30 in steps of 2 cm.
HERE = np.array([0.25, 0.01])
POINT = HERE[None]


def test_place_never_visited_is_rarest_and_a_visit_of_visit_s_halves_it():
    interest = InterestMap(P)
    assert interest.rarity(POINT)[0] == 1.0
    interest.visited(np.array([0.25, 0.01, 0.1]), 2.0)
    assert interest.rarity(POINT)[0] == pytest.approx(0.5)
    assert interest.rarity(POINT + 0.02)[0] == 1.0


def test_visits_fade():
    interest = InterestMap(P)
    interest.visited(HERE, 2.0)
    interest.advance(100.0 * np.log(2.0))
    # Half of the 2 s are left: 1 / (1 + 1 / 2).
    assert interest.rarity(POINT)[0] == pytest.approx(2.0 / 3.0)


def test_interest_is_strongest_at_the_place_and_ends_at_its_radius():
    interest = InterestMap(P)
    interest.moved(POINT, 0.8)
    points = HERE + np.array([[0.0, 0.0], [0.03, 0.0], [0.0, 0.0601]])
    values, places = interest.interest(points)
    # 5 cm and half a cell: 1 - 3 / 6 is left 3 cm away.
    np.testing.assert_allclose(values, [0.8, 0.4, 0.0], atol=1e-9)
    np.testing.assert_allclose(places, [HERE, HERE, points[2]])


def test_interest_fades_with_time_and_keeps_the_strongest():
    interest = InterestMap(P)
    interest.moved(POINT, 0.8)
    interest.moved(POINT, 0.3)
    interest.advance(50.0 * np.log(2.0))
    assert interest.interest(POINT)[0][0] == pytest.approx(0.4)


def test_interest_wanes_where_the_gripper_stays_low_and_only_there():
    interest = InterestMap(P)
    other = POINT + np.array([0.0, 0.1])
    interest.moved(np.concatenate([POINT, other]))
    interest.visited(HERE, 2.0)
    assert interest.interest(POINT)[0][0] == pytest.approx(1.0)
    interest.visited(HERE, 2.0, can_touch=True)
    assert interest.interest(POINT)[0][0] == pytest.approx(np.exp(-1.0))
    assert interest.interest(other)[0][0] == pytest.approx(1.0)
    interest.moved(POINT)
    assert interest.interest(POINT)[0][0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "outside", [[0.13, 0.0], [0.37, 0.0], [0.25, 0.31], [np.nan, 0.0], [np.inf, 0.0]]
)
def test_what_is_outside_the_region_is_passed_over(outside):
    interest = InterestMap(P)
    interest.moved(np.array([outside]))
    interest.visited(np.array(outside), 1.0)
    every_cell = np.stack(np.meshgrid(np.linspace(0.14, 0.36, 12), np.linspace(-0.3, 0.3, 31)), -1)
    assert interest.interest(every_cell.reshape(-1, 2))[0].max() == 0.0
    assert interest.rarity(every_cell.reshape(-1, 2)).min() == 1.0
    assert interest.rarity(np.array([outside]))[0] == 0.0


def test_far_corner_belongs_to_the_last_cell():
    interest = InterestMap(P)
    corner = np.array([[P.x_high_m, P.y_limit_m]])
    interest.moved(corner)
    assert interest.interest(corner)[0][0] > 0.7


def test_no_points_and_wild_strengths_are_harmless():
    interest = InterestMap(P)
    interest.moved(np.empty((0, 2)))
    interest.moved(POINT, np.nan)
    assert interest.interest(POINT)[0][0] == 0.0
    interest.moved(POINT, 7.0)
    assert interest.interest(POINT)[0][0] == pytest.approx(1.0)
