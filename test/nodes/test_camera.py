"""The camera node with a video file: configured, active, silent again, and configured anew."""

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("tf2_msgs")
pytestmark = pytest.mark.ros

from vla_ros.core.errors import CameraError  # noqa: E402
from vla_ros.nodes import lifetime  # noqa: E402

EXTRINSICS = """
parent: base_link
child: front_optical_frame
translation_m: [0.5, 0.0, 0.75]
rotation_xyzw: [1.0, 0.0, 0.0, 0.0]
"""


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (64, 48))
    for level in range(10):
        writer.write(np.full((48, 64, 3), 20 * level, dtype=np.uint8))
    writer.release()
    return path


@pytest.fixture
def stage(camera_stage, video):
    return lambda **parameters: camera_stage(source=video, rate_hz=30.0, **parameters)


def test_it_shows_says_where_it_is_falls_silent_and_begins_anew(stage, tmp_path):
    path = tmp_path / "front.yaml"
    path.write_text(EXTRINSICS)
    scene = stage(extrinsics=path)
    camera = scene.camera
    assert camera.trigger_configure() == lifetime._SUCCESS
    scene.until(lambda: scene.transforms and "the camera is inactive" in scene.said())
    (said,) = scene.transforms[0].transforms
    assert said.header.frame_id == "wx250s/base_link"
    assert said.child_frame_id == "front_optical_frame"
    assert said.transform.translation.z == 0.75
    assert scene.images == []
    assert camera.trigger_activate() == lifetime._SUCCESS
    scene.until(lambda: len(scene.images) > 5 and "images arrive" in scene.said())
    assert camera.trigger_deactivate() == lifetime._SUCCESS
    # What was under way still arrives.
    scene.until(lambda: scene.said()[-1] == "the camera is inactive")
    scene.images.clear()
    assert camera.trigger_cleanup() == lifetime._SUCCESS
    assert camera.trigger_configure() == lifetime._SUCCESS
    assert camera.trigger_activate() == lifetime._SUCCESS
    scene.until(lambda: scene.images)


def test_a_camera_whose_place_nobody_measured_says_none(stage):
    scene = stage()
    scene.camera.bring_up()
    scene.until(lambda: scene.images)
    assert scene.transforms == []


def test_the_file_of_another_camera_is_refused(stage, tmp_path):
    path = tmp_path / "side.yaml"
    path.write_text(EXTRINSICS.replace("front", "side"))
    with pytest.raises(CameraError, match="is of frame 'side_optical_frame'"):
        stage(extrinsics=path).camera.bring_up()
