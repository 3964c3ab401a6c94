"""The ROS messages that datasets are made of, from their serialised form."""

from typing import NamedTuple

import numpy as np

from training.recordings.cdr import HEAD_BYTES, Cdr, Header, stamp_ns
from vla_ros.core.cameras import PINHOLE_MODELS
from vla_ros.core.transforms import Transform, frame_name, matrix_of_pose
from vla_ros.policy.pictures import decode_jpeg

COMPRESSED_IMAGE, IMAGE = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image"
PICTURES = (COMPRESSED_IMAGE, IMAGE)
JOINT_STATE = "sensor_msgs/msg/JointState"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
POSE = "geometry_msgs/msg/PoseStamped"
TRANSFORMS = "tf2_msgs/msg/TFMessage"
STRING = "std_msgs/msg/String"
# Bytes of a JPEG or PNG, or an array (H, W, 3) uint8 RGB.
Picture = bytes | np.ndarray

# Order of red, green and blue in each encoding.
_CHANNELS = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "mono8": (0, 0, 0)}


class CameraInfo(NamedTuple):
    """A camera's calibration; `k` is all zero where it has none."""

    size: tuple[int, int]
    model: str
    d: tuple[float, ...]
    k: tuple[float, ...]


def header(raw: bytes | memoryview) -> Header:
    """Return the header that a message begins with."""
    return Cdr(raw).header()


def text(raw: bytes | memoryview) -> str:
    """Return the text of a std_msgs/String."""
    return Cdr(raw).text()


class JointStates:
    """Reads the JointStates of one topic, which may lack velocity and effort.

    Names are parsed anew only where they change.

    Attributes:
        names: of the joints of the message read last; the same object while equal.
        type: of its positions.
    """

    def __init__(self):
        self._order, self._middle, self._end, self._stop = b"", b"", 0, 0
        self.names: tuple[str, ...] = ()
        self.type = np.dtype(np.float64)

    def read(self, raw: bytes | memoryview) -> tuple[int, tuple[str, ...], np.ndarray]:
        """Return (stamp [ns], names, positions float64); names are the same object while equal.

        Raises:
            ValueError: the message is damaged.
        """
        at, stop = self.place(raw)
        count = (stop - at) // 8
        return stamp_ns(raw), self.names, np.frombuffer(raw, self.type, count, at)

    def place(self, raw: bytes | memoryview) -> tuple[int, int]:
        """Return where the positions begin and end in a message, float64 of `type`.

        Raises:
            ValueError: the message is damaged.
        """
        if not self._end or raw[:4] != self._order or raw[HEAD_BYTES : self._end] != self._middle:
            cdr = Cdr(raw)
            cdr.header()
            names, count = tuple(cdr.texts()), cdr.number("I")
            # Only now: a message that ends early must leave no half of what it says.
            self.names, self._end = names, cdr.place("d")
            self._stop = self._end + 8 * count
            self._order, self._middle = bytes(raw[:4]), bytes(raw[HEAD_BYTES : self._end])
            self.type = np.dtype(f"{cdr.order}f8")
        if len(raw) < self._stop:
            raise ValueError("the message is shorter than its type")
        return self._end, self._stop


def picture(raw: bytes | memoryview, msgtype: str) -> Picture:
    """Return the picture of a CompressedImage or Image; empty bytes for one that is damaged.

    Raises:
        ValueError: the encoding is none that can be shown in red, green and blue.
    """
    try:
        cdr = Cdr(raw)
        cdr.header()
        if msgtype == COMPRESSED_IMAGE:
            encoding, shape = cdr.text(), None
        else:
            height, width = cdr.numbers("I", 2)
            encoding, _ = cdr.text(), cdr.number("B")
            shape = (height, width, cdr.number("I"))
        data = cdr.byte_sequence()
    except ValueError:
        return b""
    if shape is not None:
        return _pixels(data, encoding, *shape)
    if "compressedDepth" in encoding:
        raise ValueError(f"its pictures are {encoding!r}, depth is no colour picture")
    return bytes(data)


def _pixels(data: memoryview, encoding: str, height: int, width: int, step: int) -> Picture:
    if encoding not in _CHANNELS:
        raise ValueError(f"its encoding is {encoding!r}, known are {', '.join(_CHANNELS)}")
    channels = 1 if encoding == "mono8" else 3
    if not height * width or step < width * channels or len(data) < height * step:
        return b""
    rows = np.frombuffer(data, np.uint8)[: height * step].reshape(height, step)
    pixels = rows[:, : width * channels].reshape(height, width, channels)
    return np.ascontiguousarray(pixels[:, :, _CHANNELS[encoding]])


def decoded(found: Picture, where: str) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 RGB of what is at `where`.

    Raises:
        ContractError: it is broken.
    """
    return found if isinstance(found, np.ndarray) else decode_jpeg(found, where)


def camera_info(raw: bytes | memoryview) -> CameraInfo:
    """Return the calibration of a CameraInfo."""
    cdr = Cdr(raw)
    cdr.header()
    height, width = cdr.numbers("I", 2)
    model = cdr.text()
    d = cdr.numbers("d", cdr.number("I"))
    return CameraInfo((width, height), model, d, cdr.numbers("d", 9))


def one_calibration(said: set[CameraInfo]) -> tuple[CameraInfo | None, str]:
    """Return the calibration that holds for a whole recording, or None and why there is none.

    Args:
        said: the different ones that the recording holds.
    """
    if len(said) != 1:
        return None, "changes on the way; record one calibration a bag" if said else "is missing"
    (info,) = said
    if info.k[0] == 0:
        return None, (
            "has no intrinsics (k[0] is 0): calibrate the camera, give the file as "
            "calibration:=FILE and record again"
        )
    if info.model not in PINHOLE_MODELS:
        return None, f"has the distortion model {info.model!r}; calibrate with plumb_bob"
    return info, ""


def pose(raw: bytes | memoryview) -> tuple[Header, np.ndarray]:
    """Return (header, pose (4, 4) [m] in its frame) of a PoseStamped."""
    cdr = Cdr(raw)
    return cdr.header(), matrix_of_pose(cdr.array(7))


def transforms(raw: bytes | memoryview) -> list[Transform]:
    """Return the transforms of a TFMessage."""
    cdr = Cdr(raw)
    found = []
    for _ in range(cdr.number("I")):
        stamp_ns, parent = cdr.header()
        child = cdr.text()
        found.append(
            Transform(stamp_ns, frame_name(parent), frame_name(child), matrix_of_pose(cdr.array(7)))
        )
    return found
