"""Messages to arrays and back. Pure: no node, no clock, no cv_bridge.

Arrays: images (H, W, 3) uint8, grey (H, W) uint8, depth (H, W) uint16 [mm]; joints float64.
"""

import array
import sys

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState

from vla_ros.core.errors import CameraError

# encoding -> (dtype without byte order, channels)
_ENCODINGS = {
    **dict.fromkeys(("rgb8", "bgr8"), ("u1", 3)),
    **dict.fromkeys(("rgba8", "bgra8"), ("u1", 4)),
    **dict.fromkeys(("yuv422", "uyvy", "yuv422_yuy2", "yuyv"), ("u1", 2)),
    **dict.fromkeys(("bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"), ("u1", 1)),
    "mono8": ("u1", 1),
    "16UC1": ("u2", 1),
}
# The same codes as cv_bridge's. OpenCV's old names of Bayer patterns begin at the second row and
# column, and the new ones are not in every release that a ROS install brings.
_TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
}
# What compressed_image_transport writes for a colour image.
_JPEG_FORMAT = "rgb8; jpeg compressed bgr8"


def stamp_from_ns(time_ns: int) -> Time:
    """Return the message stamp of an integer time [ns]."""
    return Time(sec=time_ns // 1_000_000_000, nanosec=time_ns % 1_000_000_000)


def ns_from_stamp(stamp: Time) -> int:
    """Return the integer time [ns] of a message stamp."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def image_to_msg(image: np.ndarray, encoding: str, stamp_ns: int, frame_id: str) -> Image:
    """Return an Image message with densely packed rows.

    Raises:
        CameraError: the encoding is unknown or does not fit the array.
    """
    dtype, channels = _encoding(encoding)
    expected = (*image.shape[:2], channels) if channels > 1 else image.shape[:2]
    if image.dtype != np.dtype(dtype) or image.shape != expected:
        raise CameraError(
            f"an image of shape {image.shape} and type {image.dtype} is not {encoding}: give "
            f"{dtype} with {channels} channel(s)"
        )
    message = Image(height=image.shape[0], width=image.shape[1], encoding=encoding)
    message.header.stamp = stamp_from_ns(stamp_ns)
    message.header.frame_id = frame_id
    message.step = image.shape[1] * channels * image.dtype.itemsize
    message.is_bigendian = int(sys.byteorder == "big")
    # rclpy takes an array('B') as it is; a numpy array would be copied element by element.
    data = array.array("B")
    data.frombytes(memoryview(np.ascontiguousarray(image)).cast("B"))
    message.data = data
    return message


def image_from_msg(message: Image) -> np.ndarray:
    """Return a read-only view (H, W[, C]) of an Image message, rows cut out of their padding.

    Raises:
        CameraError: the encoding is unknown or the data are shorter than the header says.
    """
    dtype, channels = _encoding(message.encoding)
    kind = np.dtype(dtype).newbyteorder(">" if message.is_bigendian else "<")
    row_bytes = _row_bytes(message)
    data = np.frombuffer(message.data, dtype=np.uint8)
    rows = data[: message.height * message.step].reshape(message.height, message.step)
    rows = np.ascontiguousarray(rows[:, :row_bytes])
    pixels = rows.view(kind).reshape(message.height, message.width, channels)
    view = pixels if channels > 1 else pixels[:, :, 0]
    view.setflags(write=False)
    return view


def _row_bytes(message: Image) -> int:
    dtype, channels = _encoding(message.encoding)
    row_bytes = message.width * channels * np.dtype(dtype).itemsize
    size = len(message.data)
    if message.step < row_bytes or size < message.height * message.step:
        raise CameraError(
            f"an image of {message.width}x{message.height} {message.encoding} needs rows of "
            f"{row_bytes} bytes, got step {message.step} and {size} bytes in all; check the "
            "camera driver"
        )
    return row_bytes


def rgb_from_image(message: Image) -> np.ndarray:
    """Return an Image message as (H, W, 3) uint8 RGB; depth is refused.

    Raises:
        CameraError: as `check_colours`.
    """
    check_colours(message)
    image = image_from_msg(message)
    return image if message.encoding == "rgb8" else cv2.cvtColor(image, _TO_RGB[message.encoding])


def check_colours(message: Image) -> None:
    """Refuse an Image that cannot be turned into RGB.

    Raises:
        CameraError: the encoding is not a colour or grey one, or the data do not fit it.
    """
    _, channels = _encoding(message.encoding)
    if message.encoding != "rgb8" and message.encoding not in _TO_RGB:
        raise CameraError(f"an image of encoding {message.encoding} has no colours: use rgb8")
    _row_bytes(message)
    # Two columns share their colours in YUV 4:2:2, and so do two rows of a Bayer pattern.
    odd = channels == 2 and message.width % 2
    least = 2 if message.encoding.startswith("bayer") else 1
    if odd or min(message.width, message.height) < least:
        raise CameraError(
            f"an image of {message.width}x{message.height} pixels cannot be {message.encoding}; "
            "check the camera driver"
        )


def is_padded(message: Image) -> bool:
    """Return whether the rows of an Image are longer than their pixels.

    Raises:
        CameraError: the encoding is unknown, or the data are shorter than the header says.
    """
    return message.step != _row_bytes(message)


def jpeg_from_rgb(image: np.ndarray, quality: int) -> bytes:
    """Return the JPEG file of an (H, W, 3) uint8 RGB image; quality 1 to 100."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise CameraError(f"OpenCV could not compress an image of shape {image.shape} to JPEG")
    return data.tobytes()


def rgb_from_jpeg(data: bytes) -> np.ndarray:
    """Return the (H, W, 3) uint8 RGB image of a JPEG (or PNG) file.

    Raises:
        CameraError: the bytes are not an image.
    """
    buffer = np.frombuffer(data, dtype=np.uint8)
    bgr = cv2.imdecode(buffer, cv2.IMREAD_COLOR) if buffer.size else None
    if bgr is None:
        raise CameraError(f"{buffer.size} bytes are not a readable JPEG image; check the camera")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def compressed_to_msg(jpeg: bytes, stamp_ns: int, frame_id: str) -> CompressedImage:
    """Return the CompressedImage message of a JPEG file made from RGB."""
    message = CompressedImage(format=_JPEG_FORMAT)
    message.header.stamp = stamp_from_ns(stamp_ns)
    message.header.frame_id = frame_id
    message.data = array.array("B", jpeg)
    return message


def camera_info_to_msg(
    width: int, height: int, K: np.ndarray | None, distortion: np.ndarray | None, frame_id: str
) -> CameraInfo:
    """Return a CameraInfo; K (3, 3) None leaves it zero, which the message calls uncalibrated."""
    message = CameraInfo(width=width, height=height)
    message.header.frame_id = frame_id
    if K is not None:
        message.distortion_model = "plumb_bob"
        message.d = [float(value) for value in (np.zeros(5) if distortion is None else distortion)]
        message.k = [float(value) for value in np.asarray(K).reshape(9)]
        message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        P = np.hstack([np.asarray(K), np.zeros((3, 1))])
        message.p = [float(value) for value in P.reshape(12)]
    return message


def joint_state_to_msg(
    stamp_ns: int,
    names: tuple[str, ...] | list[str],
    position: np.ndarray,
    velocity: np.ndarray | None = None,
    effort: np.ndarray | None = None,
    frame_id: str = "",
) -> JointState:
    """Return a JointState; what is not given is zero, because `rosbags` needs every field."""
    message = JointState(name=list(names))
    message.header.stamp = stamp_from_ns(stamp_ns)
    message.header.frame_id = frame_id
    zeros = np.zeros(len(names))
    message.position = doubles(position)
    message.velocity = doubles(zeros if velocity is None else velocity)
    message.effort = doubles(zeros if effort is None else effort)
    return message


def joint_state_from_msg(message: JointState) -> tuple[int, tuple[str, ...], np.ndarray]:
    """Return (stamp [ns], names, position) of a JointState."""
    stamp_ns = ns_from_stamp(message.header.stamp)
    return stamp_ns, tuple(message.name), np.array(message.position, dtype=np.float64)


def doubles(values: np.ndarray) -> array.array:
    """Return numbers as the array type that rclpy takes for float64[] without a look at each."""
    return array.array("d", np.asarray(values, dtype=np.float64).tobytes())


def _encoding(name: str) -> tuple[str, int]:
    if name not in _ENCODINGS:
        raise CameraError(f"unknown image encoding {name!r}: use one of {sorted(_ENCODINGS)}")
    return _ENCODINGS[name]
