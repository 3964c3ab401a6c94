"""Which camera_info a picture gets: decided by size, calibration, driver and patience."""

import numpy as np
import pytest

pytest.importorskip("rclpy")

from vla_ros.core.errors import CameraError
from vla_ros.nodes.conversions import camera_info_to_msg
from vla_ros.nodes.intrinsics import Intrinsics, load_calibration

CALIBRATION = """
image_width: 64
image_height: 48
camera_matrix: {data: [50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0]}
distortion_coefficients: {data: [0.1, 0.0, 0.0, 0.0, 0.0]}
"""


@pytest.fixture
def calibration(tmp_path):
    path = tmp_path / "ost.yaml"
    path.write_text(CALIBRATION)
    return str(path)


def said_by_driver(width):
    return camera_info_to_msg(width, 48, np.diag([60.0, 60.0, 1.0]), None, "cam_frame")


def test_a_driver_is_waited_for_and_then_the_camera_counts_as_uncalibrated():
    warnings = []
    intrinsics = Intrinsics("front", (64, 48), "", warnings.append, driver_wait_s=3.0)
    assert intrinsics.info(64, 48, 10.0) is None
    assert intrinsics.info(64, 48, 12.9) is None
    info = intrinsics.info(64, 48, 13.0)
    assert (info.width, info.k[0], info.header.frame_id) == (64, 0.0, "front_optical_frame")
    intrinsics.hear(said_by_driver(64))
    info = intrinsics.info(64, 48, 20.0)
    assert (info.k[0], info.header.frame_id) == (60.0, "front_optical_frame")
    assert warnings == []


def test_a_driver_that_speaks_of_another_size_is_not_believed_and_said_once():
    warnings = []
    intrinsics = Intrinsics("front", (64, 48), "", warnings.append, driver_wait_s=3.0)
    intrinsics.hear(said_by_driver(128))
    assert intrinsics.info(64, 48, 0.0) is None
    assert intrinsics.info(64, 48, 5.0).k[0] == 0.0
    assert intrinsics.info(64, 48, 6.0).k[0] == 0.0
    (warning,) = warnings
    assert "camera_info is for 128x48, its images are 64x48" in warning


def test_without_a_driver_nothing_is_waited_for():
    intrinsics = Intrinsics("front", (64, 48), "", pytest.fail)
    assert intrinsics.info(64, 48, 0.0).k[0] == 0.0


def test_the_calibration_goes_before_the_driver(calibration):
    intrinsics = Intrinsics("front", (64, 48), calibration, pytest.fail, driver_wait_s=3.0)
    intrinsics.hear(said_by_driver(64))
    info = intrinsics.info(64, 48, 0.0)
    assert (info.k[0], info.d[0]) == (50.0, 0.1)


def test_a_calibration_of_another_size_is_refused_again_and_again(calibration):
    intrinsics = Intrinsics("front", (64, 48), calibration, lambda sentence: None)
    for _ in range(2):
        with pytest.raises(CameraError, match=r"is for 64x48, the camera gives 128x96; calibrate"):
            intrinsics.info(128, 96, 0.0)


def test_another_size_than_asked_for_is_said_once():
    warnings = []
    intrinsics = Intrinsics("front", (64, 48), "", warnings.append)
    for _ in range(2):
        intrinsics.info(32, 24, 0.0)
    assert warnings == ["camera front gives 32x24, not the 64x48 asked for"]


@pytest.mark.parametrize(
    "text", ["[", "a: 1", "camera_matrix: 5", CALIBRATION.replace("50.0", "x")]
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path, text):
    path = tmp_path / "ost.yaml"
    path.write_text(text)
    with pytest.raises(CameraError, match=r"calibration file .* cannot be used"):
        load_calibration(str(path))
