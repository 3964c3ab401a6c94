"""Looks at the table whenever the arm rests, and tells where something moved."""

from collections.abc import Callable

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from vla_ros.core.rest_look import RestLook, shrunk
from vla_ros.core.rotations import matrix_from_quat, transform
from vla_ros.core.scene_change import TableCamera
from vla_ros.nodes import conversions, qos
from vla_ros.nodes.lifetime import ShellNode

# Pictures are read at a quarter of their size: quick, and enough to see a toy.
_SHRINK = 4


class RestCamera:
    """Compares the picture of each rest with that of the last one.

    Pictures are decoded at rests only. Without a calibrated camera whose place on the robot's base
    is known, nothing is told.

    Args:
        node: the node to live in.
        camera: the camera's name.
        moved: receives the points (N, 2) [m] in base_link where something moved.
    """

    def __init__(self, node: ShellNode, camera: str, moved: Callable[[np.ndarray], None]):
        self._node = node
        self._frame = f"{camera}_optical_frame"
        self._look = RestLook(moved)
        self._image: tuple[int, CompressedImage] | None = None
        self._info: CameraInfo | None = None
        self._T_base_camera: np.ndarray | None = None
        self._table: TableCamera | None = None
        image = f"/{camera}/image_raw/compressed"
        node.create_subscription(CompressedImage, image, self._on_image, qos.CAMERA)
        node.create_subscription(CameraInfo, f"/{camera}/camera_info", self._on_info, qos.CAMERA)
        node.create_subscription(
            TFMessage, qos.TF_STATIC_TOPIC, self._on_transforms, qos.STATIC_TRANSFORMS
        )

    @property
    def looks(self) -> int:
        """How many pictures were compared."""
        return self._look.looks

    def look(self, resting: bool, q: np.ndarray) -> None:
        """Compare once a rest; call this at every command.

        Args:
            resting: whether the arm is told to rest.
            q: its measured joints (6,) [rad].
        """
        now_ns = self._node.get_clock().now().nanoseconds
        if self._look.is_due(resting, now_ns, None if self._image is None else self._image[0]):
            self._compare(self._image[1], q)

    def _compare(self, image: CompressedImage, q: np.ndarray) -> None:
        if self._info is None or self._T_base_camera is None:
            return
        jpeg = np.frombuffer(bytes(image.data), dtype=np.uint8)
        # An empty one makes OpenCV raise, a torn one gives None.
        grey = cv2.imdecode(jpeg, cv2.IMREAD_REDUCED_GRAYSCALE_4) if jpeg.size else None
        if grey is None:
            return
        height, width = grey.shape
        if self._table is None:
            K = shrunk(np.array(self._info.k), _SHRINK)
            self._table = TableCamera(K, self._T_base_camera, width, height)
        self._look.compare(grey, self._table, q)

    def _on_image(self, message: CompressedImage) -> None:
        self._image = conversions.ns_from_stamp(message.header.stamp), message

    def _on_info(self, message: CameraInfo) -> None:
        # All zero means uncalibrated.
        if self._info is None and message.k[0] > 0.0:
            self._info = message

    def _on_transforms(self, message: TFMessage) -> None:
        for said in message.transforms:
            fixed = said.header.frame_id.rpartition("/")[2] == "base_link"
            if said.child_frame_id == self._frame and fixed:
                t, r = said.transform.translation, said.transform.rotation
                rotation = matrix_from_quat(np.array([r.w, r.x, r.y, r.z]))
                self._T_base_camera = transform(rotation, np.array([t.x, t.y, t.z]))
                self._table = None
