"""Looks of the surroundings: pictures change, everything else stays."""

import numpy as np
import pytest

from vla_ros.sim import looks, scene
from vla_ros.sim.layouts import LAYOUT_RADIUS_M, LAYOUT_Y_M
from vla_ros.sim.looks import BACKGROUNDS, ENVIRONMENTS, LIGHTINGS, STANDARD, VIEWPOINTS
from vla_ros.sim.render import SceneRenderer, intrinsics
from vla_ros.sim.world import SimWorld

UNSEEN = (*BACKGROUNDS, *VIEWPOINTS, *LIGHTINGS, *ENVIRONMENTS)


def _pixel_of(spec, point):
    """Return the (column, row) of a world point in a 640x480 picture, by hand."""
    x, y = np.array(spec.x_axis), np.array(spec.y_axis)
    offset = np.asarray(point) - spec.position_m
    depth = offset @ -np.cross(x, y)
    uvw = intrinsics("front", 640, 480) @ (offset @ x / depth, -(offset @ y) / depth, 1.0)
    return uvw[:2]


def test_standard_look_is_the_one_that_recordings_were_made_with():
    assert STANDARD.headlight == (
        '<headlight ambient="0.42 0.42 0.42" diffuse="0.22 0.22 0.22" specular="0 0 0"/>'
    )
    assert 'dir="-0.35 -0.45 -1" diffuse="0.55 0.55 0.52"' in STANDARD.sun
    assert STANDARD.assets == '<material name="floor" rgba="0.36 0.37 0.4 1" specular="0"/>'
    # Eight boards of 12 cm, the outermost of 0.87 red, and the floor.
    assert STANDARD.geoms.count("<geom") == 9
    assert 'size="0.43 0.06 0.02" pos="0.17 -0.42 -0.02" rgba="0.87 0.81 0.72 1"' in STANDARD.geoms
    assert STANDARD.eye_m == (0.88, 0.17, 0.60)
    assert STANDARD.target_m == (0.17, -0.01, 0.115)


def test_other_looks_change_their_pictures_and_leave_the_standard_one_as_it_is():
    qpos = SimWorld(seed=2, objects=("carrot", "plate")).qpos()
    standard = SceneRenderer(64, 48)
    before = standard.render(qpos)
    seen = [before]
    for look in UNSEEN:
        other = SceneRenderer(64, 48, look=look)
        seen.append(other.render(qpos))
        other.close()
        changed = np.abs(seen[-1].astype(int) - before).max(axis=-1) > 12
        assert changed.mean() > 0.05, look.name
    assert np.array_equal(standard.render(qpos), before)
    standard.close()
    assert len({picture.tobytes() for picture in seen}) == len(seen)


@pytest.mark.parametrize("look", [BACKGROUNDS[1], VIEWPOINTS[0], ENVIRONMENTS[0]])
def test_looks_touch_neither_coordinates_nor_physics(look):
    standard, other = scene.load_model(), scene.load_model(look)
    solids = []
    for model in (standard, other):
        is_solid = (model.geom_contype | model.geom_conaffinity) > 0
        solids.append(np.hstack([model.geom_size, model.geom_pos, model.geom_quat])[is_solid])
    assert np.array_equal(*solids)
    assert np.array_equal(standard.qpos0, other.qpos0)
    assert np.array_equal(standard.body_mass, other.body_mass)


def test_views_move_by_the_degrees_that_they_say():
    target = np.array(STANDARD.target_m)
    standard = np.array(STANDARD.eye_m) - target
    for look, degrees in zip(VIEWPOINTS[:2], (10.0, -10.0), strict=True):
        eye = np.array(look.eye_m) - target
        assert eye[2] == pytest.approx(standard[2])
        turned = np.arctan2(eye[1], eye[0]) - np.arctan2(standard[1], standard[0])
        assert np.rad2deg(turned) == pytest.approx(degrees)
        assert 0.12 < np.linalg.norm(eye - standard) < 0.16
    higher = np.array(VIEWPOINTS[2].eye_m) - target
    assert np.linalg.norm(higher) == pytest.approx(np.linalg.norm(standard))
    up = [np.rad2deg(np.arcsin(v[2] / np.linalg.norm(v))) for v in (standard, higher)]
    assert up[1] - up[0] == pytest.approx(8.0)


@pytest.mark.parametrize("look", VIEWPOINTS, ids=lambda look: look.name)
def test_every_view_shows_what_the_arm_reaches(look):
    for angle in np.linspace(-1.0, 1.0, 9):
        for radius in LAYOUT_RADIUS_M:
            x, y = radius * np.cos(angle), radius * np.sin(angle)
            if abs(y) <= LAYOUT_Y_M[1]:
                column, row = _pixel_of(scene.front_camera(look), (x, y, 0.0))
                assert 0.02 * 640 <= column < 0.98 * 640
                assert 0.02 * 480 <= row < 0.98 * 480


def test_names_are_for_tables_so_no_two_are_the_same():
    names = [look.name for look in (STANDARD, *UNSEEN)]
    assert len(set(names)) == len(names)
    assert looks.Look() == STANDARD
