import numpy as np
import pytest

from vla_ros.core import arm
from vla_ros.core.errors import ContractError
from vla_ros.core.rotations import transform
from vla_ros.core.scene_change import TableCamera, grey

# 1 m over (0.25, 0), looking straight down: the picture's right is +x, its top +y.
DOWN = transform(np.diag([1.0, -1.0, -1.0]), np.array([0.25, 0.0, 1.0]))
K = np.array([[100.0, 0.0, 79.5], [0.0, 100.0, 59.5], [0.0, 0.0, 1.0]])
WIDTH, HEIGHT = 160, 120  # blocks of 4 px
EMPTY = np.full((HEIGHT, WIDTH), 120, np.uint8)


def camera(**changes):
    return TableCamera(**{"K": K, "T_base_camera": DOWN, "width": 160, "height": 120, **changes})


def with_thing(top, left, grey_level=200, size=4):
    picture = EMPTY.copy()
    picture[top : top + size, left : left + size] = grey_level
    return picture


def test_changed_block_is_found_where_its_ray_meets_the_table():
    # Centre (81.5, 41.5) px: 2 px right and 18 px above the middle, 1 cm a pixel.
    points = camera().changed_points(EMPTY, with_thing(40, 80))
    np.testing.assert_allclose(points, [[0.27, 0.18]], atol=1e-12)


def test_plane_of_half_the_height_brings_the_point_nearer():
    points = camera(plane_m=0.5).changed_points(EMPTY, with_thing(40, 80))
    np.testing.assert_allclose(points, [[0.26, 0.09]], atol=1e-12)


def test_oblique_camera_by_hand():
    # At (1, 0, 1) looking along (-1, 0, -1): the optical axis meets the table at the origin.
    half = np.sqrt(0.5)
    axes = np.array([[0.0, -half, -half], [1.0, 0.0, 0.0], [0.0, -half, -half]])
    axes[:, 1] = np.cross(axes[:, 2], axes[:, 0])
    pose = transform(axes, np.array([1.0, 0.0, 1.0]))
    centred = np.array([[100.0, 0.0, 81.5], [0.0, 100.0, 61.5], [0.0, 0.0, 1.0]])
    oblique = camera(T_base_camera=pose, K=centred)
    points = oblique.changed_points(EMPTY, with_thing(60, 80))
    np.testing.assert_allclose(points, [[0.0, 0.0]], atol=1e-12)


def test_moved_thing_is_found_at_both_places():
    points = camera().changed_points(with_thing(40, 80), with_thing(80, 20))
    np.testing.assert_allclose(sorted(points[:, 0]), [-0.33, 0.27], atol=1e-12)


def test_light_that_changes_everywhere_is_no_change():
    brighter = with_thing(40, 80).astype(float) + 30.0
    assert len(camera().changed_points(EMPTY, brighter)) == 1


def test_change_under_the_threshold_is_none():
    after = with_thing(40, 80, grey_level=125)
    assert len(camera().changed_points(EMPTY, after)) == 0
    assert len(camera().changed_points(EMPTY, after, threshold=5.0)) == 1


def test_what_the_arm_hides_is_left_out():
    seen = camera()
    hidden = seen.arm_blocks(arm.READY_RAD)
    # The tool hangs at (0.25, 0), the base stands at (0, 0): pixels (79.5, 59.5), (54.5, 59.5).
    assert hidden[14, 19]
    assert hidden[14, 13]
    # 30 cm beside the tool is table.
    assert not hidden[7, 19]
    assert len(seen.changed_points(EMPTY, with_thing(56, 76), hidden)) == 0
    assert len(seen.changed_points(EMPTY, with_thing(28, 76), hidden)) == 1


def test_arm_turned_aside_hides_its_side():
    q = arm.READY_RAD.copy()
    q[0] = np.pi / 2
    hidden = camera().arm_blocks(q)
    # The tool is at (0, 0.25) now: pixel (54.5, 34.5).
    assert hidden[8, 13]
    assert not hidden[14, 24]


def test_all_hidden_or_all_sky_gives_no_points():
    seen = camera()
    after = with_thing(40, 80)
    assert seen.changed_points(EMPTY, after, np.ones((30, 40), bool)).shape == (0, 2)
    up = transform(np.eye(3), np.array([0.0, 0.0, 1.0]))
    assert camera(T_base_camera=up).changed_points(EMPTY, after).shape == (0, 2)


def test_grey_is_the_luma():
    picture = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [100, 100, 100]]], np.uint8)
    np.testing.assert_allclose(grey(picture), [[76.245, 149.685, 29.07, 100.0]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"K": np.zeros((3, 3))}, "K must have focal lengths above 0"),
        ({"K": np.eye(4)}, r"K must be \(3, 3\) finite numbers"),
        ({"T_base_camera": np.full((4, 4), np.nan)}, r"T_base_camera must be \(4, 4\) finite"),
        ({"block_px": 0}, "block_px must be from 1 to 120"),
        ({"block_px": 121}, "block_px must be from 1 to 120"),
    ],
)
def test_bad_camera_is_refused(changes, message):
    with pytest.raises(ContractError, match=message):
        camera(**changes)


def test_pictures_of_another_shape_are_refused():
    with pytest.raises(ContractError, match="picture after must be grey with shape"):
        camera().changed_points(EMPTY, EMPTY[:60])
    with pytest.raises(ContractError, match=r"hidden must have shape \(30, 40\)"):
        camera().changed_points(EMPTY, EMPTY, np.zeros((3, 4), bool))
