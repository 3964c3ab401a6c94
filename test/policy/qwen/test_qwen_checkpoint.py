"""Checkpoints of policies on a Qwen-VL: whole, or by name where most of it never trained."""

import pytest
import torch
from safetensors.torch import load_file

from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import CheckpointError
from vla_ros.policy import qwen_loading
from vla_ros.policy.backbone_description import HubSource
from vla_ros.policy.checkpoint import WEIGHTS, Checkpoint, load_checkpoint, save_checkpoint
from vla_ros.policy.fast_tokens import FastTokenizer
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.qwen_tuning import QwenOptions
from vla_ros.policy.tap import TapPolicy
from vla_ros.policy.tap_config import TapConfig

OPTIONS = QwenOptions(image_size=24).to_dict()
NAME = "Somebody/Tiny-VL"


def tap_on(backbone, source) -> Checkpoint:
    tokens = FastTokenizer.fit(torch.rand(60, 1, 7).numpy() * 2 - 1, vocabulary=40)
    policy = TapPolicy(backbone, TapConfig(stage=2), tokens).eval()
    normalizer = Normalizer([-0.05] * 3 + [-0.5] * 3, [0.05] * 3 + [0.5] * 3)
    return Checkpoint(policy, tap_contract(image_size=24), {"stage": 2}, normalizer, source)


@pytest.mark.parametrize("revision", [None, "0" * 40])
def test_a_policy_comes_back(backbone, folder, images, revision, tmp_path, monkeypatch):
    monkeypatch.setattr(qwen_loading, "download", lambda name, revision: folder)
    checkpoint = tap_on(backbone, HubSource(NAME, revision, OPTIONS))
    save_checkpoint(checkpoint, tmp_path / "ckpt")
    loaded = load_checkpoint(tmp_path / "ckpt")
    text = ["push it", "put the carrot away"]
    assert torch.equal(loaded.policy.act(images, text), checkpoint.policy.act(images, text))
    assert loaded.source == checkpoint.source
    held = set(load_file(tmp_path / "ckpt" / WEIGHTS))
    whole = set(checkpoint.policy.state_dict())
    if revision is None:
        assert held == whole
    else:
        rows = {name for name in whole if "vocabulary.action" in name}
        assert held == rows
        assert rows
    assert f'base_model: "{NAME}"' in (tmp_path / "ckpt" / "README.md").read_text()


def test_a_later_run_computes_as_its_own_recipe_says(backbone, tmp_path):
    save_checkpoint(tap_on(backbone, HubSource(NAME, None, OPTIONS)), tmp_path / "ckpt")
    wanted = {"gradient_checkpointing": True, "attention": "eager", "tuning": "full"}
    loaded = load_checkpoint(tmp_path / "ckpt", backbone=wanted)
    # How much trains is not a matter of how.
    used = {**OPTIONS, "gradient_checkpointing": True, "attention": "eager"}
    assert loaded.source == HubSource(NAME, None, used)
    layer = loaded.policy.vlm.language.layers[0]
    assert layer.gradient_checkpointing
    assert loaded.policy.vlm.language.config._attn_implementation == "eager"


def test_where_the_backbone_came_from_has_to_be_known(backbone, tmp_path):
    with pytest.raises(CheckpointError, match="needs to know where the backbone came from"):
        save_checkpoint(tap_on(backbone, None), tmp_path / "ckpt")
    assert list(tmp_path.iterdir()) == []


def test_a_model_tuned_whole_is_no_reference():
    assert not HubSource(NAME, "0" * 40, {**OPTIONS, "tuning": "full"}).is_reference
    assert HubSource(NAME, "0" * 40, {**OPTIONS, "tuning": "lora"}).is_reference
