"""One picture a rest is compared, taken once the arm is still."""

import numpy as np
import pytest

from vla_ros.core import arm
from vla_ros.core.rest_look import STILL_NS, RestLook, shrunk
from vla_ros.core.rotations import transform
from vla_ros.core.scene_change import TableCamera

# 100 px are a metre: one metre above the table, looking down, the picture's right along -y.
K = np.array([[100.0, 0.0, 79.5], [0.0, 100.0, 59.5], [0.0, 0.0, 1.0]])
DOWN = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])


def camera():
    return TableCamera(K, transform(DOWN, np.array([0.4, 0.0, 1.0])), 160, 120)


def picture(y_m):
    """Return a grey table with a bright toy at (0.4, y)."""
    grey = np.full((120, 160), 100.0)
    u = round(79.5 - 100.0 * y_m)
    grey[56:64, u - 4 : u + 4] = 220.0
    return grey


def test_a_picture_is_due_once_a_rest_and_not_before_the_arm_is_still():
    look = RestLook(lambda _: None)
    assert not look.is_due(False, 0, 0)
    assert not look.is_due(True, 100, None)
    assert not look.is_due(True, 200, 100 + STILL_NS - 1)
    assert look.is_due(True, 300, 100 + STILL_NS)
    assert not look.is_due(True, 400, 100 + 2 * STILL_NS)
    assert not look.is_due(False, 500, 100 + 2 * STILL_NS)
    # The next rest begins at 600.
    assert not look.is_due(True, 600, 599 + STILL_NS)
    assert look.is_due(True, 700, 600 + STILL_NS)


def test_what_moved_is_told_where_it_was_and_is_and_of_one_camera_only():
    told = []
    look, table = RestLook(told.append), camera()
    look.compare(picture(-0.3), table, arm.SLEEP_RAD)
    assert told == []
    look.compare(picture(0.3), table, arm.SLEEP_RAD)
    (points,) = told
    near = [np.linalg.norm(points - [0.4, y], axis=1) < 0.065 for y in (-0.3, 0.3)]
    assert near[0].any()
    assert near[1].any()
    assert np.all(near[0] | near[1])
    # Another camera has no picture to compare with.
    look.compare(picture(0.0), camera(), arm.SLEEP_RAD)
    assert len(told) == 1
    assert look.looks == 3


def test_other_light_is_no_movement():
    told = []
    look, table = RestLook(told.append), camera()
    look.compare(picture(0.3), table, arm.SLEEP_RAD)
    checkered = np.kron(np.indices((30, 40)).sum(axis=0) % 2, np.ones((4, 4))) * 200.0
    look.compare(checkered, table, arm.SLEEP_RAD)
    assert told == []


def test_a_smaller_picture_shows_the_same_ray_at_its_own_pixel():
    # Pixels 0 to 3 become pixel 0, whose middle is 1.5.
    small = shrunk(np.array([[400.0, 0, 319.5], [0, 400.0, 239.5], [0, 0, 1]]).ravel(), 4)
    assert small == pytest.approx(np.array([[100.0, 0, 79.5], [0, 100.0, 59.5], [0, 0, 1]]))
