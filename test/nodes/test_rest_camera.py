"""Pictures at rests, through the node's own subscriptions' callbacks."""

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("tf2_msgs")
pytestmark = pytest.mark.ros

from vla_ros.core import arm  # noqa: E402
from vla_ros.core.rotations import transform  # noqa: E402
from vla_ros.nodes import conversions  # noqa: E402
from vla_ros.nodes.extrinsics import Extrinsics, extrinsics_to_msg  # noqa: E402
from vla_ros.nodes.lifetime import ShellNode  # noqa: E402
from vla_ros.nodes.rest_camera import RestCamera  # noqa: E402

WIDTH, HEIGHT = 640, 480
# 400 px are a metre: one metre above the table, looking down, the picture's right along -y.
K = np.array([[400.0, 0.0, 319.5], [0.0, 400.0, 239.5], [0.0, 0.0, 1.0]])
DOWN = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
WHERE = Extrinsics("base_link", transform(DOWN, np.array([0.4, 0.0, 1.0])))


class Watch:
    """A camera at rest, and what it told."""

    def __init__(self):
        self.node, self.told = ShellNode("explorer"), []
        self.camera = RestCamera(self.node, "front", self.told.append)

    def calibrate(self, parent="base_link", frame="front_optical_frame"):
        info = conversions.camera_info_to_msg(WIDTH, HEIGHT, K, None, frame)
        self.camera._on_info(info)
        where = Extrinsics(parent, WHERE.T_parent_camera)
        self.camera._on_transforms(extrinsics_to_msg(where, "wx250s", frame, 0))

    def see(self, y_m, age_ns=0):
        """Have a picture arrive of a toy at (0.4, y_m), `age_ns` older than a second from now."""
        picture = np.full((HEIGHT, WIDTH, 3), 100, dtype=np.uint8)
        u = round(319.5 - 400.0 * y_m)
        picture[230:250, u - 10 : u + 10] = 220
        stamp_ns = self.node.get_clock().now().nanoseconds + 10**9 - age_ns
        jpeg = conversions.jpeg_from_rgb(picture, 95)
        self.camera._on_image(conversions.compressed_to_msg(jpeg, stamp_ns, ""))

    def rest(self):
        """Rest, look twice, and move on."""
        for resting in (True, True, True, False):
            self.camera.look(resting, arm.SLEEP_RAD)


@pytest.fixture
def watch(ros):
    ros()
    made = Watch()
    yield made
    made.node.destroy_node()


def test_what_moved_between_two_rests_is_told_once_with_its_place(watch):
    watch.calibrate()
    watch.see(-0.3)
    watch.rest()
    watch.see(0.3)
    watch.rest()
    (points,) = [points for points in watch.told if len(points)]
    # Half a toy and half a block of 16 px, across corners.
    near = [np.linalg.norm(points - [0.4, y], axis=1) < 0.065 for y in (-0.3, 0.3)]
    assert near[0].any()
    assert near[1].any()
    assert np.all(near[0] | near[1])
    assert watch.camera.looks == 2


def test_a_picture_from_before_the_rest_is_not_looked_at(watch):
    watch.calibrate()
    watch.see(-0.3, age_ns=2 * 10**9)
    watch.rest()
    assert watch.camera.looks == 0


def test_without_calibration_or_on_the_gripper_nothing_is_told(watch):
    watch.see(-0.3)
    watch.rest()
    watch.calibrate(parent="gripper_link")
    watch.see(0.3)
    watch.rest()
    watch.calibrate(frame="side_optical_frame")
    watch.see(-0.3)
    watch.rest()
    assert watch.camera.looks == 0
    assert watch.told == []
