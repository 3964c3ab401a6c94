"""Image messages to RGB arrays and back: with cv_bridge where it works, with numpy elsewhere.

A machine with a ROS install has cv_bridge; no package index has: PyPI's `cv-bridge` is a port of
ROS 1's, and turns some encodings into wrong pixels. Before it is used it must turn one small
picture right. Built for NumPy 1 it may also crash under NumPy 2, so there it is tried in another
process first.
"""

import os
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec

import cv2
import numpy as np
from sensor_msgs.msg import Image

from vla_ros.core.errors import CameraError
from vla_ros.nodes import conversions

_TRIAL_CODE = "from vla_ros.nodes import bridge; bridge.try_out(bridge.make_library())"
_TRIAL_LIMIT_S = 60.0
# Releases before belong to ROS 1, PyPI's 1.13 among them; Foxy's was 2.1.
_FIRST_OF_ROS_2 = 2


class Bridge:
    """Turns messages into arrays and back.

    Args:
        library: a CvBridge, or None for numpy.
        name: what the pictures are turned with, as diagnostics say it.
    """

    def __init__(self, library: object = None, name: str = "numpy"):
        self._library = library
        self.name = name

    def rgb_from_msg(self, message: Image) -> np.ndarray:
        """Return an Image message as (H, W, 3) uint8 RGB.

        Both ways take the same encodings, and give the same bytes.

        Raises:
            CameraError: the encoding is unknown or without colours, or the data do not fit it.
        """
        conversions.check_colours(message)
        # cv_bridge skews rows whose padding is no whole number of pixels.
        if self._library is None or conversions.is_padded(message):
            return conversions.rgb_from_image(message)
        try:
            return self._library.imgmsg_to_cv2(message, desired_encoding="rgb8")
        except (TypeError, RuntimeError, ValueError, cv2.error):
            # Its older releases do not know every encoding.
            return conversions.rgb_from_image(message)

    def msg_from_rgb(self, rgb: np.ndarray, stamp_ns: int, frame_id: str) -> Image:
        """Return the rgb8 Image message of an (H, W, 3) uint8 array.

        Raises:
            CameraError: the array is none.
        """
        if self._library is None or rgb.dtype != np.uint8 or rgb.shape[2:] != (3,):
            return conversions.image_to_msg(rgb, "rgb8", stamp_ns, frame_id)
        message = self._library.cv2_to_imgmsg(rgb, encoding="rgb8")
        # Not by its argument `header`, which Foxy's has not.
        message.header.stamp = conversions.stamp_from_ns(stamp_ns)
        message.header.frame_id = frame_id
        return message


def choose_bridge() -> tuple[Bridge, str]:
    """Return the bridge of this machine, and one sentence on which it is and why."""
    if find_spec("cv_bridge") is None:
        return Bridge(), "images are converted with numpy: cv_bridge is not installed"
    try:
        version = _version()
        if int(np.__version__.split(".")[0]) >= 2:
            _try_in_a_child()
        library = make_library()
        try_out(library)
    except Exception as error:  # a foreign library: whatever it raises, pictures must go on
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        return Bridge(), f"images are converted with numpy: cv_bridge is of no use ({reason[0]})"
    return Bridge(library, version), f"images are converted with {version}"


def make_library() -> object:
    """Return a CvBridge; raises whatever its import raises."""
    from cv_bridge import CvBridge

    return CvBridge()


def try_out(library: object) -> None:
    """Turn a picture of two pixels with a CvBridge, and back.

    Raises:
        CameraError: it came out wrong; else whatever the library raises.
    """
    blue_first = conversions.image_to_msg(
        np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8), "bgr8", 0, ""
    )
    rgb = library.imgmsg_to_cv2(blue_first, desired_encoding="rgb8")
    message = library.cv2_to_imgmsg(rgb, encoding="rgb8")
    facts = message.height, message.width, message.step, message.encoding
    if rgb.tolist() != [[[3, 2, 1], [6, 5, 4]]] or bytes(message.data) != bytes(rgb.ravel()):
        raise CameraError("it turns a picture of two pixels into another one")
    if facts != (1, 2, 6, "rgb8"):
        raise CameraError(f"it calls a picture of two pixels {facts}")


def _version() -> str:
    try:
        version = metadata.version("cv_bridge")
    except metadata.PackageNotFoundError:
        return "cv_bridge"
    if int(version.split(".")[0]) < _FIRST_OF_ROS_2:
        raise CameraError(f"release {version} is ROS 1's; uninstall it and install that of ROS 2")
    return f"cv_bridge {version}"


def _try_in_a_child() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", _TRIAL_CODE],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TRIAL_LIMIT_S,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise CameraError(f"under NumPy {np.__version__} its trial ended with: {last}")
