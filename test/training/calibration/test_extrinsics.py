import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.calibration import extrinsics
from training.calibration.extrinsics import View
from vla_ros.core import kinematics
from vla_ros.core.errors import CalibrationError
from vla_ros.core.rotations import inverse_transform, matrix_from_rotvec, transform

HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])


def true_views(scene, q_n6, rng=None, joint_noise_rad=0.0, turned=()):
    """Return exact views; joints as read are off by noise, boards in `turned` by a half turn."""
    views = []
    for index, q in enumerate(q_n6):
        read = q if rng is None else q + rng.normal(0, joint_noise_rad, 6)
        board = scene.board_in_camera(q) @ (HALF_TURN if index in turned else np.eye(4))
        views.append(View(index, kinematics.forward(read), board, 0.0))
    return views


def solve(scene, views):
    return extrinsics.solve(views, scene.corners_m, scene.K, scene.distortion)


def test_corners_lie_in_rows_around_the_middle():
    corners = extrinsics.board_corners(3, 2, 0.02)
    expected = [
        [-0.02, -0.01, 0], [0, -0.01, 0], [0.02, -0.01, 0],
        [-0.02, 0.01, 0], [0, 0.01, 0], [0.02, 0.01, 0],
    ]  # fmt: skip
    np.testing.assert_allclose(corners, expected, atol=1e-15)


def test_projection_of_a_point_on_the_axis_and_beside_it(scene):
    pose = transform(np.eye(3), np.array([0.0, 0.0, 0.5]))
    points = np.array([[0.0, 0.0, 0.0], [0.1, -0.04, 0.0]])
    # 625 px * 0.1 m / 0.5 m = 125 px to the right, 625 * 0.04 / 0.5 = 50 px up.
    expected = [[319.5, 239.5], [444.5, 189.5]]
    np.testing.assert_allclose(
        extrinsics.project(pose, points, scene.K, scene.distortion), expected
    )


def test_the_board_in_a_picture_is_found_where_it_is(scene):
    # 20 degrees about x, 30 about y, 0.7 m away: 22 px a square.
    pose = transform(matrix_from_rotvec(np.array([0.35, 0.52, 0.0])), np.array([0.02, -0.03, 0.7]))
    rng = np.random.default_rng(0)
    corners = extrinsics.find_corners(scene.picture(pose, rng), scene.columns, scene.rows)
    true = extrinsics.project(pose, scene.corners_m, scene.K, scene.distortion)
    away = min(np.abs(corners - true).max(), np.abs(corners - true[::-1]).max())
    assert away < 0.5
    found, rms_px = extrinsics.board_pose(corners, scene.corners_m, scene.K, scene.distortion)
    assert rms_px < 0.3
    np.testing.assert_allclose(found[:3, 3], pose[:3, 3], atol=0.003)
    # z of the board points away from the camera, whichever way round it was counted.
    np.testing.assert_allclose(found[:3, 2], pose[:3, 2], atol=0.02)


def test_a_picture_without_a_board_has_none():
    assert extrinsics.find_corners(np.full((480, 640, 3), 110, np.uint8), 7, 5) is None


def test_a_distant_frontal_board_is_ambiguous(scene):
    # 2.4 m away a square is 6.5 px: a tilt of 12 degrees either way differs by less than the noise.
    pose = transform(matrix_from_rotvec(np.array([0.21, 0.0, 0.0])), np.array([0.0, 0.0, 2.4]))
    px = extrinsics.project(pose, scene.corners_m, scene.K, scene.distortion)
    px += np.random.default_rng(3).normal(0, 0.3, px.shape)
    assert extrinsics.board_pose(px, scene.corners_m, scene.K, scene.distortion) is None


def test_exact_views_give_the_exact_camera(scene):
    solution = solve(scene, true_views(scene, scene.poses(6, np.random.default_rng(1))))
    np.testing.assert_allclose(solution.T_base_camera, scene.T_base_camera, atol=1e-6)
    np.testing.assert_allclose(solution.T_tool_board, scene.T_tool_board, atol=1e-6)
    assert solution.rms_px < 1e-3
    assert solution.rms_mm < 1e-3
    assert solution.loo_mm < 1e-2


@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(0, 7)))
def test_half_turns_of_the_board_do_not_matter(scene, turned):
    q_n6 = scene.poses(8, np.random.default_rng(2))
    solution = solve(scene, true_views(scene, q_n6, turned=turned))
    np.testing.assert_allclose(solution.T_base_camera, scene.T_base_camera, atol=1e-6)


def test_joint_noise_of_a_milliradian_costs_millimetres(scene):
    # 1 mrad on six joints with levers of 0.5, 0.5, 0.35, 0.1, 0.1, 0.1 m moves the tool by about
    # 0.8 mm and turns it by 2.4 mrad; over 12 views that leaves 0.7 mrad of the camera's
    # orientation, 0.6 mm at its distance of 0.8 m, and 0.2 mm of its own. Turns of only about 20
    # degrees to the second axis make it twice as weak: 1.2 mm and 1.4 mrad, four times that here.
    rng = np.random.default_rng(4)
    solution = solve(scene, true_views(scene, scene.poses(12, rng), rng, 1e-3))
    error = inverse_transform(scene.T_base_camera) @ solution.T_base_camera
    assert 0.01e-3 < np.linalg.norm(error[:3, 3]) < 5e-3
    assert extrinsics.angle_rad(error[:3, :3]) < 6e-3
    # The residual is that of the tool, to which the mean of the board's pose is fitted.
    assert 0.3 < solution.rms_mm < 2.0
    assert 0.01 < solution.loo_mm < 5.0


def test_a_board_that_slipped_shows_in_the_residual_and_is_named(scene):
    views = true_views(scene, scene.poses(10, np.random.default_rng(5)))
    slipped = views[4].T_camera_board @ transform(np.eye(3), np.array([0.0, 0.03, 0.0]))
    views[4] = View(4, views[4].T_base_tool, slipped, 0.0)
    solution = solve(scene, views)
    assert solution.worst == 4
    # One of ten views off by 30 mm: 30 / sqrt(10) = 9.5 mm, less what the fit makes up for.
    assert 4.0 < solution.rms_mm < 9.5
    assert solution.loo_mm > 1.0


def test_refuses_too_few_views(scene):
    views = true_views(scene, scene.poses(4, np.random.default_rng(6)))
    with pytest.raises(CalibrationError, match="4 usable views, at least 5 needed; record more"):
        solve(scene, views)


def test_refuses_a_board_that_was_moved_but_hardly_turned(scene):
    low = (-0.05, -0.5, -0.1, -0.05, -0.1, -0.05)
    high = (0.05, 0.0, 0.1, 0.05, 0.1, 0.05)
    views = true_views(scene, scene.poses(8, np.random.default_rng(7), low, high))
    with pytest.raises(CalibrationError, match="orientations 10 degrees apart and turned by"):
        solve(scene, views)


def test_refuses_turns_about_one_axis_only():
    # Only the waist turns: seven orientations, one axis.
    views = [
        View(i, transform(matrix_from_rotvec(np.array([0, 0, 0.2 * i])), np.zeros(3)), np.eye(4), 0)
        for i in range(7)
    ]
    distinct, turns_rad = extrinsics.orientation_spread(views)
    assert distinct == 7
    # The mean square of 0.2 (i - j) over 21 pairs of 7 is 0.04 * 196 / 21.
    np.testing.assert_allclose(turns_rad, [np.sqrt(0.04 * 196 / 21), 0, 0], atol=1e-9)
    with pytest.raises(CalibrationError, match="10 about two of them are needed"):
        extrinsics.require_spread(views)
