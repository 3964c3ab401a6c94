from typing import Any

import numpy as np
import pytest

from vla_ros.core import arm, kinematics
from vla_ros.core.coverage import InterestMap
from vla_ros.core.play_parameters import ExplorationParameters
from vla_ros.core.play_region import height_m
from vla_ros.core.play_search import Pending, WaySearch
from vla_ros.core.pose_library import PoseLibrary
from vla_ros.core.rotations import transform

P = ExplorationParameters()
READY = kinematics.forward(arm.READY_RAD)
NEAR, FAR = [0.25, 0.05, 0.06], [0.25, 0.15, 0.06]


def search_on(*positions_m, seed=0):
    poses = np.array([transform(READY[:3, :3], np.array(p)) for p in positions_m])
    library = PoseLibrary(poses, "teleoperated", {})
    return WaySearch(P, np.random.default_rng(seed), library, InterestMap(P))


def found(search, checks=10_000) -> Any:
    pending = Pending(search)
    while not pending.is_over:
        pending.go_on(checks)
    return pending.path


def test_search_does_as_many_checks_as_it_is_told_and_no_more():
    seen = []

    def search() -> Any:
        for i in range(5):
            seen.append(i)
            yield
        return "way"

    pending = Pending(search())
    pending.go_on(2)
    assert (seen, pending.is_over, pending.path) == ([0, 1], False, None)
    pending.go_on(3)
    assert (seen, pending.is_over) == ([0, 1, 2, 3, 4], False)
    pending.go_on(3)
    assert (pending.is_over, pending.path) == (True, "way")
    pending.go_on(1)
    assert pending.path == "way"


@pytest.mark.parametrize("checks", [1, 7])
def test_what_is_found_does_not_depend_on_the_pace(checks):
    positions = [[0.2, -0.15, 0.05], [0.32, -0.1, 0.05], [0.2, 0.15, 0.05], [0.3, 0.1, 0.05]]
    start = READY, arm.READY_RAD, 0.0, READY[:3, 3]
    slow = found(search_on(*positions, seed=5).waypoint(*start), checks)
    fast = found(search_on(*positions, seed=5).waypoint(*start))
    np.testing.assert_array_equal(slow.segment.end, fast.segment.end)
    np.testing.assert_array_equal(slow.q_end, fast.q_end)


def test_waypoint_keeps_its_distance_from_here_and_from_the_last():
    here = transform(READY[:3, :3], np.array([0.25, 0.0, 0.06]))
    q = kinematics.inverse(here, arm.READY_RAD)
    path = found(search_on(NEAR, FAR).waypoint(here, q, 0.0, here[:3, 3]))
    np.testing.assert_array_equal(path.segment.end[:3, 3], FAR)
    assert found(search_on(NEAR, FAR).waypoint(here, q, 0.0, np.array(FAR))) is None


def test_descent_goes_where_it_can_when_straight_down_is_out_of_bounds():
    # Leaning by 0.5 rad, twice the limit, it cannot go down as it is; the library's pose can.
    lean = np.array([[np.cos(0.5), 0, np.sin(0.5)], [0, 1, 0], [-np.sin(0.5), 0, np.cos(0.5)]])
    pose = transform(lean @ READY[:3, :3], np.array([0.25, 0.05, 0.12]))
    q = kinematics.inverse(pose, arm.READY_RAD)
    path = found(search_on(NEAR, FAR).descent(pose, pose, q, 0.0))
    np.testing.assert_allclose(path.segment.end[:2, 3], NEAR[:2])
    assert P.descent_low_m <= height_m(path.segment.end) <= P.descent_high_m
