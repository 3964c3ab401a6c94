"""On a Qwen-VL, frozen or not, heat is of the merged tokens of its vision tower."""

import numpy as np
import pytest
import torch
from policy_servers import SEEN
from tiny_policies import NORMALIZER
from tiny_qwen import IMAGE_SIZE

from vla_ros.core.contract import apt_contract, tap_contract
from vla_ros.policy.apt.config import AptConfig
from vla_ros.policy.apt.policy import AptPolicy
from vla_ros.policy.checkpoint import Checkpoint
from vla_ros.policy.heat_picture import overlay
from vla_ros.policy.overlays import SIDE_PX, overlays_of
from vla_ros.policy.runner import runner_of
from vla_ros.policy.tap import TapPolicy
from vla_ros.policy.tap_config import TapConfig


@pytest.mark.parametrize("method", ["tap", "apt"])
def test_a_policy_on_a_qwen_has_overlays_after_it_has_acted(backbone, method, monkeypatch):
    monkeypatch.setattr("vla_ros.policy.runner.MAX_CHUNK_TRANSLATION_M", 100.0)
    torch.manual_seed(0)
    run = {"stage": 2}
    if method == "tap":
        policy = TapPolicy(backbone, TapConfig(stage=2, head="mlp", head_width=8))
        checkpoint = Checkpoint(policy.eval(), tap_contract(image_size=IMAGE_SIZE), run, NORMALIZER)
    else:
        sizes = {"num_layers": 2, "width": 32, "num_heads": 2, "horizon": 4, "sample_steps": 2}
        policy = AptPolicy(backbone, AptConfig(stage=2, **sizes)).eval()
        torch.nn.init.normal_(policy.expert.tokens.head.weight, std=0.02)
        checkpoint = Checkpoint(policy, apt_contract(("front",), IMAGE_SIZE, horizon=4), run)
    runner = runner_of(checkpoint)
    found = overlays_of(runner, SEEN, runner.act(SEEN))
    plain = runner.see("front", SEEN.views["front"].picture)
    bare = overlay(plain, np.zeros((1, 1)), 1.0, SIDE_PX)
    assert np.any(found.pictures["front"] != bare)
    assert (found.gates is None) == (method == "tap")
