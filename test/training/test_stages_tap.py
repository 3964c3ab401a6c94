"""TAP's stage scripts through their own main, two steps each, on a dataset made from bags."""

import json
import shutil

import pytest
import torch

from training import stage1_tap, stage2_tap
from training.convert import convert
from training.datasets.frames import MaxAge
from training.learning.tap_recipes import tiny
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import CheckpointError, VlaError
from vla_ros.policy.checkpoint import load_checkpoint
from vla_ros.policy.small_files import save_small_vlm
from vla_ros.policy.small_vlm import SmallVlm

pytestmark = pytest.mark.usefixtures("no_compiler")
COMMON = ("--data", "--weights", "--kinds", "--out", "--recipe", "--backbone", "--steps", "--seed")
COMMON = (*COMMON, "--resume", "--overwrite", "--dry-run", "--head", "--action-tokens", "--help")


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
    """Return the checkpoint of a Stage 1 run as `stage1` says it, of 4 steps."""
    folder = tmp_path_factory.mktemp("trained")
    data = shutil.copytree(converted, folder / "data")
    arguments = ["--data", str(data), "--out", str(folder / "s1"), "--recipe", "tiny"]
    assert stage1_tap.main([*arguments, "--steps", "4"]) == 0
    return folder / "s1"


@pytest.fixture
def stage1_done(trained_once, tmp_path):
    """Put the checkpoint of that run where `stage2` looks for it."""
    return shutil.copytree(trained_once, tmp_path / "s1")


@pytest.fixture
def pretrained(tmp_path):
    """Return a folder with a toy backbone, as training.pretrain_vlm leaves it."""
    torch.manual_seed(5)
    model = SmallVlm(tiny(1).small)
    save_small_vlm(model, tmp_path / "vlm", {})
    return tmp_path / "vlm", model.state_dict()


def weights(path):
    return load_checkpoint(path).policy.state_dict()


def read(path):
    return json.loads(path.read_text())


def test_from_bags_to_a_legal_action(stage1_done, stage2, tmp_path, capsys):
    assert stage2_tap.main(stage2) == 0
    assert "held-out loss" in capsys.readouterr().out
    checkpoint = load_checkpoint(tmp_path / "s2", tap_contract(image_size=32))
    found = checkpoint.policy.act(torch.zeros(1, 1, 3, 32, 32), ["put the carrot on the plate"])
    checkpoint.contract.action.validate(checkpoint.normalizer.invert(found.numpy())[0, 0])
    assert checkpoint.run["init"]["stage"] == 1
    # What is in force: the backbone has Stage 1's tokens, which the recipe knows nothing of.
    assert checkpoint.run["config"]["qwen"] is None
    assert checkpoint.run["config"]["small"]["num_action_tokens"] > 0
    # Action tokens are Stage 1's, the action scale is the demonstrations' own.
    tokens = [(tmp_path / name / "action_tokens.json").read_text() for name in ("s1", "s2")]
    assert tokens[0] == tokens[1]
    assert load_checkpoint(stage1_done).normalizer.to_dict() != checkpoint.normalizer.to_dict()


def test_metrics_hold_curves_baseline_tokens_and_cost(trained_once):
    metrics = read(trained_once / "metrics.json")
    assert [point["step"] for point in metrics["train_curve"]] == [1, 2, 3, 4]
    assert metrics["val_curve"] == [{"step": 4, "loss": metrics["val_loss"]}]
    assert (metrics["stage"], metrics["recipe"], metrics["seed"], metrics["steps"]) == (
        *(1, "tiny", 0, 4),
    )
    assert min(metrics[n] for n in ("val_constant_loss", "val_cross_entropy", "step_ms")) > 0
    assert 0 <= metrics["val_token_accuracy"] <= 1
    assert metrics["loader_ms"] >= 0
    assert metrics["num_parameters"] > 0
    assert len(metrics["val_constant_loss_by_dimension"]) == 7
    assert list(trained_once.with_name("s1.events").glob("events.out.tfevents.*"))


def test_a_resumed_run_equals_an_uninterrupted_one_and_another_seed_does_not(
    stage1, trained_once, tmp_path, capsys
):
    arguments = [*stage1, "--steps", "4"]
    stage1_tap.train(stage1_tap.parse_arguments(arguments), stop_after=2)
    assert (tmp_path / "s1/training_state.pt").exists()
    assert stage1_tap.main(arguments) == 1
    assert "done 2 of 4 steps; go on with it by --resume" in capsys.readouterr().err
    resumed = stage1_tap.train(stage1_tap.parse_arguments([*arguments, "--resume"]))
    expected, actual = weights(trained_once), weights(tmp_path / "s1")
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    whole = read(trained_once / "metrics.json")
    assert resumed["train_curve"] == whole["train_curve"]
    assert resumed["val_loss"] == whole["val_loss"]
    assert [point["step"] for point in resumed["val_curve"]] == [4]
    assert not (tmp_path / "s1/training_state.pt").exists()
    assert stage1_tap.main([*arguments, "--seed", "1", "--overwrite"]) == 0
    assert not torch.equal(expected["vlm.rows"], weights(tmp_path / "s1")["vlm.rows"])


def test_resuming_a_finished_run_changes_nothing(stage1, stage1_done, capsys):
    before = (stage1_done / "model.safetensors").stat().st_mtime_ns
    assert stage1_tap.main([*stage1, "--steps", "4", "--resume"]) == 0
    assert (stage1_done / "model.safetensors").stat().st_mtime_ns == before
    assert "held-out loss" in capsys.readouterr().out


def test_refuses_to_resume_another_run_and_names_what_differs(stage1, stage1_done, capsys):
    assert stage1_tap.main([*stage1, "--steps", "9", "--head", "mlp", "--resume"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("training.stage1_tap: ")
    assert "belongs to another run (config.steps, config.tap.head, " in error


def test_refuses_a_damaged_training_state(stage1, stage1_done):
    args = stage1_tap.parse_arguments([*stage1, "--steps", "4", "--resume"])
    run = read(stage1_done / "run.json")
    (stage1_done / "run.json").write_text(json.dumps({**run, "steps_done": 2}))
    with pytest.raises(CheckpointError, match=r"training_state.pt is damaged, missing or"):
        stage1_tap.train(args)
    (stage1_done / "training_state.pt").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"training_state.pt is damaged, missing or"):
        stage1_tap.train(args)


def test_stage_2_begins_with_all_that_stage_1_knows(stage1_done, stage2, monkeypatch):
    seen = []
    monkeypatch.setattr(stage2_tap, "run_tap", lambda *given: seen.append(given) or {})
    stage2_tap.train(stage2_tap.parse_arguments(stage2))
    policy = seen[0][4]
    expected = weights(stage1_done)
    assert policy.config.stage == 2
    assert all(torch.equal(expected[n], value) for n, value in policy.state_dict().items())
    assert all(parameter.requires_grad for parameter in policy.parameters())


def test_frozen_features_stay_those_of_stage_1_and_the_action_tokens_learn(
    stage1_done, stage2, tmp_path, capsys
):
    assert stage2_tap.main([*stage2, "--frozen"]) == 0
    before, after = weights(stage1_done), weights(tmp_path / "s2")
    assert {n for n in before if not torch.equal(before[n], after[n])} == {"vlm.rows"}
    checkpoint = load_checkpoint(tmp_path / "s2")
    first = checkpoint.policy.vlm.first_action_token
    has_moved = (before["vlm.rows"] != after["vlm.rows"]).any(1)
    assert first > 0
    assert has_moved.tolist() == [False] * first + [True] * (len(has_moved) - first)
    assert checkpoint.run["frozen"] is True
    assert stage2_tap.main([*stage2, "--resume"]) == 1
    assert "belongs to another run (frozen differ)" in capsys.readouterr().err


def test_a_frozen_run_that_was_cut_goes_on_to_the_same_end(stage1_done, stage2, tmp_path):
    arguments = [*stage2, "--frozen", "--steps", "4"]
    assert stage2_tap.main([*arguments, "--out", str(tmp_path / "whole")]) == 0
    stage2_tap.train(stage2_tap.parse_arguments(arguments), stop_after=2)
    assert stage2_tap.main([*arguments, "--resume"]) == 0
    expected, actual = weights(tmp_path / "whole"), weights(tmp_path / "s2")
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_a_run_from_before_features_could_be_frozen_can_be_gone_on_with(
    stage1_done, stage2, tmp_path
):
    stage2_tap.train(stage2_tap.parse_arguments([*stage2, "--steps", "2"]), stop_after=1)
    run = read(tmp_path / "s2/run.json")
    del run["frozen"]
    (tmp_path / "s2/run.json").write_text(json.dumps(run))
    assert stage2_tap.main([*stage2, "--steps", "2", "--resume"]) == 0
    assert read(tmp_path / "s2/metrics.json")["steps"] == 2


def test_refuses_to_freeze_the_features_of_no_stage_1(stage2, capsys):
    assert stage2_tap.main([*stage2, "--init", "none", "--frozen"]) == 1
    assert "--frozen keeps the features of Stage 1, and --init none" in capsys.readouterr().err


def test_stage_2_runs_from_scratch_with_a_regression(stage2, tmp_path):
    arguments = [value if value != str(tmp_path / "s1") else "none" for value in stage2]
    assert stage2_tap.main([*arguments, "--head", "mlp"]) == 0
    checkpoint = load_checkpoint(tmp_path / "s2")
    assert checkpoint.run["init"] is None
    assert checkpoint.policy.head is not None
    assert "val_cross_entropy" not in read(tmp_path / "s2/metrics.json")


def test_a_pretrained_vision_tower_is_frozen_in_stage_1(stage1, pretrained, tmp_path):
    folder, before = pretrained
    assert stage1_tap.main([*stage1, "--backbone", str(folder), "--condition", "vision"]) == 0
    checkpoint = load_checkpoint(tmp_path / "s1")
    assert checkpoint.policy.config.num_images == 1
    after = checkpoint.policy.vlm.state_dict()
    for name, value in before.items():
        if name.startswith("encoder.trunk."):
            assert torch.equal(after[name], value), name
    assert not torch.equal(after["point_embedding"], before["point_embedding"])
    assert checkpoint.run["backbone"]["name"] == "vlm"


def test_stages_take_what_the_rule_gives_them(stage1, stage2, stage1_done, capsys):
    # 3 play episodes and 1 failed demonstration; 2 demonstrations of 8 frames that succeeded.
    stage1_tap.main([*stage1, "--dry-run"])
    assert "of 4 episodes" in capsys.readouterr().out
    stage1_tap.main([*stage1, "--dry-run", "--kinds", "play"])
    assert "of 3 episodes" in capsys.readouterr().out
    stage2_tap.main([*stage2, "--dry-run"])
    told = capsys.readouterr().out
    assert "8 samples of 2 episodes, 8 held out; 2 steps of 4" in told
    assert "vlm: 0.0" in told
    assert "steps/s" in told


def test_a_dry_run_writes_nothing(stage1, tmp_path):
    assert stage1_tap.main([*stage1, "--dry-run"]) == 0
    assert not (tmp_path / "s1").exists()
    assert not (tmp_path / "s1.events").exists()


def test_several_datasets_train_together_by_weight(stage1, bag_writer, tmp_path, dataset_path):
    bags = [bag_writer.moving_episode(f"roll-{i}", 6, "policy", "x", seed=20 + i) for i in range(2)]
    convert(bags, tmp_path / "more", tap_contract(image_size=32), MaxAge())
    data = ["--data", str(dataset_path), str(tmp_path / "more"), "--weights", "1", "3"]
    assert stage1_tap.main([*stage1, *data]) == 0
    run = load_checkpoint(tmp_path / "s1").run
    assert [data["name"] for data in run["data"]] == ["data", "more"]
    assert run["weights_of_data"] == [1, 3]


def test_refuses_an_init_that_is_not_there_or_brings_what_is_asked_for(stage2, capsys, tmp_path):
    assert stage2_tap.main(stage2) == 1
    assert "s1 does not exist" in capsys.readouterr().err
    with pytest.raises(VlaError, match="brings its own head, action tokens"):
        stage2_tap.train(
            stage2_tap.parse_arguments([*stage2, "--head", "mlp", "--action-tokens", "x"])
        )


def test_refuses_to_replace_what_it_starts_from(stage2, capsys, tmp_path):
    assert stage2_tap.main([*stage2, "--out", str(tmp_path / "s1")]) == 1
    assert "s1 is what the run starts from and would be replaced" in capsys.readouterr().err


def test_refuses_a_folder_of_other_things_before_training(stage1, tmp_path, capsys):
    (tmp_path / "s1").mkdir()
    (tmp_path / "s1" / "thesis.doc").touch()
    assert stage1_tap.main(stage1) == 1
    assert "is not a checkpoint" in capsys.readouterr().err


def test_the_options_of_the_stage_scripts_are_frozen(capsys):
    # A new knob goes into training/learning/tap_recipes.py. Weights belong to the datasets given.
    own = ["--condition", "--pair-offset"], ["--init", "--frozen"]
    for script, extra in zip((stage1_tap, stage2_tap), own, strict=True):
        with pytest.raises(SystemExit):
            script.parse_arguments(["--help"])
        text = capsys.readouterr().out
        options = {w.strip(",") for w in text[text.index("options:") :].split() if w[:2] == "--"}
        assert options == {*COMMON, *extra}
