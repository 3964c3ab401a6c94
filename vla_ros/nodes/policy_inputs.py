"""What a policy is shown: cameras, where they are, and the arm, from the graph."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import TransformStamped
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from vla_ros.core.errors import EpisodeError
from vla_ros.core.observation import ObservationStreams
from vla_ros.core.picture_wait import PictureWait
from vla_ros.core.transforms import Transform, frame_name, matrix_of_pose
from vla_ros.nodes import conversions, qos
from vla_ros.nodes.arm_client import COMMAND_PERIOD_S, ArmClient
from vla_ros.nodes.episodes import Steps
from vla_ros.nodes.lifetime import ShellNode

if TYPE_CHECKING:
    from vla_ros.policy.runner import PolicyRunner


class PolicyInputs:
    """Subscribes to what the checkpoint's contract names and hands it to `streams`.

    Args:
        node: the node to live in.
        arm: whose joint states are taken once they are believed, and which is to know of pictures.
        runner: who looks.
        robot_name: the driver's namespace.
        image_max_age_s, state_max_age_s: what is older is not looked at [s].

    Attributes:
        streams: observations come out of it.
        wait: when to look at them.
        on_picture: called when a picture has come.
    """

    def __init__(
        self,
        node: ShellNode,
        arm: ArmClient,
        runner: "PolicyRunner",
        robot_name: str,
        image_max_age_s: float,
        state_max_age_s: float,
    ):
        self._logger, self._clock = node.get_logger(), node.get_clock()
        self._arm = arm
        self._cameras = runner.cameras
        self._max_age_s = image_max_age_s
        self._pictures: dict[str, bytes] = {}
        self._remembered: dict[str, bytes] = {}
        with_geometry, period_s = runner.contract.needs_extrinsics, 1.0 / runner.contract.rate_hz
        self.wait = PictureWait(runner.cameras, period_s, COMMAND_PERIOD_S)
        self.on_picture: Callable[[], None] = lambda: None
        self.streams = ObservationStreams(
            runner.cameras,
            image_max_age_s,
            state_max_age_s,
            f"{robot_name}/base_link",
            period_s,
            runner.num_past,
            with_geometry,
        )
        for name in self._cameras:
            self._listen_to_camera(node, name, with_geometry)
        if with_geometry:
            arm.hand_measured_to(self.streams.take_state)
            node.create_subscription(
                TFMessage, qos.TF_STATIC_TOPIC, self._on_transforms, qos.STATIC_TRANSFORMS
            )

    def need_cameras(self, are_needed: bool) -> None:
        """Have the arm hold while a camera is silent or frozen, or no more."""
        for name in self._cameras:
            self._arm.need_camera(name, self._max_age_s if are_needed else None)

    def remember(self) -> None:
        """Note the pictures that there are now, for `are_remembered`."""
        self._remembered = dict(self._pictures)

    @property
    def are_remembered(self) -> bool:
        """Whether a camera's picture is still the one of then, to the last bit."""
        return any(self._pictures[name] == data for name, data in self._remembered.items())

    def until_seen(self, limit_s: float) -> Steps:
        """Wait until all is seen that an observation is made of.

        Raises:
            EpisodeError: after `limit_s` [s, wall] it is not.
        """
        deadline_s = time.monotonic() + limit_s
        while missing := self.streams.missing():
            if time.monotonic() > deadline_s:
                raise EpisodeError(f"{missing} (waited {limit_s:g} s)")
            yield

    def _listen_to_camera(self, node: ShellNode, name: str, with_geometry: bool) -> None:
        def on_image(message: CompressedImage) -> None:
            stamp_ns = conversions.ns_from_stamp(message.header.stamp)
            data = bytes(message.data)
            self.streams.take_picture(name, stamp_ns, data, message.header.frame_id)
            self._arm.saw_image(name, stamp_ns, data)
            self._pictures[name] = data
            self.wait.came(name, stamp_ns, self._clock.now().nanoseconds)
            self.on_picture()

        def on_info(message: CameraInfo) -> None:
            size = message.width, message.height
            self.streams.take_calibration(name, size, message.distortion_model, message.k)

        node.create_subscription(
            CompressedImage, f"/{name}/image_raw/compressed", on_image, qos.CAMERA
        )
        if with_geometry:
            node.create_subscription(CameraInfo, f"/{name}/camera_info", on_info, qos.CAMERA)

    def _on_transforms(self, message: TFMessage) -> None:
        for said in message.transforms:
            try:
                self.streams.take_transform(_transform(said))
            except ValueError as error:
                self._logger.warning(f"a transform of {said.child_frame_id} is left out: {error}")


def _transform(message: TransformStamped) -> Transform:
    """Return a transform; raises ValueError where it is none."""
    t, r = message.transform.translation, message.transform.rotation
    return Transform(
        conversions.ns_from_stamp(message.header.stamp),
        frame_name(message.header.frame_id),
        frame_name(message.child_frame_id),
        matrix_of_pose(np.array([t.x, t.y, t.z, r.x, r.y, r.z, r.w])),
    )
