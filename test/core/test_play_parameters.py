from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.core.errors import SafetyError
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.play_parameters import ExplorationParameters, require_room, tool_box_m
from vla_ros.core.play_region import clearances, draw_pose

P = ExplorationParameters()


def test_the_tool_box_of_a_hand_computed_region():
    # Straight down the tips are 15.425 mm under the tool point; 0.037 and 0.0145 m to its sides
    # they are hypot = 39.74 mm * sin(0.25) = 9.83 mm lower where it leans by the limit.
    low, high = tool_box_m(P)
    np.testing.assert_allclose(low, [0.14, -0.30, 0.025425])
    np.testing.assert_allclose(high, [0.36, 0.30, 0.12 + 0.015425 + 0.00983], atol=1e-5)
    _, high = tool_box_m(replace(P, radius_limit_m=0.2, x_low_m=0.1))
    np.testing.assert_allclose(high[:2], [0.2, 0.2])


@given(st.integers(0, 2**32), st.floats(0.0, 0.6))
def test_no_pose_inside_the_bounds_has_its_tool_outside_the_box(seed, tilt_limit_rad):
    p = replace(P, tilt_limit_rad=tilt_limit_rad)
    low = np.array([p.x_low_m, -p.y_limit_m, p.height_low_m])
    high = np.array([p.x_high_m, p.y_limit_m, p.height_high_m])
    pose = draw_pose(p, np.random.default_rng(seed), low, high)
    if np.all(clearances(p, pose) >= 0):
        box_low, box_high = tool_box_m(p)
        assert np.all(pose[:3, 3] >= box_low - 1e-9)
        assert np.all(pose[:3, 3] <= box_high + 1e-9)


@pytest.mark.parametrize(
    ("low", "high"),
    [((0.12, -0.3, 0.02), (0.5, 0.4, 0.5)), ((0.1, -0.4, 0.01), (0.36, 0.3, 0.146))],
)
def test_a_box_that_just_holds_play_is_room_enough(low, high):
    require_room(P, wx250s_limits(workspace_low_m=low, workspace_high_m=high))


@pytest.mark.parametrize(
    ("play", "box", "outside_mm"),
    [
        ({"x_low_m": 0.11}, {"workspace_low_m": (0.12, -0.4, 0.01)}, 10),
        ({}, {"workspace_low_m": (0.1, -0.28, 0.01)}, 20),
        ({}, {"workspace_low_m": (0.1, -0.4, 0.03)}, 5),
        ({}, {"workspace_high_m": (0.31, 0.4, 0.5)}, 50),
        ({}, {"workspace_high_m": (0.5, 0.27, 0.5)}, 30),
        ({}, {"workspace_high_m": (0.5, 0.4, 0.14)}, 5),
    ],
)
def test_play_that_leaves_the_box_on_any_side_is_refused(play, box, outside_mm):
    with pytest.raises(SafetyError, match=f" {outside_mm} mm outside safety.workspace_low_m and"):
        require_room(replace(P, **play), wx250s_limits(**box))


@pytest.mark.parametrize(
    ("changes", "limits", "sentence"),
    [
        ({"joint_speed_rad_s": 1.6}, {}, "is 1.6, above safety.velocity_rad_s, 1.5"),
        ({"joint_acceleration_rad_s2": 4.5}, {}, "is 4.5, above safety.acceleration_rad_s2, 4.0"),
        ({"height_low_m": 0.006}, {"table_clearance_m": 0.008}, "height_low_m is 0.006, below saf"),
    ],
)  # fmt: skip
def test_play_faster_or_lower_than_the_arm_may_is_refused(changes, limits, sentence):
    with pytest.raises(SafetyError, match=sentence):
        require_room(replace(P, **changes), wx250s_limits(**limits))
    require_room(P, wx250s_limits(velocity_rad_s=P.joint_speed_rad_s, table_clearance_m=0.01))


def test_bounds_are_named():
    assert P.bounds["x_low_m"] == 0.14
    assert "speed_m_s" not in P.bounds
