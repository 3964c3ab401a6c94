"""APT's two stage scripts through their own main, two steps each, on a dataset of bags."""

import json
import shutil

import numpy as np
import pytest
import tiny_policies
import torch

from training import stage1_apt, stage2_apt
from vla_ros.core.contract import apt_contract
from vla_ros.policy.checkpoint import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.usefixtures("no_compiler")


def first(data, out, *more):
    return ["--data", str(data), "--out", str(out), "--recipe", "tiny", *more]


def second(data, init, out, *more):
    return [*first(data, out), "--init", str(init), *more]


@pytest.fixture(scope="module")
def stage1(no_compiler, calibrated, tmp_path_factory):
    """Return the checkpoint of a Stage 1 run; not to be changed."""
    out = tmp_path_factory.mktemp("apt") / "s1"
    assert stage1_apt.main(first(calibrated, out)) == 0
    return out


def weights(path):
    return load_checkpoint(path).policy.state_dict()


def test_stage_1_leaves_a_checkpoint_with_its_contract_and_errors(stage1):
    found = load_checkpoint(stage1)
    assert found.contract == apt_contract("front", image_size=32, horizon=4)
    assert (found.method, found.run["stage"], found.run["intrinsics"]) == ("apt", 1, True)
    metrics = json.loads((stage1 / "metrics.json").read_text())
    assert metrics["val_curve"] == [{"step": 2, "loss": metrics["val_loss"]}]
    assert metrics["val_diffusion_loss"] > 0
    for guess in ("val", "val_constant", "val_still"):
        assert set(metrics[f"{guess}_error_by_step"]) == {"1", "4"}
        assert metrics[f"{guess}_loss"] > 0


def test_stage_2_takes_over_all_of_stage_1(stage1, calibrated, tmp_path, capsys):
    before = weights(stage1)
    assert stage2_apt.main(second(calibrated, stage1, tmp_path / "s2", "--vlm", "full")) == 0
    # 8 samples of each of two successful demonstrations.
    assert "Stage 2: 8 samples of 2 episodes, 8 held out" in capsys.readouterr().out
    found = load_checkpoint(tmp_path / "s2")
    assert found.policy.config.stage == 2
    assert found.run["init"]["stage"] == 1
    after = found.policy.state_dict()
    # Two steps from the same numbers: Stage 1's second layer is Stage 2's fourth.
    for name, there in (
        ("expert.tokens.noisy.0.weight", "expert.tokens.noisy.0.weight"),
        ("expert.blocks.1.film.weight", "expert.blocks.3.film.weight"),
        ("vlm.rows", "vlm.rows"),
    ):
        moved = (before[name] - after[there]).abs().max()
        assert 0 < moved < 0.01, name


@pytest.mark.parametrize("script", [stage1_apt, stage2_apt])
def test_a_resumed_run_equals_an_uninterrupted_one(script, stage1, calibrated, tmp_path):
    def arguments(out):
        own = (first(calibrated, out), second(calibrated, stage1, out))[script is stage2_apt]
        return [*own, "--steps", "4"]

    whole = script.train(script.parse_arguments(arguments(tmp_path / "whole")))
    cut = arguments(tmp_path / "cut")
    script.train(script.parse_arguments(cut), stop_after=2)
    assert (tmp_path / "cut" / "training_state.pt").exists()
    resumed = script.train(script.parse_arguments([*cut, "--resume"]))
    expected, actual = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    assert resumed["train_curve"][-1] == whole["train_curve"][-1]
    assert resumed["val_loss"] == whole["val_loss"]


def test_features_that_are_kept_change_nothing(calibrated, tmp_path, monkeypatch):
    kept = stage1_apt.train(stage1_apt.parse_arguments(first(calibrated, tmp_path / "kept")))
    monkeypatch.setattr("training.learning.apt_stage.frozen_features", lambda *_: None)
    anew = stage1_apt.train(stage1_apt.parse_arguments(first(calibrated, tmp_path / "anew")))
    np.testing.assert_allclose(
        [loss for point in kept["train_curve"] for loss in point.values()],
        [loss for point in anew["train_curve"] for loss in point.values()],
        rtol=1e-5,
    )


def test_what_will_not_train_does_not_look_at_all_pictures(
    stage1, calibrated, tmp_path, monkeypatch, capsys
):
    looked = []
    monkeypatch.setattr(
        "training.learning.apt_stage.frozen_features", lambda *given: looked.append(given[4:])
    )
    assert stage1_apt.main(first(calibrated, tmp_path / "dry", "--dry-run")) == 0
    assert [len(indices) for (indices,) in looked] == [4]  # the first batch
    assert not (tmp_path / "dry").exists()
    assert stage1_apt.main(first(calibrated, stage1, "--resume", "--seed", "1")) == 1
    assert "belongs to another run (seed differ)" in capsys.readouterr().err
    assert stage1_apt.main(first(calibrated, stage1, "--resume")) == 0  # finished
    assert len(looked) == 1


@pytest.mark.parametrize(
    "more",
    [
        ["--style", "pi"],
        ["--style", "groot", "--vlm", "insulated"],
        ["--language", "token_insertion", "--vlm", "full"],
    ],
)
def test_single_stage_of_every_style(more, calibrated, tmp_path):
    assert stage2_apt.main(second(calibrated, "none", tmp_path / "s2", *more)) == 0
    run = load_checkpoint(tmp_path / "s2").run
    assert run["init"] is None


def test_the_papers_gate_is_of_one_number_learns_and_goes_into_stage_2(calibrated, tmp_path):
    one, two = tmp_path / "s1", tmp_path / "s2"
    assert stage1_apt.main(first(calibrated, one, "--fusion", "paper")) == 0
    assert stage2_apt.main(second(calibrated, one, two)) == 0
    # 4 slots, of which Stage 1 has the odd ones; nothing reads what the last one would fuse.
    for path, slots in ((one, (1,)), (two, (0, 1, 2))):
        checkpoint = load_checkpoint(path)
        assert checkpoint.policy.config.fusion == "paper"
        assert checkpoint.run["config"]["apt"]["fusion"] == "paper"
        found = {n: g for n, g in checkpoint.policy.state_dict().items() if n.endswith(".gate")}
        assert found.keys() == {f"expert.fusions.{slot}.gate" for slot in slots}
        assert all(gate.shape == (1,) and gate.item() != 0 for gate in found.values())
    # Two steps from where Stage 1 left it.
    before, after = (weights(path)["expert.fusions.1.gate"].item() for path in (one, two))
    assert 0 < abs(after - before) < 0.01


def test_the_papers_gate_in_a_single_stage(calibrated, tmp_path):
    assert stage2_apt.main(second(calibrated, "none", tmp_path / "s2", "--fusion", "paper")) == 0
    assert load_checkpoint(tmp_path / "s2").policy.config.fusion == "paper"


def test_language_may_enter_stage_1s_own_layers(stage1, calibrated, tmp_path):
    more = ("--language", "token_insertion")
    assert stage2_apt.main(second(calibrated, stage1, tmp_path / "s2", *more)) == 0
    config = load_checkpoint(tmp_path / "s2").policy.config
    assert (len(config.layers), config.language) == (2, "token_insertion")


def test_bad_input_is_one_sentence(stage1, calibrated, converted, tmp_path, capsys):
    def said(script, arguments):
        assert script.main(arguments) == 1
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    out = tmp_path / "out"
    blind = shutil.copytree(converted, tmp_path / "blind")
    error = said(stage1_apt, first(blind, out))
    assert "does not tell the pose (T_base_camera) and the intrinsics (K) of camera front" in error
    assert "has no camera side" in said(stage1_apt, first(calibrated, out, "--cameras", "side"))
    for made, what in ((tiny_policies.apt(), "apt of stage 2"), (tiny_policies.tap(), "tap of")):
        save_checkpoint(made, tmp_path / "other")
        error = said(stage2_apt, second(calibrated, tmp_path / "other", out))
        assert f"is a checkpoint of {what}" in error
    assert "brings its own style" in said(
        stage2_apt, second(calibrated, stage1, out, "--style", "pi")
    )
    fused = second(calibrated, stage1, out, "--fusion", "paper")
    assert "brings its own fusion" in said(stage2_apt, fused)
    assert "style pi does not have" in said(
        stage1_apt, first(calibrated, out, "--style", "pi", "--fusion", "paper")
    )
    assert "no adapters" in said(stage2_apt, second(calibrated, stage1, out, "--vlm", "lora"))
