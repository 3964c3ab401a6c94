"""What of a backbone trains, in which precision, and that nothing is lost in a folder."""

import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.qwen_folder import save_backbone, save_description
from vla_ros.policy.qwen_tuning import QwenOptions


def trained(backbone, images) -> set[str]:
    """Return the names of parameters with a gradient other than 0 after one step's loss."""
    suffix = torch.tensor([[backbone.first_action_token, 3]] * 2)
    if not backbone.num_action_tokens:
        suffix = torch.tensor([[5, 3]] * 2)
    out = backbone(images, ["go", "stop it"], suffix, layers=(1,))
    loss = out.logits.square().mean() + out.layers[0].float().square().mean()
    if loss.requires_grad:
        loss.backward()
    return {
        name
        for name, parameter in backbone.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }


def test_frozen_trains_nothing_but_action_tokens(backbone, images):
    assert trained(backbone, images) == set()
    backbone.add_action_tokens(4)
    names = {"vocabulary.actions"}
    if backbone.vocabulary.output is not None:
        names.add("vocabulary.action_outputs")
    assert trained(backbone, images) == names


def test_full_trains_everything_and_checkpointing_changes_no_gradient(load, images):
    plain = load(tuning="full")
    names = trained(plain, images)
    # A key's bias adds one number to all of a query's scores, which softmax takes away.
    unused = {name for name, _ in plain.named_parameters()} - names
    assert all(name.endswith("k_proj.bias") for name in unused), unused
    saving = load(tuning="full", gradient_checkpointing=True).train()
    layers = [*saving.language.layers, *saving.vision.blocks]
    assert all(layer.gradient_checkpointing for layer in layers)
    trained(saving, images)
    for (name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)


def test_lora_trains_adapters_only_and_they_are_merged_on_the_way_out(
    load, backbone, images, tmp_path
):
    pytest.importorskip("peft")
    frozen, backbone = backbone, load(tuning="lora", lora_rank=2, lora_alpha=4).eval()
    with torch.no_grad():
        untrained = backbone(images, ["go", "stop"]).logits
    torch.testing.assert_close(untrained, frozen(images, ["go", "stop"]).logits)
    # B starts at 0, so that only it has a gradient at first.
    assert trained(backbone, images) == {
        name for name, _ in backbone.named_parameters() if "lora_B" in name
    }
    projections = [n for n, _ in backbone.named_parameters() if "lora_A" in n]
    assert sum("language" in name for name in projections) == 3 * 7
    assert any("vision" in name for name in projections)
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
        adapted = backbone(images, ["go", "stop"]).logits
    assert not torch.allclose(adapted, untrained)
    save_backbone(backbone, tmp_path)
    torch.testing.assert_close(load(tmp_path).eval()(images, ["go", "stop"]).logits, adapted)


def test_lora_without_peft_says_what_to_install(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(CheckpointError, match=r"needs peft; install it by `pip install '\.\[peft"):
        load(tuning="lora")


def test_groups_hold_every_parameter_once(load):
    backbone = load(tuning="full")
    backbone.add_action_tokens(2)
    groups = backbone.parameter_groups()
    assert set(groups) == {"vision", "language", "tokens"}
    ids = [id(parameter) for group in groups.values() for parameter in group]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(parameter) for parameter in backbone.parameters()}


def test_full_bfloat16_keeps_norms_and_embeddings_in_float32(load, backbone, images):
    frozen, backbone = backbone, load(tuning="full", dtype="bfloat16")
    kinds = {name: parameter.dtype for name, parameter in backbone.named_parameters()}
    single = {name for name, kind in kinds.items() if kind == torch.float32}
    assert all("norm" in name or "ln_q" in name or "embed" in name for name in single), single
    assert any("norm" in name for name in single)
    assert kinds["vocabulary.embedding"] == torch.float32
    assert kinds["language.layers.0.mlp.up_proj.weight"] == torch.bfloat16
    assert all("norm" not in name for name in set(kinds) - single)
    with torch.no_grad():
        close = frozen(images, None).last
        torch.testing.assert_close(backbone(images, None).last.float(), close, atol=0.2, rtol=0.1)


def test_frozen_bfloat16_is_bfloat16_throughout(load, images):
    backbone = load(dtype="bfloat16").eval()
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.bfloat16}
    out = backbone(images, None, layers=(1,))
    assert out.layers[0].dtype == torch.bfloat16
    assert out.logits.dtype == torch.float32


def test_a_folder_holds_all_of_a_backbone(load, backbone, images, tmp_path):
    backbone.add_action_tokens(3)
    suffix = torch.tensor([[264, 265], [263, 1]])
    save_backbone(backbone, tmp_path)
    loaded = load(tmp_path).eval()
    assert (loaded.first_action_token, loaded.num_action_tokens) == (263, 3)
    with torch.no_grad():
        expected = backbone(images, ["go", "stop"], suffix).logits
        assert torch.equal(loaded(images, ["go", "stop"], suffix).logits, expected)
    _, report = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


def test_a_description_and_a_checkpoints_weights_make_the_backbone_again(
    load, backbone, images, tmp_path
):
    backbone.add_action_tokens(3)
    save_description(backbone, tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    # No tensor has two names, which safetensors would refuse.
    save_file(backbone.state_dict(), tmp_path / "weights.safetensors")
    again = load(tmp_path, with_weights=False).eval()
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert torch.equal(again(images, None).logits, backbone(images, None).logits)


@pytest.mark.parametrize("wrong", [{"tuning": "half"}, {"dtype": "float16"}, {"attention": "fast"}])
def test_unknown_option_is_refused(wrong):
    with pytest.raises(CheckpointError, match=f"a backbone's {next(iter(wrong))} is one of"):
        QwenOptions(**wrong)
