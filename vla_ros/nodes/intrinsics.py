"""Which camera_info goes with a real camera's pictures: its calibration's, else its driver's."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from sensor_msgs.msg import CameraInfo

from vla_ros.core.errors import CameraError
from vla_ros.nodes import conversions


class Intrinsics:
    """Finds the camera_info of each picture.

    Args:
        camera: the camera's name.
        asked: the (width, height) asked for [px].
        calibration: path of its calibration file; empty where there is none.
        warn: called with one sentence when something is amiss.
        driver_wait_s: how long the camera_info of a driver may keep the pictures waiting for
            theirs [s]; 0 for a camera without a driver of its own.

    Raises:
        CameraError: the file is missing or not such a calibration.
    """

    def __init__(
        self,
        camera: str,
        asked: tuple[int, int],
        calibration: str,
        warn: Callable[[str], None],
        driver_wait_s: float = 0.0,
    ):
        self._camera = camera
        self._asked = asked
        self._path = calibration
        self._calibration = load_calibration(calibration)
        self._warn = warn
        self._driver_wait_s = driver_wait_s
        self._size: tuple[int, int] | None = None
        self._since_s = 0.0
        self._driver: CameraInfo | None = None
        self._warned = False

    def hear(self, message: CameraInfo) -> None:
        """Take over what the camera's own driver says; it is the caller's no longer."""
        self._driver = message

    def info(self, width: int, height: int, now_s: float) -> CameraInfo | None:
        """Return the camera_info of a picture, without stamp; None while the driver's is awaited.

        Raises:
            CameraError: the calibration is for another size.
        """
        size = width, height
        if size != self._size:
            self._begin(size, now_s)
        frame_id = f"{self._camera}_optical_frame"
        if self._calibration is not None:
            _, K, distortion = self._calibration
            return conversions.camera_info_to_msg(width, height, K, distortion, frame_id)
        said = self._driver
        if said is not None and (said.width, said.height) == size:
            said.header.frame_id = frame_id
            return said
        if now_s - self._since_s < self._driver_wait_s:
            return None
        if said is not None and not self._warned:
            self._warned = True
            self._warn(
                f"the driver's camera_info is for {said.width}x{said.height}, its images are "
                f"{width}x{height}: camera {self._camera} counts as uncalibrated"
            )
        return conversions.camera_info_to_msg(width, height, None, None, frame_id)

    def _begin(self, size: tuple[int, int], now_s: float) -> None:
        if self._calibration is not None and self._calibration[0] != size:
            of = self._calibration[0]
            raise CameraError(
                f"calibration {self._path} is for {of[0]}x{of[1]}, the camera gives "
                f"{size[0]}x{size[1]}; calibrate at this size or ask for that one"
            )
        self._size, self._since_s, self._warned = size, now_s, False
        if size != self._asked:
            self._warn(
                f"camera {self._camera} gives {size[0]}x{size[1]}, not the "
                f"{self._asked[0]}x{self._asked[1]} asked for"
            )


def load_calibration(path: str) -> tuple[tuple[int, int], np.ndarray, np.ndarray] | None:
    """Return ((width, height), K (3, 3), distortion (5,)) of a camera_calibration YAML file.

    None for an empty path.

    Raises:
        CameraError: the file is missing or not such a calibration.
    """
    if not path:
        return None
    try:
        data = yaml.safe_load(Path(path).expanduser().read_text())
        size = int(data["image_width"]), int(data["image_height"])
        K = np.array(data["camera_matrix"]["data"], dtype=np.float64).reshape(3, 3)
        distortion = np.array(data["distortion_coefficients"]["data"], dtype=np.float64)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise CameraError(
            f"calibration file {path} cannot be used ({error!r}); give the YAML file that "
            "camera_calibration writes"
        ) from None
    return size, K, distortion
