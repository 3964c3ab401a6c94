import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.core.chunks import (
    chunk_from_poses,
    future_frames,
    poses_from_chunk,
    rotation_6d,
    rotation_from_6d,
)
from vla_ros.core.errors import ContractError
from vla_ros.core.rotations import matrix_from_rotvec, transform

TURN_Z = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # x to y
# A camera above the table that looks down: its x is base x, its y base -y, its z base -z.
LOOKING_DOWN = transform(np.diag([1.0, -1.0, -1.0]), np.array([0.3, 0.0, 0.8]))
vectors = st.tuples(*[st.floats(-1.7, 1.7)] * 3).map(np.array)
poses = st.builds(lambda v, p: transform(matrix_from_rotvec(v), p), vectors, vectors)
openings = st.floats(0, 1)


def test_chunk_by_hand_is_base_motion_in_the_camera_axes():
    now = transform(np.diag([-1.0, -1.0, 1.0]), np.array([0.2, 0.1, 0.3]))
    future = transform(TURN_Z @ now[:3, :3], np.array([0.25, 0.12, 0.29]))
    chunk = chunk_from_poses(now, future[None], np.array([1.0]), LOOKING_DOWN)
    # 5 cm along x, 2 cm along y, 1 cm down; a quarter turn about base z is one about camera -z.
    np.testing.assert_allclose(
        chunk, [[0.05, -0.02, 0.01, 0, -1, 0, 1, 0, 0, 1]], rtol=0, atol=1e-7
    )
    assert chunk.dtype == np.float32


def test_chunk_is_the_tool_frame_formula_of_the_paper():
    now = transform(matrix_from_rotvec(np.array([0.3, -0.5, 1.1])), np.array([0.1, 0.2, 0.3]))
    future = transform(matrix_from_rotvec(np.array([-0.2, 0.4, 0.6])), np.array([0.2, 0.1, 0.4]))
    camera = transform(matrix_from_rotvec(np.array([2.0, 0.1, -0.3])), np.array([1.0, 0.0, 0.5]))
    relative = np.linalg.inv(now) @ future
    R_ce = (np.linalg.inv(camera) @ now)[:3, :3]
    chunk = chunk_from_poses(now, future[None], np.array([0.25]), camera)[0]
    np.testing.assert_allclose(chunk[:3], R_ce @ relative[:3, 3], atol=1e-6)
    np.testing.assert_allclose(chunk[3:9], rotation_6d(R_ce @ relative[:3, :3] @ R_ce.T), atol=1e-6)
    assert chunk[9] == -0.5


@given(poses, st.lists(st.tuples(poses, openings), min_size=1, max_size=4), poses)
def test_poses_and_chunk_are_inverse(now, steps, camera):
    future = np.stack([pose for pose, _ in steps])
    opening = np.array([value for _, value in steps])
    back, back_opening = poses_from_chunk(
        chunk_from_poses(now, future, opening, camera), now, camera
    )
    np.testing.assert_allclose(back, future, atol=2e-6)  # a chunk is float32
    np.testing.assert_allclose(back_opening, opening, atol=1e-6)


def test_chunks_side_by_side_are_those_of_each():
    rng = np.random.default_rng(0)
    poses = [transform(matrix_from_rotvec(v[:3]), v[3:]) for v in rng.uniform(-1, 1, (10, 6))]
    future, now, cameras = np.reshape(poses[:6], (2, 3, 4, 4)), poses[6:8], poses[8:]
    openings = rng.uniform(0, 1, (2, 3))
    both = chunk_from_poses(np.stack(now), future, openings, np.stack(cameras))
    for i in range(2):
        alone = chunk_from_poses(now[i], future[i], openings[i], cameras[i])
        np.testing.assert_allclose(both[i], alone, atol=1e-7)


@given(vectors, st.floats(0.1, 10), st.floats(0.1, 10), st.floats(-5, 5))
def test_gram_schmidt_undoes_lengths_and_shear(rotvec, first, second, shear):
    rotation = matrix_from_rotvec(rotvec)
    x, y = rotation[:, 0], rotation[:, 1]
    six = np.concatenate([first * x, second * y + shear * x])
    np.testing.assert_allclose(rotation_from_6d(six), rotation, atol=1e-12)


def test_opening_is_clipped_and_closed_is_minus_one():
    still = np.array([[0, 0, 0, 1, 0, 0, 0, 1, 0, g] for g in (-1.0, 0.0, 1.5, -1.5)])
    back, opening = poses_from_chunk(still, np.eye(4), LOOKING_DOWN)
    np.testing.assert_allclose(opening, [0, 0.5, 1, 0])
    np.testing.assert_allclose(back, np.tile(np.eye(4), (4, 1, 1)))


@pytest.mark.parametrize(
    "six", [[0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0], [1, 0, 0, 2, 0, 0], [np.nan, 0, 0, 0, 1, 0]]
)
def test_six_numbers_that_name_no_rotation_are_refused(six):
    with pytest.raises(ContractError, match="neither zero nor parallel"):
        rotation_from_6d(np.array(six))


def test_chunk_of_wrong_shape_or_not_finite_is_refused():
    with pytest.raises(ContractError, match=r"chunk must be finite numbers \(H, 10\)"):
        poses_from_chunk(np.zeros((2, 7)), np.eye(4), np.eye(4))
    with pytest.raises(ContractError, match="chunk must be finite"):
        poses_from_chunk(np.full((2, 10), np.inf), np.eye(4), np.eye(4))
    with pytest.raises(ContractError, match=r"poses \(..., H, 4, 4\) and openings"):
        chunk_from_poses(np.eye(4), np.eye(4)[None], np.ones(2), np.eye(4))
    with pytest.raises(ContractError, match="must be finite"):
        chunk_from_poses(np.eye(4), np.full((1, 4, 4), np.nan), np.ones(1), np.eye(4))


def test_last_frame_is_repeated_beyond_the_end():
    frames, exist = future_frames(now=2, num_frames=7, horizon=4, stride=2)
    np.testing.assert_array_equal(frames, [4, 6, 6, 6])
    np.testing.assert_array_equal(exist, [True, True, False, False])
    frames, exist = future_frames(now=6, num_frames=7, horizon=2)
    np.testing.assert_array_equal(frames, [6, 6])
    assert not exist.any()
    frames, exist = future_frames(np.array([0, 2]), np.array([9, 4]), horizon=2)
    np.testing.assert_array_equal(frames, [[1, 2], [3, 3]])
    np.testing.assert_array_equal(exist, [[True, True], [True, False]])


@pytest.mark.parametrize("arguments", [(7, 7, 4), (-1, 7, 4), (0, 7, 0), (0, 7, 4, 0)])
def test_a_chunk_from_nowhere_is_refused(arguments):
    with pytest.raises(ContractError, match="a chunk needs a frame of the episode"):
        future_frames(*arguments)
