import numpy as np
import pytest
import tiny_policies
from tiny_qwen import FAMILIES, IMAGE_SIZE, write_folder

from training.learning.tap_recipes import RECIPES, small
from training.learning.tap_stage import errors, freeze_features
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.qwen_loading import load_backbone
from vla_ros.policy.qwen_tuning import QwenOptions
from vla_ros.policy.tap import TapPolicy
from vla_ros.policy.tap_config import TapConfig


def test_held_out_errors_are_in_metres_and_radians():
    # Bounds of +-0.1 m and +-1 rad: a normalised error of 0.5 is 0.05 m and 0.5 rad.
    normalizer = Normalizer([-0.1] * 3 + [-1] * 3, [0.1] * 3 + [1] * 3)
    target = np.zeros((2, 7), np.float32)
    metrics = errors(target + 0.5, target, np.zeros(7), normalizer)
    assert metrics["val_loss"] == pytest.approx(0.25)
    assert metrics["val_constant_loss"] == 0
    error = metrics["val_mean_absolute_error"]
    assert (error["dx"], error["drz"], error["gripper"]) == pytest.approx((0.05, 0.5, 0.5))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("stage", [1, 2])
def test_recipes_are_of_their_stage_and_plain_json(name, stage):
    recipe = RECIPES[name](stage)
    assert recipe.tap.stage == stage
    assert recipe.to_dict()["tap"]["stage"] == stage


def test_the_papers_numbers():
    # As methods A.4 has them.
    paper, code = RECIPES["qwen"](1), RECIPES["qwen_code"](2)
    assert (paper.steps, paper.rise_steps, paper.clip) == (100_000, 5_000, 1.0)
    assert (paper.batch_size, paper.peak_lr, paper.weight_decay) == (128, 5e-5, 0.05)
    assert (paper.shift_px, paper.pair_span, paper.pair_offset) == (0, 0, 1)
    assert (paper.tap.frozen_vision, code.tap.frozen_vision) == ("stage_1", "never")
    assert (code.rise_steps, code.betas, code.weight_decay) == (1_500, (0.9, 0.95), 1e-8)


def test_errors_are_measured_evenly_and_at_the_end():
    assert small(1).evaluate_every == 225


def trains(policy):
    return {name for name, parameter in policy.named_parameters() if parameter.requires_grad}


def test_of_frozen_features_a_regression_trains_its_two_layers():
    policy = tiny_policies.tap("mlp").policy
    freeze_features(policy, small(2))
    assert trains(policy) == {f"head.{layer}.{of}" for layer in (0, 2) for of in ("weight", "bias")}


def test_words_beside_frozen_features_have_neither_gradient_nor_decay():
    policy = tiny_policies.tap("fast").policy
    recipe = freeze_features(policy, RECIPES["qwen_code"](2))
    assert trains(policy) == {"vlm.rows"}
    first = policy.vlm.first_action_token
    (3 * policy.vlm.rows).sum().backward()
    gradient = policy.vlm.rows.grad
    assert not gradient[:first].any()
    assert (gradient[first:] == 3).all()
    groups = policy.optimizer_groups(1e-3, 0.1, recipe.decay_tokens)
    assert [group["weight_decay"] for group in groups] == [0.0]
    assert not recipe.shard  # a share of the rows would be another tensor, without the hook


@pytest.mark.parametrize("family", FAMILIES)
def test_of_a_frozen_qwen_the_action_rows_train(family, tmp_path):
    write_folder(family, tmp_path)
    vlm = load_backbone(tmp_path, QwenOptions(image_size=IMAGE_SIZE, tuning="full"))
    policy = TapPolicy(vlm, TapConfig(2), tiny_policies.tap("fast").policy.tokenizer)
    freeze_features(policy, small(2))
    rows = {"vlm.vocabulary.actions", "vlm.vocabulary.action_outputs"}
    assert trains(policy) == rows & {name for name, _ in policy.named_parameters()}
    assert "vlm.vocabulary.actions" in trains(policy)
