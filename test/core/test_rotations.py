import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.core import rotations

HALF_TURNS = [np.diag([1.0, -1.0, -1.0]), np.diag([-1.0, 1.0, -1.0]), np.diag([-1.0, -1.0, 1.0])]
angles = st.floats(-3.1, 3.1)
vectors = st.tuples(*[st.floats(-1.7, 1.7)] * 3).map(np.array)  # |v| < pi


def test_skew_is_the_cross_product():
    v, w = np.array([1.0, 2.0, 3.0]), np.array([-2.0, 0.5, 4.0])
    np.testing.assert_allclose(rotations.skew(v) @ w, [6.5, -10.0, 4.5])


def test_quarter_turn_about_z_takes_x_to_y():
    quarter = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    rotation = rotations.matrix_from_rotvec(np.array([0.0, 0.0, np.pi / 2]))
    np.testing.assert_allclose(rotation, quarter, atol=1e-15)
    half_root = np.sqrt(0.5)
    np.testing.assert_allclose(
        rotations.quat_from_matrix(rotation), [half_root, 0, 0, half_root], atol=1e-15
    )


def test_rpy_turns_about_fixed_axes_roll_first():
    # Roll takes y to z; yaw then leaves z alone.
    rotation = rotations.matrix_from_rpy(np.pi / 2, 0.0, np.pi / 2)
    np.testing.assert_allclose(rotation @ [0, 1, 0], [0, 0, 1], atol=1e-15)
    np.testing.assert_allclose(rotation @ [1, 0, 0], [0, 1, 0], atol=1e-15)


def test_many_rotvecs_give_the_matrices_of_each():
    rotvecs = np.array([[[0.3, -0.5, 1.1], [0, 0, 0]], [[1e-9, 0, 0], [0, 3.1, 0]]])
    each = [[rotations.matrix_from_rotvec(v) for v in row] for row in rotvecs]
    np.testing.assert_allclose(rotations.matrices_from_rotvecs(rotvecs), each, atol=1e-14)


@given(vectors)
def test_rotvec_and_matrix_are_inverse(rotvec):
    rotation = rotations.matrix_from_rotvec(rotvec)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    np.testing.assert_allclose(rotations.rotvec_from_matrix(rotation), rotvec, atol=1e-7)


@pytest.mark.parametrize("rotation", HALF_TURNS)
def test_half_turns_have_a_rotation_vector_of_length_pi(rotation):
    rotvec = rotations.rotvec_from_matrix(rotation)
    assert np.linalg.norm(rotvec) == pytest.approx(np.pi)
    np.testing.assert_allclose(rotations.matrix_from_rotvec(rotvec), rotation, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-7, 1e-5])
def test_tiny_angles_keep_their_value(angle):
    rotvec = np.array([angle, -angle, angle])
    rotation = rotations.matrix_from_rotvec(rotvec)
    np.testing.assert_allclose(rotations.rotvec_from_matrix(rotation), rotvec, rtol=1e-6, atol=0)


@given(angles, angles, angles)
def test_quaternion_and_matrix_are_inverse_with_positive_w(roll, pitch, yaw):
    rotation = rotations.matrix_from_rpy(roll, pitch, yaw)
    quat = rotations.quat_from_matrix(rotation)
    assert quat[0] >= 0
    assert np.linalg.norm(quat) == pytest.approx(1.0)
    np.testing.assert_allclose(rotations.matrix_from_quat(3.0 * quat), rotation, atol=1e-9)


def test_inverse_transform_undoes_a_transform():
    T_a_b = rotations.transform(rotations.matrix_from_rpy(0.1, -0.4, 2.0), np.array([1.0, 2, 3]))
    np.testing.assert_allclose(rotations.inverse_transform(T_a_b) @ T_a_b, np.eye(4), atol=1e-12)
    # A point of b at its origin lies at the translation in a.
    np.testing.assert_allclose(T_a_b @ [0, 0, 0, 1], [1, 2, 3, 1])
