import dataclasses
import json
import pickle
from dataclasses import replace

import pytest
import torch

from vla_ros.core.contract import apt_contract, tap_contract
from vla_ros.core.errors import CheckpointError, ContractError
from vla_ros.policy.apt.config import AptConfig
from vla_ros.policy.apt.policy import AptPolicy
from vla_ros.policy.checkpoint import (
    WEIGHTS,
    Checkpoint,
    is_checkpoint,
    load_checkpoint,
    require_replaceable,
    save_checkpoint,
)
from vla_ros.policy.fast_tokens import FastTokenizer
from vla_ros.policy.model_card import model_card
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.small_config import toy_config
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.tap import TapPolicy
from vla_ros.policy.tap_config import TapConfig
from vla_ros.policy.text_tokens import train_tokenizer

CONFIG = replace(
    toy_config(depth=2),
    max_text=16,
    tokenizer=train_tokenizer(["put the carrot on the plate", "put the carrot away"], 270),
)
NORMALIZER = Normalizer([-0.05] * 3 + [-0.5] * 3, [0.05] * 3 + [0.5] * 3)
RUN = {"stage": 2, "seed": 0, "steps_done": 1}


def tap(head="fast") -> Checkpoint:
    torch.manual_seed(0)
    actions = torch.rand(60, 1, 7).numpy() * 2 - 1
    tokens = FastTokenizer.fit(actions, vocabulary=40) if head == "fast" else None
    policy = TapPolicy(SmallVlm(CONFIG), TapConfig(stage=2, head=head, head_width=8), tokens)
    return Checkpoint(policy.eval(), tap_contract(image_size=32), RUN, NORMALIZER)


def apt() -> Checkpoint:
    torch.manual_seed(0)
    config = AptConfig(stage=2, num_layers=2, width=32, num_heads=2, horizon=4)
    contract = apt_contract(("front", "side"), image_size=32, horizon=4)
    return Checkpoint(AptPolicy(SmallVlm(CONFIG), config).eval(), contract, RUN)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a TAP checkpoint and its folder, not to be changed."""
    checkpoint, folder = tap(), tmp_path_factory.mktemp("written") / "ckpt"
    save_checkpoint(checkpoint, folder, {"metrics.json": b"{}"})
    return checkpoint, folder


@pytest.fixture
def saved(written, tmp_path):
    """Return a copy of that folder, to be spoilt."""
    for file in written[1].rglob("*"):
        if file.is_file():
            target = tmp_path / "ckpt" / file.relative_to(written[1])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    return tmp_path / "ckpt"


def test_a_loaded_tap_decodes_what_the_saved_one_does(written):
    checkpoint, folder = written
    loaded = load_checkpoint(folder, tap_contract(image_size=32))
    images = torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    text = ["put the carrot away", "Put it on the plate"]
    assert torch.equal(loaded.policy.act(images, text), checkpoint.policy.act(images, text))
    assert loaded.method == "tap"
    assert loaded.run == RUN
    assert loaded.normalizer.to_dict() == NORMALIZER.to_dict()
    read, own = (c.policy.vlm.tokenizer.encode("carrot", 9) for c in (loaded, checkpoint))
    assert read == own


@pytest.mark.parametrize("make", [apt, lambda: tap("mlp")])
def test_other_heads_and_methods_come_back_whole(make, tmp_path):
    checkpoint = make()
    save_checkpoint(checkpoint, tmp_path / "ckpt")
    loaded = load_checkpoint(tmp_path / "ckpt", checkpoint.contract)
    assert loaded.policy.config == checkpoint.policy.config
    expected = checkpoint.policy.state_dict()
    assert set(loaded.policy.state_dict()) == set(expected)
    for name, value in loaded.policy.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_averaged_weights_are_written_in_place_of_the_policys(tmp_path):
    checkpoint = tap("mlp")
    averaged = {"head.0.bias": torch.full((8,), 0.25)}
    save_checkpoint(checkpoint, tmp_path / "ckpt", weights=averaged)
    assert torch.equal(
        load_checkpoint(tmp_path / "ckpt").policy.head[0].bias, averaged["head.0.bias"]
    )


def test_the_folder_is_ready_for_a_model_hub(written):
    names = {str(file.relative_to(written[1])) for file in written[1].rglob("*") if file.is_file()}
    assert names == {
        *(WEIGHTS, "config.json", "contract.json", "run.json", "normalizer.json"),
        *("action_tokens.json", "backbone/tokenizer.json", "README.md", "LICENSE", "metrics.json"),
    }
    card = (written[1] / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert "- Does: ee_delta, 7 (m x 3, rad x 3, opening)" in card
    assert is_checkpoint(written[1])


def test_a_card_names_few_recordings_and_counts_many():
    many = {str(number): [] for number in range(101)}
    run = {"stage": 2, "data": [{"trained": {"a1": [3]}}, {"trained": many}]}
    card = model_card("tap", {"kind": "small"}, tap_contract(image_size=32), run)
    assert '"a1": [' in card
    assert '"trained": "101 entries, in run.json"' in card


def test_a_failed_write_leaves_the_old_checkpoint(written, saved):
    changed = dataclasses.replace(written[0], run={"seed": 5})
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(changed, saved, {"no/such/folder": b""})
    assert load_checkpoint(saved).run["seed"] == 0
    assert [path.name for path in saved.parent.iterdir()] == ["ckpt"]
    save_checkpoint(changed, saved)
    assert load_checkpoint(saved).run["seed"] == 5
    assert not (saved / "metrics.json").exists()


def test_a_folder_of_other_things_is_not_replaced(tmp_path):
    (tmp_path / "cat.jpg").touch()
    with pytest.raises(CheckpointError, match="exists and is not a checkpoint"):
        require_replaceable(tmp_path)
    with pytest.raises(CheckpointError, match="exists and is not a checkpoint"):
        save_checkpoint(tap("mlp"), tmp_path)
    assert (tmp_path / "cat.jpg").exists()


def test_tap_needs_its_normaliser():
    with pytest.raises(CheckpointError, match="needs the normaliser"):
        dataclasses.replace(tap("mlp"), normalizer=None)


def test_a_missing_folder_or_file_is_named(saved, tmp_path):
    with pytest.raises(CheckpointError, match="nowhere does not exist"):
        load_checkpoint(tmp_path / "nowhere")
    (saved / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no run\.json"):
        load_checkpoint(saved)


def test_another_contract_is_refused(saved):
    with pytest.raises(ContractError, match=r"rate_hz: 10.0 here, 5.0 there"):
        load_checkpoint(saved, tap_contract(image_size=32, rate_hz=10.0))


def test_truncated_weights_are_refused(saved):
    data = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"model.safetensors is damaged"):
        load_checkpoint(saved)


def test_a_pickle_is_never_run(saved, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    (saved / WEIGHTS).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="is damaged or not a safetensors file"):
        load_checkpoint(saved)
    assert not (tmp_path / "pwned").exists()


def change(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_weights_of_another_model_are_refused(saved):
    config = json.loads((saved / "config.json").read_text())["backbone"]
    config["config"]["depth"] = 1
    change(saved / "config.json", backbone=config)
    with pytest.raises(CheckpointError, match=r"does not fit config.json: \d+ tensors differ"):
        load_checkpoint(saved)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    checkpoint = tap("mlp")
    broken = {"head.0.bias": torch.full((8,), torch.nan)}
    save_checkpoint(checkpoint, tmp_path / "ckpt", weights=broken)
    with pytest.raises(CheckpointError, match=r"not finite, in head\.0\.bias"):
        load_checkpoint(tmp_path / "ckpt")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"format": "another"}, "is not that of a 'vla_ros policy 1', it says 'another'"),
        ({"method": "magic"}, "is of method 'magic', known are tap and apt"),
        ({"backbone": {"kind": "llama"}}, "is of kind 'llama' or has other keys"),
        ({"backbone": []}, "is of kind None or has other keys"),
        ({"backbone": {"kind": "small", "config": {"wings": 2}}}, "expected keys"),
        ({"backbone": {"kind": "small", "config": 3}}, "impossible sizes"),
        ({"policy": {}}, "TAP's config does not have the expected keys"),
    ],
)
def test_foreign_configs_are_refused(saved, values, match):
    change(saved / "config.json", **values)
    with pytest.raises(CheckpointError, match=match):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("config.json", b"{", "config.json is not readable JSON"),
        ("run.json", b"[]", "must hold a JSON object, got list"),
        ("run.json", b"\xff", "run.json is not readable JSON"),
        ("contract.json", b"{}", "contract.json: contract does not have the expected keys"),
        ("normalizer.json", b"{}", "exactly low and high"),
        ("action_tokens.json", b"[]", "action tokenizer is not the JSON of one"),
        ("action_tokens.json", b"\xff", "action_tokens.json cannot be read"),
        ("backbone/tokenizer.json", b"{", "text tokenizer is not the JSON of a BPE"),
        ("backbone/tokenizer.json", b"\xff", "tokenizer.json is missing or damaged"),
    ],
)
def test_damaged_documents_are_refused(saved, name, data, match):
    (saved / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=match):
        load_checkpoint(saved)


def test_a_missing_action_tokenizer_is_refused(saved):
    (saved / "action_tokens.json").unlink()
    with pytest.raises(CheckpointError, match="needs an action tokenizer"):
        load_checkpoint(saved)
