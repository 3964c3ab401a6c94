import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.core import arm


def test_joint_state_names_are_the_nine_the_driver_publishes():
    assert arm.JOINT_STATE_NAMES[:6] == arm.ARM_JOINTS
    assert arm.JOINT_STATE_NAMES[6:] == ("gripper", "left_finger", "right_finger")


def test_limits_are_the_urdf_degrees():
    np.testing.assert_allclose(np.degrees(arm.LOWER_RAD[[1, 2, 4]]), [-108, -123, -100], atol=0.01)
    np.testing.assert_allclose(np.degrees(arm.UPPER_RAD[[1, 2, 4]]), [114, 92, 123], atol=0.01)


@pytest.mark.parametrize("pose", [arm.HOME_RAD, arm.SLEEP_RAD, arm.READY_RAD])
def test_named_poses_are_inside_the_limits(pose):
    assert np.all((pose > arm.LOWER_RAD) & (pose < arm.UPPER_RAD))


def test_constants_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        arm.SLEEP_RAD[0] = 1.0


def test_finger_runs_from_15_to_37_mm():
    assert arm.finger_from_opening(0.0) == 0.015
    assert arm.finger_from_opening(0.5) == pytest.approx(0.026)
    assert arm.finger_from_opening(1.0) == pytest.approx(0.037)
    assert arm.opening_from_finger(0.026) == pytest.approx(0.5)


def test_horn_geometry_matches_the_crank_by_hand():
    # Horn across the slide: sqrt(24^2 - 14^2) = sqrt(380) mm; along it: 14 + 24 mm.
    assert arm.finger_from_horn(0.0) == pytest.approx(0.01949359, abs=1e-8)
    assert arm.finger_from_horn(np.pi / 2) == pytest.approx(0.038)
    assert arm.horn_from_finger(0.01949359) == pytest.approx(0.0, abs=1e-6)


@given(st.floats(0.0, 1.0))
def test_opening_and_horn_are_inverse(opening):
    assert arm.opening_from_horn(arm.horn_from_opening(opening)) == pytest.approx(opening, abs=1e-9)


@given(st.floats(0.0, 1.0))
def test_opening_and_finger_are_inverse(opening):
    finger = arm.finger_from_opening(opening)
    assert arm.opening_from_finger(finger) == pytest.approx(opening, abs=1e-9)


def test_wider_opening_turns_the_horn_further():
    horns = [arm.horn_from_opening(opening) for opening in np.linspace(0, 1, 11)]
    assert np.all(np.diff(horns) > 0)


def test_unreachable_finger_distance_is_refused():
    with pytest.raises(ValueError, match=r"finger distance 0\.05 m is out of the gripper's reach"):
        arm.horn_from_finger(0.05)
