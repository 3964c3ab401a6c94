import pytest
import torch

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.backbone import SmallVlmConfig


def random_images(batch, slots):
    return torch.rand(batch, slots, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_features_and_mask_have_one_row_a_token(policy):
    # A slot gives 1 keypoint token and 2 x 2 grid tokens; the readout is one more.
    features, mask = policy.backbone(random_images(3, 2), None)
    assert tuple(features.shape) == (3, 2 * 5 + 1, 16)
    assert mask.all()


def test_words_lengthen_the_sequence_and_padding_is_masked(policy):
    features, mask = policy.backbone(random_images(2, 1), ["push left", "push"])
    assert tuple(features.shape) == (2, 5 + 2 + 1, 16)
    assert mask.sum(1).tolist() == [8, 7]
    assert mask[:, -1].all()


def test_padding_does_not_change_the_answer(policy):
    images = random_images(2, 1)
    together, _ = policy.backbone(images, ["push left now", "push"])
    alone, _ = policy.backbone(images[1:], ["push"])
    torch.testing.assert_close(together[1:, -1], alone[:, -1])


def test_an_empty_instruction_is_no_nan(policy):
    features, _ = policy.backbone(random_images(1, 1), [""])
    assert features.isfinite().all()


def test_each_image_is_encoded_alone(policy):
    images = random_images(4, 1)[:, 0]
    together, _ = policy.backbone.encode_images(images)
    alone, _ = policy.backbone.encode_images(images[2:3])
    torch.testing.assert_close(together[2:3], alone)


@pytest.mark.parametrize("wrong", [{"image_size": 100}, {"num_heads": 5}, {"channels": (8, 8)}])
def test_refuses_sizes_that_do_not_fit(wrong):
    with pytest.raises(CheckpointError, match="backbone needs an image size in multiples of 32"):
        SmallVlmConfig(**wrong)
