"""The command on a policy that always says the same, whose errors are known from the dataset."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from training import evaluate
from training.learning.dataset import open_dataset
from training.learning.splits import Split, split_episodes, stage_1_episodes, stage_2_episodes
from training.learning.trained_on import note
from vla_ros.core.contract import apt_contract, tap_contract
from vla_ros.policy.apt.config import AptConfig
from vla_ros.policy.apt.policy import AptPolicy
from vla_ros.policy.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.small_config import toy_config
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.tap import TapPolicy
from vla_ros.policy.tap_config import TapConfig

SIDE = 32
NORMALIZER = Normalizer([-0.2] * 3 + [-1.0] * 3, [0.2] * 3 + [1.0] * 3)
SMALL = toy_config(max_suffix=256)
# Normalised 0 is the middle of each range.
SAID = np.array([0, 0, 0, 0, 0, 0, 0.25], np.float32)


@pytest.fixture
def checkpoint(dataset_path, tmp_path):
    """Return a function that writes a checkpoint of a stage which always answers SAID."""

    def write(stage, **facts):
        policy = TapPolicy(SmallVlm(SMALL), TapConfig(stage, head="mlp", head_width=16))
        torch.nn.init.zeros_(policy.head[2].weight)
        with torch.no_grad():
            policy.head[2].bias.copy_(torch.from_numpy(SAID))
        dataset, *split = parts(dataset_path, stage)
        run = {
            "stage": stage,
            "kinds": None,
            "config": {"pair_offset": 1},
            "data": [note(dataset, Split(*split))],
            **facts,
        }
        path = tmp_path / f"s{stage}"
        save_checkpoint(Checkpoint(policy, tap_contract(image_size=SIDE), run, NORMALIZER), path)
        return str(path)

    return write


@pytest.fixture
def told(tmp_path, capsys):
    """Return a function that evaluates and returns the JSON, the table and what is on stderr."""

    def run(*words):
        file = tmp_path / "result.json"
        file.unlink(missing_ok=True)
        code = evaluate.main([*map(str, words), "--json", str(file)])
        said = capsys.readouterr()
        return (json.loads(file.read_text()) if code == 0 else None), said.out, said.err

    return run


def parts(path, stage=2):
    """Return the dataset and the stage's episodes of it, trained on and held out."""
    dataset = open_dataset(path, SIDE)
    taken = (stage_1_episodes if stage == 1 else stage_2_episodes)(dataset)
    return dataset, *split_episodes(dataset, taken, 0.2)[:2]


def actions_of(dataset, episodes):
    return np.concatenate([dataset.actions[e.first : e.end] for e in episodes])


def test_held_out_episodes_are_measured_and_trained_ones_compared_with(
    checkpoint, told, dataset_path, tmp_path
):
    plot = tmp_path / "plot.png"
    document, table, _ = told(checkpoint(2), "--data", dataset_path, "--plot", plot)
    dataset, trained, held_out = parts(dataset_path)
    true, known = actions_of(dataset, held_out), actions_of(dataset, trained)
    assert document["frames"] == len(true) == 8
    assert document["frames_of_training"] == len(known)
    errors = {c["name"]: c["errors"] for c in document["columns"]}
    for at, name in enumerate(("dx", "dy", "dz", "drx", "dry", "drz", "gripper")):
        of_policy = np.abs(SAID[at] - true[:, at]).mean()
        assert errors[name]["policy"][0] == pytest.approx(of_policy)
        of_median = np.abs(np.median(known[:, at]) - true[:, at]).mean()
        assert errors[name]["constant (median)"][0] == pytest.approx(of_median)
    # Of the gripper, which starts where it is measured and then changes at every frame.
    last = np.append(np.clip(dataset.states[held_out[0].first, -1], 0, 1), true[:-1, 6])
    assert errors["gripper"]["repeat last"][0] == pytest.approx(np.abs(last - true[:, 6]).mean())
    # One recording is held out: no interval, and no verdict.
    assert errors["overall"]["policy"][1:] == [None, None]
    assert set(document["columns"][-1]["verdicts"].values()) == {"overlap"}
    assert "| gripper | opening |" in table
    assert "1 recordings are too narrow" in table
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_stage_1_is_measured_on_pairs(checkpoint, told, dataset_path):
    document, _, _ = told(checkpoint(1), "--data", dataset_path, "--samples", 5)
    assert document["frames"] == 5
    # 3 plays, and the demonstration that failed, whose end alone is held out.
    _, trained, held_out = parts(dataset_path, 1)
    (data,) = document["data"]
    assert (data["trained_episodes"], data["tested_episodes"]) == (len(trained), len(held_out))
    assert document["frames_of_training"] == sum(e.end - e.first - 1 for e in trained)
    assert document["columns"][0]["errors"]["policy"][1] is not None


def test_kinds_choose_among_what_was_held_out(checkpoint, told, dataset_path):
    document, _, _ = told(checkpoint(1), "--data", dataset_path, "--kinds", "play")
    _, _, held_out = parts(dataset_path, 1)
    plays = [e for e in held_out if e.kind == "play"]
    assert document["frames"] == sum(e.end - e.first - 1 for e in plays)
    assert document["data"][0]["trained_episodes"] + len(plays) == 3
    # Of kinds that it never took all are new: 2 that succeeded, and the end of the one that failed.
    document, _, _ = told(checkpoint(1), "--data", dataset_path, "--kinds", "demo")
    assert document["data"][0]["tested_episodes"] == 3


def test_a_recording_is_known_again_as_a_bag(checkpoint, told, converted, dataset_path):
    bags = [converted.parent / f"show-{number}" for number in (1, 2)]
    path = checkpoint(2)
    document, _, error = told(path, "--data", *bags, "--reference", dataset_path)
    assert error == ""
    counts = [
        (d["was_trained_on"], d["trained_episodes"], d["tested_episodes"]) for d in document["data"]
    ]
    # Both are in the reference, too: what is tested is no training for the baselines.
    assert counts == [(True, 1, 1), (True, 0, 0)]
    assert document["frames"] == document["frames_of_training"] == 8


def test_what_an_earlier_stage_was_trained_on_is_left_out(checkpoint, told, dataset_path):
    _, _, (episode,) = parts(dataset_path)
    path = checkpoint(2, init={"data": [{"trained": {episode.recording: None}}]})
    document, _, error = told(path, "--data", dataset_path)
    assert document is None
    assert "no episode to test" in error
    (part,) = evaluate.parts_of(load_checkpoint(Path(path)), [dataset_path], [])
    assert (part.tested, part.left_out, part.is_known) == ([], [episode], True)


def test_bags_get_the_label_that_the_policy_learned(bag_writer, tmp_path, monkeypatch):
    seen = []
    convert = lambda bags, out, settings: seen.append(settings.label) or {"failed": []}  # noqa: E731
    monkeypatch.setattr(evaluate, "convert_bags", convert)
    bag = bag_writer.moving_episode("new", 2)
    for stage in (1, 2):
        run = {"stage": stage, "data": [{"label": "commanded"}]}
        made = SimpleNamespace(method="tap", run=run, contract=tap_contract(image_size=SIDE))
        evaluate.as_datasets([bag], tmp_path, made)
    assert seen == ["reached", "commanded"]


def test_a_frame_is_not_its_own_neighbour(checkpoint, told, dataset_path):
    document, table, _ = told(checkpoint(1), "--data", dataset_path, "--split", "all")
    assert document["recordings"] == 4
    # Of a trained frame itself it would be 0, and those are half of all.
    low = document["columns"][0]["errors"]["nearest neighbour"][1]
    assert low > 0
    assert "trained on" in table
    # The only demonstration that was trained on has no other to be compared with.
    _, _, error = told(checkpoint(2), "--data", dataset_path, "--split", "all")
    assert "more than one recording" in error


def test_bags_are_converted_and_need_a_reference(checkpoint, told, dataset_path, bag_writer):
    bag = bag_writer.moving_episode("new", 6, "demo", "push", success=True)
    path = checkpoint(2)
    document, _, error = told(path, "--data", bag)
    assert document is None
    assert "--reference" in error
    document, _, _ = told(path, "--data", bag, "--reference", dataset_path)
    assert document["frames"] == 6
    assert [d["was_trained_on"] for d in document["data"]] == [False, True]


def test_chunks_are_measured_at_their_steps(told, calibrated, tmp_path):
    torch.manual_seed(0)
    config = AptConfig(
        2, num_layers=2, width=16, num_heads=1, horizon=10, train_steps=4, sample_steps=2
    )
    vlm = SmallVlm(replace(SMALL, depth=2))
    data, *split = parts(calibrated)
    run = {
        "stage": 2,
        "kinds": None,
        "config": {"targets": "reached"},
        "data": [note(data, Split(*split))],
    }
    contract = apt_contract("front", SIDE, horizon=10)
    save_checkpoint(Checkpoint(AptPolicy(vlm, config), contract, run), tmp_path / "apt")
    document, _, error = told(tmp_path / "apt", "--data", calibrated)
    assert error == ""
    names = [column["name"] for column in document["columns"]]
    assert names[::5] == ["x, step 1", "x, step 8", "overall"]
    _, _, (episode,) = parts(calibrated)
    T_base_camera = np.array(episode.cameras["front"].T_base_camera)
    # Of the tool that stays where it is the error is the way that it went, in the camera's axes.
    moved = data.actions[episode.first : episode.end, :3] @ T_base_camera[:3, :3]
    errors = {c["name"]: c["errors"] for c in document["columns"]}
    assert errors["x, step 1"]["hold"][0] == pytest.approx(np.abs(moved[:, 0]).mean(), rel=1e-4)
    # Of 8 frames one alone has an eighth step.
    way = moved.sum(0)
    assert errors["y, step 8"]["hold"][0] == pytest.approx(abs(way[1]), rel=1e-3)
    assert errors["gripper, step 1"]["hold"] == errors["gripper, step 1"]["repeat last"]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"data": [{"name": "data", "sha256": "other"}]}, "does not tell which recordings"),
        ({"data": [{"label": "reached", "trained": {"other": None}}]}, "--reference"),
        ({"data": [{"label": "commanded", "trained": {}}]}, "--label reached, which is another"),
        ({"kinds": ["teleop"]}, "no usable episode"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(checkpoint, told, dataset_path, facts, expected):
    document, _, error = told(checkpoint(2, **facts), "--data", dataset_path)
    assert document is None
    assert expected in error
    assert error.count("\n") == 1
