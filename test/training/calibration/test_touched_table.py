import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.calibration import touched_table
from vla_ros.core import arm, kinematics
from vla_ros.core.errors import CalibrationError
from vla_ros.core.exploration import ExplorationParameters
from vla_ros.core.rotations import transform

# Tool x straight down, fingers along y: its lowest point is 15.425 mm below the tool point.
DOWN = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
TIP_M = 0.015425
CORNERS = [(x, y) for x in (0.15, 0.35) for y in (-0.2, 0.2)]


def tips(a, b, c, places=CORNERS):
    """Return points on the plane z = a x + b y + c."""
    return np.array([[x, y, a * x + b * y + c] for x, y in places])


def joints_at(x, y, z, q=arm.READY_RAD):
    return kinematics.inverse(transform(DOWN, np.array([x, y, z])), q)


def test_the_lowest_point_of_a_gripper_that_points_down():
    tool, lowest = touched_table.lowest_tips(joints_at(0.25, 0.1, 0.12)[None])
    np.testing.assert_allclose(tool[0], [0.25, 0.1, 0.12], atol=2e-4)
    assert lowest[0, 2] == pytest.approx(0.12 - TIP_M, abs=3e-4)


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.03, 0.03), st.floats(-0.02, 0.02), st.floats(-0.01, 0.01), st.floats(0.03, 0.2))
def test_the_table_is_the_plane_of_the_touches_and_hovering_is_left_out(a, b, c, hover):
    rests = np.vstack([tips(a, b, c), tips(a, b, c + hover, [(0.25, 0.0)])])
    table = touched_table.fit_table(rests)
    assert table.has_tilt
    np.testing.assert_allclose(table.plane, [a, b, c], atol=1e-9)
    np.testing.assert_allclose(table.heights_m(np.array([[0.2, 0.1]])), 0.2 * a + 0.1 * b + c)


def test_a_low_hover_within_the_band_is_left_out_too():
    rests = np.vstack([tips(0, 0, 0.0), tips(0, 0, 0.0, [(0.2, 0.1), (0.3, 0.0)])])
    rests[-1, 2] = 0.015
    table = touched_table.fit_table(rests)
    assert len(table.touches_m) == 5
    np.testing.assert_allclose(table.plane, 0, atol=1e-9)


@pytest.mark.parametrize("places", [CORNERS[:2], [(0.15, 0), (0.25, 0), (0.35, 0)]])
def test_two_touches_or_a_line_tell_a_height_but_no_tilt(places):
    table = touched_table.fit_table(tips(0.01, 0, 0.002, places))
    assert not table.has_tilt
    np.testing.assert_allclose(table.plane, [0, 0, 0.0035])
    assert "tilt is not known" in touched_table.table_sentences(table, ExplorationParameters())[0]


def test_refuses_an_arm_that_never_rested():
    with pytest.raises(CalibrationError, match="the arm never rested"):
        touched_table.fit_table(np.empty((0, 3)))


def test_a_level_table_needs_no_warning():
    table = touched_table.fit_table(tips(0.0, 0.005, 0.002))
    assert len(touched_table.table_sentences(table, ExplorationParameters())) == 1
