import dataclasses
import json
import pickle

import pytest
import torch

from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import CheckpointError, ContractError
from vla_ros.policy.checkpoint import WEIGHTS, is_checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture
def saved(checkpoint, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "ckpt", {"metrics.json": b"{}"})
    return tmp_path / "ckpt"


def test_what_is_loaded_is_what_was_saved(checkpoint, saved):
    loaded = load_checkpoint(saved, tap_contract(image_size=32))
    for name, value in checkpoint.policy.state_dict().items():
        assert torch.equal(loaded.policy.state_dict()[name], value), name
    assert loaded.normalizer.to_dict() == checkpoint.normalizer.to_dict()
    assert loaded.contract == checkpoint.contract
    assert loaded.run == checkpoint.run
    assert not loaded.policy.training


def test_a_folder_holds_json_and_safetensors_and_nothing_else(saved):
    assert sorted(path.name for path in saved.iterdir()) == [
        "config.json", "contract.json", "metrics.json", WEIGHTS, "normalizer.json", "run.json",
    ]  # fmt: skip
    assert [path.name for path in saved.parent.iterdir()] == ["ckpt"]


def test_saving_again_replaces_the_whole_folder(checkpoint, saved):
    changed = dataclasses.replace(checkpoint, run={"stage": 2, "seed": 5})
    save_checkpoint(changed, saved, {})
    assert load_checkpoint(saved).run["seed"] == 5
    assert not (saved / "metrics.json").exists()
    assert [path.name for path in saved.parent.iterdir()] == ["ckpt"]


def test_a_failed_write_leaves_the_old_checkpoint(checkpoint, saved):
    changed = dataclasses.replace(checkpoint, run={"stage": 2, "seed": 5})
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(changed, saved, {"no/such/folder": b""})
    assert load_checkpoint(saved).run["seed"] == 0
    assert is_checkpoint(saved)
    assert [path.name for path in saved.parent.iterdir()] == ["ckpt"]


def test_refuses_to_replace_a_folder_of_other_things(checkpoint, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(CheckpointError, match=r"photos exists and is not a checkpoint"):
        save_checkpoint(checkpoint, tmp_path / "photos", {})


def test_refuses_a_missing_folder(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere does not exist"):
        load_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "normalizer.json", "run.json"])
def test_refuses_a_missing_file_by_name(saved, name):
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=f"has no {name}"):
        load_checkpoint(saved)


def test_refuses_another_contract_and_names_what_differs(saved):
    with pytest.raises(ContractError, match=r"rate_hz: 10.0 here, 5.0 there"):
        load_checkpoint(saved, tap_contract(image_size=32, rate_hz=10.0))


def test_refuses_cut_off_weights(saved):
    data = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"model.safetensors is damaged"):
        load_checkpoint(saved)


def test_never_unpickles_weights(saved, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    (saved / WEIGHTS).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="is damaged or not a safetensors file"):
        load_checkpoint(saved)
    assert not (tmp_path / "pwned").exists()


def test_refuses_weights_of_another_model(saved):
    config = json.loads((saved / "config.json").read_text())
    config["head_width"] = 8
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"does not fit config.json: 3 tensors differ"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("config.json", "{", "config.json is not readable JSON"),
        ("run.json", "[]", "must hold a JSON object, got list"),
        ("contract.json", "{}", "contract.json: contract does not have the expected keys"),
        ("normalizer.json", "{}", "exactly low and high"),
        ("config.json", "{}", "model config does not have the expected keys"),
    ],
)
def test_refuses_damaged_documents(saved, name, text, match):
    (saved / name).write_text(text)
    with pytest.raises(CheckpointError, match=match):
        load_checkpoint(saved)
