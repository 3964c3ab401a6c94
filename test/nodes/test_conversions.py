import numpy as np
import pytest

pytest.importorskip("rclpy")

from sensor_msgs.msg import Image

from vla_ros.core.errors import CameraError
from vla_ros.nodes import conversions


def identifiable(shape, dtype):
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


@pytest.mark.parametrize(
    ("encoding", "shape", "dtype"),
    [
        ("rgb8", (2, 5, 3), np.uint8),
        ("bgr8", (2, 5, 3), np.uint8),
        ("mono8", (3, 5), np.uint8),
        ("16UC1", (3, 5), np.uint16),
    ],
)
def test_images_survive_the_message(encoding, shape, dtype):
    image = identifiable(shape, dtype) * (300 if dtype == np.uint16 else 1)
    message = conversions.image_to_msg(image, encoding, 1_500_000_000, "camera")
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1, 500_000_000)
    back = conversions.image_from_msg(message)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, image)


def test_padding_at_the_end_of_rows_is_cut_off():
    message = Image(height=2, width=2, encoding="mono8", step=4)
    message.data = [1, 2, 99, 99, 3, 4, 99, 99]
    np.testing.assert_array_equal(conversions.image_from_msg(message), [[1, 2], [3, 4]])


def test_big_endian_depth_is_read_as_such():
    message = Image(height=1, width=2, encoding="16UC1", step=4, is_bigendian=1)
    message.data = [0x01, 0x02, 0x03, 0x04]
    np.testing.assert_array_equal(conversions.image_from_msg(message), [[0x0102, 0x0304]])


def test_colours_are_rgb_whatever_the_encoding():
    bgr = conversions.image_to_msg(np.array([[[1, 2, 3]]], np.uint8), "bgr8", 0, "")
    grey = conversions.image_to_msg(np.array([[7]], np.uint8), "mono8", 0, "")
    assert conversions.rgb_from_image(bgr).tolist() == [[[3, 2, 1]]]
    assert conversions.rgb_from_image(grey).tolist() == [[[7, 7, 7]]]


def raw(encoding, width, height, data):
    message = Image(encoding=encoding, width=width, height=height, data=data)
    message.step = len(data) // height
    return message


@pytest.mark.parametrize(
    ("encoding", "data"), [("rgba8", [1, 2, 3, 9]), ("bgra8", [3, 2, 1, 9]), ("bgr8", [3, 2, 1])]
)
def test_drivers_colour_orders_become_rgb(encoding, data):
    assert conversions.rgb_from_image(raw(encoding, 1, 1, data)).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        # BT.601 calls pure red Y 81, U 90, V 240.
        ("yuv422", [90, 81, 240, 81]),
        ("uyvy", [90, 81, 240, 81]),
        ("yuv422_yuy2", [81, 90, 81, 240]),
        ("yuyv", [81, 90, 81, 240]),
    ],
)
def test_cameras_yuv_becomes_rgb(encoding, data):
    rgb = conversions.rgb_from_image(raw(encoding, 2, 1, data))
    assert np.abs(rgb.astype(int) - [255, 0, 0]).max() <= 2


@pytest.mark.parametrize(
    ("encoding", "row", "column"),
    [("bayer_rggb8", 0, 0), ("bayer_bggr8", 1, 1), ("bayer_gbrg8", 1, 0), ("bayer_grbg8", 0, 1)],
)
def test_red_seen_through_a_bayer_pattern_is_red(encoding, row, column):
    mosaic = np.zeros((6, 6), np.uint8)
    mosaic[row::2, column::2] = 200
    rgb = conversions.rgb_from_image(conversions.image_to_msg(mosaic, encoding, 0, ""))
    assert rgb[2:4, 2:4].tolist() == [[[200, 0, 0]] * 2] * 2


@pytest.mark.parametrize(
    ("encoding", "width", "height"), [("yuv422", 3, 1), ("bayer_rggb8", 4, 1), ("rgb8", 0, 0)]
)
def test_sizes_that_an_encoding_cannot_have_are_refused(encoding, width, height):
    message = Image(encoding=encoding, width=width, height=height, step=16, data=[0] * 16)
    with pytest.raises(CameraError, match=f"{width}x{height} pixels cannot be {encoding}"):
        conversions.rgb_from_image(message)


def test_depth_has_no_colours():
    depth = conversions.image_to_msg(np.zeros((1, 1), np.uint16), "16UC1", 0, "")
    with pytest.raises(CameraError, match="16UC1 has no colours"):
        conversions.rgb_from_image(depth)


def test_unknown_encodings_are_refused_by_name():
    with pytest.raises(CameraError, match="unknown image encoding 'nv12': use one of .*'rgb8'"):
        conversions.rgb_from_image(Image(encoding="nv12"))


def test_an_array_of_another_shape_than_its_encoding_is_refused():
    with pytest.raises(CameraError, match="is not rgb8"):
        conversions.image_to_msg(np.zeros((4, 4), np.uint8), "rgb8", 0, "")


def test_data_shorter_than_the_header_says_are_refused():
    message = Image(height=2, width=2, encoding="mono8", step=2, data=[1, 2, 3])
    with pytest.raises(CameraError, match="needs rows of 2 bytes, got step 2 and 3 bytes"):
        conversions.image_from_msg(message)


def test_jpeg_keeps_the_colours_apart():
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, :, 0] = 200  # red
    back = conversions.rgb_from_jpeg(conversions.jpeg_from_rgb(image, 95))
    assert back.shape == image.shape
    assert np.abs(back.astype(int) - image).max() < 12


@pytest.mark.parametrize("data", [b"", b"not an image"])
def test_bytes_that_are_no_image_are_refused(data):
    with pytest.raises(CameraError, match="not a readable JPEG"):
        conversions.rgb_from_jpeg(data)


def test_joint_states_survive_the_message_and_fill_every_field():
    message = conversions.joint_state_to_msg(-1, ("a", "b"), np.array([0.5, -2.0]))
    assert len(message.velocity) == len(message.effort) == 2
    stamp_ns, names, position = conversions.joint_state_from_msg(message)
    assert (stamp_ns, names, position.tolist()) == (-1, ("a", "b"), [0.5, -2.0])


def test_stamps_are_exact_to_the_nanosecond():
    time_ns = 1_795_303_405_644_405_359
    assert conversions.ns_from_stamp(conversions.stamp_from_ns(time_ns)) == time_ns


def test_an_uncalibrated_camera_has_zero_intrinsics():
    message = conversions.camera_info_to_msg(640, 480, None, None, "camera")
    assert (message.width, message.height, sum(message.k)) == (640, 480, 0.0)


def test_camera_info_carries_the_intrinsics_row_by_row():
    K = np.array([[500.0, 0, 320], [0, 510.0, 240], [0, 0, 1]])
    message = conversions.camera_info_to_msg(640, 480, K, None, "camera")
    assert message.k.tolist() == K.ravel().tolist()
    assert message.p.tolist() == [500, 0, 320, 0, 0, 510, 240, 0, 0, 0, 1, 0]
