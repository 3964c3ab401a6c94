import pytest
import torch

from vla_ros.core.contract import tap_contract
from vla_ros.policy.backbone import SmallVlmConfig
from vla_ros.policy.checkpoint import Checkpoint
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.tap import TapConfig, TapPolicy


@pytest.fixture
def policy():
    """Return a toy policy for 32 px pictures."""
    torch.manual_seed(0)
    backbone = SmallVlmConfig(
        image_size=32,
        channels=(8, 8, 8),
        num_keypoints=4,
        keypoint_tokens=1,
        grid=2,
        width=16,
        depth=1,
        num_heads=2,
        text_buckets=64,
    )
    return TapPolicy(TapConfig(backbone, head_width=16))


@pytest.fixture
def checkpoint(policy):
    """Return a Stage 2 checkpoint of the toy policy, not yet written."""
    normalizer = Normalizer([-0.05] * 3 + [-0.5] * 3, [0.05] * 3 + [0.5] * 3)
    run = {"stage": 2, "seed": 0, "steps_done": 1}
    return Checkpoint(policy.eval(), normalizer, tap_contract(image_size=32), run)
