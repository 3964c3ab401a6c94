"""What is refused: folders that are no Qwen-VL, not whole, or would have to be unpickled."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from vla_ros.core.errors import CheckpointError


@pytest.fixture
def copied(folders, tmp_path):
    """Return a copy of a good folder, to be spoilt."""
    return shutil.copytree(folders["qwen3_vl"], tmp_path / "model")


@pytest.fixture
def folder(copied):
    return copied


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_name_that_is_no_folder_and_no_hub_name(load):
    with pytest.raises(CheckpointError, match="'/no/such/folder' is no folder and cannot be had"):
        load("/no/such/folder")


def test_a_folder_without_config(load, tmp_path):
    with pytest.raises(CheckpointError, match=r"no readable config\.json with a model_type"):
        load(tmp_path)


def test_another_kind_of_model(load, folder):
    rewrite(folder / "config.json", model_type="llama")
    with pytest.raises(CheckpointError, match="of type 'llama', not one of qwen2_5_vl, qwen3_vl"):
        load()


def test_code_beside_a_model_never_runs(load, folder, tmp_path):
    rewrite(folder / "config.json", auto_map={"AutoConfig": "evil.Config"})
    rewrite(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]})
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    try:
        load()
    except CheckpointError as error:
        assert "does not hold config, tokenizer" in str(error)  # noqa: PT017  either is right
    assert not (tmp_path / "ran").exists()


def test_no_tokenizer(load, folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        load()


def test_a_spoilt_image_processor(load, folder):
    (folder / "preprocessor_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="does not hold config, tokenizer and image proc"):
        load()


def test_no_chat_template(load, folder):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="has no chat template"):
        load()


def test_a_chat_template_where_older_folders_keep_it(load, folder):
    template = folder / "chat_template.jinja"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template.read_text()}))
    template.unlink()
    assert load().turn.head(1).count(261) == 9


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for m in messages %}hello{% endfor %}", "leaves the user's text out"),
        ("{{ messages[0].content[-1].text }}", "does not write the image token once for each of 2"),
    ],
)
def test_a_template_of_another_model(load, folder, images, template, words):
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(CheckpointError, match=words):
        load()(images, None)


def test_missing_weights(load, folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors; copy"):
        load()


def test_pickled_weights_are_refused(load, folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin, a pickle that could run any"):
        load()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "../model.safetensors"])
def test_an_index_that_points_elsewhere(load, folder, name):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    with pytest.raises(CheckpointError, match="not a safetensors file beside it"):
        load()


def test_a_lost_shard_and_a_spoilt_index(load, folder):
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "a.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"lacks a\.safetensors"):
        load()
    index.write_text("[1")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load()


def test_truncated_weights(load, folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match="damaged or of another model"):
        load()


@pytest.mark.parametrize("change", ["lost", "other shape"])
def test_weights_of_another_model(load, folder, change):
    weights = load_file(folder / "model.safetensors")
    name = "model.language_model.layers.1.mlp.up_proj.weight"
    if change == "lost":
        del weights[name]
    else:
        weights[name] = torch.zeros(25, 16)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    words = f"lack 1 tensors, {name}" if change == "lost" else "damaged or of another model"
    with pytest.raises(CheckpointError, match=words):
        load()


def test_an_image_size_that_does_not_divide(load, copied):
    from vla_ros.policy.qwen_loading import load_backbone
    from vla_ros.policy.qwen_tuning import QwenOptions

    with pytest.raises(CheckpointError, match="30 px do not divide into tokens of 8 px"):
        load_backbone(copied, QwenOptions(image_size=30))


def test_action_tokens_are_added_once_and_need_their_rows(load, folder):
    backbone = load()
    backbone.add_action_tokens(2)
    with pytest.raises(CheckpointError, match="has 2 action tokens already"):
        backbone.add_action_tokens(2)
    backbone.turn.tokenizer.add_tokens([f"<robot_action_{i}>" for i in range(2, 12)])
    backbone.turn.tokenizer.save_pretrained(folder)
    with pytest.raises(CheckpointError, match="names 12 action tokens from index 263 on, but the"):
        load()
