import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.core.actions import GRIPPER_INDEX, apply_ee_delta, ee_delta
from vla_ros.core.errors import ContractError
from vla_ros.core.rotations import matrix_from_rotvec, matrix_from_rpy, transform

small = st.floats(-0.2, 0.2)
angle = st.floats(-1.5, 1.5)


def test_translation_and_rotation_are_along_the_base_axes():
    # The tool is rolled a quarter; the delta yaws about base z, not about the tool's own z.
    T_now = transform(matrix_from_rpy(np.pi / 2, 0.0, 0.0), np.array([0.2, 0.0, 0.1]))
    T_next, opening = apply_ee_delta(T_now, np.array([0.01, 0, -0.02, 0, 0, np.pi / 2, 1.0]))
    np.testing.assert_allclose(T_next[:3, 3], [0.21, 0.0, 0.08])
    np.testing.assert_allclose(T_next[:3, :3] @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(T_next[:3, :3] @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    assert opening == 1.0


def test_no_motion_is_the_zero_action_with_the_gripper_on_its_index():
    action = ee_delta(np.eye(4), np.eye(4), 0.25)
    assert action.dtype == np.float32
    np.testing.assert_array_equal(action, [0, 0, 0, 0, 0, 0, 0.25])
    assert action[GRIPPER_INDEX] == 0.25


@given(st.tuples(*[small] * 3), st.tuples(*[angle] * 3), st.tuples(*[angle] * 3), st.floats(0, 1))
def test_ee_delta_and_apply_are_inverse(translation, turn, start, opening):
    T_now = transform(matrix_from_rpy(*start), np.array([0.3, -0.1, 0.2]))
    T_next = transform(
        matrix_from_rotvec(np.array(turn)) @ T_now[:3, :3], T_now[:3, 3] + np.array(translation)
    )
    T_back, opening_back = apply_ee_delta(T_now, ee_delta(T_now, T_next, opening))
    np.testing.assert_allclose(T_back, T_next, atol=1e-6)
    assert opening_back == pytest.approx(opening, abs=1e-6)


@pytest.mark.parametrize(("asked", "given_back"), [(-0.3, 0.0), (1.7, 1.0)])
def test_opening_is_clipped(asked, given_back):
    assert apply_ee_delta(np.eye(4), np.array([0, 0, 0, 0, 0, 0, asked]))[1] == given_back


def test_input_poses_are_not_changed():
    T_now = np.eye(4)
    apply_ee_delta(T_now, np.full(7, 0.1))
    np.testing.assert_array_equal(T_now, np.eye(4))


@pytest.mark.parametrize("action", [np.zeros(6), np.zeros((1, 7)), np.array([np.nan] * 7)])
def test_malformed_action_is_refused(action):
    with pytest.raises(ContractError, match="action must be 7 finite numbers"):
        apply_ee_delta(np.eye(4), action)
