import numpy as np
import pytest

from vla_ros.core.errors import ContractError
from vla_ros.policy.preprocess import (
    check_rgb,
    decode_jpeg,
    encode_jpeg,
    images_to_tensor,
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


def test_tensor_has_channels_first_and_lies_in_minus_one_to_one():
    images = np.zeros((2, 1, 3, 4, 3), np.uint8)
    images[1, 0, 2, 3] = (0, 255, 51)
    tensor = images_to_tensor(images)
    assert tuple(tensor.shape) == (2, 1, 3, 3, 4)
    assert tensor[1, 0, :, 2, 3].tolist() == pytest.approx([-1, 1, -0.6])


def test_tensor_does_not_share_a_read_only_array():
    images = np.zeros((1, 2, 2, 3), np.uint8)
    images.setflags(write=False)
    images_to_tensor(images).add_(1)
    assert not images.any()


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
