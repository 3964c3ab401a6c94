"""A camera's place: read from a file, taken from the scene, published as a transform."""

import numpy as np
import pytest

pytest.importorskip("tf2_msgs")

from vla_ros.core import kinematics
from vla_ros.core.errors import CameraError
from vla_ros.nodes.extrinsics import (
    extrinsics_to_msg,
    load_extrinsics,
    sim_extrinsics,
)

FILE = """
parent: base_link
child: front_optical_frame
translation_m: [0.5, -0.25, 0.75]
rotation_xyzw: [1.0, 0.0, 0.0, 0.0]
facts: {camera: front}
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "front.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_a_file_becomes_the_transform_that_it_says(written):
    extrinsics = load_extrinsics(written(FILE), "front_optical_frame")
    # Half a turn about x: the camera looks down.
    np.testing.assert_allclose(extrinsics.T_parent_camera[:3, :3], np.diag([1.0, -1.0, -1.0]))
    message = extrinsics_to_msg(extrinsics, "wx250s", "front_optical_frame", 1_500_000_000)
    (said,) = message.transforms
    assert (said.header.frame_id, said.child_frame_id) == (
        "wx250s/base_link",
        "front_optical_frame",
    )
    assert (said.header.stamp.sec, said.header.stamp.nanosec) == (1, 500_000_000)
    assert said.transform.translation.z == 0.75
    assert (said.transform.rotation.x, said.transform.rotation.w) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("child: front", "child: side", "is of frame 'side_optical_frame', this camera's is"),
        ("[1.0, 0.0, 0.0, 0.0]", "[1.0, 1.0, 0.0, 0.0]", "no unit quaternion"),
        ("[1.0, 0.0, 0.0, 0.0]", "[1.0, 0.0, 0.0]", "cannot be used"),
        ("[0.5, -0.25, 0.75]", "[0.5, .nan, 0.75]", "translation_m is not finite"),
        ("parent: base_link", "parent: 3", "parent is 3"),
        ("translation_m", "translation", "cannot be used .KeyError.'translation_m'"),
        (FILE, "- 1", "cannot be used"),
        (FILE, "{", "cannot be used"),
    ],
)
def test_a_file_that_is_no_such_thing_is_refused_by_name(written, old, new, sentence):
    with pytest.raises(CameraError, match=sentence):
        load_extrinsics(written(FILE.replace(old, new)), "front_optical_frame")


def test_an_absent_file_is_refused():
    with pytest.raises(CameraError, match="/no/such.yaml cannot be used"):
        load_extrinsics("/no/such.yaml", "front_optical_frame")


def test_the_simulated_cameras_look_where_mujoco_has_them():
    mujoco = pytest.importorskip("mujoco")
    from vla_ros.sim import scene

    model = scene.load_model()
    data = mujoco.MjData(model)
    q = np.array([0.3, -0.4, 0.5, 0.2, 0.7, -0.6])
    for name, angle in zip(("waist", "shoulder", "elbow"), q[:3], strict=True):
        data.joint(name).qpos = angle
    for name, angle in zip(("forearm_roll", "wrist_angle", "wrist_rotate"), q[3:], strict=True):
        data.joint(name).qpos = angle
    mujoco.mj_forward(model, data)
    T_base_tool = kinematics.forward(q)
    for camera in scene.CAMERAS:
        extrinsics = sim_extrinsics(camera)
        T_base_parent = np.eye(4)
        if extrinsics.parent == "gripper_link":
            T_base_parent[:3, :3] = T_base_tool[:3, :3]
            T_base_parent[:3, 3] = data.body("wrist_rotate").xpos
        T = T_base_parent @ extrinsics.T_parent_camera
        seen = data.camera(camera)
        np.testing.assert_allclose(T[:3, 3], seen.xpos, atol=1e-6)
        axes = seen.xmat.reshape(3, 3)
        np.testing.assert_allclose(T[:3, :3], axes * [1.0, -1.0, -1.0], atol=1e-4)
