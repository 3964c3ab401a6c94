"""Both stage scripts through their own main, two steps each, on a dataset made from bags."""

import json
import shutil

import numpy as np
import pytest
import torch

from training import stage1_tap, stage2_tap
from training.convert import convert
from training.datasets.frames import MaxAge
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import CheckpointError
from vla_ros.policy.checkpoint import load_checkpoint
from vla_ros.policy.runner import PolicyRunner

pytestmark = pytest.mark.usefixtures("no_compiler")


@pytest.fixture
def stage1(dataset_path, tmp_path):
    """Return the arguments of a Stage 1 run."""
    return ["--data", str(dataset_path), "--out", str(tmp_path / "s1"), "--recipe", "tiny"]


@pytest.fixture
def stage2(dataset_path, tmp_path):
    """Return the arguments of a Stage 2 run that starts from Stage 1."""
    return [
        *("--data", str(dataset_path), "--init", str(tmp_path / "s1")),
        *("--out", str(tmp_path / "s2"), "--recipe", "tiny"),
    ]


@pytest.fixture(scope="module")
def trained_once(no_compiler, converted, tmp_path_factory):
    """Return the checkpoint of a Stage 1 run as `stage1` says it."""
    folder = tmp_path_factory.mktemp("trained")
    data = shutil.copytree(converted, folder / "data")
    stage1_tap.main(["--data", str(data), "--out", str(folder / "s1"), "--recipe", "tiny"])
    return folder / "s1"


@pytest.fixture
def stage1_done(trained_once, tmp_path):
    """Put the checkpoint of that run where `stage2` looks for it."""
    return shutil.copytree(trained_once, tmp_path / "s1")


def weights(path):
    return load_checkpoint(path).policy.state_dict()


def test_from_bags_to_a_legal_action(stage1, stage2, tmp_path, capsys):
    assert stage1_tap.main(stage1) == 0
    assert stage2_tap.main(stage2) == 0
    assert "held-out loss" in capsys.readouterr().out
    runner = PolicyRunner.load(tmp_path / "s2", tap_contract(image_size=32))
    action = runner.act(np.zeros((48, 64, 3), np.uint8), "put the carrot on the plate")
    runner.contract.action.validate(action)
    assert runner.run["init"]["stage"] == 1


def test_metrics_hold_curves_baseline_and_cost(stage1_done):
    metrics = json.loads((stage1_done / "metrics.json").read_text())
    assert [point["step"] for point in metrics["train_curve"]] == [1, 2]
    assert [point["step"] for point in metrics["val_curve"]] == [2]
    assert metrics["val_curve"][0]["loss"] == metrics["val_loss"]
    assert metrics["val_constant_loss"] > 0
    assert metrics["steps"] == 2
    assert metrics["step_ms"] > 0
    assert metrics["loader_ms"] > 0
    assert metrics["num_parameters"] > 0
    assert len(metrics["val_constant_loss_by_dimension"]) == 7


def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    stage1, trained_once, tmp_path
):
    first = weights(trained_once)
    stage1_tap.main(stage1)
    again = weights(tmp_path / "s1")
    assert all(torch.equal(first[name], again[name]) for name in first)
    stage1_tap.main([*stage1, "--seed", "1"])
    assert not torch.equal(first["head.0.weight"], weights(tmp_path / "s1")["head.0.weight"])


@pytest.mark.parametrize(("script", "which"), [(stage1_tap, "s1"), (stage2_tap, "s2")])
def test_a_resumed_run_equals_an_uninterrupted_one(
    script, which, stage1, stage2, trained_once, tmp_path
):
    if script is stage2_tap:
        shutil.copytree(trained_once, tmp_path / "s1")
    arguments = [*(stage1 if script is stage1_tap else stage2), "--steps", "4"]
    whole = script.train(script.parse_arguments(arguments))
    expected = weights(tmp_path / which)
    shutil.rmtree(tmp_path / which)
    script.train(script.parse_arguments(arguments), stop_after=2)
    assert (tmp_path / which / "training_state.pt").exists()
    resumed = script.train(script.parse_arguments([*arguments, "--resume"]))
    actual = weights(tmp_path / which)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    assert resumed["train_curve"] == whole["train_curve"]
    assert resumed["val_loss"] == whole["val_loss"]
    assert not (tmp_path / which / "training_state.pt").exists()


def test_resuming_a_finished_run_changes_nothing(stage1, stage1_done, tmp_path, capsys):
    before = (tmp_path / "s1" / "model.safetensors").read_bytes()
    assert stage1_tap.main([*stage1, "--resume"]) == 0
    assert (tmp_path / "s1" / "model.safetensors").read_bytes() == before
    assert "held-out loss" in capsys.readouterr().out


def test_stage_2_starts_from_the_weights_of_stage_1(stage1_done, stage2, tmp_path):
    args = stage2_tap.parse_arguments(stage2)
    stage2_tap.train(args)
    before, after = weights(tmp_path / "s1"), weights(tmp_path / "s2")
    # The second slot is not used in Stage 2 and so keeps exactly what Stage 1 taught it.
    for name in before:
        if "slot_projections.1" in name or "slot_embeddings.1" in name:
            assert torch.equal(before[name], after[name])
    assert not torch.equal(before["head.0.weight"], after["head.0.weight"])


def test_stage_2_runs_from_scratch(stage2, tmp_path):
    arguments = [value if value != str(tmp_path / "s1") else "none" for value in stage2]
    assert stage2_tap.main(arguments) == 0
    assert load_checkpoint(tmp_path / "s2").run["init"] is None


def test_stages_take_what_the_rule_gives_them(stage1, stage2, capsys, tmp_path):
    # 3 play episodes and 1 failed demonstration; 2 demonstrations of 8 frames that succeeded.
    stage1_tap.main(stage1)
    assert "of 4 episodes" in capsys.readouterr().out
    stage2_tap.main(stage2)
    assert "8 frames of 2 episodes, 8 frames held out" in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "s1").contract == tap_contract(image_size=32)
    stage1_tap.main([*stage1, "--kinds", "play"])
    assert "of 3 episodes" in capsys.readouterr().out


def test_several_datasets_train_together_by_weight(stage1, bag_writer, tmp_path, dataset_path):
    bags = [bag_writer.moving_episode(f"roll-{i}", 6, "policy", "x", seed=20 + i) for i in range(2)]
    convert(bags, tmp_path / "more", tap_contract(image_size=32), MaxAge())
    arguments = [
        *stage1,
        "--data",
        str(dataset_path),
        str(tmp_path / "more"),
        "--weights",
        "1",
        "3",
    ]
    assert stage1_tap.main(arguments) == 0
    run = load_checkpoint(tmp_path / "s1").run
    assert [data["name"] for data in run["data"]] == ["data", "more"]
    assert run["weights"] == [1, 3]


def test_refuses_to_resume_another_run(stage1, capsys):
    stage1_tap.train(stage1_tap.parse_arguments([*stage1, "--steps", "4"]), stop_after=2)
    assert stage1_tap.main([*stage1, "--steps", "4", "--seed", "9", "--resume"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("training.stage1_tap: checkpoint")
    assert "belongs to another run (seed differ)" in error


def test_refuses_a_damaged_training_state(stage1, tmp_path):
    args = [*stage1, "--steps", "4"]
    stage1_tap.train(stage1_tap.parse_arguments(args), stop_after=2)
    (tmp_path / "s1" / "training_state.pt").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"training_state.pt is missing or damaged"):
        stage1_tap.train(stage1_tap.parse_arguments([*args, "--resume"]))


def test_refuses_an_init_that_is_not_there(stage2, capsys):
    assert stage2_tap.main(stage2) == 1
    assert "s1 does not exist" in capsys.readouterr().err


def test_refuses_a_folder_of_other_things_before_training(stage1, tmp_path, capsys):
    (tmp_path / "s1").mkdir()
    (tmp_path / "s1" / "thesis.doc").touch()
    assert stage1_tap.main(stage1) == 1
    assert "is not a checkpoint" in capsys.readouterr().err


def test_the_options_of_the_stage_scripts_are_frozen(capsys):
    # A new knob goes into training/learning/recipes.py. Weights belong to the datasets given.
    common = ["--data", "--weights", "--out", "--recipe", "--steps", "--seed", "--kinds"]
    common.append("--resume")
    for script, extra in ((stage1_tap, []), (stage2_tap, ["--init"])):
        with pytest.raises(SystemExit):
            script.parse_arguments(["--help"])
        text = capsys.readouterr().out
        options = {w.strip(",") for w in text[text.index("options:") :].split() if w[:2] == "--"}
        assert options == {*common, *extra, "--help"}
