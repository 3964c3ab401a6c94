import numpy as np
import pytest

from vla_ros.policy.preprocess import images_to_tensor


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
