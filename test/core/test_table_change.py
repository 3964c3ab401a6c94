"""What moved on the table, from pictures of a camera straight above it."""

import numpy as np
import pytest

from vla_ros.core import arm
from vla_ros.core.rotations import transform
from vla_ros.core.table_change import TableChange

SIZE = (160, 120)
# One metre above (0.4, 0), looking down, its picture's right along -y: 100 px are a metre.
K = np.array([[100.0, 0.0, 80.0], [0.0, 100.0, 60.0], [0.0, 0.0, 1.0]])
DOWN = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
CAMERA = transform(DOWN, np.array([0.4, 0.0, 1.0]))


@pytest.fixture
def table():
    return TableChange(K, CAMERA, SIZE)


def picture(*toys, light=100):
    """Return a grey picture with toys of 5x5 px around pixels (u, v)."""
    grey = np.full((SIZE[1], SIZE[0]), light, dtype=np.uint8)
    for u, v in toys:
        grey[v - 2 : v + 3, u - 2 : u + 3] = light + 90
    return grey


def test_a_toy_that_moved_is_told_where_it_was_and_where_it_is(table):
    assert len(table.look(picture((120, 60)), arm.SLEEP_RAD)) == 0
    points = table.look(picture((120, 20)), arm.SLEEP_RAD)
    # 40 px right of the middle is y = -0.4 m; 40 px above it is x = 0.4 + 0.4 m.
    near_old = np.linalg.norm(points - [0.4, -0.4], axis=1) < 0.05
    near_new = np.linalg.norm(points - [0.8, -0.4], axis=1) < 0.05
    assert near_old.any()
    assert near_new.any()
    assert np.all(near_old | near_new)


def test_nothing_moved_is_no_point(table):
    table.look(picture((120, 60)), arm.SLEEP_RAD)
    assert table.look(picture((120, 60)), arm.SLEEP_RAD).shape == (0, 2)


def test_light_that_changes_everywhere_alike_is_no_movement(table):
    table.look(picture((120, 60)), arm.SLEEP_RAD)
    assert len(table.look(picture((120, 60), light=140), arm.SLEEP_RAD)) == 0


def test_a_picture_that_is_another_altogether_is_no_movement(table):
    rng = np.random.default_rng(0)
    table.look(picture(), arm.SLEEP_RAD)
    noise = rng.integers(0, 255, (SIZE[1], SIZE[0])).astype(np.uint8)
    assert len(table.look(noise, arm.SLEEP_RAD)) == 0


def test_the_arm_itself_is_no_movement_where_it_was_and_where_it_is(table):
    # At READY the tool is 0.25 m in front of the base: 15 px below the middle.
    with_arm = picture((80, 75))
    table.look(with_arm, arm.READY_RAD)
    assert len(table.look(picture(), arm.READY_RAD)) == 0
    table.look(picture(), arm.SLEEP_RAD)
    table.look(picture(), arm.READY_RAD)
    assert len(table.look(with_arm, arm.READY_RAD)) == 0


def test_a_camera_that_looks_at_the_sky_sees_no_table():
    sky = transform(np.diag([1.0, -1.0, -1.0]) @ np.diag([1.0, -1.0, -1.0]), np.array([0, 0, 1.0]))
    up = TableChange(K, sky, SIZE)
    up.look(picture(), arm.SLEEP_RAD)
    assert up.look(picture((20, 20)), arm.SLEEP_RAD).shape == (0, 2)
