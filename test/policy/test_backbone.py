import pytest
import torch

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.backbone import SHARPNESS, SmallVlmConfig, spatial_softmax


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


def test_a_sharp_peak_is_found_at_its_position():
    logits = torch.zeros(1, 2, 5, 5)
    logits[0, 0, 0, 4] = 100.0  # top right: x = 1, y = -1
    logits[0, 1, 2, 1] = 100.0  # x = -0.5, y = 0
    # Deviation of 24 zeros and one 100 is 20, so the peak stands 5 * SHARPNESS above the rest.
    x1, x2, y1, y2 = spatial_softmax(logits)[0].tolist()
    tail = 24 * 2.718281828 ** (-5 * SHARPNESS)
    assert (x1, y1) == pytest.approx((1, -1), abs=2 * tail)
    assert (x2, y2) == pytest.approx((-0.5, 0), abs=2 * tail)


def test_points_follow_a_shift_of_the_map():
    logits = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    moved = torch.full((1, 3, 16, 16), -9.0)
    still = moved.clone()
    still[..., 4:8, 4:8] = logits[..., 4:8, 4:8] * 3
    moved[..., 4:8, 6:10] = logits[..., 4:8, 4:8] * 3
    difference = (spatial_softmax(moved) - spatial_softmax(still))[0]
    # Two of 15 steps across the picture's width of 2.
    assert difference[:3].tolist() == pytest.approx([2 * 2 / 15] * 3, abs=0.02)
    assert difference[3:].tolist() == pytest.approx([0] * 3, abs=0.02)


@pytest.mark.parametrize("wrong", [{"image_size": 100}, {"num_heads": 5}, {"channels": (8, 8)}])
def test_refuses_sizes_that_do_not_fit(wrong):
    with pytest.raises(CheckpointError, match="backbone needs an image size in multiples of 32"):
        SmallVlmConfig(**wrong)
