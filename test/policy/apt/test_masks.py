import torch

from vla_ros.policy.apt.masks import attention_mask

# Four vision-language tokens: a picture's, a dropped picture's, a word, padding; two action
# tokens: one of an arm that is there, one of an arm that is not.
IS_IMAGE = torch.tensor([[True, True, False, False]])
IS_VALID = torch.tensor([[True, False, True, False]])
IS_ACTION_VALID = torch.tensor([[True, False]])


def test_full_mask_by_hand():
    expected = [  # columns: picture, dropped, word, padding, action, missing arm
        [1, 0, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 0, 1, 0, 0, 0],
        [1, 0, 1, 1, 0, 0],
        [1, 0, 1, 0, 1, 0],
        [1, 0, 1, 0, 1, 1],
    ]
    mask = attention_mask(IS_IMAGE, IS_VALID, IS_ACTION_VALID, sees_language=True)
    assert mask.int().tolist() == [expected]


def test_mask_without_language_by_hand():
    expected = [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [1, 0, 0, 0, 1, 0],
        [1, 0, 0, 0, 1, 1],
    ]
    mask = attention_mask(IS_IMAGE, IS_VALID, IS_ACTION_VALID, sees_language=False)
    assert mask.int().tolist() == [expected]
