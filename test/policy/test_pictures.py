import cv2
import numpy as np
import pytest

from vla_ros.core.errors import ContractError
from vla_ros.policy.pictures import (
    check_rgb,
    dataset_jpeg,
    dataset_picture,
    decode_jpeg,
    encode_jpeg,
    jpeg_shape,
    resize_for_model,
    resize_rgb,
)


def test_area_interpolation_averages_blocks():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, :2] = [[[10], [20]], [[30], [40]]]
    assert resize_rgb(image, 2)[0, 0].tolist() == [25, 25, 25]


def test_an_image_of_the_right_size_is_returned_itself():
    image = np.zeros((4, 4, 3), np.uint8)
    assert resize_rgb(image, 4) is image


def test_resize_for_model_goes_through_the_dataset_size():
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    expected = resize_rgb(resize_rgb(image, 32), 8)
    assert (resize_for_model(image, 32, 8) == expected).all()


def test_jpeg_keeps_the_order_of_colours():
    image = np.zeros((16, 16, 3), np.uint8)
    image[:] = (250, 120, 10)
    decoded = decode_jpeg(encode_jpeg(image, 95), "test")
    assert np.abs(decoded.astype(int) - image).max() < 6


@pytest.mark.parametrize("data", [b"", b"not a picture"])
def test_refuses_what_is_no_picture(data):
    with pytest.raises(ContractError, match="front cannot be decoded"):
        decode_jpeg(data, "front")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_refuses_other_arrays(image):
    with pytest.raises(ContractError, match=r"must be uint8 \(H, W, 3\) RGB"):
        check_rgb(image, "front")


def gradient(height, width):
    """Return a smooth picture whose three channels differ."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * y / height, 255 * x / width, 128 + 0 * x], -1).astype(np.uint8)


@pytest.mark.parametrize("shape", [(48, 64), (480, 640), (31, 33)])
def test_the_shape_is_read_from_the_header(shape):
    assert jpeg_shape(encode_jpeg(gradient(*shape), 90)) == shape


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\x00", b"\x89PNG" * 9])
def test_what_has_no_jpeg_header_has_no_shape(data):
    assert jpeg_shape(data) is None


def test_a_jpeg_of_the_datasets_size_is_kept_byte_for_byte():
    jpeg = encode_jpeg(gradient(32, 32), 70)
    kept, picture = dataset_jpeg(jpeg, 32, "front")
    assert kept == jpeg
    assert (picture == decode_jpeg(jpeg, "")).all()


def test_a_png_of_the_datasets_size_becomes_a_jpeg():
    data, _ = dataset_jpeg(cv2.imencode(".png", gradient(32, 32))[1].tobytes(), 32, "front")
    assert jpeg_shape(data) == (32, 32)


@pytest.mark.parametrize("shape", [(480, 640), (64, 64), (65, 100), (33, 40), (20, 20), (257, 600)])
def test_every_camera_comes_to_the_datasets_size_whatever_it_is_decoded_at(shape):
    image = gradient(*shape)
    data, picture = dataset_jpeg(encode_jpeg(image, 95), 32, "front")
    assert picture.shape == (32, 32, 3)
    expected = resize_rgb(image, 32).astype(int)
    assert np.abs(decode_jpeg(data, "") - expected).mean() < 3


def test_raw_pictures_and_jpegs_give_the_same_picture():
    image = gradient(96, 128)
    data, _ = dataset_jpeg(image, 32, "front")
    assert np.abs(decode_jpeg(data, "") - resize_rgb(image, 32).astype(int)).mean() < 3


def test_a_running_policy_sees_what_the_dataset_holds():
    jpeg = encode_jpeg(gradient(480, 640), 90)
    stored, _ = dataset_jpeg(jpeg, 224, "front")
    assert (dataset_picture(jpeg, 224, "front") == decode_jpeg(stored, "front")).all()
