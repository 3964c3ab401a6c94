"""The camera node with somebody's camera driver as its source."""

import re
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("tf2_msgs")
pytestmark = pytest.mark.ros

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402

from vla_ros.core.errors import CameraError  # noqa: E402
from vla_ros.nodes import conversions, qos  # noqa: E402
from vla_ros.nodes.camera import CameraNode  # noqa: E402

LIMIT_S = 30.0
TOPIC = "/cam/color/image_raw"
CALIBRATION = """
image_width: {width}
image_height: 48
camera_matrix: {{data: [50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0]}}
distortion_coefficients: {{data: [0.0, 0.0, 0.0, 0.0, 0.0]}}
"""


class Driver:
    """A camera driver in the listener's node, whose pictures are sent one by one."""

    def __init__(self, scene):
        self.scene = scene
        node = scene.listener
        best_effort = qos._profile(1, reliable=False)
        self.raw = node.create_publisher(Image, TOPIC, best_effort)
        self.info = node.create_publisher(CameraInfo, "/cam/color/camera_info", best_effort)

    def send(self, stamp_ns, encoding="bgr8", level=(10, 20, 200), info_width=None):
        """Send a picture of one colour, once the camera hears it."""
        self.scene.until(self.raw.get_subscription_count)
        self.scene.until(self.info.get_subscription_count)
        if info_width is not None:
            K = np.diag([60.0, 60.0, 1.0])
            self.info.publish(conversions.camera_info_to_msg(info_width, 48, K, None, "cam_frame"))
            self.scene.spin_for(0.2)
        pixels = np.full((48, 64, 3), level, np.uint8)
        message = conversions.image_to_msg(pixels, "bgr8", stamp_ns, "cam_frame")
        message.encoding = encoding
        self.raw.publish(message)

    def show(self, stamp_ns, **given):
        """Send a picture and wait for what the camera makes of it."""
        count = len(self.scene.images)
        self.send(stamp_ns, **given)
        self.scene.until(lambda: len(self.scene.images) > count)
        return self.scene.images[-1]

    def now_ns(self):
        return self.scene.listener.get_clock().now().nanoseconds


@pytest.fixture
def driven(camera_stage):
    def make(**parameters):
        given = {"source": f"topic:{TOPIC}", "width": 64, "height": 48} | parameters
        scene = camera_stage(**given)
        scene.camera.bring_up()
        return scene, Driver(scene)

    return make


def stamps_of(scene):
    return [conversions.ns_from_stamp(message.header.stamp) for message in scene.images]


def test_a_drivers_picture_keeps_its_stamp_and_colours_and_its_camera_info_is_passed_on(driven):
    scene, driver = driven()
    stamp_ns = driver.now_ns()
    image = driver.show(stamp_ns, info_width=64)
    assert stamps_of(scene) == [stamp_ns]
    assert image.header.frame_id == "front_optical_frame"
    rgb = conversions.rgb_from_jpeg(bytes(image.data))
    assert rgb.shape == (48, 64, 3)
    assert np.abs(rgb.astype(int) - [200, 20, 10]).max() < 12
    scene.until(lambda: scene.infos)
    info = scene.infos[0]
    assert (info.k[0], info.header.frame_id) == (60.0, "front_optical_frame")
    assert conversions.ns_from_stamp(info.header.stamp) == stamp_ns
    values = scene.values()
    assert values["converted_with"] == scene.camera._bridge.name
    assert abs(float(values["stamp_age_s"])) < 0.5
    assert (values["heard"], values["skipped"]) == ("1", "0")


def test_of_a_faster_driver_pictures_are_left_out_by_stamp(driven):
    scene, driver = driven(rate_hz=10.0)
    start_ns = driver.now_ns()
    for step_ms in (0, 33, 66, 100, 133, 200):
        driver.send(start_ns + step_ms * 1_000_000)
        scene.spin_for(0.15)
    assert [(stamp - start_ns) // 1_000_000 for stamp in stamps_of(scene)] == [0, 100, 200]


def test_a_calibration_file_goes_before_what_the_driver_says(driven, tmp_path):
    path = tmp_path / "ost.yaml"
    path.write_text(CALIBRATION.format(width=64))
    scene, driver = driven(calibration=path)
    driver.show(driver.now_ns(), info_width=64)
    scene.until(lambda: scene.infos)
    assert scene.infos[0].k[0] == 50.0


def test_a_calibration_of_another_size_ends_the_node(driven, tmp_path):
    path = tmp_path / "ost.yaml"
    path.write_text(CALIBRATION.format(width=640))
    scene, driver = driven(calibration=path)
    driver.send(driver.now_ns())
    scene.until(lambda: scene.camera.exit_sentence)
    assert "is for 640x48, the camera gives 64x48" in scene.camera.exit_sentence


def test_camera_info_of_another_size_counts_as_none_once_it_was_waited_for(driven, monkeypatch):
    monkeypatch.setattr("vla_ros.nodes.camera._INFO_WAIT_S", 0.0)
    scene, driver = driven()
    driver.show(driver.now_ns(), info_width=128)
    scene.until(lambda: scene.infos)
    assert (scene.infos[0].width, scene.infos[0].k[0]) == (64, 0.0)


def test_pictures_do_not_wait_for_a_drivers_camera_info(driven):
    scene, driver = driven()
    driver.show(driver.now_ns())
    scene.spin_for(0.2)
    assert scene.infos == []


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        ({"stamp_ns": 0}, f"the images on {TOPIC} bear no time stamp"),
        ({"stamp_ns": 1, "encoding": "nv12"}, "unknown image encoding 'nv12': use one of"),
    ],
)
def test_a_driver_of_no_use_ends_the_node(driven, picture, sentence):
    scene, driver = driven()
    driver.send(**picture)
    scene.until(lambda: scene.camera.exit_sentence)
    assert sentence in scene.camera.exit_sentence


def test_one_broken_picture_among_others_is_left_out(driven):
    scene, driver = driven()
    start_ns = driver.now_ns()
    driver.show(start_ns)
    driver.send(start_ns + 10**8, encoding="rgba8")  # more than its data
    driver.show(start_ns + 2 * 10**8)
    assert stamps_of(scene) == [start_ns, start_ns + 2 * 10**8]
    assert scene.camera.exit_sentence == ""


def test_a_driver_that_repeats_its_last_picture_has_stalled(driven):
    scene, driver = driven(stall_s=1.0)
    stamp_ns = driver.now_ns()
    driver.show(stamp_ns)
    while "no image any more" not in scene.said():
        driver.send(stamp_ns)
        scene.spin_for(0.1)
    assert stamps_of(scene) == [stamp_ns]
    count = len(scene.said())
    driver.show(driver.now_ns())
    scene.until(lambda: "images arrive" in scene.said()[count:])


def test_stamps_of_another_clock_are_said(driven):
    scene, driver = driven()
    image = driver.show(driver.now_ns() - 3 * 10**9)
    scene.until(lambda: "the stamps are of another clock" in scene.said())
    assert 2.9 < float(scene.values()["stamp_age_s"]) < 4.0
    assert image.header.stamp.sec > 0


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("topic:camera/image_raw", "names no topic; give the driver's topic of raw images in full"),
        ("topic:/camera/im age", "names no topic"),
        ("topic:", "names no topic"),
        ("topic:/front/image_raw", "lies where camera front itself publishes"),
    ],
)
def test_a_topic_that_cannot_be_a_source_is_refused(ros, tmp_path, source, sentence):
    path = tmp_path / "parameters.yaml"
    path.write_text(f"/**: {{ros__parameters: {{source: {source!r}}}}}")
    ros("--params-file", str(path))
    camera = CameraNode()
    try:
        with pytest.raises(CameraError, match=re.escape(sentence)):
            camera.bring_up()
    finally:
        camera.close()
        camera.destroy_node()


def test_a_driver_that_is_absent_is_named(camera_stage):
    scene = camera_stage(source=f"topic:{TOPIC}", wait_s=0.0)
    scene.camera.bring_up()
    scene.until(lambda: scene.camera.exit_sentence)
    assert f"nobody publishes {TOPIC} for 0 s" in scene.camera.exit_sentence


def test_a_topic_of_another_type_is_named(camera_stage):
    scene = camera_stage(source=f"topic:{TOPIC}")
    scene.camera.bring_up()
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=scene.camera.context.get_domain_id())
    other = Node("other", context=context)
    other.create_publisher(CompressedImage, TOPIC, 1)
    wrong = "carries sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image"
    scene.until(lambda: wrong in scene.camera._driver.absent(1.0))
    other.destroy_node()
    context.shutdown()


@pytest.mark.slow
def test_a_launch_argument_with_colons_reaches_the_node(graph, listen):
    arguments = ("camera:=topic:/cam/color/image_raw", "camera_rate:=5.0")
    graph.start("ros2", "launch", "vla_ros", "camera.launch.py", *arguments)
    listen(DiagnosticArray, qos.DIAGNOSTICS_TOPIC, qos.DIAGNOSTICS)
    probe = Node("probe")
    deadline = time.monotonic() + LIMIT_S
    while not probe.get_subscriptions_info_by_topic(TOPIC):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    probe.destroy_node()
