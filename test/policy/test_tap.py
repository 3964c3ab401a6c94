import json

import pytest
import torch

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.tap import TapConfig, action_loss, num_parameters

TEXT = ["put the carrot on the plate", "push the pumpkin to the left"]


def loss_of(policy, stage):
    images = torch.rand(2, 3 - stage, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return action_loss(policy(images, TEXT if stage == 2 else None), torch.zeros(2, 7))


@pytest.mark.parametrize("stage", [1, 2])
def test_a_gradient_reaches_every_trainable_parameter_and_no_frozen_one(policy, stage):
    policy.set_stage(stage)
    loss_of(policy, stage).backward()
    for name, parameter in policy.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert reached == parameter.requires_grad, name


def test_stage_1_has_no_text_and_stage_2_no_second_image(policy):
    policy.set_stage(1)
    frozen = [name for name, p in policy.named_parameters() if not p.requires_grad]
    assert frozen == ["backbone.text_position", "backbone.text_embedding.weight"]
    policy.set_stage(2)
    frozen = {name for name, p in policy.named_parameters() if not p.requires_grad}
    assert frozen == {
        "backbone.slot_projections.1.weight",
        "backbone.slot_projections.1.bias",
        "backbone.slot_embeddings.1",
    }


def test_no_text_reaches_the_output_of_stage_1(policy):
    images = torch.rand(2, 2, 3, 32, 32)
    before = policy(images, None)
    with torch.no_grad():
        policy.backbone.text_embedding.weight.add_(1.0)
        policy.backbone.text_position.add_(1.0)
    assert torch.equal(policy(images, None), before)


def test_the_instruction_changes_the_action_of_stage_2_and_its_case_does_not(policy):
    image = torch.rand(1, 1, 3, 32, 32)
    carrot = policy(image, ["put the carrot on the plate"])
    assert torch.equal(policy(image, ["Put the CARROT on the plate"]), carrot)
    assert not torch.equal(policy(image, ["push the pumpkin to the left"]), carrot)


def test_swapping_the_images_changes_the_action_of_stage_1(policy):
    images = torch.rand(1, 2, 3, 32, 32)
    assert not torch.allclose(policy(images, None), policy(images.flip(1), None))


def test_loss_is_the_mean_square_over_batch_and_dimensions():
    predicted = torch.zeros(2, 7)
    target = torch.zeros(2, 7)
    target[0, 0], target[1, 6] = 3.0, 1.0
    assert action_loss(predicted, target).item() == pytest.approx(10 / 14)


def test_config_survives_json(policy):
    assert TapConfig.from_dict(json.loads(json.dumps(policy.config.to_dict()))) == policy.config


def test_the_default_model_has_a_few_million_parameters(policy):
    from vla_ros.policy.tap import TapPolicy

    assert 1e6 < num_parameters(TapPolicy(TapConfig())) < 10e6


@pytest.mark.parametrize("change", [{"head_width": 1, "other": 2}, {"backbone": {"layers": 3}}])
def test_refuses_a_config_of_another_version(policy, change):
    with pytest.raises(CheckpointError, match="model config does not have the expected keys"):
        TapConfig.from_dict({**policy.config.to_dict(), **change})
