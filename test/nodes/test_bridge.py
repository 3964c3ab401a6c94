"""Real cv_bridge, where it is, against our numpy; elsewhere a stand-in shows how it is called."""

import array
import importlib
import re
import sys

import numpy as np
import pytest

pytest.importorskip("rclpy")

from sensor_msgs.msg import Image

from vla_ros.core.errors import CameraError
from vla_ros.nodes import bridge, conversions
from vla_ros.nodes.bridge import Bridge, choose_bridge

NUMPY_2 = int(np.__version__.split(".")[0]) >= 2
# Takes what the real one takes; knows two encodings, and keeps no padding apart.
STAND_IN = """
import numpy as np
from sensor_msgs.msg import Image

class CvBridge:
    calls = []

    def imgmsg_to_cv2(self, img_msg, desired_encoding="passthrough"):
        self.calls.append(("imgmsg_to_cv2", img_msg.encoding, desired_encoding))
        if img_msg.encoding not in ("rgb8", "bgr8"):
            raise TypeError("Unrecognized image encoding [" + img_msg.encoding + "]")
        shape = img_msg.height, img_msg.width, 3
        pixels = np.ndarray(shape, np.uint8, buffer=img_msg.data)
        return pixels[:, :, ::-1] if img_msg.encoding != desired_encoding else pixels

    def cv2_to_imgmsg(self, cvim, encoding="passthrough", header=None):
        self.calls.append(("cv2_to_imgmsg", cvim.shape, encoding, header))
        message = Image(height=cvim.shape[0], width=cvim.shape[1], encoding=encoding)
        message.data.frombytes(cvim.tobytes())
        message.step = len(message.data) // message.height
        return message
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that puts a package cv_bridge of this source and version on the path."""

    def write(source, version="4.1.0"):
        package = tmp_path / "cv_bridge"
        package.mkdir()
        (package / "__init__.py").write_text(source)
        facts = tmp_path / f"cv_bridge-{version}.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: cv-bridge\nVersion: {version}\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)

    yield write
    sys.modules.pop("cv_bridge", None)


@pytest.fixture
def in_this_process(monkeypatch):
    """Leave the trial in a process of its own out."""
    monkeypatch.setattr(bridge, "_try_in_a_child", lambda: None)


def picture(encoding, channels, height=4, width=6):
    pixels = np.arange(height * width * channels, dtype=np.uint8) * 3
    message = Image(encoding=encoding, height=height, width=width, step=width * channels)
    message.data = array.array("B", pixels.tobytes())
    return message


def test_without_cv_bridge_numpy_does_it(monkeypatch):
    monkeypatch.setattr(bridge, "find_spec", lambda name: None)
    chosen, said = choose_bridge()
    assert chosen.name == "numpy"
    assert said == "images are converted with numpy: cv_bridge is not installed"
    message = chosen.msg_from_rgb(np.array([[[1, 2, 3]]], np.uint8), 5, "front")
    assert chosen.rgb_from_msg(message).tolist() == [[[1, 2, 3]]]


def test_cv_bridge_that_works_is_used_and_asked_for_rgb8(install):
    # Under NumPy 2 the trial in a process of its own runs as well.
    install(STAND_IN)
    chosen, said = choose_bridge()
    assert (chosen.name, said) == ("cv_bridge 4.1.0", "images are converted with cv_bridge 4.1.0")
    calls = importlib.import_module("cv_bridge").CvBridge.calls
    calls.clear()
    message = picture("bgr8", 3)
    rgb = chosen.rgb_from_msg(message)
    np.testing.assert_array_equal(rgb, conversions.rgb_from_image(message))
    back = chosen.msg_from_rgb(rgb, 1_500_000_000, "front_optical_frame")
    assert back == conversions.image_to_msg(rgb, "rgb8", 1_500_000_000, "front_optical_frame")
    assert calls == [
        ("imgmsg_to_cv2", "bgr8", "rgb8"),
        ("cv2_to_imgmsg", (4, 6, 3), "rgb8", None),
    ]


def test_what_cv_bridge_would_skew_or_does_not_know_goes_by_numpy(install, in_this_process):
    install(STAND_IN)
    chosen, _ = choose_bridge()
    padded = Image(encoding="rgb8", height=2, width=1, step=4, data=[1, 2, 3, 99, 4, 5, 6, 99])
    assert chosen.rgb_from_msg(padded).tolist() == [[[1, 2, 3]], [[4, 5, 6]]]
    yuv = picture("yuyv", 2)
    np.testing.assert_array_equal(chosen.rgb_from_msg(yuv), conversions.rgb_from_image(yuv))


def test_what_is_no_colour_picture_has_the_same_sentence_either_way(install, in_this_process):
    install(STAND_IN)
    for chosen in (choose_bridge()[0], Bridge()):
        with pytest.raises(CameraError, match="unknown image encoding 'nv12'"):
            chosen.rgb_from_msg(Image(encoding="nv12"))
        with pytest.raises(CameraError, match="16UC1 has no colours"):
            chosen.rgb_from_msg(picture("16UC1", 2))
        with pytest.raises(CameraError, match="needs rows of 18 bytes, got step 18 and 9 bytes"):
            chosen.rgb_from_msg(Image(encoding="rgb8", height=2, width=6, step=18, data=[0] * 9))
        with pytest.raises(CameraError, match="is not rgb8"):
            chosen.msg_from_rgb(np.zeros((2, 2), np.uint8), 0, "")


@pytest.mark.parametrize(
    ("source", "version", "reason"),
    [
        (STAND_IN, "1.13.0.post0", "release 1.13.0.post0 is ROS 1's"),
        ("raise AttributeError('_ARRAY_API not found')", "3.2.1", "_ARRAY_API not found"),
        ("raise ImportError('libboost_python.so: absent')", "3.2.1", "libboost_python.so: absent"),
        (STAND_IN.replace("[:, :, ::-1]", ""), "4.1.0", "picture of two pixels into another"),
        (STAND_IN.replace("// message.height", "// 2"), "4.1.0", r"pixels \(1, 2, 3, 'rgb8'\)"),
        (STAND_IN.replace("tobytes", "tostring_"), "4.1.0", "no attribute 'tostring_'"),
    ],
)
def test_cv_bridge_of_no_use_gives_way_to_numpy(install, in_this_process, source, version, reason):
    install(source, version)
    chosen, said = choose_bridge()
    assert chosen.name == "numpy"
    assert said.startswith("images are converted with numpy: cv_bridge is of no use (")
    assert re.search(reason, said)
    assert chosen.rgb_from_msg(picture("rgb8", 3)).shape == (4, 6, 3)


@pytest.mark.skipif(not NUMPY_2, reason="under NumPy 1 cv_bridge is not expected to crash")
def test_cv_bridge_that_crashes_under_numpy_2_takes_no_node_along(install):
    install("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    chosen, said = choose_bridge()
    assert chosen.name == "numpy"
    assert "exit code -11" in said


@pytest.mark.parametrize(
    ("encoding", "channels"),
    [("rgb8", 3), ("bgr8", 3), ("rgba8", 4), ("bgra8", 4), ("mono8", 1), ("yuv422", 2)]
    + [(f"bayer_{pattern}8", 1) for pattern in ("rggb", "bggr", "gbrg", "grbg")],
)
def test_real_cv_bridge_and_numpy_give_the_same_bytes(encoding, channels):
    chosen, said = choose_bridge()
    if chosen.name == "numpy":
        pytest.skip(said)
    message = picture(encoding, channels)
    rgb = chosen.rgb_from_msg(message)
    np.testing.assert_array_equal(rgb, Bridge().rgb_from_msg(message))
    assert chosen.msg_from_rgb(rgb, 7, "front") == Bridge().msg_from_rgb(rgb, 7, "front")
