import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import ContractError
from vla_ros.core.play_parameters import ExplorationParameters
from vla_ros.core.play_region import at_height, clearances, height_m, tilt_rad
from vla_ros.core.pose_library import PoseLibrary, from_teleoperation, generate, inside, thin
from vla_ros.core.rotations import matrix_from_rotvec, transform

P = ExplorationParameters()
DOWN = kinematics.forward(arm.READY_RAD)[:3, :3]


def pose_at(x, y, z, lean_rad=0.0):
    return transform(matrix_from_rotvec(np.array([0.0, lean_rad, 0.0])) @ DOWN, np.array([x, y, z]))


LIBRARY = PoseLibrary(
    np.array([pose_at(0.2, 0.1, 0.05, 0.2), pose_at(0.3, 0.0, 0.1)]), "generated", P.bounds
)


def test_voxel_grid_keeps_the_pose_nearest_to_each_cubes_mean():
    # With 5 cm edges the first three share a cube; their mean is x = 0.22.
    xs = [0.201, 0.221, 0.238, 0.251]
    poses = np.array([pose_at(x, 0.01, 0.06) for x in xs])
    np.testing.assert_array_equal(thin(poses, 0.05), [1, 3])
    np.testing.assert_array_equal(thin(poses, 0.01), [0, 1, 2, 3])
    assert len(thin(poses[:0], 0.05)) == 0


def test_tilted_pose_is_inside_up_to_the_tilt_limit():
    poses = np.array([pose_at(0.25, 0.0, 0.08, lean) for lean in (0.0, 0.24, 0.26)])
    np.testing.assert_array_equal(inside(poses, P), [True, True, False])


def test_clearances_of_a_hand_computed_pose():
    # Straight down, tips 1.5425 cm below the tool point: 0.109 - 0.093575 m.
    room = clearances(P, pose_at(0.3, -0.1, 0.05))
    height = 0.05 - 0.015425
    expected = [0.16, 0.06, 0.2, 0.4, 0.42 - np.sqrt(0.1), height - 0.01, 0.12 - height, 0.25]
    np.testing.assert_allclose(room, expected, atol=2e-4)  # the ready pose is rounded


def test_at_height_moves_straight_up():
    pose = pose_at(0.3, -0.1, 0.05, 0.2)
    raised = at_height(pose, 0.07)
    assert height_m(raised) == pytest.approx(0.07)
    np.testing.assert_array_equal(raised[:2, 3], pose[:2, 3])
    assert tilt_rad(raised) == pytest.approx(tilt_rad(pose))


def test_teleoperated_poses_outside_the_bounds_are_dropped():
    poses = np.array([pose_at(0.25, 0.0, 0.06), pose_at(0.45, 0.0, 0.06), pose_at(0.25, 0.0, 0.3)])
    library = from_teleoperation(poses, P)
    assert library.source == "teleoperated"
    np.testing.assert_array_equal(library.poses, poses[:1])


def test_teleoperation_outside_the_bounds_is_refused():
    with pytest.raises(ContractError, match="at least one tool pose"):
        from_teleoperation(np.array([pose_at(0.45, 0.0, 0.06)]), P)
    with pytest.raises(ContractError, match="at least one tool pose"):
        from_teleoperation(np.empty((0, 4, 4)), P)


def test_generated_poses_are_inside_reachable_and_cover_the_cells():
    small = replace(P, x_low_m=0.2, x_high_m=0.3, y_limit_m=0.1)
    library = generate(small)
    assert np.all(inside(library.poses, small))
    for pose in library.poses:
        kinematics.inverse(pose, arm.READY_RAD)
    # 2 x 4 x 3 boxes of at most 5 cm; in the middle of the table all are in reach.
    assert len(library) == 24
    cells = np.floor((library.poses[:, :2, 3] - [0.2, -0.1]) / 0.05)
    assert len(np.unique(cells, axis=0)) == 8
    generate.cache_clear()
    np.testing.assert_array_equal(generate(small).poses, library.poses)
    assert not np.array_equal(generate(small, 1).poses, library.poses)


def test_workspace_out_of_reach_gives_no_library():
    far = replace(
        P, x_low_m=0.49, x_high_m=0.5, y_limit_m=0.01, radius_limit_m=0.46, voxel_edge_m=0.2
    )
    with pytest.raises(ContractError, match="widen the bounds"):
        generate(far)


def test_text_is_read_back():
    again = PoseLibrary.from_json(LIBRARY.to_json())
    np.testing.assert_allclose(again.poses, LIBRARY.poses, atol=1e-12)
    assert (again.source, again.robot, again.bounds) == ("generated", "wx250s", P.bounds)


def test_library_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        LIBRARY.poses[0, 0, 0] = 1.0


def test_poses_that_are_not_finite_are_refused():
    with pytest.raises(ContractError, match="finite numbers"):
        PoseLibrary(np.full((1, 4, 4), np.nan), "generated", P.bounds)


def changed(**changes):
    return json.dumps({**json.loads(LIBRARY.to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a vla_ros pose library"),
        (changed(format="something"), "is not a vla_ros pose library"),
        (changed(version=1), "has version 1, expected 2"),
        (changed(robot="vx300s"), "is for arm 'vx300s', this one is 'wx250s'"),
        (changed(source="dreamt"), "has source 'dreamt'"),
        (changed(poses=[]), "holds no poses"),
        (changed(poses=7), "holds no poses"),
        (changed(poses=[[0.2, 0, 0.1, 1, 0, 0]]), r"pose 0 must be x y z \[m\]"),
        (changed(poses=[[0.2, 0, 0.1, 2, 0, 0, 0]]), "pose 0 must be"),
        (changed(poses=[[200, 0, 0.1, 1, 0, 0, 0]]), "pose 0 must be"),
        (changed(poses=[[float("nan"), 0, 0.1, 1, 0, 0, 0]]), "pose 0 must be"),
        (changed(poses=[[10**400, 0, 0.1, 1, 0, 0, 0]]), "pose 0 must be"),
        (changed(poses=[["0.2", 0, 0.1, 1, 0, 0, 0]]), "pose 0 must be"),
        (changed(bounds=None), "must name the bounds it was made for, x_low_m"),
        (changed(bounds={**P.bounds, "x_low_m": "0.2"}), "must name the bounds"),
        (changed(bounds={**P.bounds, "x_low_m": float("inf")}), "must name the bounds"),
        (changed(bounds={"x_low_m": 0.2}), "must name the bounds"),
    ],
)
def test_malformed_library_is_refused_by_name(text, message):
    with pytest.raises(ContractError, match=rf"^table\.json: .*{message}"):
        PoseLibrary.from_json(text, "table.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@given(st.sampled_from(["format", "version", "robot", "source", "bounds", "poses"]), json_values)
@settings(deadline=None, max_examples=60)
def test_any_other_value_is_refused_or_a_library(name, value):
    try:
        library = PoseLibrary.from_json(changed(**{name: value}))
    except ContractError:
        return
    assert np.all(np.isfinite(library.poses))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x_low_m": 0.2}, "x_low_m 0.14 instead of 0.2"),
        ({"x_high_m": 0.3, "y_limit_m": 0.2}, "x_high_m 0.36 instead of 0.3, y_limit_m 0.3 inst"),
        ({"height_low_m": 0.015, "descent_low_m": 0.015}, "height_low_m 0.01 instead of 0.015"),
        ({"tilt_limit_rad": 0.1}, "tilt_limit_rad 0.25 instead of 0.1"),
    ],
)
def test_a_library_of_wider_bounds_than_plays_is_refused(changes, said):
    again = PoseLibrary.from_json(LIBRARY.to_json())
    with pytest.raises(ContractError, match=rf"p.json was made for other bounds .*\({said}"):
        again.require_fit(replace(P, **changes), "p.json")


def test_a_library_of_the_same_or_narrower_bounds_fits():
    LIBRARY.require_fit(P)
    LIBRARY.require_fit(replace(P, x_low_m=0.1, y_limit_m=0.35, voxel_edge_m=0.02, cell_m=0.05))
